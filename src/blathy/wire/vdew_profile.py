"""Load profiles in the VDEW form, as meters answer to `R5 P.01(...)` of IEC 62056-21."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blathy.wire.iec62056_21_messages import (
    VALUE,
)


@dataclass(frozen=True, slots=True)
class ProfileBlock:
    """One header P.01 with the rows that follow it, values as the text in the brackets.

    `start` is `[season]YYMMDDhhmm[ss]` as sent: season 0 normal, 1 summer, 2 UTC.
    """

    name: str
    start: str
    status: str
    interval_min: int
    columns: tuple[tuple[str, str], ...]  # code and unit
    rows: tuple[tuple[str, ...], ...]


def parse_profile(text: str) -> list[ProfileBlock]:
    """The blocks of an answer to `R5 P.01(...)`; a header that makes no sense is skipped."""
    blocks: list[ProfileBlock] = []
    header: list[str] | None = None
    name = ""
    rows: list[tuple[str, ...]] = []

    def close() -> None:
        if header is not None:
            made = _profile_block(name, header, rows)
            if made is not None:
                blocks.append(made)

    for line in text.replace("\r", "\n").split("\n"):
        line = line.strip()
        values = VALUE.findall(line)
        if line.startswith("P."):
            close()
            name, header, rows = line.partition("(")[0], values, []
        elif header is not None and values:
            rows.append(tuple(values))
    close()
    return blocks


def _profile_block(
    name: str, header: list[str], rows: list[tuple[str, ...]]
) -> ProfileBlock | None:
    if len(header) < 6 or not re.fullmatch(r"[ \t]*\d{1,9}[ \t]*", header[2], re.ASCII):
        return None
    counts = [index for index in (3, 4) if index < len(header) and header[index].isdigit()]
    if not counts:
        return None
    start = counts[0]
    columns = tuple(zip(header[start + 1 :: 2], header[start + 2 :: 2], strict=False))
    return ProfileBlock(name, header[0], header[1], int(header[2]), columns, tuple(rows))
