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
from numba import njit
from numpy.typing import NDArray

from blathy.metrology import synchronisation as sync
from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.synchronisation import (
    COASTING,
    EDGE_GUARD,
    FAST,
    I_BASE,
    I_DECIMATED,
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
SLICE: Final = 8_192  # samples worked on at a time: channels of one slice fit the cache
INGEST_BLOCK: Final = 256
KEEP_S: Final = 0.75  # samples kept for the spectrum of the longest window, and the look-ahead

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
        self.capacity = self.keep + 8 * SLICE
        self.samples = np.zeros((phases + currents, self.capacity), np.float32)
        shape = (2 if phases > 1 else 1, self.capacity // self._decimation)
        self._reference = np.zeros(shape, np.float32)
        self._oscillator = np.zeros((2, self.capacity))
        self._quality = np.zeros(self.capacity // TICK + 1, np.uint8)
        self.ints = np.zeros(sync.INTEGERS, np.int64)
        self.ints[sync.I_ROTATION] = 1
        self._floats = np.zeros(sync.FLOATS)
        self._ring = np.zeros((4, sync.RING))
        edges = 8 * (self.capacity // self.step + sync.RING)
        self._edges = np.zeros((2, edges))
        columns = C_PHASES + PHASE_COLUMNS * phases + CROSS_COLUMNS
        self._edge_sums = np.zeros((2, 9 * phases + CROSS_COLUMNS))
        self._rows = np.zeros((edges // 2, columns))
        self._scale = connection.scale_per_channel()
        self._weights = edge_weights()
        self._mode = {Wiring.THREE_PHASE_3_WIRE: 1, Wiring.SPLIT_PHASE: 2}.get(connection.wiring, 0)

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
        parts = [self.push_slice(part).table.copy() for part in self.slices(frames)]
        return self.half_cycles(np.concatenate(parts))

    def checked(self, frames: NDArray[Any]) -> NDArray[Any]:
        """The frames in C order; raise ValueError when their shape or type cannot be measured."""
        frames = np.asarray(frames)
        if frames.ndim != 2 or frames.shape[1] != self.connection.channels:
            raise ValueError(
                f"frames of shape {frames.shape} do not fit; "
                f"pass (n, {self.connection.channels}) in the order of the wiring"
            )
        if frames.dtype.name not in {"int16", "int32", "float32", "float64"}:
            raise ValueError(f"samples of type {frames.dtype} cannot be read; convert to float32")
        return np.ascontiguousarray(frames)

    @staticmethod
    def slices(frames: NDArray[Any]) -> list[NDArray[Any]]:
        """The frames in pieces that `push_slice` takes, at least one."""
        return [frames[n : n + SLICE] for n in range(0, max(len(frames), 1), SLICE)]

    def push_slice(self, frames: NDArray[Any]) -> HalfCycles:
        """As `push` for at most `SLICE` frames; the table is overwritten by the next call."""
        if self.ints[I_TOTAL] - self.ints[I_BASE] + len(frames) > self.capacity:
            self._compact()
        limit = self.connection.saturation_counts(frames.dtype)
        _ingest(
            frames, self._scale, limit, self._mode, self.connection.phases, self._decimation,
            self.samples, self._reference, self._quality, self.ints,
        )  # fmt: skip
        return self._work(final=False)

    def finish(self) -> HalfCycles:
        """The half cycles that were still waiting, and the partial one at the end of the record."""
        return self._work(final=True)

    def _work(self, *, final: bool) -> HalfCycles:
        sync.measure_steps(
            self._reference, self._kernel_c, self._kernel_s, self.step, self._decimation,
            self._omega, self._floor_v, self._advance_max, self.ints, self._ring,
        )  # fmt: skip
        sync.track(
            self.ints, self._floats, self._ring, self.step,
            len(self._kernel_c) // 2 * self._decimation, 0.5 * (self._decimation - 1), self._omega,
            self._floor_v, self._advance_max, self._oscillator, self._edges, final,
        )  # fmt: skip
        count = _sum_half_cycles(
            self.samples, self._oscillator, self._quality, self._edges, self._edge_sums,
            self._weights, self.connection.phases, 1.0 / self.connection.sample_rate_hz,
            self.ints, self._floats, self._rows, final,
        )  # fmt: skip
        return self.half_cycles(self._rows[:count])

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


@njit(cache=True, nogil=True, fastmath=FAST)
def _ingest(
    frames: Any,
    scale: Any,
    limit: Any,
    mode: Any,
    phases: Any,
    decimation: Any,
    samples: Any,
    reference: Any,
    quality: Any,
    ints: Any,
) -> Any:
    """Scale, untangle and check a slice; write the reference of the synchronisation."""
    count = frames.shape[0]
    at = ints[I_TOTAL] - ints[I_BASE]
    channels = frames.shape[1]
    flat = frames.reshape(-1)
    for begin in range(0, count, INGEST_BLOCK):  # so few frames that they stay in the cache
        size = min(INGEST_BLOCK, count - begin)
        for channel in range(channels):
            row = channel
            if mode == 1:  # u12 u32 i1 i3 [in]: leave room for the second phase
                row = (0, 2, 3, 5, 6)[channel]
            factor = np.float32(scale[channel])
            level = np.float32(limit) * abs(factor)
            # Views, here and below: an index that starts at 0 is what the compiler can vectorise.
            line = samples[row, at + begin : at + begin + size]
            column = flat[begin * channels + channel : (begin + size) * channels]
            if channels == 6:  # the common case, with a stride that the compiler knows
                for n in range(size):
                    line[n] = np.float32(column[n * 6]) * factor
            else:
                for n in range(size):
                    line[n] = np.float32(column[n * channels]) * factor
            bad = 0
            for n in range(size):
                bad += 0 if abs(line[n]) < level else 1
            if bad:
                _mark_bad(level, line, quality, at + begin)
    if mode == 1:
        _star_point(samples, at, count)
    ints[I_TOTAL] += count
    short_base = ints[I_BASE] // decimation
    last = ints[I_TOTAL] // decimation
    first = ints[I_DECIMATED]
    _write_reference(
        samples, reference, first - short_base, last - short_base, phases, mode, decimation
    )
    ints[I_DECIMATED] = last


@njit(cache=True, nogil=True)
def _mark_bad(level: Any, line: Any, quality: Any, at: Any) -> Any:
    for n in range(len(line)):
        if not np.isfinite(line[n]):
            line[n] = 0.0
            quality[(at + n) // TICK] |= INVALID
        elif abs(line[n]) >= level:
            quality[(at + n) // TICK] |= SATURATED


@njit(cache=True, nogil=True, fastmath=FAST)
def _star_point(samples: Any, at: Any, count: Any) -> Any:
    for n in range(at, at + count):
        u12, u32 = samples[0, n], samples[2, n]
        u2 = -(u12 + u32) / np.float32(3.0)
        samples[1, n] = u2
        samples[0, n] = u12 + u2
        samples[2, n] = u32 + u2
        samples[4, n] = -(samples[3, n] + samples[5, n])


@njit(cache=True, nogil=True, fastmath=FAST)
def _write_reference(
    samples: Any, reference: Any, first: Any, last: Any, phases: Any, mode: Any, decimation: Any
) -> Any:
    """alpha and beta of the voltages, the mean of `decimation` samples each, into [first, last)."""
    # One row at a time: of a part of several rows the compiler would not know that it has no gaps.
    a = samples[0, first * decimation : last * decimation]
    b = samples[1 if phases > 1 else 0, first * decimation : last * decimation]
    c = samples[2 if phases > 2 else 0, first * decimation : last * decimation]
    # Factors of the three voltages in alpha and in beta.
    part = 1.0 / decimation
    if phases == 1:
        a1, b1, c1, b2, c2 = part, 0.0, 0.0, 0.0, 0.0
    elif mode == 2:
        a1, b1, c1, b2, c2 = 0.5 * part, -0.5 * part, 0.0, 0.0, 0.0
    elif phases == 2:
        a1, b1, c1, b2, c2 = part * 2.0 / 3.0, -part / 3.0, 0.0, part / np.sqrt(3.0), 0.0
    else:
        root = part / np.sqrt(3.0)
        a1, b1, c1, b2, c2 = part * 2.0 / 3.0, -part / 3.0, -part / 3.0, root, -root
    alpha = reference[0, first:last]
    beta = reference[1 if phases > 1 else 0, first:last]
    count = np.uint64(last - first)
    if decimation == 1:  # the usual factors are spelt out, so that the compiler vectorises
        for m in range(count):
            y, z = np.float64(b[m]), np.float64(c[m])
            beta[m] = np.float32(b2 * y + c2 * z)
            alpha[m] = np.float32(a1 * np.float64(a[m]) + b1 * y + c1 * z)
    elif decimation == 2:
        for m in range(count):
            n = m * np.uint64(2)
            y = np.float64(b[n]) + np.float64(b[n + np.uint64(1)])
            z = np.float64(c[n]) + np.float64(c[n + np.uint64(1)])
            x = np.float64(a[n]) + np.float64(a[n + np.uint64(1)])
            beta[m] = np.float32(b2 * y + c2 * z)
            alpha[m] = np.float32(a1 * x + b1 * y + c1 * z)
    else:
        for m in range(last - first):
            sum_a = sum_b = sum_c = 0.0
            for k in range(m * decimation, (m + 1) * decimation):
                sum_a += a[k]
                sum_b += b[k]
                sum_c += c[k]
            beta[m] = np.float32(b2 * sum_b + c2 * sum_c)
            alpha[m] = np.float32(a1 * sum_a + b1 * sum_b + c1 * sum_c)


# Below, indices are unsigned: they cannot be negative, so the compiler vectorises; and arrays are
# passed whole, because a view costs more than the sixteen products it would be made for.


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_pair(
    samples: Any, oscillator: Any, phase: Any, phases: Any, first: Any, last: Any, out: Any
) -> Any:
    """Σ of u², i², ui, u·s, u·c, i·s, i·c, u, i over [first, last) into out[:9]."""
    u2 = i2 = p = us = uc = is_ = ic = u0 = i0 = 0.0
    a = np.uint64(phase)
    b = np.uint64(phases + phase)
    for n in range(np.uint64(first), np.uint64(last)):
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
    out[0] = u2
    out[1] = i2
    out[2] = p
    out[3] = us
    out[4] = uc
    out[5] = is_
    out[6] = ic
    out[7] = u0
    out[8] = i0


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_squares(samples: Any, phase: Any, first: Any, last: Any) -> Any:
    u2 = 0.0
    a = np.uint64(phase)
    for n in range(np.uint64(first), np.uint64(last)):
        x = np.float64(samples[a, n])
        u2 += x * x
    return u2


@njit(cache=True, nogil=True, fastmath=FAST)
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


@njit(cache=True, nogil=True, fastmath=FAST)
def _lerp_weights(weights: Any, fraction: Any, work: Any, line: Any) -> Any:
    place = fraction * FRACTIONS
    row = np.uint64(min(int(place), FRACTIONS - 1))
    part = place - np.float64(row)
    for k in range(np.uint64(TAPS)):
        lower = weights[row, k]
        work[line, k] = lower + part * (weights[row + np.uint64(1), k] - lower)


@njit(cache=True, nogil=True, fastmath=FAST)
def _edge_squares(samples: Any, phase: Any, m: Any, work: Any, line: Any) -> Any:
    total = 0.0
    a = np.uint64(phase)
    base = np.uint64(m - TAPS // 2)
    for k in range(np.uint64(TAPS)):
        x = np.float64(samples[a, base + k])
        total += work[line, k] * x * x
    return total


@njit(cache=True, nogil=True, fastmath=FAST)
def _edge_all(
    samples: Any, oscillator: Any, phases: Any, m: Any, work: Any, line: Any, out: Any
) -> Any:
    """The correction of every product at one boundary, into the second row of `out`."""
    base = np.uint64(m - TAPS // 2)
    for p in range(phases):
        u2 = i2 = pw = us = uc = is_ = ic = u0 = i0 = 0.0
        a = np.uint64(p)
        b = np.uint64(phases + p)
        for k in range(np.uint64(TAPS)):
            x = np.float64(samples[a, base + k])
            y = np.float64(samples[b, base + k])
            wx = work[line, k] * x
            wy = work[line, k] * y
            s = oscillator[0, base + k]
            c = oscillator[1, base + k]
            u2 += wx * x
            i2 += wy * y
            pw += wx * y
            us += wx * s
            uc += wx * c
            is_ += wy * s
            ic += wy * c
            u0 += wx
            i0 += wy
        at = 9 * p
        out[1, at] = u2
        out[1, at + 1] = i2
        out[1, at + 2] = pw
        out[1, at + 3] = us
        out[1, at + 4] = uc
        out[1, at + 5] = is_
        out[1, at + 6] = ic
        out[1, at + 7] = u0
        out[1, at + 8] = i0
    at = 9 * phases
    for j in range(CROSS_COLUMNS):
        out[1, at + j] = 0.0
    if phases >= 2:
        _edge_cross(samples, phases, base, work, line, out, at)
    if samples.shape[0] > 2 * phases:
        for k in range(np.uint64(TAPS)):
            y = np.float64(samples[2 * phases, base + k])
            i = y
            for p in range(phases):
                i += np.float64(samples[phases + p, base + k])
            out[1, at + 4] += work[line, k] * y * y
            out[1, at + 5] += work[line, k] * i * i


@njit(cache=True, nogil=True, fastmath=FAST)
def _edge_cross(
    samples: Any, phases: Any, base: Any, work: Any, line: Any, out: Any, at: Any
) -> Any:
    x12 = x23 = x31 = n2 = 0.0
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
    else:
        for k in range(np.uint64(TAPS)):
            w = work[line, k]
            n = base + k
            i = np.float64(samples[2, n]) + np.float64(samples[3, n])
            x12 += w * np.float64(samples[0, n]) * np.float64(samples[1, n])
            n2 += w * i * i
    out[1, at] = x12
    out[1, at + 1] = x23
    out[1, at + 2] = x31
    out[1, at + 3] = n2


@njit(cache=True, nogil=True)
def _clear(row: Any) -> Any:
    # Loops instead of slice assignment: numba compiles those in a tenth of the time.
    for j in range(len(row)):
        row[j] = 0.0


@njit(cache=True, nogil=True)
def _flags_between(quality: Any, first: Any, last: Any) -> Any:
    flags = 0
    for tick in range(first // TICK, (last + TICK - 1) // TICK):
        flags |= quality[tick]
    return flags


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_row(
    samples: Any,
    oscillator: Any,
    quality: Any,
    weights: Any,
    phases: Any,
    dt: Any,
    base: Any,
    times: Any,
    sums: Any,
    work: Any,
    row: Any,
    partial_start: Any,
    final: Any,
) -> Any:
    """One half cycle between times[0] and times[3]; sums[0] holds the correction at its start."""
    # Rows of the workspace: weights at the inner sixths and at the end, sums of a pair.
    m0 = int(np.floor(times[0] + 0.5)) - base
    m1 = int(np.floor(times[1] + 0.5)) - base
    m2 = int(np.floor(times[2] + 0.5)) - base
    m3 = int(np.floor(times[3] + 0.5)) - base
    whole = partial_start or final
    if final:
        for j in range(sums.shape[1]):
            sums[1, j] = 0.0
    else:
        _lerp_weights(weights, times[3] + 0.5 - (m3 + base), work, np.uint64(2))
        _edge_all(samples, oscillator, phases, m3, work, np.uint64(2), sums)
    if not whole:
        _lerp_weights(weights, times[1] + 0.5 - (m1 + base), work, np.uint64(0))
        _lerp_weights(weights, times[2] + 0.5 - (m2 + base), work, np.uint64(1))
    row[C_START] = times[0]
    row[C_END] = times[3]
    spans = work[3]
    for p in range(phases):
        at = C_PHASES + PHASE_COLUMNS * p
        _sum_pair(samples, oscillator, p, phases, m0, m3, spans)
        for j in range(1, 9):
            row[at + 2 + j] = dt * (spans[j] + sums[1, 9 * p + j] - sums[0, 9 * p + j])
        before, after = sums[0, 9 * p], sums[1, 9 * p]
        total = dt * (spans[0] + after - before)
        if whole:
            row[at] = total
            row[at + 1] = 0.0
            row[at + 2] = 0.0
            continue
        first = _edge_squares(samples, p, m1, work, np.uint64(0))
        second = _edge_squares(samples, p, m2, work, np.uint64(1))
        row[at] = dt * (_sum_squares(samples, p, m0, m1) + first - before)
        row[at + 1] = dt * (_sum_squares(samples, p, m1, m2) + second - first)
        row[at + 2] = total - row[at] - row[at + 1]
    _sum_cross(samples, phases, m0, m3, spans, 0)
    at = C_PHASES + PHASE_COLUMNS * phases
    for j in range(CROSS_COLUMNS):
        row[at + j] = dt * (spans[j] + sums[1, 9 * phases + j] - sums[0, 9 * phases + j])
    if phases == 1:
        row[at + 3] = row[C_PHASES + I2]
    for j in range(sums.shape[1]):
        sums[0, j] = sums[1, j]
    return _flags_between(quality, m0, m3) | (PARTIAL if whole else 0)


@njit(cache=True, nogil=True)
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
    rows: Any,
    final: Any,
) -> Any:
    """All half cycles whose end has been passed by the phase; the used edges are dropped."""
    if ints[I_STARTED] == 0:
        return 0
    base = ints[I_BASE]
    count = ints[I_EDGES]
    times = np.empty(4)
    work = np.empty((4, TAPS))
    done = 0
    n_rows = 0
    ready = ints[I_FILLED] - EDGE_GUARD
    # Variables where constants would do: a constant has a type of its own, and the row with all it
    # calls would be compiled once for each.
    opening = ints[I_OPENED] == 0
    ended = ints[I_STARTED] == 0
    if opening:
        first = (3 - ints[I_FIRST6] % 3) % 3
        if first < count and edges[0, first] < ready:
            times[0] = times[1] = times[2] = floats[sync.F_START]
            times[3] = edges[0, first]
            _clear(sums[0])
            flags = _sum_row(
                samples, oscillator, quality, weights, phases, dt, base, times, sums, work,
                rows[0], opening, ended,
            )  # fmt: skip
            rows[0, C_FLAGS] = flags | int(edges[1, first])
            n_rows = 1
            ints[I_OPENED] = 1
            opening = ints[I_OPENED] == 0
            floats[sync.F_START] = edges[0, first]
            done = first
    if not opening:
        while done + 3 < count and edges[0, done + 3] < ready:
            for j in range(4):
                times[j] = edges[0, done + j]
            flags = _sum_row(
                samples, oscillator, quality, weights, phases, dt, base, times, sums, work,
                rows[n_rows], opening, ended,
            )  # fmt: skip
            flags |= int(edges[1, done + 3]) | int(edges[1, done + 1])
            rows[n_rows, C_FLAGS] = flags | (0 if (ints[I_FIRST6] + done) % 6 else UPWARD)
            n_rows += 1
            done += 3
            floats[sync.F_START] = times[3]
    if final and floats[sync.F_START] < ints[I_TOTAL] - 0.5:
        times[0] = times[1] = times[2] = floats[sync.F_START]
        times[3] = ints[I_TOTAL] - 0.5
        ended = ints[I_STARTED] != 0
        if opening:
            _clear(sums[0])
        flags = _sum_row(
            samples, oscillator, quality, weights, phases, dt, base, times, sums, work,
            rows[n_rows], opening, ended,
        )  # fmt: skip
        rows[n_rows, C_FLAGS] = flags
        floats[sync.F_START] = times[3]
        n_rows += 1
    if done:
        for j in range(count - done):
            edges[0, j] = edges[0, done + j]
            edges[1, j] = edges[1, done + j]
        ints[I_EDGES] -= done
        ints[I_FIRST6] += done
    return n_rows


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
