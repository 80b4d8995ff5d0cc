"""Lights and pulse outputs: pulses come from the register itself, so they cannot drift from it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from blathy.models.model import Led, PulseOutput

UWH_PER_KWH: Final = 1_000_000_000


class LedState(Enum):
    """What a light does."""

    DARK = "dark"
    LIT = "lit"
    PULSING = "pulsing"
    FLASHING = "flashing"


def pulses_at(energy_u: int, imp_per_kwh: int) -> int:
    """Pulses that have been given when the accumulator stands at `energy_u` (uWh, uvarh)."""
    return energy_u * imp_per_kwh // UWH_PER_KWH


def pulses_between(before_u: int, after_u: int, imp_per_kwh: int) -> int:
    """Pulses due while the accumulator went from one value to the other."""
    return pulses_at(after_u, imp_per_kwh) - pulses_at(before_u, imp_per_kwh)


def pulse_edges_ms(
    output: PulseOutput, before_u: int, after_u: int, duration_ms: int
) -> list[tuple[int, int]]:
    """Rising and falling edges of an output over a span of even power, in ms after its beginning.

    A pulse begins when the register passes a multiple of one pulse's energy; the last one may end
    behind the span. An output never gives more than `pulses_max_hz`: it is late then, not short.
    """
    energy_u = after_u - before_u
    first = pulses_at(before_u, output.imp_per_kwh) + 1
    last = pulses_at(after_u, output.imp_per_kwh)
    gap_ms = -(-1000 // output.pulses_max_hz)
    edges: list[tuple[int, int]] = []
    for count in range(first, last + 1):
        due_u = -(-count * UWH_PER_KWH // output.imp_per_kwh) - before_u
        rise = duration_ms * due_u // energy_u
        if edges:
            rise = max(rise, edges[-1][0] + gap_ms)
        edges.append((rise, rise + output.pulse_ms))
    return edges


def pulse_period_ms(power_mw: int, imp_per_kwh: int) -> int:
    """Time from one pulse to the next at this power; 0 without load."""
    if power_mw <= 0 or imp_per_kwh <= 0:
        return 0
    return 3_600_000 * 1_000_000 // (power_mw * imp_per_kwh)


def energy_led(led: Led, *, powered: bool, loaded: bool) -> LedState:
    """Dark without supply; pulsing above the starting current; lit or dark without load."""
    if not powered:
        return LedState.DARK
    if loaded:
        return LedState.PULSING
    return LedState.LIT if led.idle_lit else LedState.DARK


def breaker_led(*, powered: bool, closed: bool, released: bool) -> LedState:
    """Lit while open, flashing when it may be closed at the button, dark while closed."""
    if not powered or closed:
        return LedState.DARK
    return LedState.FLASHING if released else LedState.LIT
