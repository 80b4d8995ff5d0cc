"""The meter's books: integers only, deterministic, exact for any cut of a block."""
