"""IEC 62056-21 (the optical and serial readout, "IEC 1107"): client and server cores.

Theory of operation. The reader sends a request (`/?address!`), the meter identifies itself
(`/XXXZident`); Z names the baud rate and with it the mode: A (no change), B (change without being
asked), C (the reader answers ACK V Z Y and chooses readout or programming), E (C with `\\2` in
the identification: V = 2, Y = 2 hands the line over to HDLC). A readout is one block
STX ... `!` CR LF ETX BCC. In programming mode both sides exchange SOH command STX data ETX BCC,
answered by a data block, ACK, NAK (repeat) or the break B0. BCC is the XOR of everything after the
first SOH or STX up to and including ETX or EOT.

The mode table and the tables of states below are the whole protocol; characters have seven bits and
the parity bit, where a line shows it, is cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final, Protocol

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError

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

_NS_PER_MS: Final = NANOSECONDS_PER_S // 1000


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
_VALUE = re.compile(r"\(([^()]*)\)", re.ASCII)


def parse_data_sets(text: str) -> list[DataSet]:
    """Every data set of a block, in order, several in a line or one; anything else is skipped."""
    return [
        DataSet(match[1].strip(), tuple(_VALUE.findall(match[2])))
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


class _Kind(Enum):
    LINE = "line"  # /...
    OPTION = "option"  # ACK V Z Y
    ACK = "ack"
    NAK = "nak"
    BLOCK = "block"  # STX ...
    COMMAND = "command"  # SOH ...


@dataclass(frozen=True, slots=True)
class _Message:
    kind: _Kind
    text: str = ""
    name: str = ""
    intact: bool = True
    partial: bool = False


class _Messages:
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

    def next(self) -> _Message | None:
        buffer = self._buffer
        while buffer:
            first = buffer[0]
            if first == 0x15:
                del buffer[0]
                return _Message(_Kind.NAK)
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

    def _acknowledgement(self) -> _Message | None:
        buffer = self._buffer
        if not self._expect_option:
            del buffer[0]
            return _Message(_Kind.ACK)
        end = buffer.find(b"\n")
        if end < 0 and len(buffer) < 8:
            return None
        end = end if 0 <= end < 8 else 0
        text = buffer[1:end].decode("ascii").strip()
        del buffer[: end + 1]
        return _Message(_Kind.OPTION, text)

    def _line(self) -> _Message | None:
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0 or end > LINE_MAX:
            if len(buffer) <= LINE_MAX:
                return None
            end = LINE_MAX
        text = buffer[:end].decode("ascii").strip()
        del buffer[: end + 1]
        return _Message(_Kind.LINE, text)

    def _block(self) -> _Message | None:
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
            return _Message(_Kind.BLOCK, text, "", intact, partial)
        name, _, data = text.partition("\x02")
        return _Message(_Kind.COMMAND, data, name, intact, partial)


# --- server -------------------------------------------------------------------------------------


class CommandRefused(Exception):  # noqa: N818 - an answer of the device, not a fault
    """The device refuses: its text goes out as `(ERRORnn)`."""

    def __init__(self, text: str = "ERROR") -> None:
        super().__init__(text)
        self.text = re.sub(r"[()*/!\r\n]", " ", text)[:32]


class Device(Protocol):
    """The meter behind the server core."""

    def readout(self, table: str) -> Sequence[str]:
        """The lines of the readout; `table` is the digit of `/2!`, empty for the standard one."""

    def password(self, level: int, answer: str, seed: str) -> bool:
        """Whether P1 or P2 with this answer opens programming mode."""

    def run(self, name: str, data: str) -> Sequence[str] | None:
        """R, W or E command: lines for a data block, None for ACK; raise CommandRefused."""


class ServerState(Enum):
    IDLE = "idle"
    IDENTIFIED = "identified"
    PROGRAMMING = "programming"
    HDLC = "hdlc"


SERVER_TABLE: Final[dict[tuple[ServerState, _Kind], str]] = {
    (ServerState.IDLE, _Kind.LINE): "_sign_on",
    (ServerState.IDLE, _Kind.NAK): "_repeat",
    (ServerState.IDENTIFIED, _Kind.LINE): "_sign_on",
    (ServerState.IDENTIFIED, _Kind.OPTION): "_option",
    (ServerState.IDENTIFIED, _Kind.NAK): "_repeat",
    (ServerState.PROGRAMMING, _Kind.LINE): "_sign_on",
    (ServerState.PROGRAMMING, _Kind.COMMAND): "_command",
    (ServerState.PROGRAMMING, _Kind.NAK): "_repeat",
    (ServerState.PROGRAMMING, _Kind.ACK): "_next_block",
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a meter signs on."""

    identification: Identification
    address: str = ""  # device address; a request without one is always answered
    seed: str = ""
    option_timeout_ms: int = 1500
    inactivity_timeout_s: int = 60
    block_lines_max: int = 0  # lines in a partial block of R6; 0 sends everything at once
    password_attempts_max: int = 3


