"""Supply breaker, limiter, prepayment, load relays: deterministic, exact for any cut of a block."""
