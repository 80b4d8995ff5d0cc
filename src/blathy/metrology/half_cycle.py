"""The atom: sums over one half cycle of the grid, from which everything else is added up.

Products of samples (u², i², u·i, u and i against the grid's oscillator, …) are summed at the
sample rate between two zero crossings of the synchronised grid. A crossing falls between samples:
there the sum gets a 16-point correction that makes it the integral of the band-limited product up
to that very instant. One half cycle ends where the next begins, with the same correction, so any
number of them adds up without gap and without double count.

The sums of u² are kept per sixth of a cycle, because the zero crossings of the other phases lie
on the sixths: Urms(1/2) of every channel begins at that channel's own crossing.

Work is cut by the count of samples and of half cycles alone, never by the blocks handed in: the
results are the same bit by bit for any cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology import synchronisation as sync
from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.kernels import FAST, kernel, part
from blathy.metrology.synchronisation import (
    COASTING,
    EDGE_GUARD,
    I_BASE,
    I_EDGES,
    I_FILLED,
    I_FIRST6,
    I_OPENED,
    I_STARTED,
    I_TOTAL,
    INVALID,
    PARTIAL,
    REVERSED,
    SATURATED,
    UPWARD,
)

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

TAPS: Final = 16
FRACTIONS: Final = 256
TICK: Final = 16  # samples per quality mark
SLICE: Final = 16_384  # samples worked on at a time: channels of one slice fit the cache
INGEST_BLOCK: Final = 256
KEEP_S: Final = 0.75  # samples kept for the spectrum of the longest window, and the look-ahead

SAMPLE_TYPES: Final = tuple(np.dtype(name) for name in ("int16", "int32", "float32", "float64"))
C_START, C_END, C_FLAGS, C_PHASES = 0, 1, 2, 3
PHASE_COLUMNS: Final = 11
U2, I2, P, US, UC, IS, IC, U0, I0 = 0, 3, 4, 5, 6, 7, 8, 9, 10
CROSS_COLUMNS: Final = 6  # u1u2 u2u3 u3u1, calculated neutral², measured neutral², residual²


@dataclass(frozen=True, slots=True, eq=False)
class HalfCycles:
    """Consecutive half cycles; integrals over their duration, one row each.

    `start` and `end` are instants in samples since the first sample (its instant is 0; a sample
    stands for the half interval on either side, so the record begins at -0.5).
    Integrals: `u2_v2s` (n, phases, 3 sixths), `i2_a2s`, `energy_j`, `u0_vs`, `i0_as` (n, phases);
    `u1_vs`, `i1_as` complex, twice the mean is the peak phasor against the grid's own phase, in
    which L1 of a symmetrical right-handed system has the angle 0. `cross` (n, 6): u1u2 u2u3 u3u1
    [V²s], (Σi)², measured neutral² and (Σi + in)² [A²s]. `flags`: PARTIAL, COASTING, ...
    """

    table: FloatArray
    phases: int
    sample_rate_hz: float

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice) -> HalfCycles:
        return HalfCycles(self.table[rows], self.phases, self.sample_rate_hz)

    @property
    def start(self) -> FloatArray:
        return self.table[:, C_START]

    @property
    def end(self) -> FloatArray:
        return self.table[:, C_END]

    @property
    def duration_s(self) -> FloatArray:
        return (self.end - self.start) / self.sample_rate_hz

    @property
    def flags(self) -> NDArray[np.int64]:
        return self.table[:, C_FLAGS].astype(np.int64)

    @property
    def per_phase(self) -> FloatArray:
        """(n, phases, 11): the raw columns of each phase."""
        end = C_PHASES + PHASE_COLUMNS * self.phases
        return self.table[:, C_PHASES:end].reshape(len(self.table), self.phases, PHASE_COLUMNS)

    @property
    def u2_v2s(self) -> FloatArray:
        return self.per_phase[:, :, U2 : U2 + 3]

    @property
    def i2_a2s(self) -> FloatArray:
        return self.per_phase[:, :, I2]

    @property
    def energy_j(self) -> FloatArray:
        return self.per_phase[:, :, P]

    @property
    def u1_vs(self) -> ComplexArray:
        return np.asarray(self.per_phase[:, :, US] + 1j * self.per_phase[:, :, UC])

    @property
    def i1_as(self) -> ComplexArray:
        return np.asarray(self.per_phase[:, :, IS] + 1j * self.per_phase[:, :, IC])

    @property
    def u0_vs(self) -> FloatArray:
        return self.per_phase[:, :, U0]

    @property
    def i0_as(self) -> FloatArray:
        return self.per_phase[:, :, I0]

    @property
    def cross(self) -> FloatArray:
        return self.table[:, C_PHASES + PHASE_COLUMNS * self.phases :]


class HalfCycleMeter:
    """Turns a stream of samples into half cycles; bounded memory, about 0.2 s behind the samples.

    The first and the last half cycle of a record are PARTIAL: they hold what lies before the first
    and after the last crossing, so nothing that was sampled is lost.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        rate = connection.sample_rate_hz
        phases = connection.phases
        currents = phases + int(connection.neutral_measured)
        self.step = sync.step_samples(connection)
        self._decimation = sync.decimation_of(connection)
        self._kernel_c, self._kernel_s = sync.design_window(connection)
        self._omega = 2 * np.pi * connection.nominal_hz / rate
        self._advance_max = 2 * np.pi * sync.DEVIATION_MAX_HZ * self.step / rate
        self._floor_v = sync.AMPLITUDE_FLOOR * connection.nominal_u_v
        self.keep = TICK * int(np.ceil(KEEP_S * rate / TICK))
        self.capacity = self.keep + 4 * SLICE
        self.samples = np.zeros((phases + currents, self.capacity), np.float32)
        self._reference = np.zeros((2, self.capacity // self._decimation), np.float32)
        self._oscillator = np.zeros((2, self.capacity))
        self._quality = np.zeros(self.capacity // TICK + 1, np.uint8)
        self.ints = np.zeros(sync.INTEGERS, np.int64)
        self.ints[sync.I_ROTATION] = 1
        self._floats = np.zeros(sync.FLOATS)
        self._ring = np.zeros((4, sync.RING))
        edges = 8 * (self.capacity // self.step + sync.RING)
        self._edges = np.zeros((2, edges))
        columns = C_PHASES + PHASE_COLUMNS * phases + CROSS_COLUMNS
        self._sums = np.zeros((3, columns - C_PHASES))
        self._rows = np.zeros((edges // 2, columns))
        self._work_arrays = (np.zeros(4), np.zeros(4, np.int64), np.zeros((3, TAPS)))
        self._scale = connection.scale_per_channel().astype(np.float32)
        self._weights = edge_weights()
        self._reference_weights = sync.reference_weights(connection)
        # Two elements leave room for the second phase: u12 u32 i1 i3 [in].
        elements = connection.wiring is Wiring.THREE_PHASE_3_WIRE
        self._lines = np.array([0, 2, 3, 5, 6] if elements else range(phases + currents), np.int64)
        self._float32 = np.zeros((SLICE, connection.channels), np.float32)

    @property
    def samples_seen(self) -> int:
        """Frames pushed since the beginning."""
        return int(self.ints[I_TOTAL])

    @property
    def base(self) -> int:
        """Number of the sample that stands in column 0 of `samples`."""
        return int(self.ints[I_BASE])

    def push(self, frames: NDArray[Any]) -> HalfCycles:
        """The half cycles that are complete after these frames (n, channels), any n."""
        frames = self.checked(frames)
        seconds = len(frames) / self.connection.sample_rate_hz
        # Room for all, however fast the phase may turn and however much has been waiting.
        rows_max = int(4 * self.connection.nominal_hz * (seconds + 2 * KEEP_S))
        rows = np.empty((rows_max, self._rows.shape[1]))
        count = 0
        for piece in self.slices(frames):
            self._take(piece)
            count = self._work(rows, count, final=False)
        return self.half_cycles(rows[:count])

    def checked(self, frames: NDArray[Any]) -> NDArray[Any]:
        """The frames in C order; raise ValueError when their shape or type cannot be measured."""
        frames = np.asarray(frames)
        if frames.ndim != 2 or frames.shape[1] != self.connection.channels:
            raise ValueError(
                f"frames of shape {frames.shape} do not fit; "
                f"pass (n, {self.connection.channels}) in the order of the wiring"
            )
        if frames.dtype not in SAMPLE_TYPES:
            raise ValueError(f"samples of type {frames.dtype} cannot be read; convert to float32")
        return np.ascontiguousarray(frames)

    @staticmethod
    def slices(frames: NDArray[Any]) -> list[NDArray[Any]]:
        """The frames in pieces that `push_slice` takes, at least one."""
        return [frames[n : n + SLICE] for n in range(0, max(len(frames), 1), SLICE)]

    def push_slice(self, frames: NDArray[Any]) -> HalfCycles:
        """As `push` for at most `SLICE` frames; the table is overwritten by the next call."""
        self._take(frames)
        return self.half_cycles(self._rows[: self._work(self._rows, 0, final=False)])

    def finish(self) -> HalfCycles:
        """The half cycles that were still waiting, and the partial one at the end of the record."""
        return self.half_cycles(self._rows[: self._work(self._rows, 0, final=True)])

    def _take(self, frames: NDArray[Any]) -> None:
        if self.ints[I_TOTAL] - self.ints[I_BASE] + len(frames) > self.capacity:
            self._compact()
        limit = np.float32(self.connection.saturation_counts(frames.dtype))
        if frames.dtype != np.float32:  # the kernel is compiled for one type alone
            with np.errstate(over="ignore"):  # too large for float32: reported like infinity
                self._float32[: len(frames)] = frames
            frames = self._float32[: len(frames)]
        _ingest(
            frames, self._lines, self._scale, limit, self.samples, self._quality, self.ints
        )  # fmt: skip

    def _work(self, rows: FloatArray, at: int, *, final: bool) -> int:
        """Write what is complete to `rows`, from row `at` on; the number of rows then."""
        sync.follow(
            self.samples, self.connection.phases, self._reference_weights, self._decimation,
            self._reference, self._kernel_c, self._kernel_s, self.step,
            len(self._kernel_c) // 2 * self._decimation, 0.5 * (self._decimation - 1), self._omega,
            self._floor_v, self._advance_max, self.ints, self._floats, self._ring,
            self._oscillator, self._edges, final,
        )  # fmt: skip
        return int(
            _sum_half_cycles(
                self.samples, self._oscillator, self._quality, self._edges, self._sums,
                self._weights, self.connection.phases, 1.0 / self.connection.sample_rate_hz,
                self.ints, self._floats, *self._work_arrays, rows, at, final,
            )
        )  # fmt: skip

    def half_cycles(self, table: FloatArray) -> HalfCycles:
        return HalfCycles(table, self.connection.phases, self.connection.sample_rate_hz)

    def _compact(self) -> None:
        """Drop what nobody needs any more; whole ticks, so that quality marks keep their place."""
        used = int(self.ints[I_TOTAL] - self.ints[I_BASE])
        drop = (used - self.keep) // TICK * TICK
        if drop <= 0:
            return
        for rows in (self.samples, self._oscillator):
            rows[:, : used - drop] = rows[:, drop:used]
        first, last = drop // self._decimation, used // self._decimation
        self._reference[:, : last - first] = self._reference[:, first:last]
        marks = self._quality[drop // TICK :].copy()
        self._quality[:] = 0
        self._quality[: len(marks)] = marks
        self.ints[I_BASE] += drop


@lru_cache(maxsize=1)
def edge_weights() -> FloatArray:
    """(257, 16): corrections that turn a sum of samples into an integral up to a fraction.

    For a boundary at t, m = floor(t + 1/2), d = t + 1/2 - m, the integral up to t of a product
    sampled at whole n is the sum of all samples before m plus Σ w[k] p[m - 8 + k]. The weights are
    the least-squares answer for every frequency up to 0.82 of half the sample rate.
    """
    omega = np.concatenate([np.linspace(1e-3, 0.82 * np.pi, 400), np.linspace(1e-3, 0.3, 200)])
    k = np.arange(-TAPS // 2, TAPS // 2)
    matrix = np.exp(1j * np.outer(omega, k))
    fractions = np.arange(FRACTIONS + 1) / FRACTIONS
    target = np.exp(1j * np.outer(omega, fractions - 0.5)) / (1j * omega[:, None])
    target -= (1.0 / (np.exp(1j * omega) - 1.0))[:, None]
    weight = np.where(omega < 0.3, 30.0, 1.0)[:, None]
    rows = np.concatenate([(weight * matrix).real, (weight * matrix).imag])
    goal = np.concatenate([(weight * target).real, (weight * target).imag])
    damping = 1e-6 * np.eye(TAPS)
    rows = np.concatenate([rows, damping])
    goal = np.concatenate([goal, np.zeros((TAPS, FRACTIONS + 1))])
    return np.ascontiguousarray(np.linalg.lstsq(rows, goal, rcond=None)[0].T)


@kernel(fastmath=FAST)
def _ingest(
    frames: Any, lines: Any, scale: Any, limit: Any, samples: Any, quality: Any, ints: Any
) -> Any:
    """Scale, untangle and check a slice of frames."""
    count = frames.shape[0]
    at = ints[I_TOTAL] - ints[I_BASE]
    channels = frames.shape[1]
    flat = frames.reshape(-1)
    for begin in range(0, count, INGEST_BLOCK):  # so few frames that they stay in the cache
        size = min(INGEST_BLOCK, count - begin)
        for channel in range(channels):
            factor = scale[channel]
            level = limit * abs(factor)
            # Views, here and below: an index that starts at 0 is what the compiler can vectorise.
            line = samples[lines[channel], at + begin : at + begin + size]
            column = flat[begin * channels + channel : (begin + size) * channels]
            good = np.float32(0.0)  # a float: as wide as the samples, so both fit one register
            if channels == 6:  # the common case, with a stride that the compiler knows
                for n in range(size):
                    value = column[n * 6] * factor
                    line[n] = value
                    good += np.float32(1.0) if abs(value) < level else np.float32(0.0)
            else:
                for n in range(size):
                    value = column[n * channels] * factor
                    line[n] = value
                    good += np.float32(1.0) if abs(value) < level else np.float32(0.0)
            if good < size:
                _mark_bad(level, line, quality, at + begin)
    if channels < samples.shape[0]:  # u12 u32 i1 i3
        _star_point(samples, at, count)
    ints[I_TOTAL] += count


@part()
def _mark_bad(level: Any, line: Any, quality: Any, at: Any) -> Any:
    for n in range(len(line)):
        if not np.isfinite(line[n]):
            line[n] = 0.0
            quality[(at + n) // TICK] |= INVALID
        elif abs(line[n]) >= level:
            quality[(at + n) // TICK] |= SATURATED


@part(fastmath=FAST)
def _star_point(samples: Any, at: Any, count: Any) -> Any:
    for n in range(at, at + count):
        u12, u32 = samples[0, n], samples[2, n]
        u2 = -(u12 + u32) / np.float32(3.0)
        samples[1, n] = u2
        samples[0, n] = u12 + u2
        samples[2, n] = u32 + u2
        samples[4, n] = -(samples[3, n] + samples[5, n])


# Below, indices are unsigned: they cannot be negative, so the compiler vectorises; and arrays are
# passed whole, because a view costs more than the sixteen products it would be made for.


@part(fastmath=FAST)
def _sum_pair(
    samples: Any, oscillator: Any, phase: Any, phases: Any, m: Any, out: Any, at: Any
) -> Any:
    """Sums of one phase between the samples m[0] and m[3], u² by sixths, into out[at : at + 11]."""
    u2 = i2 = p = us = uc = is_ = ic = u0 = i0 = 0.0
    a = np.uint64(phase)
    b = np.uint64(phases + phase)
    for n in range(np.uint64(m[0]), np.uint64(m[3])):
        x = np.float64(samples[a, n])
        y = np.float64(samples[b, n])
        s = oscillator[0, n]
        c = oscillator[1, n]
        u2 += x * x
        i2 += y * y
        p += x * y
        us += x * s
        uc += x * c
        is_ += y * s
        ic += y * c
        u0 += x
        i0 += y
    first = second = 0.0
    for n in range(np.uint64(m[0]), np.uint64(m[1])):
        x = np.float64(samples[a, n])
        first += x * x
    for n in range(np.uint64(m[1]), np.uint64(m[2])):
        x = np.float64(samples[a, n])
        second += x * x
    out[at], out[at + 1], out[at + 2] = first, second, u2 - first - second
    out[at + 3], out[at + 4], out[at + 5], out[at + 6] = i2, p, us, uc
    out[at + 7], out[at + 8], out[at + 9], out[at + 10] = is_, ic, u0, i0


@part(fastmath=FAST)
def _sum_cross(samples: Any, phases: Any, first: Any, last: Any, out: Any, at: Any) -> Any:
    x12 = x23 = x31 = n2 = m2 = r2 = 0.0
    begin = np.uint64(first)
    end = np.uint64(last)
    if phases == 3:
        for n in range(begin, end):
            a = np.float64(samples[0, n])
            b = np.float64(samples[1, n])
            c = np.float64(samples[2, n])
            i = np.float64(samples[3, n]) + np.float64(samples[4, n]) + np.float64(samples[5, n])
            x12 += a * b
            x23 += b * c
            x31 += c * a
            n2 += i * i
    elif phases == 2:
        for n in range(begin, end):
            x12 += np.float64(samples[0, n]) * np.float64(samples[1, n])
            i = np.float64(samples[2, n]) + np.float64(samples[3, n])
            n2 += i * i
    if samples.shape[0] > 2 * phases:
        for n in range(first, last):
            y = np.float64(samples[2 * phases, n])
            i = y
            for p in range(phases):
                i += np.float64(samples[phases + p, n])
            m2 += y * y
            r2 += i * i
    out[at] = x12
    out[at + 1] = x23
    out[at + 2] = x31
    out[at + 3] = n2
    out[at + 4] = m2
    out[at + 5] = r2


@part(fastmath=FAST)
def _lerp_weights(weights: Any, fraction: Any, work: Any, line: Any) -> Any:
    place = fraction * FRACTIONS
    row = np.uint64(min(int(place), FRACTIONS - 1))
    part = place - np.float64(row)
    for k in range(np.uint64(TAPS)):
        lower = weights[row, k]
        work[line, k] = lower + part * (weights[row + np.uint64(1), k] - lower)


@part(fastmath=FAST)
def _edge_squares(samples: Any, phase: Any, m: Any, work: Any, line: Any) -> Any:
    total = 0.0
    a = np.uint64(phase)
    base = np.uint64(m - TAPS // 2)
    for k in range(np.uint64(TAPS)):
        x = np.float64(samples[a, base + k])
        total += work[line, k] * x * x
    return total


@part(fastmath=FAST)
def _edge_pair(
    samples: Any, oscillator: Any, phase: Any, phases: Any, m: Any, work: Any, out: Any, at: Any
) -> Any:
    """The correction of every product of one phase at the end of a half cycle."""
    base = np.uint64(m - TAPS // 2)
    line = np.uint64(2)
    u2 = i2 = p = us = uc = is_ = ic = u0 = i0 = 0.0
    a = np.uint64(phase)
    b = np.uint64(phases + phase)
    for k in range(np.uint64(TAPS)):
        x = np.float64(samples[a, base + k])
        y = np.float64(samples[b, base + k])
        wx = work[line, k] * x
        wy = work[line, k] * y
        s = oscillator[0, base + k]
        c = oscillator[1, base + k]
        u2 += wx * x
        i2 += wy * y
        p += wx * y
        us += wx * s
        uc += wx * c
        is_ += wy * s
        ic += wy * c
        u0 += wx
        i0 += wy
    out[at + 2], out[at + 3], out[at + 4], out[at + 5], out[at + 6] = u2, i2, p, us, uc
    out[at + 7], out[at + 8], out[at + 9], out[at + 10] = is_, ic, u0, i0


@part(fastmath=FAST)
def _edge_cross(samples: Any, phases: Any, m: Any, work: Any, out: Any, at: Any) -> Any:
    """The correction of the cross products at the end of a half cycle."""
    base = np.uint64(m - TAPS // 2)
    line = np.uint64(2)
    x12 = x23 = x31 = n2 = m2 = r2 = 0.0
    if phases == 3:
        for k in range(np.uint64(TAPS)):
            w = work[line, k]
            n = base + k
            a = np.float64(samples[0, n])
            b = np.float64(samples[1, n])
            c = np.float64(samples[2, n])
            i = np.float64(samples[3, n]) + np.float64(samples[4, n]) + np.float64(samples[5, n])
            x12 += w * a * b
            x23 += w * b * c
            x31 += w * c * a
            n2 += w * i * i
    elif phases == 2:
        for k in range(np.uint64(TAPS)):
            w = work[line, k]
            n = base + k
            i = np.float64(samples[2, n]) + np.float64(samples[3, n])
            x12 += w * np.float64(samples[0, n]) * np.float64(samples[1, n])
            n2 += w * i * i
    if samples.shape[0] > 2 * phases:
        for k in range(np.uint64(TAPS)):
            y = np.float64(samples[2 * phases, base + k])
            i = y
            for p in range(phases):
                i += np.float64(samples[phases + p, base + k])
            m2 += work[line, k] * y * y
            r2 += work[line, k] * i * i
    out[at], out[at + 1], out[at + 2] = x12, x23, x31
    out[at + 3], out[at + 4], out[at + 5] = n2, m2, r2


@part()
def _flags_between(quality: Any, first: Any, last: Any) -> Any:
    flags = 0
    for tick in range(first // TICK, (last + TICK - 1) // TICK):
        flags |= quality[tick]
    return flags


@part(fastmath=FAST)
def _sum_row(
    samples: Any,
    oscillator: Any,
    quality: Any,
    weights: Any,
    phases: Any,
    dt: Any,
    base: Any,
    times: Any,
    m: Any,
    sums: Any,
    work: Any,
    row: Any,
    partial: Any,
    final: Any,
) -> Any:
    """One half cycle between times[0] and times[3].

    `sums` has the columns of a half cycle: what a boundary at its start corrects, what one at its
    end corrects, and the sums between. Both boundaries of an inner sixth are written here.
    """
    begin, end, span = sums[0], sums[1], sums[2]
    for k in range(4):
        m[k] = int(np.floor(times[k] + 0.5)) - base
    if not final:
        for k in range(0 if not partial else 2, 3):
            fraction = times[k + 1] + 0.5 - (m[k + 1] + base)
            _lerp_weights(weights, fraction, work, np.uint64(k))
    for p in range(phases):
        at = PHASE_COLUMNS * p
        if final:
            for j in range(2, PHASE_COLUMNS):
                end[at + j] = 0.0
        else:
            _edge_pair(samples, oscillator, p, phases, m[3], work, end, at)
        # A partial half cycle has no sixths: all of it counts to the last one.
        first = second = begin[at]
        if not partial:
            first = _edge_squares(samples, p, m[1], work, np.uint64(0))
            second = _edge_squares(samples, p, m[2], work, np.uint64(1))
        end[at], begin[at + 1], end[at + 1], begin[at + 2] = first, first, second, second
        _sum_pair(samples, oscillator, p, phases, m, span, at)
    at = PHASE_COLUMNS * phases
    _sum_cross(samples, phases, m[0], m[3], span, at)
    if final:
        for j in range(CROSS_COLUMNS):
            end[at + j] = 0.0
    else:
        _edge_cross(samples, phases, m[3], work, end, at)
    row[C_START] = times[0]
    row[C_END] = times[3]
    values = row[C_PHASES:]
    for j in range(len(begin)):
        values[j] = dt * (span[j] + end[j] - begin[j])
        begin[j] = end[j]
    if phases == 1:  # the neutral carries the current of the one phase
        values[at + 3] = values[I2]
    for p in range(phases):
        begin[PHASE_COLUMNS * p] = end[PHASE_COLUMNS * p + 2]
    return _flags_between(quality, m[0], m[3]) | (PARTIAL if partial else 0)


@kernel()
def _sum_half_cycles(
    samples: Any,
    oscillator: Any,
    quality: Any,
    edges: Any,
    sums: Any,
    weights: Any,
    phases: Any,
    dt: Any,
    ints: Any,
    floats: Any,
    times: Any,
    marks: Any,
    work: Any,
    rows: Any,
    at: Any,
    final: Any,
) -> Any:
    """All half cycles whose end has been passed by the phase, into rows[at:]; the new `at`.

    The used edges are dropped.
    """
    if ints[I_STARTED] == 0:
        return at
    count = ints[I_EDGES]
    ready = ints[I_FILLED] - EDGE_GUARD
    done = count - count  # a bare 0 has a type of its own, and the loop would be compiled twice
    while at < len(rows):
        opening = ints[I_OPENED] == 0
        last = done + ((3 - ints[I_FIRST6] % 3) % 3 if opening else 3)
        complete = last < count and edges[0, last] < ready
        if not complete and not (final and floats[sync.F_START] < ints[I_TOTAL] - 0.5):
            break
        partial = opening or not complete
        times[0] = times[1] = times[2] = floats[sync.F_START]
        times[3] = edges[0, last] if complete else ints[I_TOTAL] - 0.5
        if not partial:
            times[1], times[2] = edges[0, done + 1], edges[0, done + 2]
        flags = _sum_row(
            samples, oscillator, quality, weights, phases, dt, ints[I_BASE], times, marks,
            sums, work, rows[at], partial, not complete,
        )  # fmt: skip
        if complete:
            flags |= int(edges[1, last])
        if not partial:
            flags |= int(edges[1, done + 1]) | (0 if (ints[I_FIRST6] + done) % 6 else UPWARD)
        rows[at, C_FLAGS] = flags
        ints[I_OPENED] = 1
        floats[sync.F_START] = times[3]
        at += 1
        if complete:
            done = last
    for j in range(count - done):
        edges[0, j] = edges[0, done + j]
        edges[1, j] = edges[1, done + j]
    ints[I_EDGES] -= done
    ints[I_FIRST6] += done
    return at


__all__ = [
    "COASTING",
    "INVALID",
    "PARTIAL",
    "REVERSED",
    "SATURATED",
    "UPWARD",
    "HalfCycleMeter",
    "HalfCycles",
    "edge_weights",
]
