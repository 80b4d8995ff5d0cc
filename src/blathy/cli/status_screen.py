"""The one-screen status of `blathy up`: as much as fits the terminal, in the site's own time."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blathy.clock import Zone

FIXED_LINES: Final = 8
"""Lines beside feeders and events: address, figures, heads, gaps, the last line, the cursor."""
EVENTS_MAX: Final = 20
WIDE: Final = 76
"""Columns from which on the station stands beside the feeder."""
MARKS: Final = {"alarm": ("■", "red"), "warning": ("◆", "yellow"), "info": ("·", "dim")}


def status_screen(
    now: dict[str, Any], address: str, login: str, zone: Zone, width: int, height: int
) -> RenderableType:
    """What the overview of the control centre tells, within `width` columns and `height` lines."""
    title = Text.assemble(
        ("blathy  ", "bold"),
        (address, "bold blue"),
        login,
        (f"  process {os.getpid()}", "dim"),
        overflow="ellipsis",
        no_wrap=True,
    )
    feeders = [(station, feeder) for station in now["stations"] for feeder in station["feeders"]]
    room = max(height - FIXED_LINES, 2)
    shown = feeders[: max(room - 4, 1)]
    events = now["events"][: min(max(room - len(shown), 0), EVENTS_MAX)]
    return Group(
        title,
        _figures(now, zone),
        Text(),
        _feeders(shown, with_station=width >= WIDE),
        Text(),
        _events(events, zone),
        Text(),
        Text("Ctrl-C stops; everything is kept.", "dim"),
    )


def kilowatts(value_w: float | None) -> str:
    """A power for people; missing is a dash, never 0."""
    return "–" if value_w is None else f"{value_w / 1000:.1f} kW"


def _clock(text: str, zone: Zone, form: str) -> str:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(zone.tzinfo).strftime(form)


def _figures(now: dict[str, Any], zone: Zone) -> Text:
    meters, ratio = now["meters"], now["completeness"]["ratio"]
    silent = meters["total"] - meters["reachable"]
    complete = "no readings yet" if ratio is None else f"{ratio:.2%} complete"
    return Text.assemble(
        (_clock(now["now"], zone, "%H:%M:%S"), "bold"),
        f"  load {kilowatts(now['load_w'])}  export {kilowatts(now['export_w'])}  ",
        (f"{meters['reachable']} of {meters['total']} answer", "red" if silent else ""),
        f"  {complete}",
        overflow="ellipsis",
        no_wrap=True,
    )


def _feeders(rows: list[tuple[dict[str, Any], dict[str, Any]]], *, with_station: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("feeder", no_wrap=True)
    if with_station:
        table.add_column("station", no_wrap=True, style="dim")
    for name in ("points", "load", "export", "alarms"):
        table.add_column(name, justify="right", no_wrap=True)
    for station, feeder in rows:
        alarms = feeder["alarms"]
        table.add_row(
            feeder["name"],
            *((station["name"],) if with_station else ()),
            str(feeder["points"]),
            kilowatts(feeder["load_w"]),
            kilowatts(feeder["export_w"]),
            Text(str(alarms), "red" if alarms else ""),
        )
    return table


def _events(events: list[dict[str, Any]], zone: Zone) -> RenderableType:
    if not events:
        return Text("no events yet", "dim")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _column in range(4):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for event in events:
        mark, style = MARKS.get(event["severity"], MARKS["info"])
        table.add_row(
            _clock(event["at"], zone, "%d %b %H:%M"),
            Text(mark, style),
            event["point"]["name"],
            event["text"],
        )
    return table
