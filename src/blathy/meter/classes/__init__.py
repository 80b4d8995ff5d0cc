"""What the interface classes do in a meter: a module for each class or small family."""
