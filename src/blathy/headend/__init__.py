"""The control centre: reads any number of meters over their ports."""
