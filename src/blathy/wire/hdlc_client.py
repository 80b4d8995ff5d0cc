"""The primary station of HDLC (IEC 62056-46): who reads a meter.

It holds the token: it sends with P = 1 and waits. What it does with which frame is in
`CLIENT_TABLE`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from blathy.clock import Instant
from blathy.wire.errors import LocalProtocolError
from blathy.wire.hdlc_frames import (
    CONTROL,
    NS_PER_MS,
    Frame,
    FrameDecoder,
    FrameType,
    LineCounters,
    ServerAddress,
    client_octet,
)
from blathy.wire.hdlc_link import (
    APDU_SIZE_MAX,
    LARGEST,
    LLC_COMMAND,
    Apdu,
    Discarded,
    Event,
    HdlcParameters,
    Link,
    LinkDown,
    LinkUp,
    Reason,
    gather_interface,
)

SERVERS_MAX: Final = 16  # whose pushes in segments are gathered at a time
_START: Final = Instant(0)
_F = FrameType


class ClientState(Enum):
    """Of the primary station."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


CLIENT_TABLE: Final[dict[tuple[ClientState, FrameType], str]] = {
    (ClientState.IDLE, _F.UI): "_take_ui",
    (ClientState.CONNECTING, _F.UA): "_opened",
    (ClientState.CONNECTING, _F.DM): "_refused",
    (ClientState.CONNECTING, _F.UI): "_take_ui",
    (ClientState.CONNECTED, _F.I): "_take_information",
    (ClientState.CONNECTED, _F.RR): "_continue",
    (ClientState.CONNECTED, _F.RNR): "_continue",
    (ClientState.CONNECTED, _F.DM): "_dropped",
    (ClientState.CONNECTED, _F.FRMR): "_rejected",
    (ClientState.CONNECTED, _F.UI): "_take_ui",
    (ClientState.DISCONNECTING, _F.UA): "_released",
    (ClientState.DISCONNECTING, _F.DM): "_released",
    (ClientState.DISCONNECTING, _F.UI): "_take_ui",
}
"""What a primary does; a pair that is not listed is dropped."""


@dataclass(frozen=True, slots=True)
class HdlcClientSettings:
    """How a client speaks to one server."""

    client: int = 16
    server: ServerAddress = field(default_factory=lambda: ServerAddress(1))
    parameters: HdlcParameters = LARGEST
    response_timeout_ms: int = 3000
    repetitions: int = 3
    polls_max: int = 40  # RR without an answer ready, before the server counts as stuck
    inter_octet_timeout_ms: int = 2000
    apdu_size_max: int = APDU_SIZE_MAX


