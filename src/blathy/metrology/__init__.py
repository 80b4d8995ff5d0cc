"""Waveforms to quantities: pure functions and small state objects on arrays of samples.

Nothing here reads a clock, a file or a port. Importing compiles nothing: each numba kernel is
compiled at its first call and cached beside its source.
"""
