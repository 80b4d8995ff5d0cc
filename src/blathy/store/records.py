"""Records as they lie in the file: a few bytes of form, and a CRC-32 over key and content."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from blathy.quantity import Phase
from blathy.registers.cells import Cells
from blathy.registers.eventlog import LogEntry

_RAW, _DEFLATED = b"\x00", b"\x01"
DEFLATE_FROM_BYTES: Final = 512
RECORD_SIZE_MAX: Final = 64 * 1024 * 1024


class DamagedRecordError(ValueError):
    """A record is not what was written."""


def checksum(key: str, data: bytes) -> int:
    """CRC-32 over where a record belongs and what it holds: a misplaced one is found too."""
    return zlib.crc32(data, zlib.crc32(key.encode()))


def pack_parts(parts: Mapping[str, bytes]) -> bytes:
    """Named byte strings as one."""
    packed = [struct.pack(">H", len(parts))]
    for name, data in parts.items():
        encoded = name.encode()
        packed.append(struct.pack(">BI", len(encoded), len(data)) + encoded + data)
    return b"".join(packed)


def unpack_parts(packed: bytes) -> dict[str, bytes]:
    """The reverse of `pack_parts`; raise DamagedRecordError for anything else."""
    parts: dict[str, bytes] = {}
    try:
        (count,) = struct.unpack_from(">H", packed)
        at = 2
        for _ in range(count):
            name_size, size = struct.unpack_from(">BI", packed, at)
            at += 5
            name = packed[at : at + name_size].decode()
            parts[name] = packed[at + name_size : at + name_size + size]
            at += name_size + size
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedRecordError("a checkpoint is damaged") from error
    if at != len(packed):
        raise DamagedRecordError("a checkpoint has a wrong length")
    return parts


def pack_rows(rows: Cells) -> bytes:
    """A table of integers, compressed when that pays."""
    raw = struct.pack(">II", *rows.shape) + rows.astype("<i8").tobytes()
    if len(raw) < DEFLATE_FROM_BYTES:
        return _RAW + raw
    return _DEFLATED + zlib.compress(raw, 1)


def unpack_rows(data: bytes) -> Cells:
    """The reverse of `pack_rows`; raise DamagedRecordError for anything else."""
    try:
        raw = data[1:]
        if data[:1] == _DEFLATED:
            raw = zlib.decompressobj().decompress(raw, RECORD_SIZE_MAX)
        count, width = struct.unpack_from(">II", raw)
        cells = np.frombuffer(raw, dtype="<i8", offset=8).astype(np.int64)
        return cells.reshape(count, width)
    except (zlib.error, struct.error, ValueError) as error:
        raise DamagedRecordError("rows of a profile are damaged") from error


def pack_entry(entry: LogEntry) -> bytes:
    return json.dumps([entry.at_utc_s, entry.name, int(entry.phase), entry.value]).encode()


def unpack_entry(sequence: int, data: bytes) -> LogEntry:
    """The reverse of `pack_entry`; raise DamagedRecordError for anything else."""
    try:
        at_utc_s, name, phase, value = json.loads(data)
        return LogEntry(sequence, at_utc_s, name, Phase(phase), value)
    except (ValueError, TypeError) as error:
        raise DamagedRecordError("a log entry is damaged") from error
