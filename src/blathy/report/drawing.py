"""Drawings: a few primitives, written as SVG or onto a PDF canvas, so a plot looks the same in
both.

Coordinates are points from the top left. Charts lay out axes, grid, series, limits and bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Any, Final

INK: Final = "#1c2430"
FAINT: Final = "#d5dae1"
SOFT: Final = "#697586"
LIMIT: Final = "#c2410c"
PALETTE: Final = ("#1d4ed8", "#15803d", "#7c3aed", "#b45309", "#0e7490", "#be185d")
FONT: Final = "Helvetica"


@dataclass(frozen=True, slots=True)
class Line:
    points: tuple[tuple[float, float], ...]
    colour: str = INK
    width: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Area:
    points: tuple[tuple[float, float], ...]
    fill: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    radius: float
    fill: str


@dataclass(frozen=True, slots=True)
class Text:
    x: float
    y: float
    text: str
    size: float = 8.0
    anchor: str = "start"  # start, middle, end
    colour: str = INK
    vertical: bool = False


Shape = Line | Area | Dot | Text
_PRINTABLE: Final = str.maketrans(
    {"φ": "phi", "−": "-", "–": "-", "…": "to", "≤": "<=", "≥": ">=", "Ω": "ohm", "Δ": "d"}
)


def printable(text: str) -> str:
    """The text in the characters of the PDF base fonts (Latin-1)."""
    return text.translate(_PRINTABLE).encode("latin-1", "replace").decode("latin-1")


@dataclass(slots=True)
class Drawing:
    """A picture of `width` x `height` points. `title` is read out to who cannot see it."""

    width: float
    height: float
    title: str
    shapes: list[Shape] = field(default_factory=list)

    def svg(self) -> str:
        """The drawing as an inline SVG element that scales with the page."""
        body = "".join(_svg(shape) for shape in self.shapes)
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'font-family="{FONT}, Arial, sans-serif" aria-label="{escape(self.title)}">'
            f"{body}</svg>"
        )

    def draw_on(self, canvas: Any, left: float, top: float, scale: float = 1.0) -> None:
        """Paint onto a reportlab canvas with the upper left corner at (left, top)."""
        canvas.saveState()
        canvas.translate(left, top)
        canvas.scale(scale, -scale)
        for shape in self.shapes:
            _paint(canvas, shape)
        canvas.restoreState()


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
        dash = f' stroke-dasharray="{" ".join(f"{d:g}" for d in shape.dash)}"' if shape.dash else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{shape.colour}" '
            f'stroke-width="{shape.width:g}" stroke-linejoin="round"{dash}/>'
        )
    if isinstance(shape, Area):
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
        return f'<polygon points="{points}" fill="{shape.fill}" fill-opacity="{shape.opacity:g}"/>'
    if isinstance(shape, Dot):
        place = f'cx="{shape.x:.2f}" cy="{shape.y:.2f}"'
        return f'<circle {place} r="{shape.radius:g}" fill="{shape.fill}"/>'
    turn = f' transform="rotate(-90 {shape.x:.2f} {shape.y:.2f})"' if shape.vertical else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size:g}" '
        f'fill="{shape.colour}" text-anchor="{shape.anchor}"{turn}>{escape(shape.text)}</text>'
    )


def _paint(canvas: Any, shape: Shape) -> None:
    if isinstance(shape, Line):
        canvas.setStrokeColor(shape.colour)
        canvas.setLineWidth(shape.width)
        canvas.setDash(list(shape.dash))
        path = canvas.beginPath()
        path.moveTo(*shape.points[0])
        for point in shape.points[1:]:
            path.lineTo(*point)
        canvas.drawPath(path, stroke=1, fill=0)
    elif isinstance(shape, Area):
        canvas.setFillColor(shape.fill)
        canvas.setFillAlpha(shape.opacity)
        path = canvas.beginPath()
        path.moveTo(*shape.points[0])
        for point in shape.points[1:]:
            path.lineTo(*point)
        path.close()
        canvas.drawPath(path, stroke=0, fill=1)
        canvas.setFillAlpha(1)
    elif isinstance(shape, Dot):
        canvas.setFillColor(shape.fill)
        canvas.circle(shape.x, shape.y, shape.radius, stroke=0, fill=1)
    else:
        canvas.saveState()
        canvas.translate(shape.x, shape.y)
        canvas.scale(1, -1)
        if shape.vertical:
            canvas.rotate(90)
        canvas.setFillColor(shape.colour)
        canvas.setFont(FONT, shape.size)
        draw = {
            "start": canvas.drawString,
            "middle": canvas.drawCentredString,
            "end": canvas.drawRightString,
        }[shape.anchor]
        draw(0, 0, printable(shape.text))
        canvas.restoreState()


# --- charts ---


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: points (x, y); a y of nan breaks the line. `marked` draws the points."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = ""
    marked: bool = False
    dash: tuple[float, ...] = ()
    width: float = 1.3


@dataclass(frozen=True, slots=True)
class Axis:
    """Title with unit, range (None: from the data) and whether it is logarithmic. `labels` replaces
    the ticks by (position, text)."""

    title: str
    low: float | None = None
    high: float | None = None
    logarithmic: bool = False
    labels: tuple[tuple[float, str], ...] = ()


_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 22.0, 34.0


def line_chart(
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    series: Sequence[Series],
    *,
    limits: Sequence[float] = (),
    size: tuple[float, float] = (520.0, 230.0),
) -> Drawing:
    """Lines over common axes with horizontal `limits` in the limits' colour."""
    width, height = size
    drawing = Drawing(width, height, title)
    x_values = [x for s in series for x, _ in s.points]
    y_values = [y for s in series for _, y in s.points if isfinite(y)] + list(limits)
    x_range, x_ticks = _range(x_axis, x_values)
    y_range, y_ticks = _range(y_axis, y_values)
    frame = (_LEFT, _TOP, width - _RIGHT, height - _BOTTOM)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _share(x, x_range, logarithmic=x_axis.logarithmic)
        up = _share(y, y_range, logarithmic=y_axis.logarithmic)
        return frame[0] + across * (frame[2] - frame[0]), frame[3] - up * (frame[3] - frame[1])

    _frame(drawing, title, x_axis, y_axis, x_ticks, y_ticks, frame, place)
    for limit in limits:
        if y_range[0] <= limit <= y_range[1]:
            left, right = place(x_range[0], limit), place(x_range[1], limit)
            drawing.shapes.append(Line((left, right), LIMIT, 1.0, (4, 3)))
    for index, one in enumerate(series):
        colour = one.colour or PALETTE[index % len(PALETTE)]
        _series(drawing, one, colour, place)
    _legend(drawing, series, frame)
    return drawing


