"""The ledger under random operation: whatever is done to it in whatever order, the promises hold.

The model is a few sums. Every so often the ledger is taken through its bytes, as after a restart.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from blathy.quantity import Kind, Measure, Source
from blathy.registers.changes import Content
from blathy.registers.ledger import Ledger, RefusedError
from blathy.registers.load_profile import FIRST_COLUMN, STAMP
from blathy.registers.plan import LogPlan, ProfilePlan
from blathy.registers.ring import Kept
from blathy.registers.state import StateError
from tests.registers.intervals import A_DELTA, UTC_2026, A, full_plan, random_block, rate, two_rates

PLAN = full_plan()
LOAD_A = FIRST_COLUMN + 2  # after CLOCK and STATUS
LOAD_DELTA = LOAD_A + 1
EXPORT = Source(Kind.ENERGY, Measure.A_EXPORT)


def content_of(ledger: Ledger) -> Content:
    """The rows and entries that a store would hand back."""
    seen = ledger.snapshot()
    views = {**seen.profiles, **seen.billings}
    rows = {name: Kept(view.ring.first, view.ring.rows()) for name, view in views.items()}
    return Content(rows, dict(seen.logs))


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(PLAN, UTC_2026 + 86_400 * 100)
        self.imported_u = 0
        self.shown = 0
        self.resets = 0
        self.cumulative = 0

    @rule(
        seed=st.integers(0, 2**32),
        n=st.integers(1, 60),
        step_s=st.sampled_from([1, 60, 900]),
        gap_s=st.sampled_from([0, 0, 0, 1, 1800, 86_400 * 9]),
    )
    def measure(self, seed: int, n: int, step_s: int, gap_s: int) -> None:
        taken = random_block(np.random.default_rng(seed), self.ledger.now + gap_s, n, step_s)
        self.ledger.step(taken)
        self.imported_u += int(taken.energy_u[taken.supply != 0, 0, 0].sum())

    @rule(by_s=st.sampled_from([-90_000, -3600, -40, -3, 3, 40, 3600, 90_000, 40 * 86_400]))
    def correct_the_clock(self, by_s: int) -> None:
        try:
            self.ledger.shift_clock(by_s, "machine")
        except RefusedError:
            assert not self.ledger.powered

    @rule()
    def end_the_period(self) -> None:
        try:
            self.ledger.end_billing_period("machine")
        except RefusedError:
            assert not self.ledger.powered

    @rule(number=st.sampled_from([None, 1, 2, 4]))
    def switch_the_rate(self, number: int | None) -> None:
        self.ledger.override_rate(number, "machine")

    @rule(delay_s=st.sampled_from([None, -5, 3000]))
    def load_a_calendar(self, delay_s: int | None) -> None:
        at = None if delay_s is None else self.ledger.clock_utc_s + delay_s
        self.ledger.stage_calendar(two_rates(), "machine", at)

    @rule(name=st.sampled_from(["load", "values", "day"]))
    def clear(self, name: str) -> None:
        self.ledger.clear_profile(name, "machine")

    @rule(bits=st.sampled_from([0, 0x100]))
    def fail(self, bits: int) -> None:
        self.ledger.set_errors(bits)

    @rule()
    def restart(self) -> None:
        back = Ledger.from_state(PLAN, self.ledger.state_bytes(), content_of(self.ledger))
        assert back.state_hash() == self.ledger.state_hash()
        assert back.state_bytes() == self.ledger.state_bytes()
        self.ledger = back

    @invariant()
    def every_energy_is_there_once(self) -> None:
        seen = self.ledger.snapshot()
        assert seen.value(A) == self.imported_u
        assert sum(seen.value(rate(r)) for r in range(1, 5)) == self.imported_u
        assert seen.value(EXPORT) >= self.shown
        self.shown = seen.value(EXPORT)

    @invariant()
    def rows_add_up_and_repeat_no_time(self) -> None:
        rows = self.ledger.snapshot().profiles["load"].rows()
        if len(rows):
            assert (np.diff(rows[:, LOAD_A]) == rows[1:, LOAD_DELTA]).all()
            back = np.flatnonzero(np.diff(rows[:, STAMP]) <= 0)
            assert (np.diff(rows[:, STAMP])[back] < -86_400).all()

    @invariant()
    def maxima_are_kept_until_they_are_cumulated(self) -> None:
        view = self.ledger.snapshot().demands[0]
        assert view.cumulative_mw[0] >= self.cumulative
        assert view.maxima_mw[0] == max(view.maxima_mw)
        self.cumulative = view.cumulative_mw[0]


Books.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_books_for_long() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    long = settings(max_examples=3000, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(Books, settings=long)  # type: ignore[no-untyped-call]


def made() -> Ledger:
    ledger = Ledger(PLAN, UTC_2026)
    ledger.step(random_block(np.random.default_rng(5), UTC_2026, 200, 900))
    return ledger


def test_a_state_with_a_flipped_bit_is_refused() -> None:
    ledger = made()
    state, content = ledger.state_bytes(), content_of(ledger)
    for bit in np.random.default_rng(1).integers(0, 8 * len(state), size=400).tolist():
        flipped = bytearray(state)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(StateError):
            Ledger.from_state(PLAN, bytes(flipped), content)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_other_bytes_are_refused_as_a_state(data: bytes) -> None:
    with pytest.raises(StateError):
        Ledger.from_state(PLAN, data, Content())


# --- another plan ---------------------------------------------------------------------------


def test_another_plan_is_refused_unless_it_is_adopted() -> None:
    ledger = made()
    other = full_plan(logs=())
    with pytest.raises(StateError, match="another plan"):
        Ledger.from_state(other, ledger.state_bytes(), content_of(ledger))


def test_an_adopted_plan_keeps_what_is_still_there_and_begins_what_is_new() -> None:
    ledger = made()
    before = ledger.snapshot()
    extra = ProfilePlan("extra", (A, A_DELTA), 900, 100)
    wider = ProfilePlan("values", (A,), 600, 20)
    profiles = (PLAN.profiles[0], wider, extra, PLAN.profiles[2])
    other = full_plan(
        rates=8, profiles=profiles, thresholds=(), logs=(*PLAN.logs, LogPlan("new", 9))
    )
    adopted = Ledger.from_state(other, ledger.state_bytes(), content_of(ledger), adopt=True)
    after = adopted.snapshot()
    for source in (A, EXPORT, *(rate(r) for r in range(1, 5))):
        assert after.value(source) == before.value(source)
    assert after.counters["power_failures"] == before.counters["power_failures"]
    assert after.clock.utc_s == before.clock.utc_s
    assert np.array_equal(after.profiles["load"].rows(), before.profiles["load"].rows())
    assert len(after.profiles["values"]) == len(after.profiles["extra"]) == 0
    assert [e.name for e in after.logs["new"]] == ["parameters_changed"]
    (note,) = adopted.take_changes().audit
    assert "profile/extra" in note.detail
    assert "profile/load" not in note.detail
    adopted.step(random_block(np.random.default_rng(6), adopted.now, 60, 900))
    rows = adopted.snapshot().profiles["extra"]
    assert rows.column(A)[-1] - before.value(A) == rows.column(A_DELTA).sum()


def test_a_plan_without_room_for_counted_energy_is_refused() -> None:
    ledger = Ledger(PLAN, UTC_2026 + 86_400)
    ledger.override_rate(4, "machine")
    ledger.step(random_block(np.random.default_rng(5), ledger.now, 200, 900))
    with pytest.raises(StateError, match="no place"):
        Ledger.from_state(full_plan(rates=3), ledger.state_bytes(), content_of(ledger), adopt=True)


def test_a_state_without_its_rows_is_refused() -> None:
    ledger = made()
    with pytest.raises(StateError, match="should be there"):
        Ledger.from_state(PLAN, ledger.state_bytes(), Content())
