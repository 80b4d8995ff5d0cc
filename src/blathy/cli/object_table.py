"""The objects of a meter for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from blathy.cli.console import console
from blathy.cosem.classes import class_name
from blathy.cosem.names import obis_name
from blathy.cosem.objectlist import AccessRight, ObjectEntry


def print_objects(chosen: Sequence[ObjectEntry]) -> None:
    """Class, OBIS code, meaning and rights, an object a line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("class", "OBIS", "name", "attributes", "methods"):
        table.add_column(heading, no_wrap=heading == "OBIS")
    for entry in chosen:
        table.add_row(
            f"{entry.class_id} {class_name(entry.class_id)} v{entry.version}",
            str(entry.obis),
            obis_name(entry.obis),
            _attributes(entry),
            " ".join(str(row.index) for row in entry.methods if row.right),
        )
    console().print(table)


def _attributes(entry: ObjectEntry) -> str:
    """`1r 2rw`: number and right of each attribute; `*` marks selective access."""
    parts = []
    for row in entry.attributes:
        text = ("r" if row.right & AccessRight.READ else "") + (
            "w" if row.right & AccessRight.WRITE else ""
        )
        if text:
            parts.append(f"{row.index}{text}{'*' if row.selectors else ''}")
    return " ".join(parts)


def plain_object(entry: ObjectEntry) -> dict[str, Any]:
    """An object for JSON."""
    return {
        "class": entry.class_id,
        "class_name": class_name(entry.class_id),
        "version": entry.version,
        "obis": str(entry.obis),
        "name": obis_name(entry.obis),
        "attributes": {
            str(row.index): {
                "read": bool(row.right & AccessRight.READ),
                "write": bool(row.right & AccessRight.WRITE),
                "selectors": list(row.selectors),
            }
            for row in entry.attributes
        },
        "methods": [row.index for row in entry.methods if row.right],
    }
