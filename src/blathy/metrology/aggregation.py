"""Time aggregation after IEC 61000-4-30: base intervals, 150/180 cycles, 10 minutes, 2 hours.

Base intervals of 10 (12) cycles follow each other without gap. At every 10-minute tick of UTC a new
one begins at the first upward crossing, and the one in progress is completed as well (overlap), so
ten minutes hold whole base intervals only. A base interval belongs to the ten minutes in which it
begins. 150/180 cycles are fifteen base intervals, restarted at the tick in the same way. Squares
are averaged for rms-like quantities (root of the mean square), plain values for powers and
frequency. A flag of a base interval is inherited by everything made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Connection
from blathy.metrology.half_cycle import C_FLAGS, C_START, PARTIAL, UPWARD, HalfCycles
from blathy.metrology.quantities import Quantities, merge
from blathy.metrology.spectrum import ORDER_MAX, Spectra

FloatArray = NDArray[np.float64]

TICK_S: Final = 600
NS_PER_S: Final = 1_000_000_000
BLOCKS_PER_150_CYCLES: Final = 15


class Span(Enum):
    """Kinds of aggregated interval."""

    CYCLES_150 = "150/180 cycles"
    MINUTES_10 = "10 min"
    HOURS_2 = "2 h"


@dataclass(frozen=True, eq=False)
class BaseIntervals:
    """Base intervals of 10 or 12 cycles with what was measured in each."""

    quantities: Quantities
    spectra: Spectra | None
    after_tick: NDArray[np.bool_]  # the first one after a 10-minute tick
    start_utc_ns: NDArray[np.int64]
    end_utc_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.quantities)

    @property
    def flags(self) -> NDArray[np.int64]:
        return self.quantities.windows.flags


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each quantity lies in the vector that is averaged."""

    phases: int
    channels: int  # of the spectrum; 0 without
    nominal_u_v: float

    @property
    def columns(self) -> dict[str, slice]:
        p = self.phases
        sizes = [
            ("u", p), ("i", p), ("p", p), ("q1", p), ("s", p), ("under", p), ("over", p),
            ("unbalance", 4 if p == 3 else 0), ("neutral", 1), ("f", 1),
            ("harmonic", self.channels * (ORDER_MAX + 1)),
            ("interharmonic", self.channels * ORDER_MAX),
        ]  # fmt: skip
        out, at = {}, 0
        for name, size in sizes:
            out[name] = slice(at, at + size)
            at += size
        return out

    def vectors(self, blocks: BaseIntervals) -> FloatArray:
        """(n, …) averaged quantities of base intervals: squares where a root is drawn later."""
        q = blocks.quantities
        square = q.u_v**2
        nominal = self.nominal_u_v**2
        parts = [
            square, q.i_a**2, q.p_w, q.q1_var, q.s_va,
            np.minimum(square, nominal), np.maximum(square, nominal),
        ]  # fmt: skip
        if self.phases == 3:
            u, i = q.u_components, q.i_components
            ratios = [u.negative_percent, u.zero_percent, i.negative_percent, i.zero_percent]
            parts.append(np.nan_to_num(np.stack(ratios, axis=1), nan=0.0) ** 2)
        parts += [q.i_neutral_a[:, None] ** 2, q.frequency_hz[:, None]]
        if blocks.spectra is not None:
            n = len(blocks)
            parts.append(blocks.spectra.harmonic_square.reshape(n, -1))
            parts.append(blocks.spectra.interharmonic_square.reshape(n, -1))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Interval:
    """One aggregated interval: the mean of `count` base intervals (of ten minutes for 2 h)."""

    span: Span
    start_utc_ns: int
    end_utc_ns: int
    count: int
    flags: int
    mean: FloatArray
    layout: Layout

    def root(self, name: str) -> FloatArray:
        """The rms-like quantity of this name: u i unbalance neutral harmonic interharmonic."""
        return np.sqrt(self.mean[self._columns[name]])

    def plain(self, name: str) -> FloatArray:
        """The arithmetic mean of this name: p q1 s f."""
        return self.mean[self._columns[name]]

    @cached_property
    def _columns(self) -> dict[str, slice]:
        return self.layout.columns

    @property
    def u_v(self) -> FloatArray:
        return self.root("u")

    @property
    def i_a(self) -> FloatArray:
        return self.root("i")

    @property
    def frequency_hz(self) -> float:
        return float(self.plain("f")[0])

    @property
    def u2_percent(self) -> float:
        return self._unbalance(0)

    @property
    def u0_percent(self) -> float:
        return self._unbalance(1)

    @property
    def harmonic(self) -> FloatArray:
        """(channels, 51) rms of the harmonic subgroups; phase voltages, currents, neutral."""
        return self.root("harmonic").reshape(self.layout.channels, ORDER_MAX + 1)

    @property
    def interharmonic(self) -> FloatArray:
        """(channels, 50) rms of the interharmonic centred subgroups."""
        return self.root("interharmonic").reshape(self.layout.channels, ORDER_MAX)

    def thd_percent(self, order_max: int = 40) -> FloatArray:
        """(channels,) THD of the subgroups to `order_max` in percent of the fundamental's."""
        square = self.harmonic**2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                100.0 * np.sqrt(np.nansum(square[:, 2 : order_max + 1], axis=1) / square[:, 1])
            )

    @property
    def under_deviation_percent(self) -> FloatArray:
        """(phases,) of the declared voltage; from base intervals limited to it from above."""
        nominal = self.layout.nominal_u_v
        return np.asarray(100.0 * (nominal - self.root("under")) / nominal)

    @property
    def over_deviation_percent(self) -> FloatArray:
        nominal = self.layout.nominal_u_v
        return np.asarray(100.0 * (self.root("over") - nominal) / nominal)

    def _unbalance(self, column: int) -> float:
        parts = self.root("unbalance")
        return float(parts[column]) if len(parts) else float("nan")


