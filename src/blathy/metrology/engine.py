"""The measuring engine: samples in, quantities, energies, events and aggregates out.

`Engine.push` takes any number of frames and returns what has become complete, in the order of
time; the sum of all results does not depend on how the frames were cut. `Engine.finish` ends the
record. Memory is bounded by the size of the results of one push.

    engine = Engine(Connection(10_000.0), start_utc_ns=...)
    for frames in source:
        measured = engine.push(frames)
        measured.seconds.energy_u      # uWh of every second, (n, 4, 8)
        measured.blocks.quantities.u_v # rms of every 10 cycles, (n, phases)
    measured = engine.finish()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.aggregation import (
    NS_PER_S,
    TICK_S,
    Aggregator,
    BaseIntervals,
    BaseIntervalSchedule,
    Interval,
    Layout,
)
from blathy.metrology.conditions import (
    DEFAULT_LIMITS,
    Condition,
    ConditionChange,
    ConditionMonitor,
    Limit,
)
from blathy.metrology.connection import Connection
from blathy.metrology.energy import EnergyCounter, EnergyRules, Seconds
from blathy.metrology.flicker import Flickermeter, plt
from blathy.metrology.half_cycle import (
    INVALID,
    PARTIAL,
    SATURATED,
    UPWARD,
    HalfCycleMeter,
    HalfCycles,
)
from blathy.metrology.interval_values import (
    Extremes,
    ExtremesCollector,
    ValueColumns,
    instants_of,
    supply_of,
    values_of,
)
from blathy.metrology.quantities import Quantities
from blathy.metrology.spectrum import Spectra, measure_spectra
from blathy.metrology.transformer import LossCounter, LossParameters
from blathy.metrology.voltage_events import (
    FLAGGED,
    VoltageEvent,
    VoltageEventDetector,
    VoltageEventRules,
)

FloatArray = NDArray[np.float64]

FLAG_NAMES: Final = {
    PARTIAL: "begins or ends within a half cycle",
    2: "no usable voltage: the cycles are those of the last frequency",
    INVALID: "a sample was not a number and counted as 0",
    SATURATED: "a sample was at the end of its range",
    16: "reversed phase order",
    FLAGGED: "touched by a dip, swell or interruption",
}


@dataclass(frozen=True, slots=True)
class Measuring:
    """What an engine measures beside half cycles and energy, and by which rules."""

    energy: EnergyRules = field(default_factory=EnergyRules)
    spectrum: bool = True
    flicker: bool = True
    voltage_events: VoltageEventRules | None = field(default_factory=VoltageEventRules)
    conditions: Mapping[Condition, Limit] | None = field(default_factory=lambda: DEFAULT_LIMITS)
    aggregates: bool = True
    losses: LossParameters | None = None
    keep_half_cycles: bool = False  # hand out the half cycles themselves as well

    @classmethod
    def registers_only(cls, energy: EnergyRules | None = None) -> Measuring:
        """Energy and instantaneous values per second, nothing else: the fastest."""
        return cls(energy or EnergyRules(), False, False, None, None, False)


@dataclass(frozen=True, slots=True)
class FlickerValue:
    """Pst of ten minutes or Plt of two hours, per phase; NaN where nothing was classified."""

    start_utc_ns: int
    end_utc_ns: int
    long_term: bool
    severity: FloatArray
    flagged: bool


@dataclass(frozen=True, slots=True)
class FrequencyValue:
    """Whole cycles within one 10-s slot of UTC over their time; NaN without a synchronised grid."""

    start_utc_s: int
    frequency_hz: float
    flags: int


@dataclass(frozen=True, eq=False)
class Measured:
    """What has become complete, each list and array in the order of time."""

    start_utc_ns: int
    sample_rate_hz: float
    seconds: Seconds
    thd_percent: FloatArray | None  # (seconds, 2 x phases), NaN where no base interval ended
    supply: NDArray[np.uint8]  # (seconds,)
    loss_u: NDArray[np.int64] | None  # (seconds, 6)
    half_cycles: HalfCycles | None = None
    blocks: BaseIntervals | None = None
    intervals: tuple[Interval, ...] = ()
    flicker: tuple[FlickerValue, ...] = ()
    frequencies: tuple[FrequencyValue, ...] = ()
    voltage_events: tuple[VoltageEvent, ...] = ()
    conditions: tuple[ConditionChange, ...] = ()
    ten_seconds: tuple[Extremes, ...] = ()
    five_minutes: tuple[Extremes, ...] = ()

    @cached_property
    def instants(self) -> NDArray[np.int64]:
        """(seconds, 39) integers in the order of `registers.block.INSTANT_COLUMNS`."""
        return instants_of(self.seconds, self.thd_percent)

    def utc_ns(self, instant: float) -> int:
        """UTC of an instant in samples, such as the start of an event."""
        return self.start_utc_ns + round(instant * (NS_PER_S / self.sample_rate_hz))


class Engine:
    """All measuring functions on one stream of samples. `start_utc_ns` is the first sample's."""

    def __init__(
        self,
        connection: Connection,
        measuring: Measuring | None = None,
        start_utc_ns: int = 0,
        *,
        supply_threshold_v: float | None = None,
    ) -> None:
        measuring = measuring if measuring is not None else Measuring()
        self.connection = connection
        self.measuring = measuring
        self.start_utc_ns = start_utc_ns
        self.meter = HalfCycleMeter(connection)
        self.counter = EnergyCounter(connection, measuring.energy, start_utc_ns)
        self.supply_threshold_v = (
            0.5 * connection.nominal_u_v if supply_threshold_v is None else supply_threshold_v
        )
        self._losses = LossCounter(measuring.losses) if measuring.losses else None
        rules = measuring.voltage_events
        self._detector = VoltageEventDetector(connection, rules) if rules else None
        self._blocks_wanted = (
            measuring.spectrum or measuring.aggregates or measuring.conditions is not None
        )
        self._energy_only = not (
            self._blocks_wanted or measuring.flicker or self._detector is not None
        )
        self._schedule = BaseIntervalSchedule(connection, start_utc_ns)
        channels = 2 * connection.phases + int(connection.neutral_measured)
        self._aggregator = Aggregator(
            Layout(connection.phases, channels if measuring.spectrum else 0, connection.nominal_u_v)
        )
        self._monitor = (
            ConditionMonitor(connection, measuring.conditions)
            if measuring.conditions is not None
            else None
        )
        self._flicker = _FlickerClock(connection, start_utc_ns) if measuring.flicker else None
        self._frequency = _FrequencyClock(connection.sample_rate_hz, start_utc_ns)
        columns = ValueColumns(connection.phases)
        self._tens = ExtremesCollector(10, 1, columns)
        self._fives = ExtremesCollector(300, 10, columns)
        self._thd = _ThdQueue(connection.phases)

    def push(self, frames: NDArray[Any]) -> Measured:
        """Measure these frames (n, channels): int16, int32 (24 bits), float32 or float64."""
        run = _Run()
        if self._energy_only:
            half = self.meter.push(frames)
            run.tables.append(half.table)
            run.half_cycles.append(half.table)
            return self._result(run, final=False)
        frames = self.meter.checked(frames)
        for part in self.meter.slices(frames):
            self._take(self.meter.push_slice(part), run, final=False)
        return self._result(run, final=False)

    @property
    def p_inst(self) -> FloatArray:
        """(phases,) the latest instantaneous flicker sensation; NaN where flicker is not measured.

        The first 20 s of a record are those of the settling filters.
        """
        if self._flicker is None:
            return np.full(self.connection.phases, np.nan)
        return self._flicker.p_inst

    def finish(self) -> Measured:
        """End the record: what was waiting, and the incomplete seconds and intervals."""
        run = _Run()
        self._take(self.meter.finish(), run, final=True)
        return self._result(run, final=True)

    def _take(self, half: HalfCycles, run: _Run, *, final: bool) -> None:
        run.tables.append(half.table.copy())
        if self._flicker is not None:
            self._flicker.take(self.meter, run.flicker)
        if not self._blocks_wanted and self._detector is None:  # the end, or flicker alone
            if self.measuring.keep_half_cycles:
                run.half_cycles.append(half.table.copy())
            return
        if self._detector is not None:
            judged, events = self._detector.finish(half) if final else self._detector.add(half)
            run.voltage_events += events
            if self._flicker is not None and events:
                self._flicker.flag(events)
        else:
            judged = self.meter.half_cycles(half.table.copy())
        if self.measuring.keep_half_cycles:
            run.half_cycles.append(judged.table)
        self._frequency.take(judged, run.frequencies, final=final)
        if self._blocks_wanted:
            self._measure_blocks(judged, run)
        if final and self._flicker is not None:
            self._flicker.finish(self.meter, run.flicker)

    def _measure_blocks(self, judged: HalfCycles, run: _Run) -> None:
        windows, after_tick = self._schedule.add(judged)
        if not len(windows):
            return
        quantities = Quantities(windows, self._schedule.half_cycles_per_block)
        spectra = self._spectra(quantities) if self.measuring.spectrum else None
        schedule = self._schedule
        blocks = BaseIntervals(
            quantities,
            spectra,
            after_tick,
            schedule.utc_ns(windows.start),
            schedule.utc_ns(windows.end),
        )
        run.blocks.append(blocks)
        if self._detector is not None and self._detector.rules.sliding_reference:
            for k in np.flatnonzero(windows.flags & FLAGGED == 0):
                self._detector.follow(quantities.u_v[k])

    def _judge_blocks(self, blocks: BaseIntervals, run: _Run) -> None:
        """What needs no samples any more: once per push, because arrays are cheap when long."""
        if self._monitor is not None:
            run.conditions += self._monitor.add(blocks.quantities, blocks.spectra)
        if self.measuring.aggregates:
            run.intervals += self._aggregator.add(blocks)
        if blocks.spectra is not None:
            self._thd.add(blocks.end_utc_ns, blocks.spectra.thd_percent(40))

    def _spectra(self, quantities: Quantities) -> Spectra:
        windows = quantities.windows
        return measure_spectra(
            self.meter.samples,
            windows.start,
            windows.end,
            self.connection.cycles_per_block,
            self.connection.phases,
            self.connection.sample_rate_hz,
            self.meter.base,
        )

    def _result(self, run: _Run, *, final: bool) -> Measured:
        blocks = _join_blocks(run.blocks)
        if blocks is not None:
            self._judge_blocks(blocks, run)
        if final and self.measuring.aggregates:
            run.intervals += self._aggregator.finish()
        # Counted once per push: the numbers are the same for any cut, and one call costs less.
        half = self.meter.half_cycles(run.table())
        seconds = self.counter.finish(half) if final else self.counter.add(half)
        thd = None
        if self.measuring.spectrum:
            seconds, thd = self._thd.release(seconds, final=final)
        loss = self._losses.add(seconds) if self._losses is not None else None
        tens, fives = self._profile(seconds, final=final)
        return Measured(
            self.start_utc_ns,
            self.connection.sample_rate_hz,
            seconds,
            thd,
            supply_of(seconds, self.supply_threshold_v),
            loss,
            self._joined_half_cycles(run),
            blocks,
            tuple(run.intervals),
            tuple(run.flicker),
            tuple(run.frequencies),
            tuple(run.voltage_events),
            tuple(run.conditions),
            tens,
            fives,
        )

    def _joined_half_cycles(self, run: _Run) -> HalfCycles | None:
        if not self.measuring.keep_half_cycles:
            return None
        if not run.half_cycles:
            return self.meter.half_cycles(np.zeros((0, 0)))
        return self.meter.half_cycles(np.concatenate(run.half_cycles))

    def _profile(
        self, seconds: Seconds, *, final: bool
    ) -> tuple[tuple[Extremes, ...], tuple[Extremes, ...]]:
        if not self.measuring.aggregates:
            return (), ()
        tens = self._tens.add(seconds.start_utc_s, values_of(seconds), seconds.flags)
        out = [tens] if len(tens) else []
        if final:
            last = self._tens.finish()
            out += [last] if len(last) else []
        fives = []
        for ten in out:
            five = self._fives.add(ten.start_utc_s, ten.mean, ten.flags)
            fives += [five] if len(five) else []
        if final:
            five = self._fives.finish()
            fives += [five] if len(five) else []
        return tuple(out), tuple(fives)


