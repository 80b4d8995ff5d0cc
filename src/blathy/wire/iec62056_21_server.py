"""IEC 62056-21, the meter's side: a core without IO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.iec62056_21_messages import (
    ACK,
    BAUD_MODE_C,
    BLOCK_MAX_SERVER,
    BREAK,
    CRLF,
    EOT,
    ETX,
    INITIAL_BAUD,
    NAK,
    NS_PER_MS,
    REPETITIONS,
    VALUE,
    BaudChange,
    Broken,
    Event,
    HandOver,
    Identification,
    Message,
    MessageKind,
    MessageReader,
    Mode,
    SignedOn,
    block,
    command,
)


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


SERVER_TABLE: Final[dict[tuple[ServerState, MessageKind], str]] = {
    (ServerState.IDLE, MessageKind.LINE): "_sign_on",
    (ServerState.IDLE, MessageKind.NAK): "_repeat",
    (ServerState.IDENTIFIED, MessageKind.LINE): "_sign_on",
    (ServerState.IDENTIFIED, MessageKind.OPTION): "_option",
    (ServerState.IDENTIFIED, MessageKind.NAK): "_repeat",
    (ServerState.PROGRAMMING, MessageKind.LINE): "_sign_on",
    (ServerState.PROGRAMMING, MessageKind.COMMAND): "_command",
    (ServerState.PROGRAMMING, MessageKind.NAK): "_repeat",
    (ServerState.PROGRAMMING, MessageKind.ACK): "_next_block",
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
        self._messages = MessageReader(BLOCK_MAX_SERVER)
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

    def _sign_on(self, message: Message, now: Instant) -> list[Event]:
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
        self._due_at = Instant(now + self.settings.option_timeout_ms * NS_PER_MS)
        return events

    def _option(self, message: Message, _now: Instant) -> list[Event]:
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

    def _repeat(self, _message: Message, _now: Instant) -> list[Event]:
        if self._last and self._repetitions < REPETITIONS:
            self._repetitions += 1
            self._out += self._last
        return []

    def _next_block(self, _message: Message, _now: Instant) -> list[Event]:
        if self._blocks:
            self._send(self._blocks.pop(0))
        return []

    def _command(self, message: Message, _now: Instant) -> list[Event]:
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
        values = VALUE.findall(text)
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
