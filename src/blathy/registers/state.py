"""The state as bytes: versioned, tied to the plan it belongs to, protected by a CRC."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final

import numpy as np

from blathy.registers.cells import Cells
from blathy.registers.plan import BookPlan

MAGIC: Final = b"BLED"
VERSION: Final = 1
_HEADER: Final = struct.Struct(">4sH16sI")
_CRC: Final = struct.Struct(">I")
PAYLOAD_SIZE_MAX: Final = 4 * 1024 * 1024


class StateError(ValueError):
    """The bytes are no state that this plan can go on from."""


def fingerprint(plan: BookPlan) -> bytes:
    """16 octets that differ when two plans lay their state out differently."""
    shape = (
        plan.zone,
        plan.rates,
        plan.pulse_inputs,
        plan.demands,
        tuple((p.name, p.columns, p.period_s, p.capacity_entries) for p in plan.profiles),
        tuple((b.name, b.columns, b.depth) for b in plan.billings),
        tuple((log.name, log.capacity_entries) for log in plan.logs),
        tuple(counter.name for counter in plan.counters),
        tuple((t.source, t.above) for t in plan.thresholds),
    )
    return hashlib.sha256(repr(shape).encode()).digest()[:16]


def pack_state(plan: BookPlan, cells: Cells, texts: tuple[bytes, ...]) -> bytes:
    """Header, compressed payload, CRC-32."""
    parts = [struct.pack(">II", len(cells), len(texts)), cells.astype(">i8").tobytes()]
    parts += [struct.pack(">I", len(text)) + text for text in texts]
    payload = zlib.compress(b"".join(parts), 1)
    body = _HEADER.pack(MAGIC, VERSION, fingerprint(plan), len(payload)) + payload
    return body + _CRC.pack(zlib.crc32(body))


def unpack_state(plan: BookPlan, data: bytes) -> tuple[Cells, tuple[bytes, ...]]:
    """The reverse; raise StateError for anything damaged, foreign or of another plan."""
    if len(data) < _HEADER.size + _CRC.size or data[:4] != MAGIC:
        raise StateError("these bytes are no meter's state")
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(data[: -_CRC.size]):
        raise StateError("the state is damaged: its check sum is wrong")
    _, version, shape, size = _HEADER.unpack_from(data)
    if version != VERSION:
        raise StateError(f"the state is of version {version}, this program reads {VERSION}")
    if shape != fingerprint(plan):
        raise StateError("the state belongs to another plan of registers and profiles")
    try:
        inflater = zlib.decompressobj()
        payload = inflater.decompress(data[_HEADER.size : _HEADER.size + size], PAYLOAD_SIZE_MAX)
        return _split(payload)
    except (zlib.error, struct.error, ValueError) as error:
        raise StateError("the state is damaged") from error


def _split(payload: bytes) -> tuple[Cells, tuple[bytes, ...]]:
    cell_count, text_count = struct.unpack_from(">II", payload)
    at = 8 + 8 * cell_count
    cells = np.frombuffer(payload, dtype=">i8", count=cell_count, offset=8).astype(np.int64)
    texts = []
    for _ in range(text_count):
        (size,) = struct.unpack_from(">I", payload, at)
        texts.append(payload[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(payload):
        raise StateError("the state is damaged: its length is wrong")
    return cells, tuple(texts)
