"""The ledger: state plus `step(block)`, exact for any cut of the same intervals into blocks.

A block is gone through in stretches during which nothing discrete changes (supply, rate, offset
from UTC, thresholds, billing); a stretch is done at once with arrays, and what happens at its end
cuts the block there. An interval belongs whole to the rate and the period that the meter's clock
shows at its beginning; a period ends with the first interval that reaches its end.

Time that no block covers counts as time without supply.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from blathy.clock import Zone
from blathy.quantity import Phase, Source
from blathy.registers.billing import Billing, times_of
from blathy.registers.block import INSTANT_COLUMNS, Block, Incident
from blathy.registers.calendar import Calendar, calendar_of, decode_calendar
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.changes import AuditNote, Changes, Content
from blathy.registers.demand import Demand
from blathy.registers.eventlog import EventLog, LogEntry
from blathy.registers.events import EVENTS
from blathy.registers.load_profile import LoadProfile, Status, follows
from blathy.registers.named import Named
from blathy.registers.outlook import Outlook
from blathy.registers.plan import BookPlan, CalendarPlan, LogPlan
from blathy.registers.plan_tables import OPERATING, RESETS, SETTINGS, tables_of
from blathy.registers.ring import Kept, Ring
from blathy.registers.rtc import Rtc
from blathy.registers.snapshot import ClockView, Snapshot
from blathy.registers.span import Span, next_boundary
from blathy.registers.state import (
    State,
    StateError,
    pack_state,
    unpack_state,
)
from blathy.registers.thresholds import Thresholds, Watched
from blathy.registers.totals import Layout

UNKNOWN: Final = -1
NEVER: Final = 1 << 62
_NOTHING_DUE: Final[dict[str, int]] = {}
"""Shared: replaced, never added to."""
_ZERO: Final = np.zeros(1, dtype=np.int64)
_IDLE: Final = np.zeros((1, len(INSTANT_COLUMNS)), dtype=np.int64)


Part = Rtc | Thresholds | Demand | LoadProfile | Billing | EventLog
"""What keeps a state of its own within the books."""


class RefusedError(Exception):
    """The books refuse a command; the text says why in one sentence."""


@dataclass(slots=True, eq=False)
class _Work:
    """A block on its way through the ledger."""

    block: Block
    supply: list[int]
    changes_at: list[int]
    cumulated: Cells
    watched: Watched | None
    incidents: list[Incident]
    told: int = 0

    def time(self, index: int) -> int:
        """True time at which interval `index` begins."""
        return self.block.start_utc_s + index * self.block.step_s

    def supply_until(self, index: int) -> int:
        """The first interval after `index` with another supply, or the end of the block."""
        at = bisect_right(self.changes_at, index)
        return self.changes_at[at] if at < len(self.changes_at) else len(self.supply)


class Ledger:
    """One meter's books."""

    __slots__ = (
        "_billings", "_bound", "_calendar", "_changes", "_clock_set_true_s", "_counters",
        "_deferred_due", "_demands", "_down_true_s", "_errors", "_happened", "_instant", "_logs",
        "_override", "_passive", "_passive_from", "_piece", "_powered", "_profiles",
        "_reset_true_s", "_rtc", "_supply", "_tables", "_thresholds", "_vector", "now", "plan",
    )  # fmt: skip

    def __init__(self, plan: BookPlan, start_utc_s: int, *, drift_ppb: int | None = None) -> None:
        self.plan = plan
        self._tables = tables_of(plan)
        self.now = start_utc_s
        self._rtc = Rtc(plan.clock, start_utc_s)
        if drift_ppb is not None:
            self._rtc.drift_ppb = drift_ppb
        self._calendar = self._tables.calendar
        self._passive: Calendar | None = None
        self._passive_from = NEVER
        self._override = 0
        self._piece = self._calendar.piece_at(start_utc_s)
        layout = self._tables.layout
        self._vector = self._tables.empty  # replaced, never written to: snapshots share it
        self._instant = _IDLE
        self._demands = tuple(Demand(d, layout, start_utc_s) for d in plan.demands)
        self._profiles = {p.name: LoadProfile(p, layout) for p in plan.profiles}
        self._billings = {b.name: Billing(b) for b in plan.billings}
        self._logs: dict[str, EventLog] = {}  # those that have ever taken an entry
        self._thresholds = Thresholds(plan.thresholds)
        self._counters = [0] * len(self._tables.counters)
        self._powered = True
        self._down_true_s = start_utc_s
        self._supply = UNKNOWN
        self._errors = 0
        self._clock_set_true_s = 0
        self._reset_true_s = UNKNOWN
        self._happened: list[Incident] = []
        self._changes: Changes | None = None
        self._deferred_due: dict[str, int] = _NOTHING_DUE
        self._bound = 0
        self._flag_profiles(Status.POWER_DOWN, start_utc_s)
        self._refresh()

    # --- going through a block ------------------------------------------------------------------

    def step(self, block: Block) -> tuple[Incident, ...]:
        """Go through the block; return what happened since the last step, in order of time.

        Raise ValueError for a block that begins before the end of the last one.
        """
        if block.start_utc_s < self.now:
            raise ValueError("a block cannot begin before the last one has ended")
        work = self._unfold(block)
        if block.start_utc_s > self.now and self._powered:
            self._power_down(self.now)
        index = 0
        while index < len(work.supply):
            index = self._stretch(work, index)
        self.now = block.end_utc_s
        self._rtc.rebase(self.now)
        return self.happened()

    def happened(self) -> tuple[Incident, ...]:
        """What has happened since this or `step` was last asked: commands tell things too."""
        happened = tuple(self._happened)
        self._happened.clear()
        return happened

    def _unfold(self, block: Block) -> _Work:
        flows = self.layout.flows(block)
        cumulated = np.zeros((len(block) + 1, self.layout.flow), dtype=np.int64)
        np.cumsum(flows, axis=0, out=cumulated[1:])
        incidents = sorted(block.incidents, key=lambda incident: incident.at_utc_s)
        outside = [i for i in incidents if not block.start_utc_s <= i.at_utc_s < block.end_utc_s]
        if outside:
            raise ValueError(f"the incident {outside[0].name} is outside its block")
        supply = block.supply.tolist()
        changes = (np.flatnonzero(np.diff(block.supply)) + 1).tolist() if len(supply) > 1 else []
        return _Work(block, supply, changes, cumulated, self._thresholds.watch(block), incidents)

    def _stretch(self, work: _Work, index: int) -> int:
        """Go on from interval `index` as far as nothing changes; return where that is."""
        at, supply = work.time(index), work.supply[index]
        last = work.supply_until(index)
        if supply == 0:
            if self._powered:
                self._power_down(at)
            self._tell_incidents(work, last)
            return last
        if not self._powered:
            self._power_up(at)
        if supply != self._supply:
            self._energise(at, supply)
        last = self._limit(work, index, last)
        self._run(work, index, last)
        return last

    def _limit(self, work: _Work, index: int, last: int) -> int:
        """Cut the stretch where the next discrete thing happens."""
        if self._rtc.utc_s(work.time(last)) >= self._bound:
            seconds = self._rtc.true_s_when(self._bound) - work.time(index)
            last = min(last, index + max(1, -(-seconds // work.block.step_s)))
        if work.watched is not None:
            step_s = work.block.step_s
            last = self._thresholds.first_trigger(work.watched, index, last, step_s)
        return last

    def _run(self, work: _Work, first: int, last: int) -> None:
        block, rate = work.block, self.rate
        flags = int(self._status_flags())
        offset_s = self._piece.offset_s
        operated_s = self._counters[OPERATING]
        span = Span(
            block, first, last, work.cumulated, self._rtc, rate, offset_s, flags, operated_s, {}
        )
        for demand in self._demands:
            demand.run(span)
        for name, profile in self._profiles.items():
            rows = profile.run(span, self._vector)
            if rows is not None:
                self._keep_rows(name, profile.ring, rows)
        self._add(span)
        self._tell_incidents(work, last)
        if work.watched is not None:
            happened = self._thresholds.run(work.watched, first, last, block.step_s)
            for event, phase, figure in happened:
                self._tell(span.end_true_s, event, phase, figure)
        if self._rtc.utc_s(span.end_true_s) >= self._bound:
            self._reach(span.end_true_s)

    def _add(self, span: Span) -> None:
        flow = span.total_flow()
        at = self.layout.rate_at(span.rate)
        vector = self._vector.copy()
        vector[: self.layout.flow] += flow
        vector[at : at + 8] += flow[:8]
        self._vector = vector
        self._counters[OPERATING] += span.duration_s
        self._instant = span.block.instant[span.last - 1 : span.last].copy()

    def outlook(self, block: Block) -> Outlook:
        """What this block, which begins now and has supply all through, will do to the books."""
        work = self._unfold(block)
        quiet = self._limit(work, 0, work.supply_until(0))
        still = 0 if work.supply[0] != self._supply else quiet - 1
        if work.incidents:
            first_s = work.incidents[0].at_utc_s - block.start_utc_s
            still = min(still, first_s // block.step_s)
        span = Span(
            block, 0, quiet, work.cumulated, self._rtc, self.rate, self._piece.offset_s, 0,
            self._counters[OPERATING], {},
        )  # fmt: skip
        profiles = tuple(self._profiles.values())
        return Outlook(
            span, still, self._vector, self.layout, self._demands, profiles, self._reader()
        )

    # --- what happens between stretches -----------------------------------------------------------

    def _reach(self, true_s: int) -> None:
        """The clock has come to a moment that was waited for: deferred rows, billing, calendar."""
        utc_s = self._rtc.utc_s(true_s)
        flags = int(self._status_flags())
        for name, due in self._deferred_due.items():
            if due <= utc_s:
                period_s = self._profiles[name].plan.period_s
                stamp = due + (utc_s - due) // period_s * period_s
                merged = int(Status.NOT_VALID) if stamp > due else 0
                self._write_profile(name, stamp, flags | merged)
        self._bill_due(true_s, utc_s)
        self._activate_due(true_s, utc_s)
        self._refresh(true_s)

    def _bill_due(self, true_s: int, utc_s: int) -> None:
        due = [b for b in self._billings.values() if b.fires and b.due <= utc_s]
        for stamp in sorted({b.due for b in due}):
            ending = [b for b in due if b.due == stamp and follows(stamp, b.last_stamp)]
            if ending:
                self._bill(true_s, ending, stamp)

    def _activate_due(self, true_s: int, utc_s: int) -> None:
        if self._passive is not None and self._passive_from <= utc_s:
            self._activate(true_s)

    def _activate(self, true_s: int) -> None:
        assert self._passive is not None
        self._calendar, self._passive, self._passive_from = self._passive, None, NEVER
        self._tell(true_s, "calendar_activated", Phase.TOTAL, 0)

    def _refresh(self, true_s: int | None = None) -> None:
        """Look up what holds from now on, and the next moment at which something is due."""
        if true_s is None:
            true_s = self.now if self._powered else self._down_true_s
        utc_s = self._rtc.utc_s(true_s)
        was_dst = self._piece.is_dst
        self._piece = self._calendar.piece_at(utc_s)
        if self._piece.is_dst is not was_dst:
            self._tell(true_s, "dst_changed", Phase.TOTAL, int(self._piece.is_dst))
        offset_s = self._piece.offset_s
        deferred_due = {
            name: next_boundary(utc_s, offset_s, profile.plan.period_s)
            for name, profile in self._profiles.items()
            if profile.deferred
        }
        self._deferred_due = deferred_due or _NOTHING_DUE
        for billing in self._billings.values():
            billing.look_ahead(self.zone, utc_s)
        dues = (*self._deferred_due.values(), *(b.due for b in self._billings.values()))
        self._bound = min(self._piece.end_utc_s, self._passive_from, *dues)

    def _power_down(self, at: int) -> None:
        self._tell(at, "power_down", Phase.TOTAL, 0)
        self._rtc.power_down(at)
        self._thresholds.forget_runs()
        self._powered = False
        self._down_true_s = at
        self._instant = _IDLE

    def _power_up(self, at: int) -> None:
        before = self._rtc.utc_s(self._down_true_s)
        off_s = at - self._down_true_s
        lasted = self._rtc.power_up(at)
        self._powered = True
        self._tell(at, "power_up", Phase.TOTAL, off_s)
        if off_s > self.plan.long_outage_s:
            self._tell(at, "long_outage", Phase.TOTAL, off_s)
        if not lasted:
            self._tell(at, "clock_invalid", Phase.TOTAL, 0)
        self._pass_demands(at, before)
        self._pass(at, before, Status.POWER_DOWN)

    def _energise(self, at: int, supply: int) -> None:
        known = self._supply if self._supply != UNKNOWN else supply
        for phase in self.plan.phases:
            bit = 1 << (phase - 1)
            if (known ^ supply) & bit:
                name = "phase_returned" if supply & bit else "phase_lost"
                self._tell(at, name, phase, 0)
        self._supply = supply

    def _pass(self, true_s: int, before_utc_s: int, mark: Status) -> None:
        """The clock went from `before_utc_s` to now without measuring: close what ended on the way.

        Each running period gets its one row with what it has; everything else of the gap has none.
        """
        utc_s = self._rtc.utc_s(true_s)
        offset_s, flags = self._piece.offset_s, int(self._status_flags())
        for name, profile in self._profiles.items():
            end = next_boundary(before_utc_s, offset_s, profile.plan.period_s)
            passed = end <= utc_s and profile.measured
            if passed and not self._write_profile(name, end, flags | int(mark)):
                profile.pending |= int(mark)
            if self._rtc.valid and end <= utc_s and profile.plan.fill_entries:
                first = end + profile.plan.period_s if passed else end
                rows = profile.fill(first, utc_s, flags)
                if rows is not None:
                    self._keep_rows(name, profile.ring, rows)
        self._bill_due(true_s, utc_s)
        self._activate_due(true_s, utc_s)
        self._refresh(true_s)
        self._flag_profiles(mark, utc_s)

    def _pass_demands(self, true_s: int, before_utc_s: int) -> None:
        utc_s = self._rtc.utc_s(true_s)
        for demand in self._demands:
            period_s = demand.plan.period_s
            end = next_boundary(before_utc_s, self._piece.offset_s, period_s)
            if end <= utc_s:
                demand.pass_by(end, (utc_s - end) // period_s + 1, self.rate)

    def _flag_profiles(self, mark: Status, utc_s: int) -> None:
        """Mark the running period of every profile that did not begin exactly now."""
        for profile in self._profiles.values():
            if (utc_s + self._piece.offset_s) % profile.plan.period_s:
                profile.pending |= int(mark)

    def _write_profile(self, name: str, stamp: int, flags: int) -> bool:
        profile = self._profiles[name]
        rows = profile.write_row(stamp, flags, self._vector, self._reader())
        if rows is not None:
            self._keep_rows(name, profile.ring, rows)
        return rows is not None

    def _reader(self) -> Callable[[Source], int]:
        """Reads the books as they stand, for columns that need more than energies."""
        snapshots: list[Snapshot] = []

        def read(source: Source) -> int:
            if not snapshots:
                snapshots.append(self.snapshot())
            return snapshots[0].value(source)

        return read

    def _bill(self, true_s: int, ending: list[Billing], stamp: int) -> None:
        books = self.snapshot()
        flags = int(self._status_flags())
        for billing in ending:
            columns = billing.plan.columns
            values = [books.value(source) for source in columns]
            times = [books.time_of(source) or 0 for source in times_of(columns)]
            rows = billing.write_row(stamp, flags, values, times)
            self._keep_rows(billing.plan.name, billing.ring, rows)
        if any(b.plan.resets_demand for b in ending):
            for demand in self._demands:
                demand.reset()
            self._counters[RESETS] += 1
            self._tell(true_s, "billing_reset", Phase.TOTAL, 0)

    # --- telling ----------------------------------------------------------------------------------

    def _tell_incidents(self, work: _Work, last: int) -> None:
        """Log the block's incidents up to the beginning of interval `last`."""
        end = work.time(last)
        while work.told < len(work.incidents) and work.incidents[work.told].at_utc_s < end:
            incident = work.incidents[work.told]
            self._tell(incident.at_utc_s, incident.name, incident.phase, incident.value)
            work.told += 1

    def _tell(self, true_s: int, name: str, phase: Phase, value: int) -> None:
        utc_s = self._rtc.utc_s(true_s)
        for plan in self._tables.taking(name):
            entry = self._log(plan).add(utc_s, name, phase, value)
            self._added().entries.setdefault(plan.name, []).append(entry)
        for place in self._tables.counting(name, phase):
            self._counters[place] += 1
        self._happened.append(Incident(true_s, name, phase, value))

    def _keep_rows(self, name: str, ring: Ring, rows: Cells) -> None:
        kept = Kept(ring.end - len(rows), rows)
        self._added().rows.setdefault(name, []).append(kept)

    def note(self, who: str, what: str, detail: str = "") -> None:
        """Leave evidence of an intervention for the store's audit chain."""
        note = AuditNote(self._rtc.utc_s(self.now), who, what, detail)
        self._added().audit.append(note)

    def take_changes(self) -> Changes:
        """What was added since the last call, for the store; the ledger starts a new collection."""
        taken, self._changes = self._changes, None
        return taken or Changes()

    def _added(self) -> Changes:
        """What has been added since the changes were taken, to add to."""
        if self._changes is None:
            self._changes = Changes()
        return self._changes

    def _log(self, plan: LogPlan) -> EventLog:
        log = self._logs.get(plan.name)
        if log is None:
            log = self._logs[plan.name] = EventLog(plan)
        return log

    # --- commands: each leaves an audit note ------------------------------------------------------

    def set_clock(self, utc_s: int, who: str) -> None:
        """Make the clock show `utc_s`: a silent shift if it is near, else a setting with events."""
        self._require_supply()
        before = self._rtc.utc_s(self.now)
        near = self._rtc.valid and abs(utc_s - before) < self.plan.clock.shift_limit_s
        try:
            Rtc(self.plan.clock, self.now).set(self.now, utc_s)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        self.note(who, "shift clock" if near else "set clock", f"{before} -> {utc_s}")
        if not near:
            self._tell(self.now, "clock_adjusted_old", Phase.TOTAL, before)
        self._rtc.set(self.now, utc_s)
        self._clock_set_true_s = self.now
        self._counters[SETTINGS] += not near
        if not near:
            self._tell(self.now, "clock_adjusted_new", Phase.TOTAL, utc_s)
        self._moved(before, utc_s, near=near)

    def shift_clock(self, seconds: int, who: str) -> None:
        """Move the clock by some seconds."""
        self.set_clock(self._rtc.utc_s(self.now) + seconds, who)

    def _moved(self, before: int, utc_s: int, *, near: bool) -> None:
        mark = Status(0) if near else Status.CLOCK_ADJUSTED
        if utc_s >= before:
            if near:
                self._pass_demands(self.now, before)
            self._pass(self.now, before, mark)
        else:
            self._refresh()
        if not near:
            for profile in self._profiles.values():
                profile.pending |= int(mark)
            for demand in self._demands:
                demand.restart(utc_s)

    def end_billing_period(self, who: str) -> None:
        """Write the billing rows and reset the demand now; refused within the lock-out."""
        self._require_supply()
        since = self.now - self._reset_true_s
        if self._reset_true_s != UNKNOWN and since < self.plan.reset_lockout_s:
            left_s = self.plan.reset_lockout_s - since
            raise RefusedError(f"the billing period was ended just now; try again in {left_s} s")
        ending = [b for b in self._billings.values() if b.plan.by_command]
        if not ending:
            raise RefusedError("this meter has no billing period to end")
        self._reset_true_s = self.now
        self.note(who, "end billing period")
        self._bill(self.now, ending, self._rtc.utc_s(self.now))

    def stage_calendar(
        self, calendar: CalendarPlan, who: str, from_utc_s: int | None = None
    ) -> None:
        """Load the passive calendar; it becomes active at `from_utc_s` or by command."""
        beyond = [rate for rate in calendar.rates if not 1 <= rate <= self.plan.rates]
        if beyond:
            raise RefusedError(f"the calendar switches to rate {beyond[0]}, which is not there")
        self._passive = calendar_of(calendar, self.zone)
        self._passive_from = NEVER if from_utc_s is None else from_utc_s
        self.note(who, "stage calendar", calendar.name.hex())
        self._tell(self.now, "parameters_changed", Phase.TOTAL, 0)
        self._activate_due(self.now, self._rtc.utc_s(self.now))
        self._refresh()

    def activate_calendar(self, who: str) -> None:
        """Make the passive calendar the active one now."""
        if self._passive is None:
            raise RefusedError("there is no passive calendar; load one first")
        self.note(who, "activate calendar", self._passive.plan.name.hex())
        self._activate(self.now)
        self._refresh()

    def override_rate(self, rate: int | None, who: str) -> None:
        """Let `rate` count whatever the calendar says (tariff input); None: the calendar again."""
        if rate is not None and not 1 <= rate <= self.plan.rates:
            raise RefusedError(f"rate {rate} is not there; rates are 1 to {self.plan.rates}")
        self._override = rate or 0
        self.note(who, "override rate", str(rate))

    def clear_profile(self, name: str, who: str) -> None:
        """Forget the rows of a load profile; the registers stay."""
        if name not in self._profiles:
            raise RefusedError(f"there is no load profile {name!r}")
        profile = self._profiles[name]
        profile.clear()
        self._added().rows.pop(name, None)
        self._added().cleared[name] = profile.ring.end
        self.note(who, "clear profile", name)
        self._tell(self.now, "profile_cleared", Phase.TOTAL, 0)

    def clear_log(self, name: str, who: str) -> None:
        """Forget the entries of a log; the first new one says that it was cleared."""
        if name not in self._tables.logs:
            raise RefusedError(f"there is no log {name!r}")
        log = self._log(self._tables.logs[name])
        log.clear()
        self._added().entries.pop(name, None)
        self._added().cleared[name] = log.end
        self.note(who, "clear log", name)
        self._tell(self.now, "log_cleared", Phase.TOTAL, 0)

    def add_event(self, name: str, phase: Phase = Phase.TOTAL, value: int = 0) -> None:
        """Log an event that happened now outside the measurement: access, firmware, breaker."""
        if name not in EVENTS:
            raise ValueError(f"{name!r} is no event")
        self._tell(self.now, name, phase, value)

    def set_errors(self, bits: int) -> None:
        """The critical errors that stand now; as long as any does, rows are flagged."""
        self._errors = bits

    def _require_supply(self) -> None:
        if not self._powered:
            raise RefusedError("the meter is without supply")

    # --- reading ----------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """Where the registers are."""
        return self._tables.layout

    @property
    def zone(self) -> Zone:
        """The zone of the meter's clock."""
        return self._tables.zone

    @property
    def rate(self) -> int:
        """The rate that counts now."""
        return self._override or self._piece.rate

    @property
    def rate_until_utc_s(self) -> int:
        """Until when by the meter's clock the calendar changes nothing."""
        return self._piece.end_utc_s

    @property
    def clock_utc_s(self) -> int:
        """What the meter's clock shows now."""
        return self._rtc.utc_s(self.now)

    def true_s_when(self, utc_s: int) -> int:
        """The first second of true time at which the running clock shows `utc_s` or later."""
        return self._rtc.true_s_when(utc_s)

    @property
    def trusted(self) -> bool:
        """Whether the clock is valid and no critical error stands."""
        return self._rtc.valid and not self._errors

    @property
    def powered(self) -> bool:
        """Whether any phase is energised."""
        return self._powered

    def _status_flags(self) -> Status:
        flags = Status.DST if self._piece.is_dst else Status(0)
        if not self._rtc.valid:
            flags |= Status.CLOCK_INVALID | Status.NOT_VALID
        if self._errors:
            flags |= Status.CRITICAL_ERROR | Status.NOT_VALID
        return flags

    def snapshot(self) -> Snapshot:
        """The books as they stand. What a meter shows must come from a snapshot that a store has
        committed (`store.MeterStore.commit` hands it out), never straight from here."""
        utc_s = self._rtc.utc_s(self.now)
        clock = ClockView(
            utc_s,
            self.now,
            self._rtc.valid,
            self._piece.is_dst,
            self._piece.offset_s,
            self._clock_set_true_s,
        )
        return Snapshot(
            self.plan,
            self.layout,
            clock,
            self._status_flags(),
            self.rate,
            max(self._supply, 0) if self._powered else 0,
            self._vector,
            self._instant,
            tuple(demand.view() for demand in self._demands),
            {name: profile.view() for name, profile in self._profiles.items()},
            {name: billing.view() for name, billing in self._billings.items()},
            self._entries(),
            Named(self._tables.shown, (*self._counters, self.rate, self._errors)),
            self._calendar.plan,
            None if self._passive is None else self._passive.plan,
            None if self._passive_from == NEVER else self._passive_from,
        )

    def _entries(self) -> Named[tuple[LogEntry, ...]]:
        if not self._logs:
            return self._tables.no_entries
        logs = [self._logs.get(name) for name in self._tables.logs]
        return self._tables.no_entries.with_values(
            tuple(() if log is None else log.view() for log in logs)
        )

    # --- state ------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Part]:
        """Every part that keeps a state of its own, by its name. Logs that never took an entry are
        not kept: a new one stands for each."""
        logs = (self._logs.get(log.name) or EventLog(log) for log in self.plan.logs)
        parts: tuple[Part, ...] = (
            self._rtc,
            self._thresholds,
            *self._demands,
            *self._profiles.values(),
            *self._billings.values(),
            *logs,
        )
        return dict(zip(self._tables.part_names, parts, strict=True))

    def _write(self) -> tuple[dict[str, Cells], tuple[bytes, ...]]:
        cells = CellWriter()
        cells.put(self.now, self._passive_from, self._override, self._powered, self._down_true_s)
        cells.put(self._supply, self._errors, self._clock_set_true_s, self._reset_true_s)
        sections = {
            "meter": cells.cells(),
            "flow": self._vector[: self.layout.flow],
            "rates": self._vector[self.layout.flow :],
            "instant": self._instant[0],
        }
        for name, place in self._tables.counters.items():
            sections[f"counter/{name}"] = np.array([self._counters[place]], dtype=np.int64)
        for name, part in self._parts().items():
            cells = CellWriter()
            part.write(cells)
            sections[name] = cells.cells()
        passive = b"" if self._passive is None else self._passive.encoded
        return sections, (self._calendar.encoded, passive)

    def state_bytes(self) -> bytes:
        """Everything but the rows and log entries, which the store keeps one by one."""
        return pack_state(self._tables.shape, *self._write())

    def state_hash(self) -> str:
        """SHA-256 over the state, which covers every row and entry ever written: the same for the
        same intervals however they were cut into blocks."""
        sections, texts = self._write()
        digest = hashlib.sha256()
        for name, cells in sections.items():
            digest.update(f"{name}\0{len(cells)}\0".encode() + cells.astype(">i8").tobytes())
        digest.update(b"\0".join(texts))
        return digest.hexdigest()

    @classmethod
    def from_state(
        cls, plan: BookPlan, state: bytes, content: Content, *, adopt: bool = False
    ) -> Self:
        """Go on from a state with the rows and entries that were kept with it.

        A state of another plan is refused unless `adopt`: then registers, rates, counters, clock
        and every part that has kept its layout go on, the others begin empty, which leaves an
        audit note and an event. Raise StateError if the bytes are damaged, do not fit the content,
        or hold registers that the plan has no place for.
        """
        found = unpack_state(plan, state)
        if not (found.same_plan or adopt):
            raise StateError("the state belongs to another plan of registers and profiles")
        ledger = cls(plan, 0)
        try:
            begun = ledger._read(found, content)
        except (ValueError, KeyError, IndexError) as error:
            raise StateError(f"the state does not fit: {error}") from error
        if not found.same_plan:
            ledger.note("meter", "plan changed", "begins anew: " + (", ".join(begun) or "nothing"))
            ledger._tell(ledger.now, "parameters_changed", Phase.TOTAL, 0)
        return ledger

    def _read(self, state: State, content: Content) -> list[str]:
        """Take the state up; return the names of the parts that it does not have."""
        sections = state.sections
        cells = CellReader(sections["meter"])
        self.now, self._passive_from, self._override = cells.take(), cells.take(), cells.take()
        self._powered, self._down_true_s = bool(cells.take()), cells.take()
        self._supply, self._errors = cells.take(), cells.take()
        self._clock_set_true_s, self._reset_true_s = cells.take(), cells.take()
        self._read_registers(sections["flow"], sections["rates"])
        self._instant = _IDLE.copy()  # a state of before may hold fewer columns
        known = min(len(sections["instant"]), self._instant.shape[1])
        self._instant[0, :known] = sections["instant"][:known]
        for name, place in self._tables.counters.items():
            self._counters[place] = int(sections.get(f"counter/{name}", _ZERO)[0])
        parts = self._parts()
        begun = [name for name in parts if name not in sections]
        for name, part in parts.items():
            if name in begun:
                continue
            cells = CellReader(sections[name])
            self._read_part(part, cells, content)
            if cells.rest:
                raise ValueError(f"{name} is longer than it should be")
        self._take_up(state, begun)
        return begun

    def _read_registers(self, flow: Cells, rates: Cells) -> None:
        vector = self._vector.copy()
        for at, kept in ((0, flow), (self.layout.flow, rates)):
            room = self.layout.flow if at == 0 else self.layout.size - self.layout.flow
            if kept[room:].any():
                raise ValueError("the plan has no place for registers that have counted")
            vector[at : at + min(room, len(kept))] = kept[:room]
        self._vector = vector

    def _read_part(self, part: Part, cells: CellReader, content: Content) -> None:
        if isinstance(part, LoadProfile | Billing):
            part.read(cells, content.rows.get(part.plan.name, _nothing(part.ring)))
        elif isinstance(part, EventLog):
            part.read(cells, content.entries.get(part.plan.name, ()))
            if part.end:
                self._logs[part.plan.name] = part
        else:
            part.read(cells)

    def _take_up(self, state: State, begun: list[str]) -> None:
        calendar = decode_calendar(state.texts[0])
        if max(calendar.rates, default=1) <= self.plan.rates:
            self._calendar = calendar_of(calendar, self.zone)
        passive = state.texts[1]
        self._passive = calendar_of(decode_calendar(passive), self.zone) if passive else None
        known_s = self.now if self._powered else self._down_true_s
        self._piece = self._calendar.piece_at(self._rtc.utc_s(known_s))
        parts = self._parts()
        for name in begun:
            part = parts[name]
            if isinstance(part, LoadProfile):
                part.begin(self._vector, Status.POWER_DOWN)
        self._happened.clear()
        self._changes = None
        self._refresh()


def _nothing(ring: Ring) -> Kept:
    return Kept(0, np.zeros((0, ring.width), dtype=np.int64))