def bar_chart(
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    bars: Sequence[tuple[str, float]],
    *,
    limits: Sequence[tuple[str, float]] = (),
    size: tuple[float, float] = (520.0, 210.0),
) -> Drawing:
    """One bar per name; `limits` draws a mark over the bar of that name."""
    width, height = size
    drawing = Drawing(width, height, title)
    values = [value for _, value in bars] + [value for _, value in limits]
    axis = Axis(
        y_axis.title, 0.0 if y_axis.low is None else y_axis.low, y_axis.high, y_axis.logarithmic
    )
    y_range, y_ticks = _range(axis, values)
    frame = (_LEFT, _TOP, width - _RIGHT, height - _BOTTOM)
    step = (frame[2] - frame[0]) / max(len(bars), 1)

    def place(x: float, y: float) -> tuple[float, float]:
        up = _share(y, y_range, logarithmic=axis.logarithmic)
        return frame[0] + (x + 0.5) * step, frame[3] - up * (frame[3] - frame[1])

    every = max(1, ceil(len(bars) / 26))
    names = tuple((float(n), name) for n, (name, _) in enumerate(bars) if n % every == 0)
    _frame(drawing, title, x_axis, axis, names, y_ticks, frame, place, vertical_grid=False)
    marks = dict(limits)
    for index, (name, value) in enumerate(bars):
        x, y = place(index, value)
        half = 0.36 * step
        fill = LIMIT if name in marks and value > marks[name] else PALETTE[0]
        box = ((x - half, frame[3]), (x - half, y), (x + half, y), (x + half, frame[3]))
        drawing.shapes.append(Area(box, fill, 0.9))
        if name in marks:
            _, top = place(index, marks[name])
            drawing.shapes.append(
                Line(((x - 0.45 * step, top), (x + 0.45 * step, top)), LIMIT, 1.2)
            )
    return drawing


