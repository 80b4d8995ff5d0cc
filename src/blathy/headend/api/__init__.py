"""The control centre's REST interface, its stream and the portal."""
