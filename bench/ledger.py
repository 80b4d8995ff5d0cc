"""The books: days and seconds of a meter through the ledger, and commits of a fleet.

Every model of the data sheets with its own plan of registers, profiles and thresholds. There is no
peer: no other open meter simulator keeps books that can be stepped.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blathy.meter.plan import plan_of
from blathy.models import model
from blathy.quantity import Phase
from blathy.registers.block import INSTANT_COLUMNS, INSTANT_INDEX, Block
from blathy.registers.ledger import Ledger
from blathy.registers.plan import BookPlan
from blathy.store import Store

START_S = 1_767_225_600
MODELS = ("mt372", "omnipower", "k382m", "esox", "mpta-3")
TYPICAL = "mt372"
ROUNDS = 5
METERS = 40
PULSE_INPUTS = 4


def block(start_utc_s: int, n: int, step_s: int) -> Block:
    """A load that goes up and down, the same for every round."""
    seconds = np.arange(n, dtype=np.int64) * step_s
    power_mw = 1_500_000 + (seconds * 7919) % 2_000_000
    energy = np.zeros((n, 4, 8), dtype=np.int64)
    energy[:, 0, 0] = power_mw * step_s // 3600 * 1000
    energy[:, 1:, 0] = energy[:, :1, 0] // 3
    instant = np.zeros((n, len(INSTANT_COLUMNS)), dtype=np.int64)
    instant[:, INSTANT_INDEX["p_mw", Phase.TOTAL]] = power_mw
    for phase in Phase:
        instant[:, INSTANT_INDEX["u_mv", phase]] = 230_000 + seconds % 1000
        instant[:, INSTANT_INDEX["i_ma", phase]] = power_mw // 690
    pulses = np.ones((n, PULSE_INPUTS), dtype=np.int64)
    return Block(start_utc_s, step_s, energy, instant, np.full(n, 7, np.uint8), pulses=pulses)


def best(work: Callable[[], None], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of the fastest round: of this process's core, which what else the machine does
    changes little, or by another clock."""
    times = []
    for _ in range(ROUNDS):
        started = clock()
        work()
        times.append(clock() - started)
    return min(times)


def day_s(plan: BookPlan, step_s: int, days: int = 5) -> float:
    """Seconds for one day in one block of intervals of `step_s`."""
    ledger = Ledger(plan, START_S)
    n = 86_400 // step_s

    def work() -> None:
        for _ in range(days):
            ledger.step(block(ledger.now, n, step_s))

    def build() -> None:
        for _ in range(days):
            block(START_S, n, step_s)

    return max(1e-9, best(work) - best(build)) / days


def second_s(plan: BookPlan, seconds: int = 1200) -> float:
    """Seconds for one live interval of one second in a block of its own."""
    ledger = Ledger(plan, START_S)
    whole = block(START_S, seconds * ROUNDS, 1)
    singles = iter([whole.cut(k, k + 1) for k in range(seconds * ROUNDS)])

    def work() -> None:
        for _ in range(seconds):
            ledger.step(next(singles))

    return best(work) / seconds


def commit_s(plan: BookPlan) -> float:
    """Seconds for staging and committing one second of a town of meters in a file."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "meters.db")
        ledgers = [Ledger(plan, START_S) for _ in range(METERS)]
        places = [store.meter(f"m{k}") for k in range(METERS)]

        def work() -> None:
            for place, ledger in zip(places, ledgers, strict=True):
                place.stage(ledger)
            outcome = store.commit()
            assert outcome.ok, outcome.error

        for ledger in ledgers:
            ledger.step(block(START_S, 1440, 60))
        work()
        seconds = best(work, time.perf_counter)  # it waits for the disk
        store.close()
    return seconds


def run() -> list[dict[str, Any]]:
    """Figures for the table of `make bench`."""
    rows: list[dict[str, Any]] = []

    def row(work: str, figure: float, unit: str, goal: str) -> None:
        keys = {"peer": "-", "peer_figure": "-"}
        rows.append({"work": work, "figure": figure, "unit": unit, "goal": goal, **keys})

    for name in MODELS:
        plan = plan_of(model(name))
        row(f"{name}: a day of 60 s intervals", day_s(plan, 60) * 1e3, "ms", "< 5")
        row(f"{name}: a day of 900 s intervals", day_s(plan, 900) * 1e3, "ms", "< 5")
        row(f"{name}: one live second", second_s(plan) * 1e3, "ms", "<= 0.3")
    plan = plan_of(model(TYPICAL))
    row(f"{TYPICAL}: intervals of a day at once", 1440 / day_s(plan, 60), "1/s", "> 300 000")
    row(f"{TYPICAL}: live steps", 1 / second_s(plan), "1/s", "> 3 300")
    row(f"{METERS} meters: stage and commit", commit_s(plan) * 1e3, "ms", "< 100")
    return rows