def _frame(
    drawing: Drawing,
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    frame: tuple[float, float, float, float],
    place: Any,
    *,
    vertical_grid: bool = True,
) -> None:
    shapes = drawing.shapes
    left, top, right, bottom = frame
    shapes.append(Text(left, 12, title, 9.5))
    for value, text in y_ticks:
        y = place(x_ticks[0][0] if x_ticks else 0.0, value)[1]
        shapes.append(Line(((left, y), (right, y)), FAINT, 0.6))
        shapes.append(Text(left - 4, y + 2.6, text, 7.5, "end", SOFT))
    for value, text in x_ticks:
        x = place(value, y_ticks[0][0])[0]
        if vertical_grid:
            shapes.append(Line(((x, top), (x, bottom)), FAINT, 0.4))
        shapes.append(Text(x, bottom + 11, text, 7.5, "middle", SOFT))
    shapes.append(Line(((left, top), (left, bottom), (right, bottom)), SOFT, 0.8))
    shapes.append(Text((left + right) / 2, bottom + 24, x_axis.title, 8, "middle", SOFT))
    shapes.append(Text(11, (top + bottom) / 2, y_axis.title, 8, "middle", SOFT, vertical=True))


def _series(drawing: Drawing, one: Series, colour: str, place: Any) -> None:
    run: list[tuple[float, float]] = []
    for x, y in one.points:
        if isfinite(y):
            run.append(place(x, y))
            continue
        if len(run) > 1:
            drawing.shapes.append(Line(tuple(run), colour, one.width, one.dash))
        run = []
    if len(run) > 1:
        drawing.shapes.append(Line(tuple(run), colour, one.width, one.dash))
    if one.marked:
        for x, y in one.points:
            if isfinite(y):
                across, down = place(x, y)
                drawing.shapes.append(Dot(across, down, 2.0, colour))


def _legend(
    drawing: Drawing, series: Sequence[Series], frame: tuple[float, float, float, float]
) -> None:
    if sum(bool(one.name) for one in series) < 2:
        return
    x = frame[2]
    for index in reversed(range(len(series))):
        one = series[index]
        if not one.name:
            continue
        x -= 4.6 * len(one.name) + 22
        colour = one.colour or PALETTE[index % len(PALETTE)]
        drawing.shapes.append(Line(((x, 9.5), (x + 12, 9.5)), colour, 1.8, one.dash))
        drawing.shapes.append(Text(x + 15, 12, one.name, 7.5, colour=SOFT))


def _share(value: float, bounds: tuple[float, float], *, logarithmic: bool) -> float:
    low, high = bounds
    if logarithmic:
        return (log10(max(value, low)) - log10(low)) / (log10(high) - log10(low))
    return (value - low) / (high - low)


def _range(
    axis: Axis, values: Sequence[float]
) -> tuple[tuple[float, float], tuple[tuple[float, str], ...]]:
    """Bounds and ticks (position, label) of an axis."""
    finite = [v for v in values if isfinite(v)] or [0.0, 1.0]
    low = min(finite) if axis.low is None else axis.low
    high = max(finite) if axis.high is None else axis.high
    if axis.logarithmic:
        low, high = max(low, 1e-9), max(high, low * 10, 1e-8)
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        marks = [m * 10.0**p for p in powers for m in (1, 2, 5)]
        inside = [m for m in marks if low * 0.999 <= m <= high * 1.001]
        return (low, high), axis.labels or tuple((m, f"{m:g}") for m in inside)
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = _step((high - low) / 5)
    low = floor(low / step + 1e-9) * step if axis.low is None else low
    high = ceil(high / step - 1e-9) * step if axis.high is None else high
    first = ceil(low / step - 1e-9)
    ticks = [n * step for n in range(first, floor(high / step + 1e-9) + 1)]
    places = next(n for n in range(13) if abs(round(step, n) - step) < 1e-6 * step or n == 12)
    return (low, high), axis.labels or tuple((t, f"{t:.{places}f}") for t in ticks)


def _step(rough: float) -> float:
    power = 10.0 ** floor(log10(rough))
    return next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999) * power
