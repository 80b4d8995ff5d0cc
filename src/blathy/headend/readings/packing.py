"""The meter-channel-day: one local day of one channel as three small blobs.

Values are the integers as captured (a register at the end of the slot, or the value of the slot),
stored as the first one and the differences between the present ones. `sources` says per slot
where the value came from and is the mask of what is there; `status` keeps the meter's own bits.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Octets = NDArray[np.uint8]
_NARROW: Final = b"\x04"
_WIDE: Final = b"\x08"
_INT32_MAX: Final = 2**31 - 1


class ValueSource(IntEnum):
    """Where a slot's value came from. Only codes below `ABSENT` carry a value (0 does not)."""

    MISSING = 0
    METER = 1
    EDITED = 2
    LINEAR = 3
    LIKE_DAY = 4
    ZERO_OUTAGE = 5
    ABSENT = 255
    """The meter was asked for exactly this slot and holds no record of it."""


class Status:
    """Bits of the profile status word (AMR profile status of the companion specifications)."""

    CRITICAL_ERROR: Final = 0x01
    CLOCK_INVALID: Final = 0x02
    DATA_INVALID: Final = 0x04
    DAYLIGHT_SAVING: Final = 0x08
    CLOCK_ADJUSTED: Final = 0x20
    POWER_DOWN: Final = 0x80


@dataclass(slots=True, eq=False)
class DayRecord:
    """One day unpacked: three arrays of the same length, one element per slot."""

    values: Int64s
    status: Octets
    sources: Octets

    @classmethod
    def empty(cls, slots: int) -> DayRecord:
        return cls(np.zeros(slots, np.int64), np.zeros(slots, np.uint8), np.zeros(slots, np.uint8))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Slots that carry a value."""
        there: NDArray[np.bool_] = np.logical_and(
            self.sources != ValueSource.MISSING, self.sources != ValueSource.ABSENT
        )
        return there

    @property
    def received(self) -> int:
        return int(np.count_nonzero(self.present))


@dataclass(frozen=True, slots=True)
class PackedDay:
    """The blobs as they are stored."""

    first: int | None
    payload: bytes
    status: bytes
    sources: bytes


def pack(record: DayRecord) -> PackedDay:
    """The smallest of our forms; `unpack` gives back the same arrays."""
    values = record.values[record.present]
    if len(values) == 0:
        return PackedDay(None, b"", _pack_octets(record.status), _pack_octets(record.sources))
    deltas = np.diff(values)
    narrow = len(deltas) == 0 or int(np.abs(deltas).max()) <= _INT32_MAX
    body = deltas.astype("<i4" if narrow else "<i8").tobytes()
    return PackedDay(
        int(values[0]),
        (_NARROW if narrow else _WIDE) + zlib.compress(body, 1),
        _pack_octets(record.status),
        _pack_octets(record.sources),
    )


def unpack(
    slots: int, first: int | None, payload: bytes, status: bytes, sources: bytes
) -> DayRecord:
    """Raise ValueError where the blobs do not belong together (a damaged store)."""
    record = DayRecord(
        np.zeros(slots, np.int64), _unpack_octets(status, slots), _unpack_octets(sources, slots)
    )
    if first is None:
        return record
    try:
        body = zlib.decompress(payload[1:])
    except zlib.error as error:
        raise ValueError("a stored day is damaged") from error
    deltas = np.frombuffer(body, "<i4" if payload[:1] == _NARROW else "<i8")
    present = record.present
    if len(deltas) + 1 != np.count_nonzero(present):
        raise ValueError("a stored day is damaged: values and marks differ in number")
    values = np.empty(len(deltas) + 1, np.int64)
    values[0] = first
    np.cumsum(deltas, dtype=np.int64, out=values[1:])
    values[1:] += first
    record.values[present] = values
    return record


def _pack_octets(octets: Octets) -> bytes:
    """Nothing for all zero, one octet for all equal, else compressed."""
    if len(octets) == 0 or not octets.any():
        return b""
    if (octets == octets[0]).all():
        return bytes([int(octets[0])])
    return b"\x00" + zlib.compress(octets.tobytes(), 1)


def _unpack_octets(blob: bytes, slots: int) -> Octets:
    if not blob:
        return np.zeros(slots, np.uint8)
    if len(blob) == 1:
        return np.full(slots, blob[0], np.uint8)
    try:
        octets = np.frombuffer(zlib.decompress(blob[1:]), np.uint8)
    except zlib.error as error:
        raise ValueError("a stored day is damaged") from error
    if len(octets) != slots:
        raise ValueError("a stored day is damaged: its marks have another length")
    return octets.copy()
