"""Which rows of a model make its live values, and what follows from the ones it shows.

Powers and currents of one quantity may come as two registers, one for each direction; angles and
phase powers that a meter does not show are derived from voltage, current and power factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from blathy.client import Reading
from blathy.cosem.service import AttributeRef
from blathy.headend.collection.conversation import LiveValue
from blathy.models import Model
from blathy.models.model import Row
from blathy.quantity import SYMBOL, Kind, Measure, Phase, Quantity

_QUANTITIES: Final[dict[Measure, str]] = {
    Measure.U: "u", Measure.I: "i", Measure.I_N: "i_n", Measure.A_NET: "p", Measure.PF: "pf",
    Measure.F: "f", Measure.THD_U: "thd_u", Measure.THD_I: "thd_i", Measure.ANGLE: "angle_i",
}  # fmt: skip
_SIGNED: Final = (
    ("p", Measure.A_IMPORT, Measure.A_EXPORT),
    ("q", Measure.R_PLUS, Measure.R_MINUS),
    ("s", Measure.E_IMPORT, Measure.E_EXPORT),
)
"""Quantities that meters show as two registers, one for each direction."""


@dataclass(frozen=True, slots=True)
class LiveCell:
    """A row that makes a live value: directly, or one direction of a signed one."""

    ref: AttributeRef
    row: Row
    quantity: str
    sign: int


def live_cells(model: Model) -> tuple[LiveCell, ...]:
    """What to read for the live page; a net row wins over the two directions."""
    rows = [row for row in model.rows if row.source.kind is Kind.INSTANT]
    nets = {row.source.phase for row in rows if row.source.measure is Measure.A_NET}
    cells = []
    for row in rows:
        measure, phase = row.source.measure, row.source.phase
        ref = AttributeRef(row.class_id, row.obis, 2)
        if measure is Measure.ANGLE and row.source.tariff:
            cells.append(LiveCell(ref, row, "angle_u", 1))
        elif measure in _QUANTITIES:
            cells.append(LiveCell(ref, row, _QUANTITIES[measure], 1))
        for quantity, forward, backward in _SIGNED:
            if quantity == "p" and phase in nets:
                continue
            if measure in {forward, backward}:
                sign = 1 if measure is forward or quantity == "s" else -1
                cells.append(LiveCell(ref, row, quantity, sign))
    return tuple(cells)


def _phase_of(cell: LiveCell) -> int:
    if cell.quantity == "angle_u":
        return cell.row.source.tariff // 10 + 1  # 10 is U2 to U1, 20 is U3 to U1
    return int(cell.row.source.phase)


def live_values(
    cells: Sequence[LiveCell], readings: Sequence[Reading], *, brief: bool
) -> list[LiveValue]:
    """The quantities of cells that were read; without `brief` also what follows from them."""
    found: dict[tuple[str, int], LiveValue] = {}
    for cell, reading in zip(cells, readings, strict=True):
        value = _number(reading)
        if value is None:
            continue
        key = cell.quantity, _phase_of(cell)
        before = found.get(key)
        total = cell.sign * value + (before.value or 0.0 if before is not None else 0.0)
        name = cell.row.title[:1].upper() + cell.row.title[1:]
        name, obis = (before.name, before.obis) if before else (name, str(cell.row.obis))
        unit = SYMBOL.get(cell.row.shown_unit, "")
        found[key] = LiveValue(obis, name, key[1], key[0], round(total, 6), unit)
    if not brief:
        leave_undefined(found)
        _derive(found, int(Phase.TOTAL))
    return list(found.values())


def _number(reading: Reading) -> float | None:
    value = reading.value
    if isinstance(value, Quantity):
        return value.mantissa * 10.0**value.scaler
    return float(value) if isinstance(value, int | float) and not reading.error else None


def leave_undefined(found: dict[tuple[str, int], LiveValue]) -> None:
    """Without current there is no power factor and no distortion of it: meters show 0 then."""
    currents = {phase: one.value for (name, phase), one in found.items() if name == "i"}
    idle = {phase for phase, value in currents.items() if value == 0}
    if currents and len(idle) == len(currents):
        idle.add(int(Phase.TOTAL))
    for name in ("pf", "thd_i"):
        for phase in idle:
            if (name, phase) in found:
                found[name, phase] = replace(found[name, phase], value=None)


def _derive(found: dict[tuple[str, int], LiveValue], total: int) -> None:
    """Phase powers and angles that a meter does not show, from what it does show."""
    inductive = found.get(("q", total))
    sign = -1.0 if inductive is not None and (inductive.value or 0.0) < 0 else 1.0
    for phase in (1, 2, 3):
        u, i, pf = (found.get((q, phase)) for q in ("u", "i", "pf"))
        if u is None or i is None or None in {u.value, i.value}:
            continue
        if ("angle_u", phase) not in found:
            value = LiveValue("", f"Angle U{phase} (nominal)", phase, "angle_u",
                              120.0 * (phase - 1), "°")  # fmt: skip
            found["angle_u", phase] = value
        own = found.get(("angle_i", phase))
        start = found["angle_u", phase].value or 0.0
        if own is not None:
            # the table's angle is to the phase's own voltage; shown is the lag behind U1
            found["angle_i", phase] = replace(own, value=round(start + (own.value or 0.0), 2))
        if pf is None or pf.value is None:
            continue
        if ("p", phase) not in found:
            power = (u.value or 0.0) * (i.value or 0.0) * pf.value
            found["p", phase] = LiveValue(
                "",
                f"Active power L{phase} (from U, I, power factor)",
                phase,
                "p",
                round(power, 1),
                "W",
            )
        if own is None:
            # many meters give the factor without its sign: the power says which way it flows
            flow = -1.0 if (found["p", phase].value or 0.0) < 0 else 1.0
            phi = sign * math.degrees(math.acos(flow * max(-1.0, min(1.0, abs(pf.value)))))
            found["angle_i", phase] = LiveValue(
                "",
                f"Angle I{phase} (from power factor)",
                phase,
                "angle_i",
                round(start + phi, 1),
                "°",
            )
