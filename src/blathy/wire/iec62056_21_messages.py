"""The messages of IEC 62056-21: control characters, blocks, identification and data sets; and what
the cores report of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final

from blathy.clock import NANOSECONDS_PER_S

SOH: Final = b"\x01"
STX: Final = b"\x02"
ETX: Final = b"\x03"
EOT: Final = b"\x04"
ACK: Final = b"\x06"
NAK: Final = b"\x15"
CRLF: Final = b"\r\n"

INITIAL_BAUD: Final = 300
BAUD_MODE_B: Final = {
    "A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200,
}  # fmt: skip
BAUD_MODE_C: Final = {
    "0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200,
}  # fmt: skip

_SEVEN_BITS: Final = bytes(octet & 0x7F for octet in range(256))
LINE_MAX: Final = 128  # request and identification lines
BLOCK_MAX_SERVER: Final = 4096
BLOCK_MAX_CLIENT: Final = 1 << 21  # a load profile of a year as text
REPETITIONS: Final = 3
WAKE_UP: Final = b"\x00" * 65  # 2.2 s at 300 Bd

NS_PER_MS: Final = NANOSECONDS_PER_S // 1000


def bcc(data: bytes) -> bytes:
    """The block check character of what follows the first SOH or STX, ETX or EOT included."""
    return bytes((reduce(xor, data, 0),))


def block(data: str, *, end: bytes = ETX) -> bytes:
    """STX data ETX BCC."""
    body = data.encode("ascii", "replace") + end
    return STX + body + bcc(body)


def command(name: str, data: str = "") -> bytes:
    """SOH name STX data ETX BCC, or SOH B0 ETX BCC for commands without data."""
    body = name.encode("ascii")
    if data:
        body += STX + data.encode("ascii", "replace")
    body += ETX
    return SOH + body + bcc(body)


BREAK: Final = command("B0")


class Mode(Enum):
    """How the baud rate is agreed."""

    A = "A"
    B = "B"
    C = "C"
    E = "E"


@dataclass(frozen=True, slots=True)
class Identification:
    """What the meter says of itself."""

    manufacturer: str
    baud_character: str
    text: str
    hdlc: bool = False  # `\\2`: the meter offers mode E

    @property
    def mode(self) -> Mode:
        if self.baud_character in BAUD_MODE_C:
            return Mode.E if self.hdlc else Mode.C
        return Mode.B if self.baud_character in BAUD_MODE_B else Mode.A

    @property
    def baud(self) -> int:
        """The rate that the baud character names; 300 in mode A."""
        character = self.baud_character
        return BAUD_MODE_C.get(character) or BAUD_MODE_B.get(character) or INITIAL_BAUD

    @property
    def reaction_ms(self) -> int:
        """Minimum reaction time: 20 ms where the third letter is a small one."""
        return 20 if self.manufacturer[2:3].islower() else 200

    def encode(self) -> bytes:
        escape = "\\2" if self.hdlc else ""
        line = f"/{self.manufacturer}{self.baud_character}{escape}{self.text}"
        return line.encode("ascii", "replace") + CRLF

    @classmethod
    def parse(cls, line: str) -> Identification | None:
        """From `/XXXZ...` without its end; None where it is too short."""
        if len(line) < 5 or line[0] != "/":
            return None
        text = line[5:]
        hdlc = text.startswith("\\2")
        while len(text) >= 2 and text[0] == "\\":
            text = text[2:]
        return cls(line[1:4], line[4], text, hdlc)


@dataclass(frozen=True, slots=True)
class DataSet:
    """One address with its bracketed values as they stand, e.g. `1.8.0` and `("001.5*kWh",)`."""

    address: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        """The first value without its unit."""
        return self.values[0].partition("*")[0].strip() if self.values else ""

    @property
    def unit(self) -> str:
        """The unit after `*` (or after a blank, as some meters write it)."""
        if not self.values:
            return ""
        number, star, unit = self.values[0].partition("*")
        if star:
            return unit.strip()
        parts = number.split()
        return parts[1] if len(parts) == 2 else ""

    def encode(self) -> str:
        return self.address + "".join(f"({value})" for value in self.values)


# One step over what is no data set, never back: linear in a text without a bracket, too.
_DATA_SET = re.compile(r"([^()\r\n!]*+)(?:((?:\([^()]*+\))++)|.?)", re.ASCII | re.DOTALL)
VALUE: Final = re.compile(r"\(([^()]*)\)", re.ASCII)


def parse_data_sets(text: str) -> list[DataSet]:
    """Every data set of a block, in order, several in a line or one; anything else is skipped."""
    return [
        DataSet(match[1].strip(), tuple(VALUE.findall(match[2])))
        for match in _DATA_SET.finditer(text)
        if match[2]
    ]


class Purpose(Enum):
    """What the reader wants of the meter: the Y of ACK V Z Y."""

    READOUT = "0"
    PROGRAMMING = "1"
    HDLC = "2"


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identified:
    identification: Identification


@dataclass(frozen=True, slots=True)
class BaudChange:
    """The line runs at this rate: a reader's after what it is to send has left, a meter's after
    `octets_before` of that."""

    baud: int
    octets_before: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Readout:
    """The text of the readout between STX and ETX; `intact` False where its BCC was wrong."""

    text: str
    intact: bool = True


@dataclass(frozen=True, slots=True)
class PasswordRequest:
    """P0 with its seed: programming mode is reached."""

    seed: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The data of a command's answer; partial blocks are joined."""

    text: str

    @property
    def error(self) -> str:
        """The text of `(ERROR..)`, empty where the answer is none."""
        match = re.fullmatch(r"\((ER[^()]*)\)", self.text.strip(), re.ASCII)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """ACK to a password or a write command."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer sent B0: the session is over."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The line belongs to HDLC now, 8N1 at this rate; the rest of the octets are HDLC's."""

    baud: int
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing intelligible came in time, after all repetitions."""

    octets: int = 0  # how much unintelligible came: parity or baud rate are wrong then


@dataclass(frozen=True, slots=True)
class SignedOn:
    """A reader has addressed this meter."""

    address: str


Event = (
    Identified | BaudChange | Readout | PasswordRequest | Answer | Accepted | Broken | HandOver
    | NoAnswer | SignedOn
)  # fmt: skip


# --- messages -----------------------------------------------------------------------------------


class MessageKind(Enum):
    LINE = "line"  # /...
    OPTION = "option"  # ACK V Z Y
    ACK = "ack"
    NAK = "nak"
    BLOCK = "block"  # STX ...
    COMMAND = "command"  # SOH ...


@dataclass(frozen=True, slots=True)
class Message:
    kind: MessageKind
    text: str = ""
    name: str = ""
    intact: bool = True
    partial: bool = False


class MessageReader:
    """Cuts the stream into messages; noise before a message is dropped."""

    __slots__ = ("_block_max", "_buffer", "_expect_option", "noise_octets")

    def __init__(self, block_max: int) -> None:
        self._buffer = bytearray()
        self._block_max = block_max
        self._expect_option = False
        self.noise_octets = 0

    def expect_option(self, expected: bool) -> None:
        """Whether an ACK begins an option select message."""
        self._expect_option = expected

    def feed(self, data: bytes) -> None:
        self._buffer += data.translate(_SEVEN_BITS)

    def clear(self) -> None:
        self._buffer.clear()

    def rest(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    @property
    def pending(self) -> int:
        return len(self._buffer)

    def next(self) -> Message | None:
        buffer = self._buffer
        while buffer:
            first = buffer[0]
            if first == 0x15:
                del buffer[0]
                return Message(MessageKind.NAK)
            if first == 0x06:
                return self._acknowledgement()
            if first == 0x2F:
                return self._line()
            if first in {0x01, 0x02}:
                if not self._overlong():
                    return self._block()
                continue
            del buffer[0]
            self.noise_octets += 1
        return None

    def _overlong(self) -> bool:
        """Drop the begin of a block that has no end within its size, in whatever cut it came."""
        size = self._block_max + 1
        if len(self._buffer) < size or self._end_within(size) >= 0:
            return False
        del self._buffer[:size]
        self.noise_octets += size
        return True

    def _end_within(self, size: int) -> int:
        """Where the first ETX or EOT stands; -1 for none."""
        ends = [self._buffer.find(mark, 0, size) for mark in (ETX, EOT)]
        return min((end for end in ends if end >= 0), default=-1)

    def _acknowledgement(self) -> Message | None:
        buffer = self._buffer
        if not self._expect_option:
            del buffer[0]
            return Message(MessageKind.ACK)
        end = buffer.find(b"\n")
        if end < 0 and len(buffer) < 8:
            return None
        end = end if 0 <= end < 8 else 0
        text = buffer[1:end].decode("ascii").strip()
        del buffer[: end + 1]
        return Message(MessageKind.OPTION, text)

    def _line(self) -> Message | None:
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0 or end > LINE_MAX:
            if len(buffer) <= LINE_MAX:
                return None
            end = LINE_MAX
        text = buffer[:end].decode("ascii").strip()
        del buffer[: end + 1]
        return Message(MessageKind.LINE, text)

    def _block(self) -> Message | None:
        buffer = self._buffer
        end = self._end_within(self._block_max + 1)
        if end < 0 or end + 1 >= len(buffer):
            return None
        body = bytes(buffer[1 : end + 1])
        intact = bcc(body)[0] == buffer[end + 1]
        is_command = buffer[0] == 0x01
        del buffer[: end + 2]
        text = body[:-1].decode("ascii")
        partial = body[-1] == 0x04
        if not is_command:
            return Message(MessageKind.BLOCK, text, "", intact, partial)
        name, _, data = text.partition("\x02")
        return Message(MessageKind.COMMAND, data, name, intact, partial)
