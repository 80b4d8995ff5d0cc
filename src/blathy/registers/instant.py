"""Instantaneous values as the books need them: powers by direction and angles, from a block."""

from __future__ import annotations

from typing import Final

import numpy as np

from blathy.quantity import Measure, Phase, Source
from blathy.registers.block import INSTANT_INDEX, PHASES
from blathy.registers.cells import Cells

FULL_CIRCLE_MDEG: Final = 360_000
_DIRECT: Final = {
    Measure.U: "u_mv",
    Measure.I: "i_ma",
    Measure.PF: "pf_milli",
    Measure.THD_U: "thd_u_milli_percent",
    Measure.THD_I: "thd_i_milli_percent",
}
_ANGLE_COLUMNS: Final = {
    0: ("angle_u_mdeg", Phase.L1),
    1: ("angle_u_mdeg", Phase.L2),
    2: ("angle_u_mdeg", Phase.L3),
    4: ("angle_i_mdeg", Phase.L1),
    5: ("angle_i_mdeg", Phase.L2),
    6: ("angle_i_mdeg", Phase.L3),
}
RMS: Final = frozenset({Measure.U, Measure.I, Measure.I_N})
"""Means of these are root mean squares (IEC 61000-4-30), of everything else arithmetic."""
FALLING: Final = frozenset({Measure.A_EXPORT, Measure.R_MINUS})
"""Grow when the signed power falls: their largest value comes from the smallest power."""
DIRECTED: Final = frozenset(
    {
        Measure.A_IMPORT,
        Measure.A_EXPORT,
        Measure.A_ABS,
        Measure.A_NET,
        Measure.R_PLUS,
        Measure.R_MINUS,
        Measure.R1,
        Measure.R2,
        Measure.R3,
        Measure.R4,
        Measure.E_IMPORT,
        Measure.E_EXPORT,
    }
)
"""Powers by direction and quadrant, from the signed P and Q and from S."""
_BY_QUADRANT: Final = DIRECTED - {
    Measure.A_IMPORT,
    Measure.A_EXPORT,
    Measure.A_NET,
    Measure.R_PLUS,
    Measure.R_MINUS,
}
"""Need P and Q of the same moment, so their extremes come from the intervals' means."""


def instant_of(instant: Cells, source: Source) -> Cells:
    """The source's value in every row of `instant` (m, columns); raise ValueError if unknown.

    ANGLE of a phase is the current's angle to its own voltage; with `tariff` = 10 a + b it is the
    angle from b to a as OBIS 1-0:81.7.ab counts them (0-2 the voltages, 4-6 the currents), in
    [0°, 360°).
    """
    measure, phase = source.measure, source.phase
    if measure is None:
        raise ValueError(f"{source} is no instantaneous value")
    if measure in DIRECTED:
        return _directed(instant, measure, phase)
    if measure is Measure.ANGLE:
        return _angle(instant, source)
    if measure is Measure.F:
        return instant[:, INSTANT_INDEX["f_mhz", Phase.TOTAL]]
    if measure is Measure.I_N:
        return instant[:, INSTANT_INDEX["i_n_ma", Phase.TOTAL]]
    column = (_DIRECT.get(measure, ""), phase)
    if column not in INSTANT_INDEX:
        raise ValueError(f"{source} is no instantaneous value")
    return instant[:, INSTANT_INDEX[column]]


def extreme_of(
    means: Cells, lows: Cells | None, highs: Cells | None, source: Source, *, highest: bool
) -> Cells:
    """The largest or smallest value inside each interval, from the extremes where they are there.

    Quantities that need P and Q of the same moment are taken from the means.
    """
    if source.measure in _BY_QUADRANT or source.measure is Measure.ANGLE:
        return instant_of(means, source)
    from_highs = highest is not (source.measure in FALLING)
    extremes = highs if from_highs else lows
    return instant_of(means if extremes is None else extremes, source)


def _directed(instant: Cells, measure: Measure, phase: Phase) -> Cells:
    at = PHASES.index(phase)
    p = instant[:, INSTANT_INDEX["p_mw", Phase.TOTAL] + at]
    if measure in {Measure.A_IMPORT, Measure.A_EXPORT, Measure.A_ABS, Measure.A_NET}:
        return _active(p, measure)
    if measure in {Measure.E_IMPORT, Measure.E_EXPORT}:
        s = instant[:, INSTANT_INDEX["s_mva", Phase.TOTAL] + at]
        return np.where((p >= 0) == (measure is Measure.E_IMPORT), s, 0)
    q = instant[:, INSTANT_INDEX["q_mvar", Phase.TOTAL] + at]
    return _reactive(p, q, measure)


def _active(p: Cells, measure: Measure) -> Cells:
    if measure is Measure.A_IMPORT:
        return np.maximum(p, 0)
    if measure is Measure.A_EXPORT:
        return np.maximum(-p, 0)
    return np.abs(p) if measure is Measure.A_ABS else p


def _reactive(p: Cells, q: Cells, measure: Measure) -> Cells:
    if measure is Measure.R_PLUS:
        return np.maximum(q, 0)
    if measure is Measure.R_MINUS:
        return np.maximum(-q, 0)
    inductive = measure in {Measure.R1, Measure.R2}
    importing = measure in {Measure.R1, Measure.R4}
    here = ((q >= 0) == inductive) & ((p >= 0) == importing)
    return np.where(here, np.abs(q), 0)


def _angle(instant: Cells, source: Source) -> Cells:
    end, start = divmod(source.tariff, 10)
    if source.tariff == 0 and source.phase is not Phase.TOTAL:
        end, start = 3 + source.phase, source.phase - 1
    if end not in _ANGLE_COLUMNS or start not in _ANGLE_COLUMNS:
        raise ValueError(f"{source}: there is no such angle")
    difference = instant[:, INSTANT_INDEX[_ANGLE_COLUMNS[end]]]
    difference = difference - instant[:, INSTANT_INDEX[_ANGLE_COLUMNS[start]]]
    angle: Cells = difference % FULL_CIRCLE_MDEG
    return angle
