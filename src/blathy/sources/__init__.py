"""Where samples and intervals come from: a synthetic grid and its loads, recordings, live
hardware."""