class _Run:
    """What one call collects."""

    __slots__ = (
        "blocks", "conditions", "flicker", "frequencies", "half_cycles", "intervals", "tables",
        "voltage_events",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tables: list[FloatArray] = []
        self.half_cycles: list[FloatArray] = []
        self.blocks: list[BaseIntervals] = []
        self.intervals: list[Interval] = []
        self.flicker: list[FlickerValue] = []
        self.frequencies: list[FrequencyValue] = []
        self.voltage_events: list[VoltageEvent] = []
        self.conditions: list[ConditionChange] = []

    def table(self) -> FloatArray:
        """All half cycles of the call."""
        if len(self.tables) == 1:
            return self.tables[0]
        return np.concatenate(self.tables)


class _FlickerClock:
    """Feeds the flickermeter up to each 10-minute tick exactly, and reads it there."""

    def __init__(self, connection: Connection, start_utc_ns: int) -> None:
        lamp_v = 120 if connection.nominal_u_v < 160 and connection.nominal_hz == 60 else 230
        self._meter = Flickermeter(
            connection.sample_rate_hz, connection.phases, connection.nominal_hz, lamp_v
        )
        self._start_utc_ns = start_utc_ns
        self._rate = connection.sample_rate_hz
        self._phases = connection.phases
        self._done = 0
        self._from_ns = start_utc_ns
        self._tick_s = (start_utc_ns // NS_PER_S // TICK_S + 1) * TICK_S
        self._pst: list[FloatArray] = []
        self._long_from_ns = start_utc_ns
        self._flagged = False
        self._long_flagged = False
        self._open_events = 0

    def take(self, meter: HalfCycleMeter, out: list[FlickerValue]) -> None:
        total, base = meter.samples_seen, meter.base
        while self._done < total:
            offset_ns = self._tick_s * NS_PER_S - self._start_utc_ns
            tick = int(np.ceil(offset_ns * (self._rate / NS_PER_S)))
            end = min(total, tick)
            self._meter.push(meter.samples[: self._phases], self._done - base, end - base)
            self._done = end
            if end == tick:
                self._read(self._tick_s * NS_PER_S, out)
                self._tick_s += TICK_S

    @property
    def p_inst(self) -> FloatArray:
        return self._meter.p_inst

    def flag(self, events: list[VoltageEvent]) -> None:
        for event in events:
            if event.kind <= 2:
                self._open_events += -1 if event.ended else 1
                self._flagged = True

    def finish(self, meter: HalfCycleMeter, out: list[FlickerValue]) -> None:
        end_ns = self._start_utc_ns + round(meter.samples_seen * NS_PER_S / self._rate)
        if end_ns > self._from_ns:
            self._read(end_ns, out)
        if self._pst:
            self._read_long(end_ns, out)

    def _read(self, at_ns: int, out: list[FlickerValue]) -> None:
        pst = self._meter.read_pst()
        flagged = self._flagged or self._open_events > 0
        out.append(FlickerValue(self._from_ns, at_ns, False, pst, flagged))
        self._from_ns = at_ns
        self._pst.append(pst)
        self._long_flagged |= flagged
        self._flagged = self._open_events > 0
        if at_ns % (7200 * NS_PER_S) == 0:
            self._read_long(at_ns, out)

    def _read_long(self, at_ns: int, out: list[FlickerValue]) -> None:
        history = np.array(self._pst)
        severity = np.array([plt(history[:, p]) for p in range(self._phases)])
        out.append(FlickerValue(self._long_from_ns, at_ns, True, severity, self._long_flagged))
        self._long_from_ns = at_ns
        self._pst = []
        self._long_flagged = False


class _FrequencyClock:
    """Whole cycles between the upward crossings inside each 10-s slot."""

    def __init__(self, sample_rate_hz: float, start_utc_ns: int) -> None:
        self._rate = sample_rate_hz
        self._start_utc_ns = start_utc_ns
        self._slot = -1
        self._first = 0.0
        self._last = 0.0
        self._cycles = 0
        self._flags = 0

    def take(self, half: HalfCycles, out: list[FrequencyValue], *, final: bool) -> None:
        flags = half.flags
        upward = np.flatnonzero((flags & UPWARD != 0) & (flags & PARTIAL == 0))
        if len(upward):
            starts = half.start[upward]
            offset_s = self._start_utc_ns / NS_PER_S
            slots = ((starts / self._rate + offset_s) // 10).astype(np.int64)
            for slot in np.unique(slots).tolist():
                rows = np.flatnonzero(slots == slot)
                if slot != self._slot:
                    self._close(out)
                    self._slot, self._first, self._cycles = slot, float(starts[rows[0]]), -1
                    self._flags = 0
                self._cycles += len(rows)
                self._last = float(starts[rows[-1]])
                self._flags |= int(np.bitwise_or.reduce(flags[upward[rows]])) & ~UPWARD
        if final:
            self._close(out)

    def _close(self, out: list[FrequencyValue]) -> None:
        if self._slot < 0:
            return
        time_s = (self._last - self._first) / self._rate
        value = self._cycles / time_s if self._cycles > 0 else float("nan")
        out.append(FrequencyValue(10 * self._slot, value, self._flags))
        self._slot = -1


class _ThdQueue:
    """Holds seconds back until the base intervals that end in them have been measured."""

    def __init__(self, phases: int) -> None:
        self._ends = np.zeros(0, np.int64)
        self._values = np.zeros((0, 2 * phases))
        self._waiting: list[Seconds] = []
        self._width = 2 * phases

    def add(self, ends_utc_ns: NDArray[np.int64], thd_percent: FloatArray) -> None:
        self._ends = np.concatenate([self._ends, ends_utc_ns])
        self._values = np.concatenate([self._values, thd_percent[:, : self._width]])

    def release(self, seconds: Seconds, *, final: bool) -> tuple[Seconds, FloatArray]:
        self._waiting = [part for part in (*self._waiting, seconds) if len(part)] or [seconds]
        joined = _join_seconds(self._waiting)
        ready = len(joined)
        if not final:
            # A block measured later begins before the last one measured so far ends.
            last_s = int(self._ends[-1] // NS_PER_S) if len(self._ends) else 0
            ready = int(np.clip(last_s - joined.start_utc_s, 0, ready))
        out = _cut_seconds(joined, 0, ready)
        self._waiting = [_cut_seconds(joined, ready, len(joined))]
        edges = (joined.start_utc_s + np.arange(ready + 1)) * NS_PER_S
        order = np.argsort(self._ends, kind="stable")
        places = np.searchsorted(self._ends[order], edges, side="right")
        thd = np.full((ready, self._width), np.nan)
        for k in range(ready):
            rows = order[places[k] : places[k + 1]]
            if len(rows):
                thd[k] = np.sqrt(np.mean(self._values[rows] ** 2, axis=0))
        keep = self._ends > edges[-1]
        self._ends, self._values = self._ends[keep], self._values[keep]
        return out, thd


def _cut_seconds(seconds: Seconds, first: int, last: int) -> Seconds:
    return Seconds(
        seconds.start_utc_s + first,
        seconds.energy_u[first:last],
        seconds.sums[first:last],
        seconds.phases,
    )


def _join_seconds(parts: list[Seconds]) -> Seconds:
    if len(parts) == 1:
        return parts[0]
    return Seconds(
        parts[0].start_utc_s,
        np.concatenate([part.energy_u for part in parts]),
        np.concatenate([part.sums for part in parts]),
        parts[0].phases,
    )


def _join_blocks(parts: list[BaseIntervals]) -> BaseIntervals | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    windows = parts[0].quantities.windows
    table = np.concatenate([part.quantities.windows.table for part in parts])
    joined = HalfCycles(table, windows.phases, windows.sample_rate_hz)
    spectra = [part.spectra for part in parts if part.spectra is not None]
    return BaseIntervals(
        Quantities(joined, parts[0].quantities.half_cycle_count),
        _join_spectra(spectra) if spectra else None,
        np.concatenate([part.after_tick for part in parts]),
        np.concatenate([part.start_utc_ns for part in parts]),
        np.concatenate([part.end_utc_ns for part in parts]),
    )


def _join_spectra(parts: list[Spectra]) -> Spectra:
    return Spectra(
        np.concatenate([part.lines for part in parts]),
        parts[0].cycles,
        parts[0].phases,
        min(part.order_max for part in parts),
        np.concatenate([part.peak for part in parts]),
    )
