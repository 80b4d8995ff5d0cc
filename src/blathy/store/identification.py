"""The software identification: a hash over exactly the legally relevant modules (WELMEC 7.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

LEGALLY_RELEVANT: Final = ("metrology", "registers", "store")
"""The packages whose source makes up the identification, and nothing else does."""
SHOWN_DIGITS: Final = 8


def sources(root: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """Name and content of every source file that counts, in one order on every machine."""
    root = root or Path(__file__).resolve().parent.parent
    for package in LEGALLY_RELEVANT:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_bytes().replace(b"\r\n", b"\n")


def identification_of(files: Iterator[tuple[str, bytes]]) -> str:
    """SHA-256 over names and contents, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def software_identification() -> str:
    """The identification of the installed legally relevant part (64 hexadecimal digits).

    Computed once per process: what runs is what was installed when it started.
    """
    return identification_of(sources())


def short_identification() -> str:
    """The digits that a display shows."""
    return software_identification()[:SHOWN_DIGITS].upper()
