"""The audit chain: every intervention with a hash over itself and everything before it.

Taking out, changing, adding or moving an entry breaks the chain from there on; cutting off the end
shows because the checkpoint of the meter holds how long the chain is and how it ends.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from blathy.registers.changes import AuditNote

GENESIS: Final = bytes(32)
_HEAD: Final = struct.Struct(">Q32s")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of the chain."""

    sequence: int
    note: AuditNote
    digest: bytes


@dataclass(frozen=True, slots=True)
class ChainHead:
    """How long the chain is and which hash it ends with."""

    length: int = 0
    digest: bytes = GENESIS

    def follow(self, meter: str, note: AuditNote) -> tuple[AuditEntry, ChainHead]:
        """The entry that `note` becomes, and the head after it."""
        digest = link(self.digest, meter, self.length, note)
        return AuditEntry(self.length, note, digest), ChainHead(self.length + 1, digest)

    def to_bytes(self) -> bytes:
        return _HEAD.pack(self.length, self.digest)

    @classmethod
    def from_bytes(cls, data: bytes) -> ChainHead:
        return cls(*_HEAD.unpack(data))


def link(previous: bytes, meter: str, sequence: int, note: AuditNote) -> bytes:
    """SHA-256 of an entry bound to the one before it."""
    content = [meter, sequence, note.at_utc_s, note.who, note.what, note.detail]
    return hashlib.sha256(previous + json.dumps(content).encode()).digest()


def first_break(meter: str, entries: Sequence[AuditEntry], head: ChainHead) -> int | None:
    """The sequence number at which the chain is broken; None if it is whole."""
    digest = GENESIS
    for expected, entry in enumerate(entries):
        digest = link(digest, meter, expected, entry.note)
        if entry.sequence != expected or entry.digest != digest:
            return expected
    if len(entries) != head.length or digest != head.digest:
        return min(len(entries), head.length)
    return None
