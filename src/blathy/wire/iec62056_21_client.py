"""IEC 62056-21, the reader's side: a core without IO."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from blathy.clock import Instant
from blathy.wire.errors import LocalProtocolError
from blathy.wire.iec62056_21_messages import (
    ACK,
    BAUD_MODE_C,
    BLOCK_MAX_CLIENT,
    BREAK,
    INITIAL_BAUD,
    NAK,
    NS_PER_MS,
    VALUE,
    WAKE_UP,
    Accepted,
    Answer,
    BaudChange,
    Broken,
    Event,
    HandOver,
    Identification,
    Identified,
    Message,
    MessageKind,
    MessageReader,
    Mode,
    NoAnswer,
    PasswordRequest,
    Purpose,
    Readout,
    command,
)


class ClientState(Enum):
    IDLE = "idle"
    SIGNING_ON = "signing on"
    READING_OUT = "reading out"
    ENTERING = "entering programming mode"
    PROGRAMMING = "programming"
    HANDING_OVER = "handing over"
    HDLC = "hdlc"


CLIENT_TABLE: Final[dict[tuple[ClientState, MessageKind], str]] = {
    (ClientState.SIGNING_ON, MessageKind.LINE): "_identified",
    (ClientState.READING_OUT, MessageKind.BLOCK): "_take_readout",
    (ClientState.ENTERING, MessageKind.COMMAND): "_take_command",
    (ClientState.PROGRAMMING, MessageKind.COMMAND): "_take_command",
    (ClientState.PROGRAMMING, MessageKind.BLOCK): "_take_block",
    (ClientState.PROGRAMMING, MessageKind.ACK): "_accepted",
    (ClientState.PROGRAMMING, MessageKind.NAK): "_send_again",
    (ClientState.HANDING_OVER, MessageKind.OPTION): "_handed_over",
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
        self._messages = MessageReader(BLOCK_MAX_CLIENT)
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
        return Instant(now + self.settings.response_timeout_ms * NS_PER_MS)

    def _transmit(self, data: bytes, now: Instant) -> None:
        self._out += data
        self._last = data
        self._attempts = 0
        self._octets = 0
        self._due_at = self._later(now)

    def _identified(self, message: Message, now: Instant) -> list[Event]:
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

    def _take_readout(self, message: Message, now: Instant) -> list[Event]:
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

    def _take_command(self, message: Message, now: Instant) -> list[Event]:
        if not message.intact:
            return self._ask_again(now)
        if message.name == "B0":
            self._state = ClientState.IDLE
            self._due_at = None
            return [Broken()]
        if message.name == "P0" and self._state is ClientState.ENTERING:
            self._state = ClientState.PROGRAMMING
            self._due_at = None
            values = VALUE.findall(message.text)
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

    def _take_block(self, message: Message, now: Instant) -> list[Event]:
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

    def _accepted(self, _message: Message, _now: Instant) -> list[Event]:
        if self._due_at is None:
            return []
        self._due_at = None
        return [Accepted()]

    def _send_again(self, _message: Message, now: Instant) -> list[Event]:
        if self._due_at is None or self._attempts >= self.settings.repetitions:
            return []
        attempts = self._attempts + 1
        self._transmit(self._last, now)
        self._attempts = attempts
        return []

    def _handed_over(self, message: Message, _now: Instant) -> list[Event]:
        if message.text[:1] != "2":
            return []
        self._state = ClientState.HDLC
        self._due_at = None
        return [HandOver(self._baud, self._messages.rest())]
