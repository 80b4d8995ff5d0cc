"""Many meters in one process: one store, one listening socket, one loop that lets time pass."""