class BaseIntervalSchedule:
    """Cuts the stream of half cycles into base intervals, restarted at the ticks."""

    def __init__(self, connection: Connection, start_utc_ns: int) -> None:
        self.connection = connection
        self.start_utc_ns = start_utc_ns
        self.half_cycles_per_block = 2 * connection.cycles_per_block
        self._pending: FloatArray | None = None
        self._next_row = -1  # 0: the pending table begins with the next block; -1: none has begun
        self._next_is_first = True
        self._tick_s = (start_utc_ns // NS_PER_S // TICK_S + 1) * TICK_S

    def utc_ns(self, instants: FloatArray) -> NDArray[np.int64]:
        """UTC of instants given in samples."""
        offset = np.round(instants * (NS_PER_S / self.connection.sample_rate_hz))
        return self.start_utc_ns + offset.astype(np.int64)

    def sample_of(self, utc_s: int) -> float:
        """The instant in samples of a UTC second."""
        offset_ns = utc_s * NS_PER_S - self.start_utc_ns
        return offset_ns * (self.connection.sample_rate_hz / NS_PER_S)

    def add(self, half_cycles: HalfCycles) -> tuple[HalfCycles, NDArray[np.bool_]]:
        """(windows that are complete now, which of them are the first after a tick)."""
        rows = half_cycles.table
        if self._pending is not None and len(self._pending):
            rows = np.concatenate([self._pending, rows])
        waiting = HalfCycles(rows, half_cycles.phases, half_cycles.sample_rate_hz)
        flags = waiting.flags
        upward = np.flatnonzero((flags & UPWARD != 0) & (flags & PARTIAL == 0))
        first: list[int] = []
        after: list[bool] = []
        start = self._next_row
        if start < 0 and len(upward):
            start = int(upward[0])
        size = self.half_cycles_per_block
        while start >= 0:
            tick_row = self._tick_row(rows, upward)
            if 0 <= tick_row <= start:
                self._tick_s += TICK_S
                start, self._next_is_first = tick_row, True
                continue
            if start + size > len(rows) or flags[start + size - 1] & PARTIAL:
                break
            first.append(start)
            after.append(self._next_is_first)
            self._next_is_first = False
            start += size
        keep = len(rows) if start < 0 else start
        self._next_row = 0 if start >= 0 else -1
        self._pending = rows[keep:].copy()
        windows = merge(waiting, np.array(first, np.int64), size)
        return windows, np.array(after, np.bool_)

    def _tick_row(self, rows: FloatArray, upward: NDArray[np.int64]) -> int:
        """Row of the first upward crossing at or after the next tick; -1 if not seen yet."""
        place = int(np.searchsorted(rows[upward, C_START], self.sample_of(self._tick_s)))
        return int(upward[place]) if place < len(upward) else -1


class Aggregator:
    """Collects base intervals into 150/180 cycles, ten minutes and two hours."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._short: list[_Mean] = []
        self._ten = _Mean()
        self._long = _Mean()

    def add(self, blocks: BaseIntervals) -> list[Interval]:
        """The intervals that these base intervals complete."""
        done: list[Interval] = []
        if not len(blocks):
            return done
        vectors = self.layout.vectors(blocks)
        flags = blocks.flags.tolist()
        starts, ends = blocks.start_utc_ns.tolist(), blocks.end_utc_ns.tolist()
        for k in range(len(blocks)):
            if blocks.after_tick[k]:
                done += self._close_ten()
                self._short.append(_Mean())
            elif not self._short:
                self._short.append(_Mean())
            for mean in (*self._short, self._ten):
                mean.add(vectors[k], flags[k], starts[k], ends[k])
            for mean in [m for m in self._short if m.count == BLOCKS_PER_150_CYCLES]:
                done.append(mean.interval(Span.CYCLES_150, self.layout))
                self._short.remove(mean)
        return done

    def finish(self) -> list[Interval]:
        """What had begun: incomplete intervals, told by their `count`."""
        done = [mean.interval(Span.CYCLES_150, self.layout) for mean in self._short if mean.count]
        self._short = []
        done += self._close_ten()
        if self._long.count:
            done.append(self._long.interval(Span.HOURS_2, self.layout))
            self._long = _Mean()
        return done

    def _close_ten(self) -> list[Interval]:
        if not self._ten.count:
            return []
        interval = self._ten.interval(Span.MINUTES_10, self.layout)
        self._ten = _Mean()
        done = [interval]
        slot = interval.start_utc_ns // (7200 * NS_PER_S)
        if self._long.count and self._long.start_utc_ns // (7200 * NS_PER_S) != slot:
            done.insert(0, self._long.interval(Span.HOURS_2, self.layout))
            self._long = _Mean()
        self._long.add(interval.mean, interval.flags, interval.start_utc_ns, interval.end_utc_ns)
        next_slot = (interval.end_utc_ns + NS_PER_S) // (7200 * NS_PER_S)
        if self._long.count == 12 or next_slot != slot:
            done.append(self._long.interval(Span.HOURS_2, self.layout))
            self._long = _Mean()
        return done


class _Mean:
    __slots__ = ("count", "end_utc_ns", "flags", "start_utc_ns", "total")

    def __init__(self) -> None:
        self.count = 0
        self.flags = 0
        self.start_utc_ns = 0
        self.end_utc_ns = 0
        self.total: FloatArray = np.zeros(0)

    def add(self, vector: FloatArray, flags: int, start_utc_ns: int, end_utc_ns: int) -> None:
        if self.count == 0:
            self.start_utc_ns = start_utc_ns
            self.total = vector.copy()
        else:
            self.total += vector
        self.count += 1
        self.flags |= flags
        self.end_utc_ns = end_utc_ns

    def interval(self, span: Span, layout: Layout) -> Interval:
        return Interval(
            span,
            self.start_utc_ns,
            self.end_utc_ns,
            self.count,
            self.flags,
            self.total / self.count,
            layout,
        )


__all__ = [
    "C_FLAGS",
    "Aggregator",
    "BaseIntervalSchedule",
    "BaseIntervals",
    "Interval",
    "Layout",
    "Span",
]
