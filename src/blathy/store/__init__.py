"""What survives a power cut: committed state, rings, logs, reserved counters, audit chain."""

from blathy.store.store import (
    Commit,
    MeterStore,
    Saved,
    StorageError,
    Store,
    StoreDamagedError,
)

__all__ = ["Commit", "MeterStore", "Saved", "StorageError", "Store", "StoreDamagedError"]
