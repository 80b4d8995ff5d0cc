"""What the books promise: sums, periods, demand, billing, events, figured by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.clock import Zone
from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.block import Incident
from blathy.registers.ledger import Ledger, RefusedError
from blathy.registers.load_profile import FIRST_COLUMN, STAMP, STATUS, Status
from blathy.registers.plan import (
    DAILY,
    MONTHLY,
    BillingPlan,
    BookPlan,
    CalendarPlan,
    DemandPlan,
    LogPlan,
    ProfilePlan,
    Sort,
    Switch,
    energy_sources,
)
from tests.registers.intervals import (
    A_DELTA,
    DAY,
    QUARTER,
    UTC_2026,
    WH,
    A,
    block,
    full_plan,
    random_block,
    rate,
    two_rates,
)

LOAD = ProfilePlan("load", (A, A_DELTA), QUARTER, 1000)


def plan(**changes: object) -> BookPlan:
    table: dict[str, object] = {"profiles": (LOAD,), "logs": (LogPlan("log", 100),)}
    return BookPlan(**(table | changes))  # type: ignore[arg-type]


def stamps(ledger: Ledger, name: str = "load") -> list[int]:
    return [int(s) for s in ledger.snapshot().profiles[name].rows()[:, STAMP]]


def status(ledger: Ledger) -> list[Status]:
    return [Status(int(s)) for s in ledger.snapshot().profiles["load"].rows()[:, STATUS]]


def events(ledger: Ledger) -> list[str]:
    return [entry.name for entry in ledger.snapshot().logs["log"]]


# --- energy -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), step_s=st.sampled_from([1, 60, 900]))
def test_nothing_is_lost_between_totals_rates_and_profiles(seed: int, step_s: int) -> None:
    books = full_plan()
    ledger = Ledger(books, UTC_2026)
    rng = np.random.default_rng(seed)
    before = dict.fromkeys(energy_sources((Measure.A_IMPORT, Measure.R4, Measure.E_EXPORT)), 0)
    counted = np.zeros(8, dtype=np.int64)
    for _ in range(4):
        taken = random_block(rng, ledger.now, int(rng.integers(1, 200)), step_s)
        ledger.step(taken)
        counted += taken.energy_u[taken.supply != 0, 0, :].sum(axis=0)
        seen = ledger.snapshot()
        for source, value in before.items():
            assert seen.value(source) >= value
            before[source] = seen.value(source)
            rates = [Source(Kind.ENERGY, source.measure, tariff=r) for r in range(1, 5)]
            assert sum(seen.value(r) for r in rates) == seen.value(source)
    seen = ledger.snapshot()
    assert seen.value(A) == counted[0]
    assert seen.value(Source(Kind.ENERGY, Measure.A_ABS)) == counted[0] + counted[1]
    assert seen.value(Source(Kind.ENERGY, Measure.A_NET)) == counted[0] - counted[1]
    assert seen.value(Source(Kind.ENERGY, Measure.R_PLUS)) == counted[2] + counted[3]
    rows = seen.profiles["load"]
    if len(rows):
        registers, deltas = rows.column(A), rows.column(A_DELTA)
        assert len(rows) == 500 or deltas.sum() == registers[-1]
        assert (np.diff(registers) == deltas[1:]).all()


def test_the_rate_of_a_day_is_exact() -> None:
    ledger = Ledger(plan(calendar=two_rates()), UTC_2026 - 3600)  # local midnight
    ledger.step(block(ledger.now, 1440, 60, watt=6000))
    seen = ledger.snapshot()
    assert seen.value(rate(1)) == 16 * 6000 * WH
    assert seen.value(rate(2)) == 8 * 6000 * WH
    assert seen.value(A) == 24 * 6000 * WH


def test_a_meter_without_supply_counts_nothing() -> None:
    ledger = Ledger(plan(), UTC_2026)
    taken = block(UTC_2026, 60, 60)
    taken.supply[:] = 0
    ledger.step(taken)
    assert ledger.snapshot().value(A) == 0


def test_energy_that_runs_backwards_is_refused() -> None:
    taken = block(UTC_2026, 2, 60)
    taken.energy_u[1, 0, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        Ledger(plan(), UTC_2026).step(taken)


def test_time_that_runs_backwards_is_refused() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 2, 60))
    with pytest.raises(ValueError, match="before the last one"):
        ledger.step(block(UTC_2026 + 60, 2, 60))


def test_only_the_planned_registers_can_be_read() -> None:
    ledger = Ledger(plan(registers=(A,)), UTC_2026)
    assert ledger.snapshot().value(A) == 0
    with pytest.raises(LookupError, match="keeps no register"):
        ledger.snapshot().value(Source(Kind.ENERGY, Measure.R1))


# --- load profile -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "quarters"), [("2026-03-29", 92), ("2026-06-01", 96), ("2026-10-25", 100)]
)
def test_a_local_day_has_its_quarters(day: str, quarters: int) -> None:
    start, end = Zone("Europe/Budapest").day_bounds(date.fromisoformat(day))
    ledger = Ledger(plan(), start)
    ledger.step(block(start, (end - start) // 300, 300))
    found = stamps(ledger)
    assert found == list(range(start + QUARTER, end + 1, QUARTER))
    assert len(found) == quarters
    dst = [bool(s & Status.DST) for s in status(ledger)]
    assert dst.count(True) == {92: 84, 96: 96, 100: 12}[quarters]


def test_a_daily_profile_ends_at_local_midnight() -> None:
    daily = ProfilePlan("load", (A,), DAY, 40)
    start = 1_774_567_800  # 2026-03-26T23:30:00Z, already the 27th in Budapest
    ledger = Ledger(plan(profiles=(daily,)), start)
    ledger.step(block(start, 4 * 48, 1800))
    midnights = [1_774_652_400, 1_774_738_800, 1_774_738_800 + 23 * 3600]
    assert stamps(ledger)[:3] == midnights


def test_an_outage_leaves_a_gap_and_puts_every_energy_into_its_own_period() -> None:
    ledger = Ledger(plan(), UTC_2026)
    minutes = [7] * 20 + [0] * 50 + [7] * 35
    ledger.step(block(UTC_2026, len(minutes), 60, watt=6000, supply=minutes))
    quarter = [(s - UTC_2026) // QUARTER for s in stamps(ledger)]
    assert quarter == [1, 2, 5, 6, 7]
    deltas = ledger.snapshot().profiles["load"].column(A_DELTA)
    assert [int(d) // WH for d in deltas] == [1500, 500, 500, 1500, 1500]
    flagged = [bool(s & Status.POWER_DOWN) for s in status(ledger)]
    assert flagged == [False, True, True, False, False]


def test_an_outage_of_whole_periods_flags_no_complete_one() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 60, 60, supply=[7] * 15 + [0] * 30 + [7] * 15))
    assert [(s - UTC_2026) // QUARTER for s in stamps(ledger)] == [1, 4]
    assert not any(s & Status.POWER_DOWN for s in status(ledger))


def test_a_meter_that_fills_gaps_flags_every_row_it_adds() -> None:
    filled = ProfilePlan("load", (A, A_DELTA), QUARTER, 1000, fill_entries=10)
    ledger = Ledger(plan(profiles=(filled,)), UTC_2026)
    ledger.step(block(UTC_2026, 105, 60, watt=6000, supply=[7] * 20 + [0] * 50 + [7] * 35))
    assert [(s - UTC_2026) // QUARTER for s in stamps(ledger)] == [1, 2, 3, 4, 5, 6, 7]
    view = ledger.snapshot().profiles["load"]
    assert [int(d) // WH for d in view.column(A_DELTA)] == [1500, 500, 0, 0, 500, 1500, 1500]
    assert [bool(s & Status.NOT_VALID) for s in status(ledger)] == [0, 0, 1, 1, 0, 0, 0]
    assert (np.diff(view.column(A)) == view.column(A_DELTA)[1:]).all()
    ledger.step(block(ledger.now + 9 * DAY, 15, 60))  # longer than the clock's reserve
    assert len(stamps(ledger)) == 8
    again = Ledger(plan(profiles=(filled,)), UTC_2026)
    again.step(block(UTC_2026, 15, 60))
    again.step(block(UTC_2026 + DAY, 15, 60))
    assert len(stamps(again)) == 1 + 10 + 1


def test_time_without_blocks_counts_as_an_outage() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 15, 60))
    happened = ledger.step(block(UTC_2026 + 3600, 15, 60))
    assert [i.name for i in happened] == ["power_down", "power_up", "long_outage"]
    assert [(s - UTC_2026) // QUARTER for s in stamps(ledger)] == [1, 5]


@pytest.mark.parametrize("capacity", [1, 7, 256, 300])
def test_the_ring_holds_exactly_its_capacity(capacity: int) -> None:
    books = plan(profiles=(ProfilePlan("load", (A,), QUARTER, capacity),))
    ledger = Ledger(books, UTC_2026)
    ledger.step(block(UTC_2026, 700, QUARTER))
    older = ledger.snapshot()
    assert len(older.profiles["load"]) == capacity
    assert stamps(ledger)[-1] == UTC_2026 + 700 * QUARTER
    rows = older.profiles["load"].rows()
    ledger.step(block(ledger.now, 700, QUARTER))
    assert np.array_equal(older.profiles["load"].rows(), rows)  # a snapshot never changes


def test_a_profile_is_read_by_time_and_by_position() -> None:
    for sort in Sort:
        books = plan(profiles=(ProfilePlan("load", (A,), QUARTER, 50, sort),))
        ledger = Ledger(books, UTC_2026)
        ledger.step(block(UTC_2026, 60, QUARTER))
        view = ledger.snapshot().profiles["load"]
        chosen = view.between(UTC_2026 + 20 * QUARTER, UTC_2026 + 22 * QUARTER)[:, STAMP]
        expected = [20, 21, 22] if sort is Sort.FIFO else [22, 21, 20]
        assert [(int(s) - UTC_2026) // QUARTER for s in chosen] == expected
        assert np.array_equal(view.rows(3, 9), view.rows()[3:9])
        assert len(view.rows(48, 99)) == 2


def test_intervals_longer_than_the_period_give_flagged_rows_and_no_invented_ones() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 5, 3600, watt=1000))
    assert stamps(ledger) == [UTC_2026 + 3600 * k for k in range(1, 6)]
    assert all(s & Status.NOT_VALID for s in status(ledger))


def test_means_and_extremes_of_a_period() -> None:
    volts = [220_000, 240_000] * 10
    kinds = (Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM, Kind.INSTANT)
    columns = tuple(Source(kind, Measure.U, Phase.L1) for kind in kinds)
    books = plan(profiles=(ProfilePlan("load", columns, 600, 10),))
    ledger = Ledger(books, UTC_2026)
    ledger.step(block(UTC_2026, 20, 60, volt_mv=volts))
    row = ledger.snapshot().profiles["load"].rows()[0]
    assert row[FIRST_COLUMN:].tolist() == [230_217, 220_000, 240_000, 240_000]  # rms mean
    assert ledger.snapshot().value(columns[0]) == 230_217


# --- clock ------------------------------------------------------------------------------------


def test_a_small_correction_shifts_silently() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 5, 60))
    ledger.set_clock(UTC_2026 + 308, "head-end")
    ledger.step(block(ledger.now, 25, 60))
    assert events(ledger) == []
    assert not any(s & Status.CLOCK_ADJUSTED for s in status(ledger))
    assert stamps(ledger) == [UTC_2026 + QUARTER, UTC_2026 + 2 * QUARTER]


def test_a_shift_over_the_end_of_a_period_ends_it() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 898, 1))
    ledger.shift_clock(5, "head-end")
    ledger.step(block(ledger.now, 900, 1))
    assert stamps(ledger) == [UTC_2026 + QUARTER, UTC_2026 + 2 * QUARTER]


def test_a_large_correction_sets_with_events_and_flags() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 7, 60, watt=6000))
    ledger.set_clock(UTC_2026 + 40 * 60, "head-end")
    ledger.step(block(ledger.now, 25, 60, watt=6000))
    assert events(ledger) == ["clock_adjusted_old", "clock_adjusted_new"]
    assert [(s - UTC_2026) // 60 for s in stamps(ledger)] == [15, 45, 60]
    assert [bool(s & Status.CLOCK_ADJUSTED) for s in status(ledger)] == [True, True, False]
    deltas = ledger.snapshot().profiles["load"].column(A_DELTA)
    assert [int(d) // WH for d in deltas] == [700, 500, 1500]


def test_a_clock_set_back_repeats_no_time() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 67, 60, watt=6000))
    ledger.set_clock(UTC_2026 + 20 * 60, "head-end")
    ledger.step(block(ledger.now, 100, 60, watt=6000))
    found = stamps(ledger)
    assert found == sorted(set(found))
    assert [(s - UTC_2026) // 60 for s in found] == [15, 30, 45, 60, 75, 90, 105, 120]
    seen = ledger.snapshot()
    assert seen.profiles["load"].column(A_DELTA).sum() == seen.profiles["load"].column(A)[-1]


def test_a_jump_of_fifty_years_invents_nothing() -> None:
    ledger = Ledger(plan(demands=(DemandPlan(Measure.A_IMPORT),)), UTC_2026)
    ledger.step(block(UTC_2026, 20, 60))
    ledger.set_clock(UTC_2026 + 50 * 365 * DAY, "head-end")
    ledger.step(block(ledger.now, 20, 60))
    assert len(stamps(ledger)) == 3


@pytest.mark.parametrize("utc_s", [0, 900_000_000, 5_000_000_000, -1])
def test_impossible_times_are_refused(utc_s: int) -> None:
    ledger = Ledger(plan(), UTC_2026)
    with pytest.raises(RefusedError, match="2000 to 2106"):
        ledger.set_clock(utc_s, "head-end")
    assert ledger.snapshot().clock.utc_s == UTC_2026


def test_drift_moves_the_clock_and_nothing_else() -> None:
    ledger = Ledger(plan(), UTC_2026, drift_ppb=5_788)  # 0.5 s a day
    ledger.step(block(UTC_2026, 960, QUARTER))
    assert ledger.snapshot().clock.utc_s - ledger.now == 5
    assert ledger.snapshot().value(A) == 240 * 1000 * WH


def test_the_clock_survives_its_reserve_and_is_invalid_after_it() -> None:
    reserve = plan().clock.reserve_s
    for off_s, valid in ((reserve - 3600, True), (reserve + 3600, False)):
        ledger = Ledger(plan(), UTC_2026)
        ledger.step(block(UTC_2026, 4, QUARTER))
        back = UTC_2026 + 3600 + off_s
        ledger.step(block(back, 4, QUARTER))
        clock = ledger.snapshot().clock
        assert clock.valid is valid
        assert (clock.utc_s == ledger.now) is valid
        assert ("clock_invalid" in events(ledger)) is not valid
        assert bool(status(ledger)[-1] & Status.CLOCK_INVALID) is not valid
        ledger.set_clock(ledger.now, "head-end")
        ledger.step(block(ledger.now, 4, QUARTER))
        assert not status(ledger)[-1] & Status.CLOCK_INVALID


# --- demand and billing -------------------------------------------------------------------------


def test_block_demand_keeps_its_maximum_with_the_time() -> None:
    ledger = Ledger(plan(demands=(DemandPlan(Measure.A_IMPORT),)), UTC_2026)
    watts = [1000] * 15 + [4000] * 15 + [2000] * 15 + [4000] * 15 + [9000] * 5
    ledger.step(block(UTC_2026, len(watts), 60, watt=watts))
    seen = ledger.snapshot()
    maximum = Source(Kind.MAX_DEMAND, Measure.A_IMPORT)
    assert seen.value(maximum) == 4_000_000
    assert seen.time_of(maximum) == UTC_2026 + 2 * QUARTER  # the first of equals
    assert seen.value(Source(Kind.LAST_DEMAND, Measure.A_IMPORT)) == 4_000_000
    assert seen.value(Source(Kind.DEMAND, Measure.A_IMPORT)) == 3_000_000


@settings(max_examples=20, deadline=None)
@given(watts=st.lists(st.integers(0, 10_000), min_size=12, max_size=120), parts=st.integers(1, 6))
def test_sliding_demand_is_the_mean_of_its_window(watts: list[int], parts: int) -> None:
    books = plan(demands=(DemandPlan(Measure.A_IMPORT, period_s=300, sub_periods=parts),))
    ledger = Ledger(books, UTC_2026)
    ledger.step(block(UTC_2026, len(watts), 60, watt=watts))
    energies = np.diff([sum(watts[:k]) * 60 * WH // 3600 for k in range(len(watts) + 1)]).tolist()
    expected = 0
    for end in range(5, len(watts) + 1, 5):
        window = energies[max(0, end - 5 * parts) : end]
        expected = max(expected, sum(window) * 18 // (5 * 300 * parts))
    assert ledger.snapshot().value(Source(Kind.MAX_DEMAND, Measure.A_IMPORT)) == expected


def test_excess_over_the_contracted_power() -> None:
    books = plan(demands=(DemandPlan(Measure.A_IMPORT, contracted_mw=3_000_000),))
    ledger = Ledger(books, UTC_2026)
    watts = np.repeat([2000, 5000, 3000, 4000, 5500], 15)
    ledger.step(block(UTC_2026, 75, 60, watt=watts.tolist()))
    excess = ledger.snapshot().demands[0].excess
    assert (excess.count, excess.sum_mw) == (3, 5_500_000)
    assert [e for e, _ in excess.largest] == [2_500_000, 2_000_000, 1_000_000]
    assert excess.largest[0][1] == UTC_2026 + 5 * QUARTER


def test_setting_the_clock_makes_no_false_maximum() -> None:
    for jump_s in (-600, 600, -7200, 7200):
        ledger = Ledger(plan(demands=(DemandPlan(Measure.A_IMPORT),)), UTC_2026 + 7 * DAY)
        ledger.step(block(ledger.now, 70, 60, watt=6000))
        ledger.set_clock(ledger.now + jump_s, "head-end")
        ledger.step(block(ledger.now, 70, 60, watt=6000))
        assert ledger.snapshot().demands[0].maxima_mw[0] == 6_000_000


def billed(**changes: object) -> BookPlan:
    maximum = Source(Kind.MAX_DEMAND, Measure.A_IMPORT)
    columns = (A, rate(1), rate(2), maximum, Source(Kind.CUMULATIVE_MAX, Measure.A_IMPORT))
    table: dict[str, object] = {
        "calendar": two_rates(),
        "demands": (DemandPlan(Measure.A_IMPORT),),
        "billings": (
            BillingPlan("month", columns, 3, MONTHLY),
            BillingPlan("day", (A,), 10, DAILY, resets_demand=False, by_command=False),
        ),
    }
    return plan(**(table | changes))


def test_the_billing_period_ends_at_local_midnight_of_the_first() -> None:
    end = 1_777_586_400  # 2026-04-30T22:00:00Z, 1 May in Budapest
    ledger = Ledger(billed(), end - 3600)
    watts = [1000] * 4 + [3000] * 4
    ledger.step(block(ledger.now, 8, QUARTER, watt=watts))
    seen = ledger.snapshot()
    (row,) = seen.billings["month"].rows()
    assert row[STAMP] == end
    assert row[FIRST_COLUMN] == 1000 * WH
    assert row[FIRST_COLUMN + 3] == 1_000_000
    assert row[-1] == end - 3600 + QUARTER  # when the maximum was
    assert seen.demands[0].maxima_mw[0] == 3_000_000
    assert seen.demands[0].cumulative_mw[0] == 1_000_000
    assert seen.counters["billing_resets"] == 1
    assert events(ledger).count("billing_reset") == 1
    assert seen.billings["day"].rows()[:, STAMP].tolist() == [end]


def test_a_billing_end_missed_without_supply_is_made_up_once() -> None:
    end = 1_777_586_400
    ledger = Ledger(billed(), end - 3600)
    ledger.step(block(ledger.now, 2, QUARTER))
    ledger.step(block(end + 5 * DAY, 4, QUARTER))
    seen = ledger.snapshot()
    assert seen.billings["month"].rows()[:, STAMP].tolist() == [end]
    assert seen.billings["day"].rows()[:, STAMP].tolist() == [end]


def test_ending_the_period_by_command_is_locked_for_a_while() -> None:
    ledger = Ledger(billed(reset_lockout_s=900), UTC_2026)
    ledger.step(block(UTC_2026, 10, 60))
    ledger.end_billing_period("reader")
    with pytest.raises(RefusedError, match="try again in 900 s"):
        ledger.end_billing_period("reader")
    ledger.set_clock(ledger.now + DAY, "reader")  # the lock-out runs on true time
    with pytest.raises(RefusedError, match="try again"):
        ledger.end_billing_period("reader")
    ledger.step(block(ledger.now, 15, 60))
    ledger.end_billing_period("reader")
    notes = ledger.take_changes().audit
    assert [n.what for n in notes] == ["end billing period", "set clock", "end billing period"]


# --- events and thresholds ------------------------------------------------------------------------


def test_power_and_phase_events_and_their_counters() -> None:
    ledger = Ledger(plan(), UTC_2026)
    supply = [7] * 5 + [5] * 5 + [7] * 5 + [0] * 10 + [3] * 5
    ledger.step(block(UTC_2026, len(supply), 60, supply=supply))
    log = ledger.snapshot().logs["log"]
    expected = [
        ("phase_lost", Phase.L2, 5),
        ("phase_returned", Phase.L2, 10),
        ("power_down", Phase.TOTAL, 15),
        ("power_up", Phase.TOTAL, 25),
        ("long_outage", Phase.TOTAL, 25),
        ("phase_lost", Phase.L3, 25),
    ]
    assert [(e.name, e.phase, (e.at_utc_s - UTC_2026) // 60) for e in log] == expected
    counters = ledger.snapshot().counters
    failures = [counters[f"power_failures{p}"] for p in ("", "_l1", "_l2", "_l3")]
    assert failures == [1, 1, 2, 2]
    assert counters["operating_s"] == 20 * 60


def test_a_log_is_a_ring_and_takes_only_its_events() -> None:
    logs = (LogPlan("log", 3), LogPlan("fraud", 10, frozenset({"magnet_start"})))
    ledger = Ledger(plan(logs=logs), UTC_2026)
    incidents = tuple(Incident(UTC_2026 + 60 * k, "sag_start", Phase.L1, k) for k in range(5))
    incidents += (Incident(UTC_2026 + 30, "magnet_start"),)
    ledger.step(block(UTC_2026, 10, 60, incidents=incidents))
    seen = ledger.snapshot()
    assert [(e.sequence, e.value) for e in seen.logs["log"]] == [(3, 2), (4, 3), (5, 4)]
    assert [e.name for e in seen.logs["fraud"]] == ["magnet_start"]


def test_an_over_voltage_must_last() -> None:
    ledger = Ledger(full_plan(), UTC_2026)
    volts = [230_000] * 5 + [260_000] + [230_000] * 4 + [260_000] * 4 + [230_000] * 5
    happened = ledger.step(block(UTC_2026, len(volts), 60, volt_mv=volts))
    found = [(i.name, (i.at_utc_s - UTC_2026) // 60) for i in happened if "voltage" in i.name]
    assert found == [("overvoltage_start", 12), ("overvoltage_end", 15)]


def test_a_dead_phase_is_no_under_voltage() -> None:
    ledger = Ledger(full_plan(), UTC_2026)
    taken = block(UTC_2026, 10, 60, supply=[7] * 5 + [5] * 5, volt_mv=[230_000] * 5 + [0] * 5)
    names = [i.name for i in ledger.step(taken)]
    assert "phase_lost" in names
    assert "undervoltage_start" not in names


# --- calendar by command, state -------------------------------------------------------------


def test_the_passive_calendar_takes_over_at_its_moment() -> None:
    ledger = Ledger(plan(calendar=two_rates()), UTC_2026 + 8 * 3600)
    start = ledger.now
    all_day_four = CalendarPlan(
        b"B",
        two_rates().seasons,
        two_rates().weeks,
        tuple(type(d)(d.day_id, (Switch(0, 4),)) for d in two_rates().days),
    )
    ledger.stage_calendar(all_day_four, "head-end", start + 1800)
    ledger.step(block(start, 60, 60, watt=6000))
    seen = ledger.snapshot()
    assert seen.value(rate(1)) == 3000 * WH
    assert seen.value(rate(4)) == 3000 * WH
    assert seen.calendar == all_day_four
    assert seen.passive_calendar is None
    with pytest.raises(RefusedError, match="no passive calendar"):
        ledger.activate_calendar("head-end")


def test_a_tariff_input_overrides_the_calendar() -> None:
    ledger = Ledger(plan(calendar=two_rates()), UTC_2026 + 8 * 3600)
    ledger.override_rate(3, "input")
    ledger.step(block(ledger.now, 60, 60, watt=1000))
    ledger.override_rate(None, "input")
    ledger.step(block(ledger.now, 60, 60, watt=1000))
    seen = ledger.snapshot()
    assert [seen.value(rate(r)) // WH for r in (1, 3)] == [1000, 1000]
    with pytest.raises(RefusedError, match="not there"):
        ledger.override_rate(5, "input")


def test_clearing_a_profile_leaves_the_registers() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.step(block(UTC_2026, 8, QUARTER))
    before = ledger.snapshot().value(A)
    ledger.clear_profile("load", "manager")
    ledger.step(block(ledger.now, 1, QUARTER))
    seen = ledger.snapshot()
    assert len(seen.profiles["load"]) == 1
    assert seen.value(A) == before + 250 * WH
    assert "profile_cleared" in events(ledger)


def test_a_critical_error_flags_the_rows() -> None:
    ledger = Ledger(plan(), UTC_2026)
    ledger.set_errors(0x100)
    ledger.step(block(UTC_2026, 1, QUARTER))
    ledger.set_errors(0)
    ledger.step(block(ledger.now, 1, QUARTER))
    assert [bool(s & Status.CRITICAL_ERROR) for s in status(ledger)] == [True, False]
