"""Instantaneous values as the books need them: powers by direction and angles, from a block."""

from __future__ import annotations

from typing import Final

import numpy as np

from blathy.quantity import Measure, Phase, Source
from blathy.registers.block import INSTANT_COLUMNS, INSTANT_INDEX, PHASES
from blathy.registers.cells import Cells

FULL_CIRCLE_MDEG: Final = 360_000
_DIRECT: Final = {
    Measure.U: "u_mv",
    Measure.I: "i_ma",
    Measure.PF: "pf_milli",
    Measure.THD_U: "thd_u_milli_percent",
    Measure.THD_I: "thd_i_milli_percent",
    Measure.UNBALANCE_U: "u2_milli_percent",
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
_NO_ROWS: Final = np.zeros((0, len(INSTANT_COLUMNS)), dtype=np.int64)


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


class InstantColumns:
    """Many instantaneous values at once, (m, columns).

    With `highest` True or False their largest or smallest values inside each interval, where the
    block has them; what needs P and Q of the same moment is taken from the means.

    Columns that are worked out alike are worked out together, so that one second of a meter that
    records eighty values costs a dozen array operations.
    """

    __slots__ = ("_groups", "rms", "sources", "width")

    def __init__(self, sources: tuple[Source, ...], *, highest: bool | None = None) -> None:
        self.sources = sources
        self.width = len(sources)
        self.rms = np.array([i for i, s in enumerate(sources) if s.measure in RMS], dtype=np.intp)
        groups: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for place, source in enumerate(sources):
            instant_of(_NO_ROWS, source)  # refuses what is no instantaneous value
            origin, operation, column = _recipe(source, highest)
            columns, places = groups.setdefault((origin, operation), ([], []))
            columns.append(column)
            places.append(place)
        self._groups = [
            (origin, operation, np.array(columns, dtype=np.intp), np.array(places, dtype=np.intp))
            for (origin, operation), (columns, places) in groups.items()
        ]

    def values(self, means: Cells, lows: Cells | None, highs: Cells | None) -> Cells:
        """The columns for every row of a block's means and extremes."""
        found = np.empty((len(means), self.width), dtype=np.int64)
        for origin, operation, columns, places in self._groups:
            extremes = {"means": means, "lows": lows, "highs": highs}[origin]
            rows = means if extremes is None else extremes
            if operation == "each":
                for place in places:
                    found[:, place] = instant_of(means, self.sources[place])
            else:
                found[:, places] = _apply(operation, rows[:, columns])
        return found

    def summands(self, means: Cells) -> Cells:
        """What is added up for a mean: squares where the mean is a root mean square."""
        found = self.values(means, None, None)
        if len(self.rms):
            found[:, self.rms] *= found[:, self.rms]
        return found


def _recipe(source: Source, highest: bool | None) -> tuple[str, str, int]:
    """From which rows, by which operation, from which column."""
    measure, phase = source.measure, source.phase
    extremes = "means" if highest is None else "highs" if highest else "lows"
    opposite = "means" if highest is None else "lows" if highest else "highs"
    operations = {
        Measure.A_IMPORT: ("p_mw", "positive", extremes),
        Measure.A_EXPORT: ("p_mw", "negative", opposite),
        Measure.A_NET: ("p_mw", "plain", extremes),
        Measure.R_PLUS: ("q_mvar", "positive", extremes),
        Measure.R_MINUS: ("q_mvar", "negative", opposite),
        Measure.F: ("f_mhz", "plain", extremes),
        Measure.I_N: ("i_n_ma", "plain", extremes),
    }
    if measure in operations:
        name, operation, origin = operations[measure]
        column = INSTANT_INDEX.get((name, phase), INSTANT_INDEX[name, Phase.TOTAL])
        return origin, operation, column
    if measure in _DIRECT:
        return extremes, "plain", INSTANT_INDEX[_DIRECT[measure], phase]
    return "means", "each", 0


def _apply(operation: str, values: Cells) -> Cells:
    if operation == "positive":
        return np.maximum(values, 0)
    return np.maximum(-values, 0) if operation == "negative" else values
