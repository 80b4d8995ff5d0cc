"""The secondary station of HDLC (IEC 62056-46): a meter, one physical device.

It answers and hands the token back with F = 1. What it does with which frame is in `SERVER_TABLE`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError
from blathy.wire.hdlc_frames import (
    CONTROL,
    POLL,
    Frame,
    FrameDecoder,
    FrameType,
    LineCounters,
    ServerAddress,
    client_octet,
)
from blathy.wire.hdlc_link import (
    BAD_RECEIVE_NUMBER,
    INFORMATION_MAX,
    LARGEST,
    LLC_RESPONSE,
    TOO_LONG,
    UNKNOWN_COMMAND,
    Apdu,
    Discarded,
    Event,
    HdlcParameters,
    Link,
    LinkDown,
    LinkUp,
    Permission,
    Reason,
    frmr_information,
    gather_interface,
)

LINKS_MAX: Final = 16  # client links that one server keeps at a time
_START: Final = Instant(0)


class LinkState(Enum):
    """Normal disconnected mode, normal response mode, frame reject condition."""

    NDM = "disconnected"
    NRM = "connected"
    REJECTING = "rejecting"


_F = FrameType
SERVER_TABLE: Final[dict[tuple[LinkState, FrameType], str]] = {
    (LinkState.NDM, _F.SNRM): "_open",
    (LinkState.NDM, _F.DISC): "_answer_dm",
    (LinkState.NDM, _F.I): "_answer_dm",
    (LinkState.NDM, _F.RR): "_answer_dm",
    (LinkState.NDM, _F.RNR): "_answer_dm",
    (LinkState.NDM, _F.UI): "_take_ui",
    (LinkState.NRM, _F.SNRM): "_open",
    (LinkState.NRM, _F.DISC): "_close",
    (LinkState.NRM, _F.I): "_take_information",
    (LinkState.NRM, _F.RR): "_continue",
    (LinkState.NRM, _F.RNR): "_continue",
    (LinkState.NRM, _F.UI): "_take_ui",
    (LinkState.NRM, _F.UNKNOWN): "_reject_unknown",
    (LinkState.REJECTING, _F.SNRM): "_open",
    (LinkState.REJECTING, _F.DISC): "_close",
    (LinkState.REJECTING, _F.I): "_reject_again",
    (LinkState.REJECTING, _F.RR): "_reject_again",
    (LinkState.REJECTING, _F.RNR): "_reject_again",
}
"""What a secondary does; a pair that is not listed is dropped without an answer."""


@dataclass(slots=True)
class _ServerLink:
    client: int
    server: ServerAddress
    link: Link
    state: LinkState = LinkState.NDM
    token: bool = False  # the client polled and has no final answer yet
    active_at: Instant = _START
    inactivity_timeout_s: int = 0
    rejection: bytes = b""
    interface: bytearray = field(default_factory=bytearray)  # segments of UI frames


@dataclass(frozen=True, slots=True)
class PortSetup:
    """What an IEC HDLC setup object says of its port.

    An inter-octet time shorter than that of the settings is not kept: between the line and us lie
    networks and operating systems, which deliver octets in their own pieces.
    """

    parameters: HdlcParameters = LARGEST
    inactivity_timeout_s: int = 120  # 0: never
    inter_octet_timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class HdlcServerSettings:
    """How one physical device listens.

    `logical_devices` are the upper addresses that exist, or a function that knows every address;
    `lower` is the physical address, None where any is taken: on a point-to-point line, or where the
    function speaks for a whole bus. `address_size` 0 accepts
    every form, else the standard's rules for that size hold. `setup` is asked at every SNRM; what
    it knows of an address goes before `parameters` and `inactivity_timeout_s`.
    """

    logical_devices: Collection[int] | Callable[[ServerAddress], bool] = (1,)
    lower: int | None = None
    address_size: int = 0
    clients: Collection[int] | None = None  # None: any client address may connect
    parameters: HdlcParameters = LARGEST
    inter_octet_timeout_ms: int = 2000
    inactivity_timeout_s: int = 120  # 0: never
    setup: Callable[[ServerAddress], PortSetup | None] | None = None

    def of(self, server: ServerAddress) -> PortSetup:
        """How the port behind this address is set up now."""
        found = self.setup(server) if self.setup is not None else None
        return found or PortSetup(self.parameters, self.inactivity_timeout_s)


class HdlcServer:
    """The secondary station: one physical device, a link per client and logical device."""

    def __init__(self, settings: HdlcServerSettings | None = None) -> None:
        self.settings = settings or HdlcServerSettings()
        self._decoder = FrameDecoder(self.settings.inter_octet_timeout_ms)
        self._links: dict[tuple[int, int, int | None], _ServerLink] = {}
        self._pushes: deque[tuple[int, ServerAddress, bytes]] = deque(maxlen=LINKS_MAX)
        self._out = bytearray()

    @property
    def counters(self) -> LineCounters:
        return self._decoder.counters

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`."""
        events: list[Event] = []
        for frame in self._decoder.receive(data, now):
            events += self._take(frame, now)
        return events

    def send(self, client: int, server: ServerAddress, *apdus: bytes) -> bytes:
        """Answer on a link: octets to transmit now; the rest follows as the client polls."""
        entry = self._entry(client, server)
        for apdu in apdus:
            entry.link.queue(apdu)
        if entry.token:
            self._hand_back(entry)
        return self.data_to_send()

    def acknowledge(self, client: int, server: ServerAddress) -> bytes:
        """Hand the token back without an answer, after a service that has none."""
        entry = self._entry(client, server)
        if entry.token:
            self._hand_back(entry)
        return self.data_to_send()

    def push(self, client: int, server: ServerAddress, apdu: bytes, *, wait: bool = False) -> bytes:
        """Send an APDU of our own in a UI frame; with `wait` only once the client permits it."""
        if len(apdu) + len(LLC_RESPONSE) > INFORMATION_MAX:
            raise LocalProtocolError(f"a UI frame holds no APDU of {len(apdu)} octets")
        if wait:
            self._pushes.append((client, server, apdu))
        else:
            self._send_ui(client, server, apdu)
        return self.data_to_send()

    def sending(self, client: int, server: ServerAddress) -> bool:
        """Whether segments of an answer still wait to be sent on this link."""
        entry = self._links.get((client, server.upper, server.lower))
        return entry is not None and bool(entry.link.waiting)

    @property
    def linked(self) -> bool:
        """Whether any client has a link here."""
        return bool(self._links)

    def deadline(self) -> Instant | None:
        """The next inter-octet or inactivity time-out."""
        times = [self._decoder.deadline()]
        times += [_inactive_at(entry) for entry in self._links.values()]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: Instant) -> list[Event]:
        """Run time-outs that are due."""
        events: list[Event] = []
        for frame in self._decoder.tick(now):
            events += self._take(frame, now)
        for key, entry in list(self._links.items()):
            due = _inactive_at(entry)
            if due is not None and now >= due:
                del self._links[key]
                events.append(LinkDown(entry.client, entry.server, Reason.INACTIVE))
        return events

    # which frames are ours

    def _take(self, frame: Frame, now: Instant) -> list[Event]:
        if len(frame.source) != 1:
            return []
        client = frame.source[0] >> 1
        server = ServerAddress.decode(frame.destination)
        if not client or frame.source[0] == 0xFF:
            return []
        key = (client, server.upper, server.lower)
        entry = self._links.get(key)
        # A link goes on under the address that it was opened with, whatever is set meanwhile.
        ours = entry is not None and frame.destination == entry.link.local
        if not ours and not self._is_for_us(server):
            return []
        if server.all_upper or server.all_lower:
            if frame.kind is not FrameType.UI or frame.poll:
                return []
            entry = self._fresh(client, server, frame)
            return self._take_ui(entry, frame)
        entry = entry or self._fresh(client, server, frame)
        entry.active_at = now
        if frame.kind is not FrameType.SNRM and frame.destination != entry.link.local:
            entry = self._fresh(client, server, frame)
        action = SERVER_TABLE.get((entry.state, frame.kind))
        if action is None:
            return []
        events: list[Event] = getattr(self, action)(entry, frame)
        if entry.state is LinkState.NDM:
            if self._links.get(key) is entry:
                del self._links[key]
        else:
            self._links[key] = entry
        return events

    def _is_for_us(self, server: ServerAddress) -> bool:
        if not server.upper or server.lower == 0 or server.calling:
            return False  # no station; and nobody owns the CALLING address of one that dialled in
        own = self.settings.address_size
        if own and server.size != own and not self._other_size_fits(server, own):
            return False
        devices = self.settings.logical_devices
        if not server.all_upper:
            known = devices(server) if callable(devices) else server.upper in devices
            if not known:
                return False
        lower = self.settings.lower
        if server.lower is None or lower is None or server.all_lower:
            return True
        return server.lower == lower or (own == 1 and server.all_lower)

    @staticmethod
    def _other_size_fits(server: ServerAddress, own: int) -> bool:
        if server.size == 1:
            return False
        if own == 1:
            return server.all_lower and (server.size == 2 or server.all_upper)
        if own == 4:
            return True  # both parts widen
        return server.all_lower and server.all_upper

    def _fresh(self, client: int, server: ServerAddress, frame: Frame) -> _ServerLink:
        link = Link(frame.destination, frame.source, LLC_RESPONSE, b"\xe6\x00")
        return _ServerLink(client, server, link)

    def _entry(self, client: int, server: ServerAddress) -> _ServerLink:
        entry = self._links.get((client, server.upper, server.lower))
        if entry is None or entry.state is not LinkState.NRM:
            raise LocalProtocolError(f"no HDLC link between client {client} and server {server}")
        return entry

    # what each frame does

    def _open(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        clients = self.settings.clients
        key = (entry.client, entry.server.upper, entry.server.lower)
        full = key not in self._links and len(self._links) >= LINKS_MAX
        if full or (clients is not None and entry.client not in clients):
            entry.state = LinkState.NDM
            return self._answer_dm(entry, frame)
        events: list[Event] = []
        if entry.state is not LinkState.NDM:
            events.append(LinkDown(entry.client, entry.server, Reason.RESTARTED))
        port = self.settings.of(entry.server)
        agreed = port.parameters.agree(HdlcParameters.decode(frame.information))
        entry.inactivity_timeout_s = port.inactivity_timeout_s
        between_octets_ms = max(port.inter_octet_timeout_ms, self.settings.inter_octet_timeout_ms)
        self._decoder.inter_octet_timeout_ms = between_octets_ms
        entry.link.local, entry.link.remote = frame.destination, frame.source
        entry.server = ServerAddress.decode(frame.destination)
        entry.link.reset(agreed)
        entry.token = False
        entry.state = LinkState.NRM
        self._out += entry.link.frame(FrameType.UA, information=agreed.encode())
        events.append(LinkUp(entry.client, entry.server, agreed))
        return events

    def _close(self, entry: _ServerLink, _frame: Frame) -> list[Event]:
        entry.state = LinkState.NDM
        self._out += entry.link.frame(FrameType.UA)
        return [LinkDown(entry.client, entry.server, Reason.RELEASED)]

    def _answer_dm(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if frame.poll:
            self._out += entry.link.frame(FrameType.DM)
        return []

    def _take_information(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        link = entry.link
        entry.token = entry.token or frame.poll
        if len(frame.information) > link.parameters.receive_size:
            return self._reject(entry, frame, TOO_LONG)
        if not link.acknowledge(frame.receive_number):
            return self._reject(entry, frame, BAD_RECEIVE_NUMBER)
        if frame.send_number != link.receive_state:
            # Either a repeated request, whose answer is on its way again, or a gap.
            if entry.token:
                self._out += link.repeat() or link.frame(FrameType.RR)
                entry.token = False
            return []
        try:
            apdu = link.gather(frame)
        except ValueError as error:
            self._hand_back(entry)
            return [Discarded(str(error))]
        if apdu is None:
            if entry.token:
                self._out += link.frame(FrameType.RR)
                entry.token = False
            return []
        return [Apdu(entry.client, entry.server, apdu)]

    def _continue(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        entry.link.peer_busy = frame.kind is FrameType.RNR
        if not entry.link.acknowledge(frame.receive_number):
            return self._reject(entry, frame, BAD_RECEIVE_NUMBER)
        entry.token = frame.poll
        if entry.token:
            if entry.link.sent and not entry.link.peer_busy:
                self._out += entry.link.repeat()
                entry.token = False
            else:
                self._hand_back(entry)
        return []

    def _hand_back(self, entry: _ServerLink) -> None:
        self._out += entry.link.transmit() or entry.link.frame(FrameType.RR)
        entry.token = False

    def _take_ui(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if not frame.information and not entry.interface:
            if not frame.poll:
                return []
            for push in [p for p in self._pushes if p[0] == entry.client]:
                self._pushes.remove(push)
                self._send_ui(*push)
            return [Permission(entry.client, entry.server)]
        try:
            data = gather_interface(entry.interface, frame, b"\xe6\x00")
        except ValueError as error:
            return [Discarded(str(error))]
        return [Apdu(entry.client, entry.server, data, confirmed=False)] if data else []

    def _send_ui(self, client: int, server: ServerAddress, apdu: bytes) -> None:
        control = CONTROL[FrameType.UI] | POLL
        entry = self._links.get((client, server.upper, server.lower))
        source = server.encode() if entry is None else entry.link.local
        frame = Frame(client_octet(client), source, control, LLC_RESPONSE + apdu)
        self._out += frame.encode()

    def _reject_unknown(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        return self._reject(entry, frame, UNKNOWN_COMMAND)

    def _reject(self, entry: _ServerLink, frame: Frame, reason: int) -> list[Event]:
        entry.state = LinkState.REJECTING
        entry.rejection = frmr_information(frame.control, entry.link, reason)
        self._out += entry.link.frame(FrameType.FRMR, information=entry.rejection)
        return [LinkDown(entry.client, entry.server, Reason.REJECTED)]

    def _reject_again(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if frame.poll:
            self._out += entry.link.frame(FrameType.FRMR, information=entry.rejection)
        return []


def _inactive_at(entry: _ServerLink) -> Instant | None:
    if not entry.inactivity_timeout_s:
        return None
    return Instant(entry.active_at + entry.inactivity_timeout_s * NANOSECONDS_PER_S)
