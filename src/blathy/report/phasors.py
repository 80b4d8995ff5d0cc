"""The phasor diagram: voltages and currents of the fundamental as arrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from typing import Final

from blathy.report.drawing import FAINT, SOFT, Area, Drawing, Line, Text

_CENTRE: Final = (150.0, 128.0)
_RADIUS: Final = 96.0
_HEAD: Final = 7.0


@dataclass(frozen=True, slots=True)
class Phasor:
    """An arrow: `length` 0 … 1 of the circle, `lag_deg` clockwise from the right, as vectors turn
    against the clock and a lagging one stays behind."""

    name: str
    length: float
    lag_deg: float
    colour: str
    dashed: bool = False
    legend: str = ""


def phasor_diagram(title: str, phasors: Sequence[Phasor]) -> Drawing:
    """Arrows in a circle with a spoke every 30° and the values beside it."""
    drawing = Drawing(520.0, 256.0, title)
    x, y = _CENTRE
    drawing.shapes.append(Text(6, 12, title, 9.5))
    for share in (0.5, 1.0):
        ring = tuple(
            (x + share * _RADIUS * cos(n * pi / 36), y + share * _RADIUS * sin(n * pi / 36))
            for n in range(73)
        )
        drawing.shapes.append(Line(ring, FAINT, 0.7))
    for spoke in range(0, 360, 30):
        tip = _tip(1.0, float(spoke))
        drawing.shapes.append(Line((_CENTRE, tip), FAINT, 0.5))
        if spoke % 90 == 0:
            place = _tip(1.14, float(spoke))
            shown = spoke if spoke <= 180 else spoke - 360
            drawing.shapes.append(Text(place[0], place[1] + 2.5, f"{shown}°", 7, "middle", SOFT))
    for row, phasor in enumerate(phasors):
        _arrow(drawing, phasor)
        _entry(drawing, phasor, 30.0 + 16.0 * row)
    return drawing


def _tip(length: float, lag_deg: float) -> tuple[float, float]:
    """End of an arrow; a lag turns clockwise, which is downwards on the page."""
    angle = radians(lag_deg)
    return (
        _CENTRE[0] + length * _RADIUS * cos(angle),
        _CENTRE[1] + length * _RADIUS * sin(angle),
    )


def _arrow(drawing: Drawing, phasor: Phasor) -> None:
    if phasor.length <= 0.01:
        return
    tip = _tip(phasor.length, phasor.lag_deg)
    dash = (4.0, 2.5) if phasor.dashed else ()
    drawing.shapes.append(Line((_CENTRE, tip), phasor.colour, 1.6, dash))
    back = radians(phasor.lag_deg)
    wings = [
        (tip[0] - _HEAD * cos(back + side), tip[1] - _HEAD * sin(back + side))
        for side in (0.4, -0.4)
    ]
    drawing.shapes.append(Area((tip, wings[0], wings[1]), phasor.colour))
    place = _tip(phasor.length + 0.08, phasor.lag_deg + (5.0 if phasor.dashed else -5.0))
    drawing.shapes.append(Text(place[0], place[1] + 2.5, phasor.name, 7.5, "middle"))


def _entry(drawing: Drawing, phasor: Phasor, y: float) -> None:
    dash = (4.0, 2.5) if phasor.dashed else ()
    drawing.shapes.append(Line(((318, y - 2.5), (338, y - 2.5)), phasor.colour, 1.6, dash))
    drawing.shapes.append(Text(344, y, f"{phasor.name}  {phasor.legend}", 8))
