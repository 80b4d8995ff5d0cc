"""The state as bytes: versioned, tied to the plan it belongs to, protected by a CRC.

It is a table of named sections of integers, so that the books can be carried over when a plan
changes: what is still there goes on, what is new begins.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.registers.cells import Cells
from blathy.registers.plan import BookPlan

MAGIC: Final = b"BLED"
VERSION: Final = 2
_HEADER: Final = struct.Struct(">4sH16sI")
_CRC: Final = struct.Struct(">I")
_COUNTS: Final = struct.Struct(">HHI")
PAYLOAD_SIZE_MAX: Final = 4 * 1024 * 1024


class StateError(ValueError):
    """The bytes are no state that this plan can go on from."""


@dataclass(frozen=True, slots=True)
class State:
    """Sections by name, texts in order, and whether the plan was exactly the same."""

    sections: Mapping[str, Cells]
    texts: tuple[bytes, ...]
    same_plan: bool


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


def shape_of(*parts: object) -> str:
    """A short name for a layout: equal for equal parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def pack_state(shape: bytes, sections: Mapping[str, Cells], texts: tuple[bytes, ...]) -> bytes:
    """Header with the plan's `fingerprint`, compressed payload, CRC-32."""
    names = "\n".join(sections).encode()
    lengths = np.array([len(cells) for cells in sections.values()], dtype=">u4")
    parts = [_COUNTS.pack(len(sections), len(texts), len(names)), names, lengths.tobytes()]
    parts.append(np.concatenate(list(sections.values())).astype(">i8").tobytes())
    parts += [struct.pack(">I", len(text)) + text for text in texts]
    payload = zlib.compress(b"".join(parts), 1)
    body = _HEADER.pack(MAGIC, VERSION, shape, len(payload)) + payload
    return body + _CRC.pack(zlib.crc32(body))


def unpack_state(plan: BookPlan, data: bytes) -> State:
    """The reverse; raise StateError for anything damaged, foreign or of another version."""
    if len(data) < _HEADER.size + _CRC.size or data[:4] != MAGIC:
        raise StateError("these bytes are no meter's state")
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(data[: -_CRC.size]):
        raise StateError("the state is damaged: its check sum is wrong")
    _, version, shape, size = _HEADER.unpack_from(data)
    if version != VERSION:
        raise StateError(f"the state is of version {version}, this program reads {VERSION}")
    try:
        inflater = zlib.decompressobj()
        payload = inflater.decompress(data[_HEADER.size : _HEADER.size + size], PAYLOAD_SIZE_MAX)
        sections, texts = _split(payload)
    except (zlib.error, struct.error, ValueError) as error:
        raise StateError("the state is damaged") from error
    return State(sections, texts, shape == fingerprint(plan))


def _split(payload: bytes) -> tuple[dict[str, Cells], tuple[bytes, ...]]:
    section_count, text_count, names_size = _COUNTS.unpack_from(payload)
    at = _COUNTS.size
    names = payload[at : at + names_size].decode().split("\n")
    at += names_size
    lengths = np.frombuffer(payload, dtype=">u4", count=section_count, offset=at).tolist()
    at += 4 * section_count
    cells = np.frombuffer(payload, dtype=">i8", count=sum(lengths), offset=at).astype(np.int64)
    at += 8 * sum(lengths)
    parts = np.split(cells, np.cumsum(lengths)[:-1])
    texts = []
    for _ in range(text_count):
        (size,) = struct.unpack_from(">I", payload, at)
        texts.append(payload[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(payload):
        raise ValueError("the length is wrong")
    return dict(zip(names, parts, strict=True)), tuple(texts)
