"""A report: headings, sentences, tables and drawings in order, written as one HTML file or a
PDF."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from blathy.report.drawing import Drawing, printable

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.lead { color: #697586; margin: 0 0 1.5rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-size: .9rem; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid #1c2430; padding: .3rem .6rem; }
td { border-bottom: 1px solid #e3e7ec; padding: .25rem .6rem; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.bad td { color: #b91c1c; font-weight: 600; }
.verdict { display: inline-block; padding: .2rem .7rem; border-radius: .3rem; font-weight: 600; }
.ok { background: #dcfce7; color: #14532d; } .fail { background: #fee2e2; color: #7f1d1d; }
figure { margin: .5rem 0 1.25rem; } svg { width: 100%; height: auto; }
@media print { body { margin: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A result that is good or bad, in words."""

    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; columns named in `numeric` are aligned right; `bad` are the rows to mark."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    bad: frozenset[int] = frozenset()


Part = Heading | Paragraph | Verdict | Table | Drawing


@dataclass(slots=True)
class Report:
    """A titled sequence of parts."""

    title: str
    lead: str = ""
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Append parts."""
        self.parts += parts

    def html(self) -> str:
        """One self-contained HTML document."""
        body = "\n".join(_html(part) for part in self.parts)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f'<h1>{escape(self.title)}</h1><p class="lead">{escape(self.lead)}</p>'
            f"{body}</body></html>\n"
        )

    def pdf(self) -> bytes:
        """The same on A4 pages."""
        return _pdf(self)

    def write(self, path: Path) -> None:
        """Write `.html` or `.pdf` by the file's suffix; raise ValueError for another."""
        if path.suffix.lower() in {".html", ".htm"}:
            path.write_text(self.html(), encoding="utf-8")
        elif path.suffix.lower() == ".pdf":
            path.write_bytes(self.pdf())
        else:
            msg = f"{path.name}: a report is written as .html or .pdf"
            raise ValueError(msg)


def _html(part: Part) -> str:
    if isinstance(part, Heading):
        return f"<h2>{escape(part.text)}</h2>"
    if isinstance(part, Paragraph):
        return f"<p>{escape(part.text)}</p>"
    if isinstance(part, Verdict):
        kind = "ok" if part.good else "fail"
        return f'<p><span class="verdict {kind}">{escape(part.text)}</span></p>'
    if isinstance(part, Drawing):
        return f"<figure>{part.svg()}</figure>"
    return _html_table(part)


def _html_table(table: Table) -> str:
    def cell(tag: str, index: int, text: str) -> str:
        kind = ' class="n"' if index in table.numeric else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", n, text) for n, text in enumerate(table.header))
    rows = "".join(
        ('<tr class="bad">' if n in table.bad else "<tr>")
        + "".join(cell("td", k, text) for k, text in enumerate(row))
        + "</tr>"
        for n, row in enumerate(table.rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _pdf(report: Report) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import SimpleDocTemplate, Spacer

    target = BytesIO()
    document = SimpleDocTemplate(
        target,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=report.title,
        invariant=1,
    )
    flow: list[Any] = [_words(report.title, "Title")]
    if report.lead:
        flow.append(_words(report.lead, "Normal"))
    for part in report.parts:
        flow.append(_flowable(part, A4[0] - 2 * _MARGIN - 12))
        if not isinstance(part, Heading):  # a space would part a heading from what it is over
            flow.append(Spacer(1, 5))
    document.build(flow)
    return target.getvalue()


_MARGIN: Final = 48


def _words(text: str, style: str, colour: str = "") -> Any:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph as Words

    body = escape(printable(text))
    return Words(
        f'<font color="{colour}"><b>{body}</b></font>' if colour else body,
        getSampleStyleSheet()[style],
    )


def _flowable(part: Part, width: float) -> Any:
    if isinstance(part, Heading):
        words = _words(part.text, "Heading2")
        words.keepWithNext = 1
        return words
    if isinstance(part, Paragraph):
        return _words(part.text, "Normal")
    if isinstance(part, Verdict):
        return _words(part.text, "Normal", "#14532d" if part.good else "#7f1d1d")
    if isinstance(part, Drawing):
        return _figure(part, width)
    return _grid(part)


def _figure(drawing: Drawing, width: float) -> Any:
    from reportlab.platypus import Flowable

    scale = width / drawing.width

    class Figure(Flowable):  # type: ignore[misc]
        def draw(self) -> None:
            drawing.draw_on(self.canv, 0, self.height, scale)

    figure = Figure()
    figure.width, figure.height = width, drawing.height * scale
    return figure


def _grid(table: Table) -> Any:
    from reportlab.lib import colors
    from reportlab.platypus import Table as Grid
    from reportlab.platypus import TableStyle

    rules = [
        ("FONTSIZE", (0, 0), (-1, -1), 7.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, colors.lightgrey),
        *(("ALIGN", (k, 0), (k, -1), "RIGHT") for k in table.numeric),
        *(("TEXTCOLOR", (0, n + 1), (-1, n + 1), colors.firebrick) for n in table.bad),
    ]
    cells = [tuple(printable(text) for text in row) for row in (table.header, *table.rows)]
    grid = Grid(cells, repeatRows=1, hAlign="LEFT")
    grid.setStyle(TableStyle(rules))
    return grid


def number(value: float | None, places: int = 3) -> str:
    """A figure for a table: fixed places, a minus sign but not before zero, a dash for nothing."""
    if value is None:
        return "–"
    text = f"{value:.{places}f}"
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "−")
