"""Status words: the bits of clocks, profiles and registers, with names for people.

A table per word, lowest bit first. Makers differ: which table belongs to an object is known from
the model of the meter, not from the bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType


@dataclass(frozen=True, slots=True)
class StatusBit:
    """One bit: `invalidates` where the values of the row must not be used for billing."""

    bit: int
    name: str
    invalidates: bool = False


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A named word of `width` bits."""

    name: str
    width: int
    bits: tuple[StatusBit, ...]

    def __post_init__(self) -> None:
        places = [row.bit for row in self.bits]
        if places != sorted(set(places)) or (places and places[-1] >= self.width):
            msg = f"{self.name}: bits are listed once, in order, within {self.width}"
            raise ValueError(msg)

    def names(self, value: int) -> tuple[str, ...]:
        """Names of the bits that are set; a bit without a name is `bit N`."""
        known = {row.bit: row.name for row in self.bits}
        return tuple(
            known.get(bit, f"bit {bit}")
            for bit in range(max(self.width, value.bit_length()))
            if value >> bit & 1
        )

    def invalid(self, value: int) -> bool:
        """Whether a bit is set that makes the values unfit for billing."""
        return any(row.invalidates and value >> row.bit & 1 for row in self.bits)


CLOCK_STATUS: Final = StatusWord(
    "clock status",
    8,
    (
        StatusBit(0, "invalid value", invalidates=True),
        StatusBit(1, "doubtful value"),
        StatusBit(2, "different clock base"),
        StatusBit(3, "invalid clock status"),
        StatusBit(7, "daylight saving active"),
    ),
)
"""Last octet of a date-time, attribute 4 of the clock; 0xFF is "not specified"."""

AMR_PROFILE_STATUS: Final = StatusWord(
    "AMR profile status",
    8,
    (
        StatusBit(0, "critical error", invalidates=True),
        StatusBit(1, "clock invalid", invalidates=True),
        StatusBit(2, "data not valid", invalidates=True),
        StatusBit(3, "daylight saving"),
        StatusBit(5, "clock adjusted"),
        StatusBit(7, "power down"),
    ),
)
"""One octet per row of a load profile, as IDIS and DSMR meters use it (0-0:96.10.1)."""

VDEW_PROFILE_STATUS: Final = StatusWord(
    "VDEW profile status",
    16,
    (
        StatusBit(0, "fatal device error", invalidates=True),
        StatusBit(1, "clock reserve empty", invalidates=True),
        StatusBit(2, "incomplete period", invalidates=True),
        StatusBit(3, "season change"),
        StatusBit(5, "clock set"),
        StatusBit(6, "supply back"),
        StatusBit(7, "supply failed"),
        StatusBit(8, "setting changed"),
        StatusBit(13, "log cleared"),
        StatusBit(14, "profile cleared"),
        StatusBit(15, "stamped before the last clock synchronisation"),
    ),
)
"""Header of P.01 on the IEC 62056-21 port."""

KAMSTRUP_QUALITY: Final = StatusWord(
    "Kamstrup data quality",
    32,
    (
        StatusBit(0, "clock set by 7 to 15 s"),
        StatusBit(1, "clock set by 15 to 60 s"),
        StatusBit(2, "clock set by 60 to 180 s"),
        StatusBit(3, "clock set by more than 180 s"),
        StatusBit(4, "clock set forward"),
        StatusBit(5, "clock set backward"),
        StatusBit(6, "legal parameter error", invalidates=True),
        StatusBit(7, "over-voltage"),
        StatusBit(8, "under-voltage"),
        StatusBit(9, "outage of all phases"),
        StatusBit(10, "generated entry", invalidates=True),
    ),
)
"""Quality of a logger entry of OMNIPOWER and its predecessors (0-0:96.10.1)."""

ISKRAEMECO_ERROR_REGISTER: Final = StatusWord(
    "error register FF",
    32,
    (
        StatusBit(8, "program memory checksum", invalidates=True),
        StatusBit(9, "back-up data checksum", invalidates=True),
        StatusBit(10, "parameter checksum", invalidates=True),
        StatusBit(13, "RAM checksum", invalidates=True),
        StatusBit(16, "RAM access", invalidates=True),
        StatusBit(17, "FRAM access", invalidates=True),
        StatusBit(18, "measuring chip access", invalidates=True),
        StatusBit(24, "clock back-up empty"),
        StatusBit(25, "time invalid"),
    ),
)
"""0-0:97.97.0 of the MT372 line."""

KAMSTRUP_STATUS_DIGITS: Final[tuple[str, ...]] = (
    "",
    "EEPROM or back-up error",
    "magnetic field",
    "RAM error",
    "ROM checksum",
    "external alarm input",
    "meter cover",
    "",
)
"""Meaning of the eight decimal digits of a 162M/382M status register, from the right."""

WORDS: Final[dict[str, StatusWord]] = {
    word.name: word
    for word in (
        CLOCK_STATUS,
        AMR_PROFILE_STATUS,
        VDEW_PROFILE_STATUS,
        KAMSTRUP_QUALITY,
        ISKRAEMECO_ERROR_REGISTER,
    )
}


def status_value(data: Data) -> int:
    """The word as a number, whatever type carries it (class 63 and class 4 allow many).

    A bit-string counts its first bit as bit 0. Raise AxdrError for types that are no status.
    """
    if data.type is DataType.NULL_DATA:
        return 0
    if data.type is DataType.BIT_STRING:
        return int(data.value[::-1] or "0", 2)
    if data.type is DataType.OCTET_STRING:
        return int.from_bytes(data.value, "big")
    if data.type in axdr.INTEGER_TYPES and data.value >= 0:
        return int(data.value)
    if data.type is DataType.VISIBLE_STRING:
        try:
            return int(data.value, 16)
        except ValueError:
            pass
    msg = f"{data.type.text} {data.value!r:.40} is no status word"
    raise axdr.AxdrError(msg)


def kamstrup_status_names(digits: int) -> tuple[str, ...]:
    """What the digits of a 162M/382M status register say."""
    text = f"{digits:08d}"[::-1]
    return tuple(
        name
        for digit, name in zip(text, KAMSTRUP_STATUS_DIGITS, strict=False)
        if digit != "0" and name
    )
