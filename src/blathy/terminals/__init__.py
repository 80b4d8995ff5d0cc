"""What is screwed to the meter: display, lights and buttons, inputs and outputs."""
