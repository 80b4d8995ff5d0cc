"""One running meter: source -> registers -> store -> objects -> ports."""