class Iec21Server:
    """The meter's side."""

    def __init__(self, settings: ServerSettings, device: Device) -> None:
        self.settings = settings
        self._device = device
        self._messages = _Messages(BLOCK_MAX_SERVER)
        self._state = ServerState.IDLE
        self._out = bytearray()
        self._last = b""
        self._blocks: list[bytes] = []
        self._level = 0
        self._table = ""
        self._attempts = self._repetitions = 0
        self._due_at: Instant | None = None

    @property
    def state(self) -> ServerState:
        return self._state

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`, changing the rate where
        the events say."""
        events: list[Event] = []
        self._messages.feed(data)
        while self._state is not ServerState.HDLC:
            self._messages.expect_option(self._state is ServerState.IDENTIFIED)
            message = self._messages.next()
            if message is None:
                break
            action = SERVER_TABLE.get((self._state, message.kind))
            if action is None:
                continue
            self._due_at = Instant(now + self.settings.inactivity_timeout_s * NANOSECONDS_PER_S)
            events += getattr(self, action)(message, now)
        if self._state is ServerState.IDLE:
            self._due_at = None
        return events

    def deadline(self) -> Instant | None:
        """Option select or inactivity time-out."""
        return self._due_at

    def tick(self, now: Instant) -> list[Event]:
        """Fall back to waiting for a request; a silent programming session ends with a break."""
        if self._due_at is None or now < self._due_at:
            return []
        events: list[Event] = []
        if self._state is ServerState.PROGRAMMING:
            self._out += BREAK
            events.append(Broken())
        self._reset()
        return [*events, self._back_to_start()]

    def _back_to_start(self) -> BaudChange:
        """The rate of sign-on requests, once everything has left."""
        return BaudChange(INITIAL_BAUD, len(self._out))

    def _reset(self) -> None:
        self._state = ServerState.IDLE
        self._due_at = None
        self._level = self._attempts = 0
        self._blocks.clear()

    def _send(self, data: bytes) -> None:
        self._out += data
        self._last = data
        self._repetitions = 0

    def _sign_on(self, message: _Message, now: Instant) -> list[Event]:
        match = re.fullmatch(r"/(\d?)(\?([^!]*))?!", message.text, re.ASCII)
        if match is None or (match[2] is None and not match[1]):
            return []
        asked = (match[3] or "").strip()
        if asked and asked.lstrip("0") != self.settings.address.lstrip("0"):
            return []
        self._reset()
        self._table = match[1]
        identification = self.settings.identification
        events: list[Event] = [SignedOn(asked)]
        self._send(identification.encode())
        if identification.mode in {Mode.A, Mode.B}:
            if identification.mode is Mode.B:
                events.append(BaudChange(identification.baud, len(self._out)))
            self._send_readout()
            return [*events, self._back_to_start()]
        self._state = ServerState.IDENTIFIED
        self._due_at = Instant(now + self.settings.option_timeout_ms * _NS_PER_MS)
        return events

    def _option(self, message: _Message, _now: Instant) -> list[Event]:
        identification = self.settings.identification
        text = message.text + "???"
        protocol, baud, mode = text[0], text[1], text[2]
        rate = BAUD_MODE_C.get(baud)
        if rate is None or baud > identification.baud_character:
            self._reset()
            return []
        change = BaudChange(rate)
        if protocol == "2" and mode == "2" and identification.hdlc:
            self._send(ACK + b"2" + baud.encode() + b"2" + CRLF)
            self._state = ServerState.HDLC
            self._due_at = None
            return [change, HandOver(rate, self._messages.rest())]
        if protocol != "0" or mode not in {"0", "1"}:
            self._reset()
            return []
        if mode == "0":
            self._reset()
            self._send_readout()
            return [change, self._back_to_start()]
        self._state = ServerState.PROGRAMMING
        self._send(command("P0", f"({self.settings.seed})"))
        return [change]

    def _send_readout(self) -> None:
        lines = "".join(f"{line}\r\n" for line in self._device.readout(self._table))
        self._send(block(f"{lines}!\r\n"))
        self._state = ServerState.IDLE

    def _repeat(self, _message: _Message, _now: Instant) -> list[Event]:
        if self._last and self._repetitions < REPETITIONS:
            self._repetitions += 1
            self._out += self._last
        return []

    def _next_block(self, _message: _Message, _now: Instant) -> list[Event]:
        if self._blocks:
            self._send(self._blocks.pop(0))
        return []

    def _command(self, message: _Message, _now: Instant) -> list[Event]:
        if not message.intact:
            self._out += NAK
            return []
        name = message.name
        if name == "B0":
            self._reset()
            return [Broken(), self._back_to_start()]
        if name in {"P1", "P2"}:
            return self._password(int(name[1]), message.text)
        self._blocks.clear()
        try:
            if not self._level and name[:1] != "R":
                raise CommandRefused("ERROR07")
            lines = self._device.run(name, message.text)
        except CommandRefused as refusal:
            self._send(block(f"({refusal.text})"))
            return []
        if lines is None:
            self._send(ACK)
        else:
            self._send_lines(name, list(lines))
        return []

    def _send_lines(self, name: str, lines: list[str]) -> None:
        size = self.settings.block_lines_max
        if name != "R6" or not size or len(lines) <= size:
            self._send(block("\r\n".join(lines)))
            return
        pieces = [lines[start : start + size] for start in range(0, len(lines), size)]
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            text = "\r\n".join(piece) + ("" if last else "\r\n")
            self._blocks.append(block(text, end=ETX if last else EOT))
        self._send(self._blocks.pop(0))

    def _password(self, level: int, text: str) -> list[Event]:
        values = _VALUE.findall(text)
        if values and self._device.password(level, values[0], self.settings.seed):
            self._level = level
            self._attempts = 0
            self._send(ACK)
            return []
        self._attempts += 1
        if self._attempts < self.settings.password_attempts_max:
            self._send(block("(ERROR01)"))
            return []
        self._send(BREAK)
        self._reset()
        return [Broken(), self._back_to_start()]


# --- client -------------------------------------------------------------------------------------


class ClientState(Enum):
    IDLE = "idle"
    SIGNING_ON = "signing on"
    READING_OUT = "reading out"
    ENTERING = "entering programming mode"
    PROGRAMMING = "programming"
    HANDING_OVER = "handing over"
    HDLC = "hdlc"


CLIENT_TABLE: Final[dict[tuple[ClientState, _Kind], str]] = {
    (ClientState.SIGNING_ON, _Kind.LINE): "_identified",
    (ClientState.READING_OUT, _Kind.BLOCK): "_take_readout",
    (ClientState.ENTERING, _Kind.COMMAND): "_take_command",
    (ClientState.PROGRAMMING, _Kind.COMMAND): "_take_command",
    (ClientState.PROGRAMMING, _Kind.BLOCK): "_take_block",
    (ClientState.PROGRAMMING, _Kind.ACK): "_accepted",
    (ClientState.PROGRAMMING, _Kind.NAK): "_send_again",
    (ClientState.HANDING_OVER, _Kind.OPTION): "_handed_over",
}


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the reader wants and how long it waits."""

    purpose: Purpose = Purpose.READOUT
    address: str = ""
    table: str = ""  # digit of a further readout table, e.g. "2"
    wake_up: bool = False
    baud_max: int = 19200
    response_timeout_ms: int = 2200  # 1.5 s of the standard and a modem's share
    repetitions: int = 2


class Iec21Client:
    """The reader's side."""

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self.settings = settings or ClientSettings()
        self._messages = _Messages(BLOCK_MAX_CLIENT)
        self._state = ClientState.IDLE
        self._out = bytearray()
        self._last = b""
        self._joined = ""
        self._attempts = 0
        self._due_at: Instant | None = None
        self._octets = 0
        self._baud = INITIAL_BAUD

    @property
    def state(self) -> ClientState:
        return self._state

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def sign_on(self, now: Instant) -> bytes:
        """The request; its answer is Identified."""
        if self._state is not ClientState.IDLE:
            raise LocalProtocolError(f"no request can be sent while {self._state.value}")
        self._state = ClientState.SIGNING_ON
        request = f"/{self.settings.table}?{self.settings.address}!\r\n"
        if self.settings.table and not self.settings.address:
            request = f"/{self.settings.table}!\r\n"
        if self.settings.wake_up:
            self._out += WAKE_UP
        self._transmit(request.encode("ascii", "replace"), now)
        return self.data_to_send()

    def send_password(self, level: int, password: str, now: Instant) -> bytes:
        """P1 or P2; its answer is Accepted, Answer with an error, or Broken."""
        return self.send_command(f"P{level}", f"({password})", now)

    def send_command(self, name: str, data: str, now: Instant) -> bytes:
        """R1 to W5 and E2 with their data, e.g. `R5` and `1.8.0()`."""
        if self._state is not ClientState.PROGRAMMING:
            raise LocalProtocolError(f"no command can be sent while {self._state.value}")
        self._joined = ""
        self._transmit(command(name, data), now)
        return self.data_to_send()

    def sign_off(self) -> bytes:
        """The break; nothing answers."""
        self._state = ClientState.IDLE
        self._due_at = None
        return BREAK

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`, then act on events."""
        events: list[Event] = []
        self._messages.feed(data)
        self._octets += len(data)
        if self._due_at is not None and data:
            self._due_at = self._later(now)
        while self._state is not ClientState.HDLC:
            self._messages.expect_option(self._state is ClientState.HANDING_OVER)
            message = self._messages.next()
            if message is None:
                break
            action = CLIENT_TABLE.get((self._state, message.kind))
            if action is not None:
                events += getattr(self, action)(message, now)
        return events

    def deadline(self) -> Instant | None:
        """When an answer must have come."""
        return self._due_at

    def tick(self, now: Instant) -> list[Event]:
        """Repeat the last message or give up."""
        if self._due_at is None or now < self._due_at:
            return []
        if self._attempts >= self.settings.repetitions or self._state is ClientState.READING_OUT:
            self._state = ClientState.IDLE
            self._due_at = None
            return [NoAnswer(self._octets)]
        self._attempts += 1
        self._due_at = self._later(now)
        self._messages.clear()
        self._out += self._last
        return []

    def _later(self, now: Instant) -> Instant:
        return Instant(now + self.settings.response_timeout_ms * _NS_PER_MS)

    def _transmit(self, data: bytes, now: Instant) -> None:
        self._out += data
        self._last = data
        self._attempts = 0
        self._octets = 0
        self._due_at = self._later(now)

    def _identified(self, message: _Message, now: Instant) -> list[Event]:
        if "?" in message.text[:3] or message.text.endswith("!"):
            return []  # our own request, echoed by the optical head
        identification = Identification.parse(message.text)
        if identification is None:
            return []
        events: list[Event] = [Identified(identification)]
        self._due_at = self._later(now)
        self._octets = 0
        mode, purpose = identification.mode, self.settings.purpose
        if (purpose is Purpose.HDLC and mode is not Mode.E) or (
            purpose is Purpose.PROGRAMMING and mode in {Mode.A, Mode.B}
        ):
            self._state = ClientState.IDLE
            self._due_at = None
            return [*events, NoAnswer()]
        if mode in {Mode.A, Mode.B}:
            self._state = ClientState.READING_OUT
            if mode is Mode.B:
                events.append(BaudChange(identification.baud))
            return events
        character, self._baud = self._choose_baud(identification)
        protocol = "2" if purpose is Purpose.HDLC else "0"
        self._state = {
            Purpose.READOUT: ClientState.READING_OUT,
            Purpose.PROGRAMMING: ClientState.ENTERING,
            Purpose.HDLC: ClientState.HANDING_OVER,
        }[purpose]
        option = f"{protocol}{character}{purpose.value}\r\n".encode("ascii")
        self._transmit(ACK + option, now)
        events.append(BaudChange(self._baud))
        return events

    def _choose_baud(self, identification: Identification) -> tuple[str, int]:
        character = identification.baud_character
        while character > "0" and BAUD_MODE_C[character] > self.settings.baud_max:
            character = chr(ord(character) - 1)
        return character, BAUD_MODE_C[character]

    def _take_readout(self, message: _Message, now: Instant) -> list[Event]:
        if not message.intact and self._attempts < self.settings.repetitions:
            attempts = self._attempts + 1
            self._transmit(NAK, now)
            self._attempts = attempts
            return []
        self._joined += message.text
        if message.partial:
            self._transmit(ACK, now)
            return []
        text, self._joined = self._joined, ""
        self._state = ClientState.IDLE
        self._due_at = None
        return [Readout(text, message.intact)]

    def _take_command(self, message: _Message, now: Instant) -> list[Event]:
        if not message.intact:
            return self._ask_again(now)
        if message.name == "B0":
            self._state = ClientState.IDLE
            self._due_at = None
            return [Broken()]
        if message.name == "P0" and self._state is ClientState.ENTERING:
            self._state = ClientState.PROGRAMMING
            self._due_at = None
            values = _VALUE.findall(message.text)
            return [PasswordRequest(values[0] if values else "")]
        return []

    def _ask_again(self, now: Instant) -> list[Event]:
        if self._attempts >= self.settings.repetitions:
            self._due_at = None
            return [NoAnswer(self._octets)]
        attempts = self._attempts + 1
        self._transmit(NAK, now)
        self._attempts = attempts
        return []

    def _take_block(self, message: _Message, now: Instant) -> list[Event]:
        if self._due_at is None:
            return []  # a late repetition
        if not message.intact:
            return self._ask_again(now)
        if len(self._joined) + len(message.text) > BLOCK_MAX_CLIENT:
            self._state = ClientState.IDLE
            self._due_at = None
            return [NoAnswer(self._octets)]
        self._joined += message.text
        if message.partial:
            self._transmit(ACK, now)
            return []
        text, self._joined = self._joined, ""
        self._due_at = None
        return [Answer(text)]

    def _accepted(self, _message: _Message, _now: Instant) -> list[Event]:
        if self._due_at is None:
            return []
        self._due_at = None
        return [Accepted()]

    def _send_again(self, _message: _Message, now: Instant) -> list[Event]:
        if self._due_at is None or self._attempts >= self.settings.repetitions:
            return []
        attempts = self._attempts + 1
        self._transmit(self._last, now)
        self._attempts = attempts
        return []

    def _handed_over(self, message: _Message, _now: Instant) -> list[Event]:
        if message.text[:1] != "2":
            return []
        self._state = ClientState.HDLC
        self._due_at = None
        return [HandOver(self._baud, self._messages.rest())]


# --- load profiles in the VDEW form -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProfileBlock:
    """One header P.01 with the rows that follow it, values as the text in the brackets.

    `start` is `[season]YYMMDDhhmm[ss]` as sent: season 0 normal, 1 summer, 2 UTC.
    """

    name: str
    start: str
    status: str
    interval_min: int
    columns: tuple[tuple[str, str], ...]  # code and unit
    rows: tuple[tuple[str, ...], ...]


def parse_profile(text: str) -> list[ProfileBlock]:
    """The blocks of an answer to `R5 P.01(...)`; a header that makes no sense is skipped."""
    blocks: list[ProfileBlock] = []
    header: list[str] | None = None
    name = ""
    rows: list[tuple[str, ...]] = []

    def close() -> None:
        if header is not None:
            made = _profile_block(name, header, rows)
            if made is not None:
                blocks.append(made)

    for line in text.replace("\r", "\n").split("\n"):
        line = line.strip()
        values = _VALUE.findall(line)
        if line.startswith("P."):
            close()
            name, header, rows = line.partition("(")[0], values, []
        elif header is not None and values:
            rows.append(tuple(values))
    close()
    return blocks


def _profile_block(
    name: str, header: list[str], rows: list[tuple[str, ...]]
) -> ProfileBlock | None:
    if len(header) < 6 or not re.fullmatch(r"[ \t]*\d{1,9}[ \t]*", header[2], re.ASCII):
        return None
    counts = [index for index in (3, 4) if index < len(header) and header[index].isdigit()]
    if not counts:
        return None
    start = counts[0]
    columns = tuple(zip(header[start + 1 :: 2], header[start + 2 :: 2], strict=False))
    return ProfileBlock(name, header[0], header[1], int(header[2]), columns, tuple(rows))
