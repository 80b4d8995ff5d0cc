"""Values of a meter per second and per 10 s, 5 min …: mean, least and largest with their times.

U, I and In are averaged as root of the mean square, P, Q1, S and f arithmetically. `instants_of`
turns seconds into the integers a register engine takes: mV, mA, mW, mvar, mVA, thousandths of the
power factor, mHz, thousandths of a percent and of a degree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.energy import (
    S_I2,
    S_IC,
    S_IS,
    S_P,
    S_Q,
    S_S,
    S_U2,
    S_UC,
    S_US,
    T_CROSS,
    T_CYCLES,
    T_P,
    T_Q,
    T_S,
    T_TIME,
    Seconds,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INSTANTS = 39
"""Columns of `instants_of`: u i p q s pf (total, L1, L2, L3 each), In, f, THD of U (3), THD of I
(3), angle of U (3), angle of I (3), u2."""


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """Names and kinds of the columns of `values_of`, for a number of phases."""

    phases: int

    @property
    def names(self) -> tuple[str, ...]:
        per_phase = [
            f"{name}{p + 1}_{unit}"
            for name, unit in (("u", "v"), ("i", "a"), ("p", "w"), ("q", "var"), ("s", "va"))
            for p in range(self.phases)
        ]
        return (*per_phase, "i_n_a", "p_w", "q_var", "s_va", "f_hz")

    @property
    def rooted(self) -> NDArray[np.bool_]:
        """Which columns are averaged as squares."""
        return np.array([name[0] in "ui" for name in self.names])


def values_of(seconds: Seconds) -> FloatArray:
    """(n, columns) of `ValueColumns` for each second; NaN where no time was measured."""
    time_s = np.where(seconds.time_s > 0, seconds.time_s, np.nan)[:, None]
    part = seconds.per_phase
    totals = seconds.totals
    neutral = totals[:, T_CROSS + 4 : T_CROSS + 5]
    calculated = totals[:, T_CROSS + 3 : T_CROSS + 4]
    neutral = np.where(neutral > 0, neutral, calculated)
    return np.concatenate(
        [
            np.sqrt(np.maximum(part[:, :, S_U2], 0.0) / time_s),
            np.sqrt(np.maximum(part[:, :, S_I2], 0.0) / time_s),
            part[:, :, S_P] / time_s,
            part[:, :, S_Q] / time_s,
            part[:, :, S_S] / time_s,
            np.sqrt(np.maximum(neutral, 0.0) / time_s),
            totals[:, [T_P, T_Q, T_S]] / time_s,
            totals[:, T_CYCLES : T_CYCLES + 1] / time_s,
        ],
        axis=1,
    )


@dataclass(frozen=True, eq=False)
class Extremes:
    """`n` consecutive periods: mean, minimum and maximum of every column and when they were.

    `*_at_utc_s` is the beginning of the shorter interval that holds the extreme. `count` tells how
    many of the shorter intervals were there; `flags` are those of all of them.
    """

    start_utc_s: int
    period_s: int
    mean: FloatArray
    minimum: FloatArray
    maximum: FloatArray
    minimum_at_utc_s: IntArray
    maximum_at_utc_s: IntArray
    count: IntArray
    flags: IntArray

    def __len__(self) -> int:
        return len(self.mean)


class ExtremesCollector:
    """Collects consecutive values of `step_s` into periods aligned to UTC."""

    def __init__(self, period_s: int, step_s: int, columns: ValueColumns) -> None:
        if period_s % step_s or 86_400 % period_s:
            raise ValueError("a period is a whole number of steps and divides the day")
        self.period_s = period_s
        self.step_s = step_s
        self._rooted = columns.rooted
        self._values = np.zeros((0, len(self._rooted)))
        self._flags = np.zeros(0, np.int64)
        self._start = -1

    def add(self, start_utc_s: int, values: FloatArray, flags: IntArray) -> Extremes:
        """The periods that these values complete; values must follow each other."""
        if self._start < 0:
            self._start = start_utc_s
        self._values = np.concatenate([self._values, values])
        self._flags = np.concatenate([self._flags, flags])
        return self._close(final=False)

    def finish(self) -> Extremes:
        """The period that had begun; `count` says how much of it was there."""
        return self._close(final=True)

    def _close(self, *, final: bool) -> Extremes:
        first_period = self._start // self.period_s * self.period_s
        lead = (self._start - first_period) // self.step_s
        per = self.period_s // self.step_s
        have = lead + len(self._values)
        periods = -(-have // per) if final else have // per
        if len(self._values) == 0:
            periods = 0
        used = min(periods * per - lead, len(self._values)) if periods else 0
        width = self._values.shape[1]
        grid = np.full((periods * per, width), np.nan)
        grid[lead : lead + used] = self._values[:used]
        marks = np.zeros(periods * per, np.int64)
        marks[lead : lead + used] = self._flags[:used]
        self._values, self._flags = self._values[used:], self._flags[used:]
        self._start += used * self.step_s
        return self._reduce(first_period, grid.reshape(periods, per, width), marks)

    def _reduce(self, first_period: int, grid: FloatArray, marks: IntArray) -> Extremes:
        periods, per, width = grid.shape
        there = ~np.isnan(grid)
        count = np.maximum(there.sum(axis=1), 1)
        plain = np.where(there, grid, 0.0)
        mean = plain.sum(axis=1) / count
        squares = np.sqrt((plain**2).sum(axis=1) / count)
        low, high = np.where(there, grid, np.inf), np.where(there, grid, -np.inf)
        start = first_period + self.period_s * np.arange(periods)[:, None]
        return Extremes(
            first_period,
            self.period_s,
            np.where(self._rooted, squares, mean),
            low.min(axis=1) if periods else np.zeros((0, width)),
            high.max(axis=1) if periods else np.zeros((0, width)),
            start + self.step_s * (low.argmin(axis=1) if periods else np.zeros((0, width), int)),
            start + self.step_s * (high.argmax(axis=1) if periods else np.zeros((0, width), int)),
            there.any(axis=2).sum(axis=1),
            np.bitwise_or.reduce(marks.reshape(periods, per), axis=1)
            if periods
            else np.zeros(0, np.int64),
        )


def instants_of(seconds: Seconds, thd_percent: FloatArray | None = None) -> IntArray:
    """(n, 39) integers of each second, in the order of `registers.block.INSTANT_COLUMNS`.

    `thd_percent` (n, 2 x phases): voltages, then currents; missing values and phases are 0.
    The total voltage is the mean of the phases with voltage, the total current the largest one.
    """
    n, phases = len(seconds), seconds.phases
    out = np.zeros((n, INSTANTS))
    values = np.nan_to_num(values_of(seconds), nan=0.0)
    for group in range(5):  # u i p q s
        out[:, 4 * group + 1 : 4 * group + 1 + phases] = (
            1e3 * values[:, group * phases : (group + 1) * phases]
        )
    there = out[:, 1:4] > 0
    out[:, 0] = out[:, 1:4].sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    out[:, 4] = out[:, 5:8].max(axis=1)
    tail = 5 * phases
    out[:, [8, 12, 16]] = 1e3 * values[:, tail + 1 : tail + 4]
    for phase in range(4):
        p, s = out[:, 8 + phase], out[:, 16 + phase]
        out[:, 20 + phase] = 1e3 * np.divide(p, s, out=np.zeros(n), where=s > 0)
    out[:, 24] = 1e3 * values[:, tail]
    out[:, 25] = 1e3 * values[:, tail + 4]
    if thd_percent is not None:
        thd = np.nan_to_num(thd_percent, nan=0.0)
        out[:, 26 : 26 + phases] = 1e3 * thd[:, :phases]
        out[:, 29 : 29 + phases] = 1e3 * thd[:, phases : 2 * phases]
    _angles(seconds, out)
    return np.round(out).astype(np.int64)


def supply_of(seconds: Seconds, threshold_v: float) -> NDArray[np.uint8]:
    """(n,) bit 0 L1, bit 1 L2, bit 2 L3: the phase carried more than `threshold_v`."""
    time_s = np.where(seconds.totals[:, T_TIME] > 0, seconds.totals[:, T_TIME], np.inf)
    live = seconds.per_phase[:, :, S_U2] > threshold_v**2 * time_s[:, None]
    return np.asarray((live << np.arange(seconds.phases)).sum(axis=1), np.uint8)


def _angles(seconds: Seconds, out: FloatArray) -> None:
    part = seconds.per_phase
    voltage = part[:, :, S_US] + 1j * part[:, :, S_UC]
    current = part[:, :, S_IS] + 1j * part[:, :, S_IC]
    phases = seconds.phases
    for at, phasor in ((32, voltage), (35, current)):
        lag = np.mod(-np.degrees(np.angle(phasor * voltage[:, :1].conj())), 360.0)
        out[:, at : at + phases] = 1e3 * np.where(np.abs(phasor) > 0, lag, 0.0)
    out[:, 32:38] = np.where(out[:, 32:38] >= 359_999.5, 0.0, out[:, 32:38])
    if phases == 3:
        out[:, 38] = 1e3 * _u2_percent(voltage)


def _u2_percent(voltage: NDArray[np.complex128]) -> FloatArray:
    """Negative over positive sequence of (n, 3) fundamental phasors; 0 without a positive one.

    Of a reversed phase order the share may be beyond all bounds; it is cut at 1000 %.
    """
    turn = np.exp(2j * np.pi / 3 * np.arange(3))
    positive, negative = np.abs(voltage @ turn), np.abs(voltage @ turn.conj())
    floor = 1e-9 * np.abs(voltage).sum(axis=1)
    share = np.divide(negative, positive, out=np.zeros(len(voltage)), where=positive > floor)
    return np.asarray(100.0 * np.minimum(share, 10.0))
