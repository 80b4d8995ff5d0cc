"""Voltage dips, swells, interruptions and rapid voltage changes from Urms(1/2).

IEC 61000-4-30, polyphase: a dip begins when the first channel falls below its threshold and ends
when all are back above threshold plus hysteresis; a swell is its mirror image; an interruption
begins when all channels are below its threshold and ends when any is back. The instants are those
of the middle of the cycle that shows the change, so a duration is exact to half a cycle.

A rapid voltage change is a departure from a steady state (all of the last 100 or 120 values within
the threshold of their mean) to another one that crosses neither the dip nor the swell threshold.

Every half cycle that an event touches is flagged; whatever contains it inherits the flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.half_cycle import C_FLAGS, REVERSED, HalfCycles
from blathy.metrology.kernels import kernel, part
from blathy.metrology.quantities import u_half_cycle_v

FloatArray = NDArray[np.float64]

FLAGGED: Final = 64
"""Flag of half cycles and all that is made of them: a dip, swell or interruption touched it."""
LOOK_AHEAD_HALF_CYCLES: Final = 2


class VoltageEventKind(IntEnum):
    DIP = 0
    SWELL = 1
    INTERRUPTION = 2
    RAPID_CHANGE = 3


@dataclass(frozen=True, slots=True)
class VoltageEventRules:
    """Thresholds in parts of the reference voltage.

    The reference is the declared voltage, or with `sliding_reference` the first-order mean of the
    base-interval voltage over a minute (interruptions always refer to the declared voltage).
    `rapid_change` 0 switches rapid voltage changes off.
    """

    dip: float = 0.90
    swell: float = 1.10
    interruption: float = 0.05
    hysteresis: float = 0.02
    sliding_reference: bool = False
    rapid_change: float = 0.03
    rapid_change_hysteresis: float = 0.015

    def __post_init__(self) -> None:
        if not 0 < self.interruption < self.dip < 1 < self.swell:
            raise ValueError("thresholds go interruption < dip < 1 < swell")
        if not 0 <= self.hysteresis < 0.1 or not self.rapid_change_hysteresis >= 0:
            raise ValueError("a hysteresis lies between 0 and 0.1 of the reference")
        if self.rapid_change and self.rapid_change_hysteresis >= self.rapid_change:
            raise ValueError("the hysteresis of rapid changes is below their threshold")


@dataclass(frozen=True, slots=True)
class VoltageEvent:
    """One event. `end` is NaN while it lasts: it is reported at its beginning and at its end.

    `start`, `end` in samples. `extreme_v`: residual voltage of a dip or interruption, highest
    voltage of a swell, ΔUmax of a rapid change; `steady_change_v` is ΔUss of a rapid change.
    `phases`: bit 0 L1, bit 1 L2, bit 2 L3 took part; `worst_phase` counts from 1.
    """

    kind: VoltageEventKind
    start: float
    end: float
    extreme_v: float
    reference_v: float
    phases: int
    worst_phase: int
    steady_change_v: float
    sample_rate_hz: float

    @property
    def ended(self) -> bool:
        return not np.isnan(self.end)

    @property
    def duration_s(self) -> float:
        """NaN while it lasts."""
        return (self.end - self.start) / self.sample_rate_hz

    @property
    def depth_v(self) -> float:
        """Reference minus residual voltage (negative for a swell)."""
        return self.reference_v - self.extreme_v

    @property
    def extreme_percent(self) -> float:
        return 100.0 * self.extreme_v / self.reference_v


# Columns of a report, of an open event, and of the state of the rapid changes.
R_KIND, R_START, R_END, R_EXTREME, R_REFERENCE, R_PHASES, R_WORST, R_STEADY = range(8)
REPORTS_MAX: Final = 4096
V_STEADY, V_SEEN, V_SPOILT, V_START, V_CHANNELS = 0, 1, 2, 3, 4


class VoltageEventDetector:
    """Watches a stream of half cycles, two half cycles behind it.

    Three-wire systems are watched on their line-to-line voltages, others phase to neutral.
    """

    def __init__(self, connection: Connection, rules: VoltageEventRules | None = None) -> None:
        self.rules = rules if rules is not None else VoltageEventRules()
        self.connection = connection
        self.lines = connection.wiring is Wiring.THREE_PHASE_3_WIRE
        self.declared_v = connection.nominal_u_v * (np.sqrt(3.0) if self.lines else 1.0)
        channels = connection.phases
        self._window = 100 if connection.nominal_hz == 50 else 120
        self._open = np.full((4, 8), np.nan)  # dip, swell, interruption; the last row is scratch
        self._ring = np.zeros((channels + 1, self._window))  # last row: the instants
        self._ring_sum = np.zeros(channels)
        self._change = np.zeros(V_CHANNELS + 2 * channels)
        self._reference = np.array([self.declared_v])
        self._pending = np.zeros((0, 0))
        self._reports = np.zeros((REPORTS_MAX, 8))
        self._place = np.zeros(4, np.int64)  # ring position, windows seen, flag history, reports

    def add(self, half_cycles: HalfCycles) -> tuple[HalfCycles, list[VoltageEvent]]:
        """(half cycles that are judged now, with FLAGGED set where it applies; reports)."""
        rows = half_cycles.table
        if len(self._pending):
            rows = np.concatenate([self._pending, rows])
        waiting = HalfCycles(rows, half_cycles.phases, half_cycles.sample_rate_hz)
        values = self._values(waiting)
        flagged = np.zeros(len(values), np.bool_)
        if len(values):
            self._watch(waiting, values, flagged)
        judged = rows[: len(values)].copy()
        judged[flagged, C_FLAGS] += FLAGGED
        self._pending = rows[len(values) :].copy()
        events = self._take_reports()
        return HalfCycles(judged, half_cycles.phases, half_cycles.sample_rate_hz), events

    def finish(self, half_cycles: HalfCycles) -> tuple[HalfCycles, list[VoltageEvent]]:
        """As `add`, and the last two half cycles unjudged; events that last stay open."""
        judged, events = self.add(half_cycles)
        tail = self._pending
        if self._place[2] & 1 and len(tail):
            tail = tail.copy()
            tail[:, C_FLAGS] += FLAGGED
        self._pending = tail[:0]
        table = np.concatenate([judged.table, tail])
        return HalfCycles(table, half_cycles.phases, half_cycles.sample_rate_hz), events

    def follow(self, u_v: FloatArray) -> None:
        """Move the sliding reference by one unflagged base interval (rms of every channel)."""
        if self.rules.sliding_reference:
            self._reference[0] += 0.0033 * (float(np.mean(u_v)) - self._reference[0])

    @property
    def reference_v(self) -> float:
        return float(self._reference[0])

    def _values(self, half_cycles: HalfCycles) -> FloatArray:
        if not self.lines:
            reverse = (half_cycles.flags & REVERSED) != 0
            return u_half_cycle_v(half_cycles, reversed_order=reverse)
        n = max(len(half_cycles) - 2, 0)
        square = half_cycles.u2_v2s.sum(axis=2)
        cross = half_cycles.cross[:, :3]
        line = square + np.roll(square, -1, axis=1) - 2 * cross
        time_s = half_cycles.duration_s
        mean = (line[:n] + line[1 : n + 1]) / (time_s[:n] + time_s[1 : n + 1])[:, None]
        return np.asarray(np.sqrt(np.maximum(mean, 0.0)))

    def _watch(
        self, half_cycles: HalfCycles, values: FloatArray, flagged: NDArray[np.bool_]
    ) -> None:
        rules = self.rules
        thresholds = np.array(
            [rules.dip, rules.swell, rules.interruption, rules.hysteresis, rules.rapid_change,
             rules.rapid_change_hysteresis, self.declared_v]
        )  # fmt: skip
        middle = np.ascontiguousarray(half_cycles.end[: len(values)])
        _watch(
            values, middle, half_cycles.table[:, C_FLAGS], thresholds, self._reference[0],
            self._open, self._ring, self._ring_sum, self._change, self._place, self._reports,
            flagged,
        )  # fmt: skip

    def _take_reports(self) -> list[VoltageEvent]:
        count = int(self._place[3])
        self._place[3] = 0
        return [
            VoltageEvent(
                VoltageEventKind(int(row[R_KIND])), row[R_START], row[R_END], row[R_EXTREME],
                row[R_REFERENCE], int(row[R_PHASES]), int(row[R_WORST]), row[R_STEADY],
                self.connection.sample_rate_hz,
            )
            for row in self._reports[:count].tolist()
        ]  # fmt: skip


@kernel()
def _watch(
    values: Any,
    middle: Any,
    row_flags: Any,
    thresholds: Any,
    reference: Any,
    opened: Any,
    ring: Any,
    ring_sum: Any,
    change: Any,
    place: Any,
    reports: Any,
    flagged: Any,
) -> Any:
    channels = values.shape[1]
    none = place[3] * 0  # a bare 0 has a type of its own, and `_step` would be compiled for both
    for k in range(len(values)):
        if (int(row_flags[k]) | int(row_flags[k + 2])) & 1:
            continue  # the partial half cycles at the ends of a record are no cycle
        active = place[3] < 0  # never: a bare False has a type of its own as well
        for kind in range(3):
            base = thresholds[6] if kind == 2 else reference
            sign = -1.0 if kind == 1 else 1.0  # a swell is high, the others are low
            ease = thresholds[3] if opened[kind, R_START] == opened[kind, R_START] else 0.0
            limit = (sign * thresholds[kind] + ease) * base
            phases = none
            count = 0
            for c in range(channels):
                if sign * values[k, c] < limit:
                    phases |= 1 << c
                    count += 1
            lasts = count == channels if kind == 2 else count > 0
            active = active or lasts
            _step(opened[kind], kind, lasts, phases, values[k], middle[k], base, place, reports)
        # Window k covers half cycles k to k + 2: half cycle k is touched by k - 2, k - 1, k.
        place[2] = (place[2] << 1 | (1 if active else 0)) & 7
        flagged[k] = place[2] != 0
        if thresholds[4] > 0.0:
            _rapid(
                values[k], middle[k], thresholds, reference, active, ring, ring_sum, change,
                place, reports, opened[3],
            )  # fmt: skip


@part()
def _step(
    event: Any,
    kind: Any,
    active: Any,
    phases: Any,
    values: Any,
    at: Any,
    reference: Any,
    place: Any,
    reports: Any,
) -> Any:
    """Open, extend or close one kind of event."""
    is_open = event[R_START] == event[R_START]
    if not active and not is_open:
        return
    if active:
        if not is_open:
            event[R_KIND] = kind
            event[R_START] = at
            event[R_END] = np.nan
            event[R_EXTREME] = -np.inf if kind == 1 else np.inf
            event[R_REFERENCE] = reference
            event[R_PHASES] = 0.0
            event[R_STEADY] = 0.0
        event[R_PHASES] = float(int(event[R_PHASES]) | phases)
        for c in range(len(values)):
            better = values[c] > event[R_EXTREME] if kind == 1 else values[c] < event[R_EXTREME]
            if better:
                event[R_EXTREME] = values[c]
                event[R_WORST] = c + 1
    else:
        event[R_END] = at
    if not is_open or not active:
        _report(event, place, reports)
    if not active:
        event[R_START] = np.nan


@part()
def _report(event: Any, place: Any, reports: Any) -> Any:
    # Bounded: beyond this many reports in one call the last place is overwritten.
    slot = min(place[3], len(reports) - 1)
    for j in range(8):
        reports[slot, j] = event[j]
    place[3] = slot + 1


@part()
def _rapid(
    values: Any,
    at: Any,
    thresholds: Any,
    reference: Any,
    active: Any,
    ring: Any,
    ring_sum: Any,
    change: Any,
    place: Any,
    reports: Any,
    event: Any,
) -> Any:
    """Rapid voltage changes: leave a steady state, reach another."""
    channels = len(values)
    length = ring.shape[1]
    slot = place[0]
    if change[V_STEADY] != 0.0:
        _leave_steady(values, at, thresholds[4] * reference, ring_sum, change, length)
    if change[V_SEEN] != 0.0:
        if active:
            change[V_SPOILT] = 1.0
        for c in range(channels):
            away = abs(values[c] - change[V_CHANNELS + c])
            change[V_CHANNELS + channels + c] = max(change[V_CHANNELS + channels + c], away)
    for c in range(channels):
        ring_sum[c] += values[c] - ring[c, slot]
        ring[c, slot] = values[c]
    ring[channels, slot] = at
    place[0] = (slot + 1) % length
    place[1] += 1
    if place[1] % length == 0:  # drop what rounding has left in the running sums
        for c in range(channels):
            ring_sum[c] = 0.0
            for j in range(length):
                ring_sum[c] += ring[c, j]
    if place[1] < length or change[V_STEADY] != 0.0:
        return
    if not _is_steady(ring, ring_sum, (thresholds[4] - thresholds[5]) * reference):
        return
    change[V_STEADY] = 1.0
    if change[V_SEEN] != 0.0 and change[V_SPOILT] == 0.0:
        oldest = ring[channels, place[0]]
        _describe_rapid(oldest, reference, ring_sum, change, length, channels, event)
        _report(event, place, reports)
    change[V_SEEN] = 0.0


@part()
def _leave_steady(values: Any, at: Any, limit: Any, ring_sum: Any, change: Any, length: Any) -> Any:
    channels = len(values)
    leaves = False
    for c in range(channels):
        leaves = leaves or abs(values[c] - ring_sum[c] / length) > limit
    if not leaves:
        return
    change[V_STEADY] = 0.0
    change[V_START] = at
    change[V_SEEN] = 1.0
    change[V_SPOILT] = 0.0
    for c in range(channels):
        change[V_CHANNELS + c] = ring_sum[c] / length  # the mean before
        change[V_CHANNELS + channels + c] = 0.0  # the largest departure


@part()
def _is_steady(ring: Any, ring_sum: Any, limit: Any) -> Any:
    length = ring.shape[1]
    for c in range(len(ring_sum)):
        mean = ring_sum[c] / length
        for j in range(length):
            if abs(ring[c, j] - mean) > limit:
                return False
    return True


@part()
def _describe_rapid(
    oldest: Any,
    reference: Any,
    ring_sum: Any,
    change: Any,
    length: Any,
    channels: Any,
    event: Any,
) -> Any:
    event[R_EXTREME] = event[R_WORST] = event[R_STEADY] = 0.0
    event[R_KIND] = 3.0
    event[R_START] = change[V_START]
    # The new steady state began with the oldest value of the ring.
    event[R_END] = max(change[V_START], oldest)
    event[R_REFERENCE] = reference
    phases = 0
    for c in range(channels):
        away = change[V_CHANNELS + channels + c]
        steady = abs(ring_sum[c] / length - change[V_CHANNELS + c])
        if away > 0.0:
            phases |= 1 << c
        if away > event[R_EXTREME]:
            event[R_EXTREME] = away
            event[R_WORST] = c + 1
        event[R_STEADY] = max(event[R_STEADY], steady)
    event[R_PHASES] = phases
