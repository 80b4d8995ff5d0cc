"""The demonstration town: its streets and loads, its meters on real ports, its control centre."""
