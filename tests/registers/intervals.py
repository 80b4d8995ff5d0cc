"""Blocks and plans for the tests of the books: small numbers that can be followed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.block import INSTANT_COLUMNS, INSTANT_INDEX, Block, Incident
from blathy.registers.plan import (
    DAILY,
    POWER_FAILURES,
    BillingPlan,
    BookPlan,
    CalendarPlan,
    CounterPlan,
    DatePattern,
    DayProfile,
    DemandPlan,
    LogPlan,
    ProfilePlan,
    Season,
    SpecialDay,
    Switch,
    ThresholdPlan,
    WeekProfile,
)

UTC_2026 = 1_767_225_600
"""2026-01-01T00:00:00Z, a Thursday."""
DAY = 86_400
QUARTER = 900
WH = 1_000_000

A = Source(Kind.ENERGY, Measure.A_IMPORT)
A_DELTA = Source(Kind.DELTA, Measure.A_IMPORT)


def rate(number: int, measure: Measure = Measure.A_IMPORT) -> Source:
    return Source(Kind.ENERGY, measure, tariff=number)


def block(
    start: int,
    n: int,
    step_s: int = 60,
    watt: int | Sequence[int] = 1000,
    supply: int | Sequence[int] = 7,
    volt_mv: int | Sequence[int] = 230_000,
    incidents: tuple[Incident, ...] = (),
) -> Block:
    """Active import of so many watts in total, a third per phase."""
    supplies = (
        np.full(n, supply, dtype=np.uint8)
        if isinstance(supply, int)
        else np.array(supply, dtype=np.uint8)
    )
    power = np.where(supplies > 0, np.asarray(watt, dtype=np.int64), 0)
    energy = np.zeros((n, 4, 8), dtype=np.int64)
    energy[:, 0, 0] = np.diff(np.cumsum(power) * step_s * WH // 3600, prepend=0)
    energy[:, 1:, 0] = energy[:, :1, 0] // 3
    instant = np.zeros((n, len(INSTANT_COLUMNS)), dtype=np.int64)
    instant[:, INSTANT_INDEX["p_mw", Phase.TOTAL]] = power * 1000
    for phase in (Phase.TOTAL, Phase.L1, Phase.L2, Phase.L3):
        instant[:, INSTANT_INDEX["u_mv", phase]] = np.where(supplies > 0, volt_mv, 0)
    return Block(start, step_s, energy, instant, supplies, incidents=incidents)


def random_block(rng: np.random.Generator, start: int, n: int, step_s: int) -> Block:
    """Anything a meter may see: four quadrants, dead phases, outages, odd voltages, incidents."""
    supply = np.full(n, 7, dtype=np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        first = int(rng.integers(0, n))
        supply[first : first + int(rng.integers(1, max(2, n // 4)))] = rng.choice([0, 0, 3, 5, 6])
    energy = rng.integers(0, 10**9, size=(n, 4, 8), dtype=np.int64)
    instant = rng.integers(-(10**6), 10**6, size=(n, len(INSTANT_COLUMNS)), dtype=np.int64)
    low = instant - rng.integers(0, 1000, size=instant.shape)
    high = instant + rng.integers(0, 1000, size=instant.shape)
    volts = rng.choice([190_000, 230_000, 260_000], size=n, p=[0.15, 0.7, 0.15])
    for phase in (Phase.L1, Phase.L2, Phase.L3):
        instant[:, INSTANT_INDEX["u_mv", phase]] = volts
    names = ("terminal_cover_opened", "magnet_start", "sag_start")
    incidents = tuple(
        Incident(start + int(rng.integers(0, n * step_s)), str(rng.choice(names)), Phase.L1, 7)
        for _ in range(int(rng.integers(0, 4)))
    )
    loss = rng.integers(0, 10**6, size=(n, 6), dtype=np.int64)
    pulses = rng.integers(0, 9, size=(n, 2), dtype=np.int64)
    return Block(start, step_s, energy, instant, supply, loss, low, high, pulses, incidents)


def two_rates() -> CalendarPlan:
    """Rate 1 by day (06:00 to 22:00), rate 2 by night; on 1 May rate 3 all day."""
    days = (
        DayProfile(1, (Switch(6 * 3600, 1), Switch(22 * 3600, 2))),
        DayProfile(2, (Switch(0, 3),)),
    )
    return CalendarPlan(
        b"A",
        (Season(b"year", DatePattern(1, 1), b"w"),),
        (WeekProfile(b"w", (1,) * 7),),
        days,
        (SpecialDay(1, DatePattern(5, 1), 2),),
    )


def instant(measure: Measure, phase: Phase, kind: Kind = Kind.INSTANT) -> Source:
    return Source(kind, measure, phase)


def full_plan(**changes: object) -> BookPlan:
    """A plan with a bit of everything."""
    energies = (A, A_DELTA, rate(1), rate(2), Source(Kind.DELTA, Measure.A_NET))
    means = tuple(
        instant(m, p, k)
        for k in (Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM, Kind.INSTANT)
        for m, p in ((Measure.U, Phase.L1), (Measure.A_EXPORT, Phase.TOTAL), (Measure.R3, Phase.L2))
    )
    maxima = (
        Source(Kind.MAX_DEMAND, Measure.A_IMPORT),
        Source(Kind.MAX_DEMAND, Measure.A_IMPORT, tariff=2),
        Source(Kind.CUMULATIVE_MAX, Measure.A_IMPORT),
        Source(Kind.COUNTER, name="power_failures"),
        Source(Kind.COUNTER, name="pulses_2"),
    )
    table: dict[str, object] = {
        "rates": 4,
        "calendar": two_rates(),
        "pulse_inputs": 2,
        "demands": (
            DemandPlan(Measure.A_IMPORT, contracted_mw=10**9),
            DemandPlan(Measure.R_PLUS, period_s=300, sub_periods=3),
        ),
        "profiles": (
            ProfilePlan("load", (Source(Kind.CLOCK), Source(Kind.STATUS), *energies), 900, 500),
            ProfilePlan("values", means, 600, 300, fill_entries=20),
            ProfilePlan("day", (A, *maxima), DAY, 40),
        ),
        "billings": (
            BillingPlan("month", (A, rate(1), rate(2), *maxima), 15),
            BillingPlan("daily", (Source(Kind.CLOCK), A), 40, DAILY, resets_demand=False),
        ),
        "logs": (
            LogPlan("all", 200),
            LogPlan("fraud", 20, frozenset({"terminal_cover_opened", "magnet_start"})),
        ),
        "counters": (*POWER_FAILURES, CounterPlan("sags", frozenset({"sag_start"}))),
        "thresholds": (
            ThresholdPlan(
                instant(Measure.U, Phase.L1),
                253_000,
                "overvoltage_start",
                "overvoltage_end",
                delay_s=120,
                release_delay_s=60,
            ),
            ThresholdPlan(
                instant(Measure.U, Phase.L2),
                195_000,
                "undervoltage_start",
                "undervoltage_end",
                above=False,
                release=200_000,
                delay_s=60,
                release_delay_s=0,
            ),
        ),
    }
    return BookPlan(**(table | changes))  # type: ignore[arg-type]
