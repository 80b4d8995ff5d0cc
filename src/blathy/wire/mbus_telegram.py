"""A telegram of M-Bus (EN 13757-3): the header of who sends, and its records, opened where they are
encrypted."""

from __future__ import annotations

from dataclasses import dataclass

from blathy.wire.errors import RemoteProtocolError
from blathy.wire.mbus_frames import (
    CI_LONG,
    CI_NONE,
    CI_SHORT,
    Frame,
)
from blathy.wire.mbus_keys import MODE_5, open_mode_5
from blathy.wire.mbus_records import (
    Record,
    decode_bcd,
    decode_records,
    manufacturer_code,
    manufacturer_letters,
)


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed header of a long-header answer: secondary address, access number, status."""

    identification: int  # eight decimal digits
    manufacturer: str
    version: int
    medium: int
    access_number: int = 0
    status: int = 0
    signature: int = 0

    def secondary_address(self) -> bytes:
        """Eight bytes as they stand in a selection."""
        return (
            bytes.fromhex(f"{self.identification:08d}")[::-1]
            + manufacturer_code(self.manufacturer).to_bytes(2, "little")
            + bytes((self.version, self.medium))
        )

    def encode(self) -> bytes:
        tail = bytes((self.access_number, self.status)) + self.signature.to_bytes(2, "little")
        return self.secondary_address() + tail


@dataclass(frozen=True, slots=True)
class Telegram:
    """A decoded answer: who sent it and its records. `more` tells that another telegram follows.
    `encrypted`: it came under a key (security mode 5), and has no records where that is not ours.
    """

    address: int
    header: Header | None
    records: tuple[Record, ...]
    more: bool = False
    encrypted: bool = False


def decode_telegram(frame: Frame, key: bytes = b"") -> Telegram:
    """The header and the records of an RSP_UD; raise RemoteProtocolError if it is none. `key`
    opens what is encrypted."""
    data = frame.data
    if frame.ci == CI_LONG:
        if len(data) < 12:
            msg = f"a long header has 12 bytes, this telegram only {len(data)}"
            raise RemoteProtocolError(msg)
        number = decode_bcd(data[0:4])
        header = Header(
            number if number is not None and number >= 0 else int.from_bytes(data[0:4], "little"),
            manufacturer_letters(int.from_bytes(data[4:6], "little") & 0x7FFF),
            data[6], data[7], data[8], data[9], int.from_bytes(data[10:12], "little"),
        )  # fmt: skip
        blocks = header.signature >> 4 & 15
        if header.signature >> 8 & 31 == MODE_5 and blocks:
            plain = open_mode_5(key, data[:8], data[8], data[12:], blocks)
            records, more = decode_records(plain or b"")
            return Telegram(frame.address, header, tuple(records), more, encrypted=True)
        records, more = decode_records(data[12:])
        return Telegram(frame.address, header, tuple(records), more)
    if frame.ci in {CI_SHORT, CI_NONE}:
        records, more = decode_records(data[4:] if frame.ci == CI_SHORT else data)
        return Telegram(frame.address, None, tuple(records), more)
    msg = f"CI {frame.ci if frame.ci is None else format(frame.ci, '02X')} carries no variable data"
    raise RemoteProtocolError(msg)
