"""Every document that is cited stands in the table of standards, with places that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TABLE: Final = ROOT / "docs" / "standards.md"
CITED: Final = re.compile(
    r"\b((?:IEC|EN|ISO|RFC|NIST SP|IEEE|DIN|WELMEC|VDE) \d[\dA-Z]*(?:[-.]\d+[A-Z]*)*)\b"
)
PLACE: Final = re.compile(r"`([\w/.]+)`")


def cited(text: str) -> set[str]:
    """The documents that a text names; EN 6xxxx is the European edition of IEC 6xxxx."""
    return {re.sub(r"^EN (?=6\d{4})", "IEC ", name) for name in CITED.findall(text)}


def test_what_is_cited_stands_in_the_table() -> None:
    known = cited(TABLE.read_text())
    pages = [*(ROOT / "src" / "blathy").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in pages
        for name in cited(path.read_text()) - known
    }
    assert not unknown


def test_the_places_of_the_table_exist() -> None:
    rows = [row for row in TABLE.read_text().splitlines() if row.startswith("| ")][2:]
    places = {place for row in rows for place in PLACE.findall(row.split("|")[3])}
    here = (ROOT / "src" / "blathy", ROOT)
    assert not {place for place in places if not any((at / place).exists() for at in here)}