class HdlcClient:
    """The primary station for one server."""

    def __init__(self, settings: HdlcClientSettings | None = None) -> None:
        self.settings = settings or HdlcClientSettings()
        local, remote = client_octet(self.settings.client), self.settings.server.encode()
        self._decoder = FrameDecoder(self.settings.inter_octet_timeout_ms)
        self._link = Link(local, remote, LLC_COMMAND, b"\xe7\x00")
        self._state = ClientState.IDLE
        self._out = bytearray()
        self._repeat = b""
        self._due_at: Instant | None = None
        self._attempts = self._polls = self._repeats = 0
        self._awaiting = False  # an APDU went out and its answer has not come
        self._interface: dict[bytes, bytearray] = {}
        self._echoing = False
        self._unechoed: deque[Frame] = deque(maxlen=8)

    @property
    def state(self) -> ClientState:
        return self._state

    @property
    def counters(self) -> LineCounters:
        return self._decoder.counters

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def connect(self, now: Instant) -> bytes:
        """SNRM; its answer is LinkUp, or LinkDown with the reason."""
        if self._state not in {ClientState.IDLE, ClientState.CONNECTED}:
            raise LocalProtocolError(f"SNRM is not allowed while {self._state.value}")
        offer = self.settings.parameters
        information = b"" if offer == HdlcParameters() else offer.encode()
        self._state = ClientState.CONNECTING
        self._awaiting = False
        self._transmit(self._link.frame(FrameType.SNRM, information=information), now)
        return self.data_to_send()

    def send(self, apdu: bytes, now: Instant) -> bytes:
        """Send a confirmed APDU: octets to transmit now, the rest follows by data_to_send()."""
        if self._state is not ClientState.CONNECTED:
            raise LocalProtocolError(f"no APDU can be sent while {self._state.value}")
        if self._link.waiting or self._link.sent:
            raise LocalProtocolError("the APDU before has not been taken by the server yet")
        self._link.queue(apdu)
        self._awaiting = True
        self._polls = self._repeats = 0
        self._transmit(self._link.transmit(), now)
        return self.data_to_send()

    def send_unconfirmed(self, apdu: bytes) -> bytes:
        """Send an APDU in a UI frame; nobody answers."""
        control = CONTROL[FrameType.UI]
        return Frame(self._link.remote, self._link.local, control, LLC_COMMAND + apdu).encode()

    def poll(self, now: Instant) -> bytes:
        """Ask for what the server still holds back: RR with P = 1."""
        if self._state is not ClientState.CONNECTED:
            raise LocalProtocolError(f"no server can be polled while {self._state.value}")
        self._awaiting = True
        self._polls = 0
        self._transmit(self._link.frame(FrameType.RR), now)
        return self.data_to_send()

    def permit(self) -> bytes:
        """Let the server send what it holds back: an empty UI with P = 1."""
        return self._link.frame(FrameType.UI)

    def disconnect(self, now: Instant) -> bytes:
        """DISC; its answer is LinkDown."""
        self._state = ClientState.DISCONNECTING
        self._awaiting = False
        self._transmit(self._link.frame(FrameType.DISC), now)
        return self.data_to_send()

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`."""
        events: list[Event] = []
        for frame in self._decoder.receive(data, now):
            events += self._take(frame, now)
        if self._due_at is not None and data:
            # Octets are arriving: the answer is on its way, however long it is.
            self._due_at = max(self._due_at, self._later(now))
        return events

    def deadline(self) -> Instant | None:
        """When `tick` has to run."""
        times = (self._decoder.deadline(), self._due_at)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: Instant) -> list[Event]:
        """Repeat or give up what stayed unanswered."""
        events: list[Event] = []
        for frame in self._decoder.tick(now):
            events += self._take(frame, now)
        if self._due_at is None or now < self._due_at:
            return events
        if self._attempts >= self.settings.repetitions:
            return [*events, self._down(Reason.SILENT)]
        self._attempts += 1
        self._due_at = self._later(now)
        again = self._repeat
        if self._state is ClientState.CONNECTED:
            # A poll tells which of the two got lost, the request or its answer.
            again = self._link.frame(FrameType.RR)
        self._expect_echo(again)
        self._out += again
        return events

    # inside

    def _later(self, now: Instant) -> Instant:
        return Instant(now + self.settings.response_timeout_ms * NS_PER_MS)

    def _transmit(self, data: bytes, now: Instant) -> None:
        self._out += data
        self._repeat = data
        self._expect_echo(data)
        self._attempts = 0
        self._due_at = self._later(now)

    def _take(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        if self._is_echo(frame):
            self.counters.echoes += 1
            return []
        kind = frame.kind
        if kind is not FrameType.UI and (
            frame.destination != link.local or frame.source != link.remote
        ):
            return []
        action = CLIENT_TABLE.get((self._state, kind))
        if action is None:
            return []
        self._attempts = 0  # the server is there; what it did not get is counted in _repeats
        events: list[Event] = getattr(self, action)(frame, now)
        return events

    def _expect_echo(self, data: bytes) -> None:
        if self._echoing:
            self._unechoed.extend(FrameDecoder().receive(data, _START))

    def _is_echo(self, frame: Frame) -> bool:
        """Our own frame, given back by a half-duplex adapter.

        Client 1 and server 1 have the same octet. Then an echo of SNRM, which no server sends,
        tells that the line echoes, and each frame that was sent since is expected back once.
        """
        link = self._link
        if frame.source != link.local or frame.destination != link.remote:
            return False
        if link.local != link.remote:
            return True
        if frame.kind in {FrameType.SNRM, FrameType.DISC}:
            self._echoing = True
            return True
        if frame in self._unechoed:
            self._unechoed.remove(frame)
            return True
        return False

    def _down(self, reason: Reason) -> LinkDown:
        self._state = ClientState.IDLE
        self._due_at = None
        self._awaiting = False
        self._link.reset(HdlcParameters())
        return LinkDown(self.settings.client, self.settings.server, reason)

    def _opened(self, frame: Frame, _now: Instant) -> list[Event]:
        agreed = self.settings.parameters.agree(HdlcParameters.decode(frame.information))
        self._link.reset(agreed)
        self._state = ClientState.CONNECTED
        self._due_at = None
        return [LinkUp(self.settings.client, self.settings.server, agreed)]

    def _refused(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.REFUSED)]

    def _dropped(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.DROPPED)]

    def _rejected(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.REJECTED)]

    def _released(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.RELEASED)]

    def _take_information(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        if not link.acknowledge(frame.receive_number):
            return [self._down(Reason.REJECTED)]
        if frame.send_number != link.receive_state:
            if frame.poll and self._awaiting:
                self._transmit(link.frame(FrameType.RR), now)
            return []
        self._due_at = self._later(now)
        self._polls = 0
        try:
            apdu = link.gather(frame)
        except ValueError as error:
            self._due_at = None
            self._awaiting = False
            return [Discarded(str(error))]
        if apdu is None:
            if frame.poll:
                self._transmit(link.frame(FrameType.RR), now)
            return []
        self._due_at = None
        self._awaiting = False
        return [Apdu(self.settings.client, self.settings.server, apdu)]

    def _continue(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        link.peer_busy = frame.kind is FrameType.RNR
        if not link.acknowledge(frame.receive_number):
            return [self._down(Reason.REJECTED)]
        if not self._awaiting or not frame.poll:
            return []
        if link.sent and not link.peer_busy:
            self._repeats += 1
            if self._repeats > 2 * self.settings.repetitions:
                return [self._down(Reason.SILENT)]
            self._transmit(link.repeat(), now)
        elif fresh := link.transmit():
            self._repeats = 0
            self._transmit(fresh, now)
        else:
            # Taken, but no answer yet: poll again after the waiting time, not at once.
            self._polls += 1
            if self._polls > self.settings.polls_max:
                return [self._down(Reason.SILENT)]
            self._due_at = Instant(now + min(self.settings.response_timeout_ms, 200) * NS_PER_MS)
        return []

    def _take_ui(self, frame: Frame, _now: Instant) -> list[Event]:
        """Pushes: the deviations of the field (two-octet client address, S bit) are taken too."""
        if frame.destination[-1:] != self._link.local and len(frame.destination) == 1:
            return []
        if len(self._interface) > SERVERS_MAX:
            self._interface.clear()
        store = self._interface.setdefault(frame.source, bytearray())
        try:
            data = gather_interface(store, frame, b"\xe7\x00")
            server = ServerAddress.decode(frame.source)
        except ValueError as error:
            return [Discarded(str(error))]
        if not data:
            return []
        return [Apdu(self.settings.client, server, data, confirmed=False)]
