"""DLMS on the server's side of a connection: wrapper, HDLC or the IEC 62056-21 sign-on before it.

One port can take all three: the first octets tell (0001 the wrapper, 7E HDLC, anything else a
sign-on request). Who answers is looked up by the local address of the connection and the server
address in the frame, so one listener serves a whole town.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Final

from blathy.clock import Instant
from blathy.transport.limits import LISTENER, ListenerLimits
from blathy.transport.listener import ANY_LOOPBACK, TcpListener, UdpListener
from blathy.transport.open_links import OpenLinks, Report
from blathy.transport.session import Endpoint, SessionFactory, Stage, Transmit
from blathy.wire import hdlc, iec62056_21, wrapper
from blathy.wire.association_events import ClientAssociated, ServerEvent, State
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.server import LogicalDevice, ServerAssociation

ASSOCIATIONS_MAX: Final = 8  # client and server pairs on one connection
MANAGEMENT: Final = 1  # the logical device that every physical device has
SERIAL_OCTET_TIMEOUT_MS: Final = 200
"""The shortest inter-octet time-out that is kept at a serial port: drivers and schedulers hand
octets over in pieces. Over a network it is that of `HdlcServerSettings`."""
REPORTS_HELD_MAX: Final = 64  # while answers are on their way; the oldest gives way

Key = tuple[int, int, int | None]
"""Client SAP, server SAP, physical address where there is one."""


class Framing(Enum):
    """What a port takes."""

    DETECT = "detect"
    WRAPPER = "wrapper"
    HDLC = "hdlc"
    DATAGRAMS = "datagrams"  # the wrapper, and every datagram is one packet


# Read off their classes once: 0.2 µs each time on Python 3.11, and every packet asks for both.
_DATAGRAMS: Final = Framing.DATAGRAMS
_ASSOCIATED: Final = Stage.ASSOCIATED

Lookup = Callable[[Endpoint, int, int | None], LogicalDevice | None]
"""(connection, server SAP, physical address or None) -> the logical device meant, None for none."""

EventSink = Callable[[Endpoint, LogicalDevice, ServerEvent], None]
"""Is told what happens to associations: for event logs and for whoever counts failures."""

SignOn = Callable[[Endpoint], "iec62056_21.Iec21Server | None"]
"""Makes the IEC 62056-21 side of a connection, None where the meter has none."""


def _ignore(_endpoint: Endpoint, _device: LogicalDevice, _event: ServerEvent) -> None:
    pass


class DlmsSession:
    """All associations on one connection."""

    __slots__ = (
        "_associations",
        "_changes",
        "_endpoint",
        "_framing",
        "_hdlc",
        "_head",
        "_held",
        "_lookup",
        "_on_event",
        "_open_links",
        "_out",
        "_serial",
        "_sign_on",
        "_signing",
        "_transmit",
        "_wrapper",
        "closing",
        "frames",
        "speed",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        transmit: Transmit,
        lookup: Lookup,
        *,
        framing: Framing = Framing.DETECT,
        on_event: EventSink = _ignore,
        sign_on: SignOn | None = None,
        open_links: OpenLinks | None = None,
        speed: tuple[int, bool] | None = None,
    ) -> None:
        """`speed` is that of a serial port at rest: baud rate, whether 7E1. There a session lasts
        for one link or readout, so that the next begins as the port is set up by then."""
        self._endpoint = endpoint
        self._transmit = transmit
        self._lookup = lookup
        self._framing = framing
        self._on_event = on_event
        self._sign_on = sign_on
        self._open_links = open_links
        self._signing: iec62056_21.Iec21Server | None = None
        self._wrapper: wrapper.WrapperStream | None = None
        self._hdlc: hdlc.HdlcServer | None = None
        self._associations: dict[Key, tuple[LogicalDevice, ServerAssociation]] = {}
        self._held: deque[tuple[Key, Report]] | None = None
        self._head = b""
        self._out = b""
        self.closing = False
        self.frames = 0
        self.speed = speed
        """Baud rate and whether 7E1 (else 8N1): of a serial port, or once a sign-on has agreed."""
        self._serial = speed is not None
        self._changes: list[tuple[int, tuple[int, bool]]] = []
        if framing is Framing.WRAPPER:
            self._wrapper = wrapper.WrapperStream()
        elif framing is Framing.HDLC:
            self._hdlc = self._new_hdlc()

    # Session

    @property
    def stage(self) -> Stage:
        for _, association in self._associations.values():
            if association.associated:
                return _ASSOCIATED
        return Stage.FRAMED if self.frames else Stage.CONNECTED

    def receive(self, data: bytes, now: Instant) -> None:
        if self.closing:
            return
        self._take(data, now)
        if self._held:
            self._tell_held()

    def _take(self, data: bytes, now: Instant) -> None:
        if self._framing is _DATAGRAMS:
            self._receive_datagram(data, now)
        elif self._wrapper is not None:
            self._receive_packets(data, now)
        elif self._hdlc is not None:
            self._receive_frames(data, now)
        elif self._signing is not None:
            self._receive_sign_on(data, now)
        else:
            self._detect(self._head + data, now)

    def data_to_send(self) -> bytes:
        data, self._out = self._out, b""
        self._changes.clear()
        return data

    def speed_changes(self) -> list[tuple[int, tuple[int, bool]]]:
        """After how many octets of `data_to_send`, which is to be called next, the line runs at
        which speed."""
        return list(self._changes)

    @property
    def reaction_s(self) -> float:
        """How long a sign-on is answered after: readers need that long to listen."""
        signing = self._signing
        return 0.0 if signing is None else signing.settings.identification.reaction_ms / 1000

    def deadline(self) -> Instant | None:
        earliest: Instant | None = None
        for core in (self._wrapper, self._hdlc, self._signing):
            if core is not None and (due := core.deadline()) is not None:
                earliest = due if earliest is None else min(due, earliest)
        for _, association in self._associations.values():
            if (due := association.deadline()) is not None:
                earliest = due if earliest is None else min(due, earliest)
        return earliest

    def tick(self, now: Instant) -> None:
        if self._wrapper is not None and self._wrapper.tick(now):
            self.closing = True
        if self._signing is not None:
            self._after_sign_on(self._signing.tick(now), now)
        if self._hdlc is not None:
            self._take_events(self._hdlc.tick(now), now)
        for (client, server, physical), (_, association) in list(self._associations.items()):
            if apdus := association.tick(now):
                self._send(client, server, physical, apdus)
        if self._held:
            self._tell_held()

    def lost(self) -> None:
        for device, association in self._associations.values():
            association.disconnected()
            self._report(device, association)
            if self._open_links is not None:
                self._open_links.remove(device, self)
        self._associations.clear()

    def _put(self, octets: bytes) -> None:
        """Add to what is sent next; datagrams leave one by one."""
        if self._framing is _DATAGRAMS:
            self._transmit(octets)
        else:
            self._out += octets

    def push(self, client: int, server: int, apdu: bytes, physical: int | None = None) -> None:
        """Send an APDU of the meter's own accord on this connection.

        On a line where a sign-on went before, and one side speaks at a time, it waits until the
        client permits it.
        """
        self._transmit(self._unasked(client, server, physical, apdu))

    def _unasked(self, client: int, server: int, physical: int | None, apdu: bytes) -> bytes:
        if self._hdlc is None:
            return wrapper.encode(server, client, apdu)
        address = hdlc.ServerAddress(server, physical)
        return self._hdlc.push(client, address, apdu, wait=self.speed is not None)

    def report(self, device: LogicalDevice, report: Report) -> int:
        """Tell the clients that are associated with the device here; how many are told.

        One whose answer is still on its way hears it after that: invocation counters arrive in
        the order in which they were given.
        """
        told = 0
        for key, (known, association) in self._associations.items():
            if known is not device or not association.associated:
                continue
            told += 1
            if self._answering(key, association):
                self._hold(key, report)
            else:
                for octets in self._told(key, association, report):
                    self._transmit(octets)
        return told

    def _told(self, key: Key, association: ServerAssociation, report: Report) -> list[bytes]:
        client, server, physical = key
        apdus = association.report(report.attribute, report.value, report.time)
        return [self._unasked(client, server, physical, apdu) for apdu in apdus]

    def _answering(self, key: Key, association: ServerAssociation) -> bool:
        if association.deadline() is not None:
            return True  # a general block transfer is under way
        client, server, physical = key
        address = hdlc.ServerAddress(server, physical)
        return self._hdlc is not None and self._hdlc.sending(client, address)

    def _hold(self, key: Key, report: Report) -> None:
        if self._held is None:
            self._held = deque(maxlen=REPORTS_HELD_MAX)
        self._held.append((key, report))

    def _tell_held(self) -> None:
        held, self._held = self._held, None
        for key, report in held or ():
            found = self._associations.get(key)
            if found is None:
                continue
            if self._answering(key, found[1]):
                self._hold(key, report)
            else:
                for octets in self._told(key, found[1], report):
                    self._put(octets)

    # framing

    def _detect(self, data: bytes, now: Instant) -> None:
        if len(data) < 2 and data[:1] == b"\0":
            self._head = data
            return
        self._head = b""
        if data[:1] == b"\x7e":
            self._hdlc = self._new_hdlc()
        elif data[:2] == b"\0\x01" or self._sign_on is None:
            self._wrapper = wrapper.WrapperStream()
        else:
            self._signing = self._sign_on(self._endpoint)
            if self._signing is None:
                self.closing = True
                return
        self._take(data, now)

    def _receive_packets(self, data: bytes, now: Instant) -> None:
        assert self._wrapper is not None
        try:
            packets = self._wrapper.receive(data, now)
        except RemoteProtocolError:
            self.closing = True
            return
        for packet in packets:
            self._serve_packet(packet, now)
        if self._wrapper.failure is not None:
            self.closing = True

    def _receive_datagram(self, data: bytes, now: Instant) -> None:
        try:
            packet = wrapper.decode_datagram(data)
        except RemoteProtocolError:
            return  # anybody can send one; those that are whole do not suffer from it
        self._serve_packet(packet, now)

    def _serve_packet(self, packet: wrapper.WrapperPacket, now: Instant) -> None:
        self.frames += 1
        if packet.destination == wrapper.ALL_STATIONS:
            self._hear(packet.source, MANAGEMENT, None, packet.apdu, now)
        elif packet.apdu:
            self._serve(packet.source, packet.destination, None, packet.apdu, now)

    def _new_hdlc(self) -> hdlc.HdlcServer:
        def known(server: hdlc.ServerAddress) -> bool:
            lower = None if server.all_lower else server.lower
            return self._lookup(self._endpoint, server.upper, lower) is not None

        def setup(server: hdlc.ServerAddress) -> hdlc.PortSetup | None:
            device = self._lookup(self._endpoint, server.upper, server.lower)
            return device.hdlc() if device is not None and device.hdlc is not None else None

        settings = hdlc.HdlcServerSettings(known, setup=setup)
        if self._serial:
            settings = replace(settings, inter_octet_timeout_ms=SERIAL_OCTET_TIMEOUT_MS)
        return hdlc.HdlcServer(settings)

    def _receive_frames(self, data: bytes, now: Instant) -> None:
        assert self._hdlc is not None
        self._take_events(self._hdlc.receive(data, now), now)

    def _take_events(self, events: list[hdlc.Event], now: Instant) -> None:
        core = self._hdlc
        assert core is not None
        self.frames = core.counters.frames
        self._out += core.data_to_send()
        ended = False
        for event in events:
            if isinstance(event, hdlc.Apdu):
                self._take_apdu(event, now)
            elif isinstance(event, hdlc.LinkUp | hdlc.LinkDown):
                self._end(event.client, event.server.upper, event.server.lower)
                ended = isinstance(event, hdlc.LinkDown)
        if ended and not core.linked:
            if self._serial:
                self.closing = True
            elif self._sign_on:
                # The optical port waits for a sign-on again.
                self._hdlc = None
                self._change_speed(len(self._out), iec62056_21.INITIAL_BAUD, seven_bits=True)

    def _take_apdu(self, event: hdlc.Apdu, now: Instant) -> None:
        client, server = event.client, event.server
        if not event.confirmed:
            upper = MANAGEMENT if server.all_upper else server.upper
            self._hear(client, upper, None if server.all_lower else server.lower, event.data, now)
            return
        self._serve(client, server.upper, server.lower, event.data, now)

    def _receive_sign_on(self, data: bytes, now: Instant) -> None:
        assert self._signing is not None
        self._after_sign_on(self._signing.receive(data, now), now)

    def _after_sign_on(self, events: list[iec62056_21.Event], now: Instant) -> None:
        assert self._signing is not None
        before = len(self._out)
        self._out += self._signing.data_to_send()
        for event in events:
            self.frames += isinstance(event, iec62056_21.SignedOn)
            if isinstance(event, iec62056_21.BaudChange):
                self._change_speed(before + event.octets_before, event.baud, seven_bits=True)
            elif isinstance(event, iec62056_21.HandOver):
                self._change_speed(len(self._out), event.baud, seven_bits=False)
                self._signing = None
                self._hdlc = self._new_hdlc()
                if event.rest:
                    self._receive_frames(event.rest, now)
                return

    def _change_speed(self, octets_before: int, baud: int, *, seven_bits: bool) -> None:
        self.speed = (baud, seven_bits)
        self._changes.append((octets_before, self.speed))

    # associations

    def _association(
        self, client: int, server: int, physical: int | None
    ) -> tuple[LogicalDevice, ServerAssociation] | None:
        key = (client, server, physical)
        found = self._associations.get(key)
        if found is None:
            device = self._lookup(self._endpoint, server, physical)
            if device is None:
                return None
            if not self._has_room():
                # Whoever comes too late is told so, as a client that the meter does not know.
                return device, ServerAssociation(replace(device, profiles={}), client)
            found = self._associations[key] = (device, ServerAssociation(device, client))
        return found

    def _has_room(self) -> bool:
        """For one more association; one that nobody opened, or that was released, gives way."""
        if len(self._associations) >= ASSOCIATIONS_MAX:
            for key, (_, association) in self._associations.items():
                if association.state is State.IDLE:
                    del self._associations[key]
                    break
        return len(self._associations) < ASSOCIATIONS_MAX

    def _hear(
        self, client: int, server: int, physical: int | None, octets: bytes, now: Instant
    ) -> None:
        """Take what nobody answers: UI frames and what goes to all stations."""
        found = self._association(client, server, physical)
        if found is not None:
            found[1].receive_apdu(octets, now)
            self._report(*found)

    def _serve(
        self, client: int, server: int, physical: int | None, octets: bytes, now: Instant
    ) -> None:
        found = self._association(client, server, physical)
        if found is None:
            return
        self._send(client, server, physical, found[1].receive_apdu(octets, now))
        self._report(*found)

    def _send(self, client: int, server: int, physical: int | None, apdus: list[bytes]) -> None:
        if self._hdlc is None:
            for apdu in apdus:
                self._put(wrapper.encode(server, client, apdu))
            return
        try:
            address = hdlc.ServerAddress(server, physical)
            if apdus:
                self._out += self._hdlc.send(client, address, *apdus)
            else:
                self._out += self._hdlc.acknowledge(client, address)
        except LocalProtocolError:
            return  # the link went while the answer was made

    def _report(self, device: LogicalDevice, association: ServerAssociation) -> None:
        for event in association.take_events():
            if self._open_links is not None and isinstance(event, ClientAssociated):
                self._open_links.add(device, self)
            self._on_event(self._endpoint, device, event)

    def _end(self, client: int, server: int, physical: int | None) -> None:
        found = self._associations.pop((client, server, physical), None)
        if found is not None:
            found[1].disconnected()
            self._report(*found)
            links, device = self._open_links, found[0]
            if links is not None and all(d is not device for d, _ in self._associations.values()):
                links.remove(device, self)


def dlms_sessions(
    lookup: Lookup,
    *,
    framing: Framing = Framing.DETECT,
    on_event: EventSink = _ignore,
    sign_on: SignOn | None = None,
    knows: Callable[[str], bool] | None = None,
    open_links: OpenLinks | None = None,
) -> SessionFactory:
    """The session factory of a DLMS port; `knows` refuses local addresses without a meter.

    `open_links` learns which connections hold an association, for what meters tell unasked.
    """

    def make(endpoint: Endpoint, transmit: Transmit) -> DlmsSession | None:
        if knows is not None and not knows(endpoint.local_ip):
            return None
        return DlmsSession(
            endpoint, transmit, lookup, framing=framing, on_event=on_event, sign_on=sign_on,
            open_links=open_links,
        )  # fmt: skip

    return make


async def serve_dlms(
    lookup: Lookup,
    host: str = ANY_LOOPBACK,
    port: int = wrapper.PORT,
    *,
    framing: Framing = Framing.DETECT,
    on_event: EventSink = _ignore,
    sign_on: SignOn | None = None,
    knows: Callable[[str], bool] | None = None,
    limits: ListenerLimits = LISTENER,
    outside: bool = False,
    open_links: OpenLinks | None = None,
) -> tuple[TcpListener, int]:
    """Listen for DLMS clients; the listener and the port that was bound."""
    sessions = dlms_sessions(
        lookup, framing=framing, on_event=on_event, sign_on=sign_on, knows=knows,
        open_links=open_links,
    )  # fmt: skip
    listener = TcpListener(sessions, limits)
    return listener, await listener.start(host, port, outside=outside)


async def serve_dlms_datagrams(
    lookup: Lookup,
    host: str = ANY_LOOPBACK,
    port: int = wrapper.PORT,
    *,
    on_event: EventSink = _ignore,
    knows: Callable[[str], bool] | None = None,
    limits: ListenerLimits = LISTENER,
    outside: bool = False,
    open_links: OpenLinks | None = None,
) -> tuple[UdpListener, int]:
    """Listen for DLMS clients over UDP, a wrapper packet in each datagram; the listener and the
    port that was bound."""
    sessions = dlms_sessions(
        lookup, framing=Framing.DATAGRAMS, on_event=on_event, knows=knows, open_links=open_links
    )
    listener = UdpListener(sessions, limits)
    return listener, await listener.start(host, port, outside=outside)
