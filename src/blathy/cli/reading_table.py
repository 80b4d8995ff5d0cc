"""Readings for people: a line each, with code, meaning and value."""

from __future__ import annotations

import json

from blathy.cli.console import console
from blathy.cli.meters import subject, told
from blathy.client.values import Reading


def print_table(readings: list[Reading], margin: str = "") -> None:
    """A line each; a value that is too long for its line stands below it, a line an element."""
    rows = [(str(r.obis), subject(r), told(r)) for r in readings if r.error is None]
    if not rows:
        return
    code_width, name_width = (max(len(row[place]) for row in rows) for place in (0, 1))
    room = max(20, console().width - len(margin) - code_width - name_width - 4)
    value_width = max((len(value) for *_, value in rows if len(value) <= room), default=0)
    for code, name, value in rows:
        head = f"{margin}{code:<{code_width}}  {name:<{name_width}}"
        print(f"{head}  {value:>{value_width}}" if len(value) <= room else head.rstrip())
        if len(value) > room:
            print("\n".join(f"{margin}  {line}" for line in _lines(value)))


def _lines(value: str) -> list[str]:
    """The elements of a long array or structure one below the other."""
    try:
        parts = json.loads(value)
    except ValueError:
        return [value]
    if isinstance(parts, dict):
        return [f"{name}: {json.dumps(part, ensure_ascii=False)}" for name, part in parts.items()]
    return [json.dumps(part, ensure_ascii=False) for part in parts]


def key_of(reading: Reading) -> str:
    """As it can be asked for: `1-0:1.8.0`, or `1-0:1.8.0/3` where it is not the value."""
    ref = reading.ref
    return f"{ref.obis}" + (f"/{ref.attribute}" if ref.attribute != 2 else "")
