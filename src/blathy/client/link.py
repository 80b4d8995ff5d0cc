"""How APDUs reach a meter: a link is a line with its framing core, seen as whole APDUs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Final

from blathy.client.address import MeterAddress
from blathy.clock import NANOSECONDS_PER_S
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut
from blathy.transport.limits import LineLimits
from blathy.transport.line import Line, TcpLine, UdpLine, monotonic_now
from blathy.wire import hdlc, iec62056_21, wrapper
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

PERMIT_S: Final = 1.0
"""While nothing is asked, so often a server may speak of its own accord."""
_NOTHING_HEARD: Final = (
    "check client= and server= (`blathy scan`), try dlms+hdlc:// where it speaks HDLC, or allow "
    "more time, timeout=30"
)


class Link(ABC):
    """Whole APDUs to and from one logical device."""

    def __init__(self, line: Line, timeout_s: float) -> None:
        self.line = line
        self.timeout_s = timeout_s
        self.apdus: deque[bytes] = deque()

    @abstractmethod
    async def open(self) -> None:
        """Make the link ready for APDUs."""

    @abstractmethod
    def send(self, apdu: bytes) -> None:
        """Send one APDU."""

    async def settle(self) -> None:
        """Before a request: take what an answer that was given up still has under way."""
        return

    async def receive(self, timeout_s: float | None = None) -> bytes:
        """The next APDU; TimedOut when none comes within `timeout_s` (else the link's own)."""
        while not self.apdus:
            await self._more(self.timeout_s if timeout_s is None else timeout_s)
        return self.apdus.popleft()

    async def listen(self, timeout_s: float) -> bytes:
        """The next APDU that comes unasked; TimedOut when none does."""
        return await self.receive(timeout_s)

    @abstractmethod
    async def _more(self, timeout_s: float) -> None:
        """Wait for octets and put the APDUs that they complete into `apdus`."""

    async def close(self) -> None:
        """End the link and release the line."""
        await self.line.close()


class WrapperLink(Link):
    """The wrapper over TCP or UDP."""

    def __init__(self, line: Line, client: int, server: int, timeout_s: float) -> None:
        super().__init__(line, timeout_s)
        self._client, self._server = client, server
        self._stream = wrapper.WrapperStream()
        self._heard = False

    async def open(self) -> None:
        """Nothing to agree: the wrapper has no connection of its own."""

    def send(self, apdu: bytes) -> None:
        try:
            self.line.send(wrapper.encode(self._client, self._server, apdu))
        except LocalProtocolError as error:
            raise Refused(str(error), "give a smaller request or use block transfer") from error

    async def _more(self, timeout_s: float) -> None:
        try:
            data = await self.line.receive(timeout_s)
        except TimedOut as error:
            if self._stream.deadline() is None:
                raise error if self._heard else TimedOut(error.message, _NOTHING_HEARD) from error
            raise TimedOut(
                f"{self.line.name} stopped in the middle of an answer",
                "allow more time, timeout=30, or look at the line",
            ) from error
        try:
            if self.line.datagrams:
                packets = [wrapper.decode_datagram(data)]
            else:
                packets = self._stream.receive(data, monotonic_now())
        except RemoteProtocolError as error:
            hdlc_seen = data[:1] == b"\x7e"
            raise Garbled(
                f"{self.line.name} does not speak the wrapper: {error}",
                "use dlms+hdlc://" if hdlc_seen else "check the port",
            ) from error
        self._heard = True
        for packet in packets:
            if packet.destination == self._client and packet.source == self._server:
                self.apdus.append(packet.apdu)
            elif packet.apdu[:1] == b"\x0f":
                self.apdus.append(packet.apdu)  # a push to another client SAP on our connection


class HdlcLink(Link):
    """HDLC over any octet line, after a mode E sign-on where one is asked for."""

    def __init__(
        self,
        line: Line,
        settings: hdlc.HdlcClientSettings,
        timeout_s: float,
        *,
        mode_e: bool = False,
        baud: int = 9600,
    ) -> None:
        super().__init__(line, timeout_s)
        self._settings = settings
        self._core = hdlc.HdlcClient(settings)
        self._mode_e = mode_e
        self._baud = baud
        self._up = False
        self._down: hdlc.LinkDown | None = None

    async def open(self) -> None:
        if self._mode_e:
            await self._sign_on()
        self.line.send(self._core.connect(monotonic_now()))
        while not self._up:
            if self._down is not None:
                raise self._explain(self._down, "SNRM")
            await self._step(self.timeout_s)

    async def settle(self) -> None:
        while self._up and self._core.deadline() is not None:
            await self._step(self.timeout_s)

    def send(self, apdu: bytes) -> None:
        try:
            self.line.send(self._core.send(apdu, monotonic_now()))
        except LocalProtocolError as error:
            raise Garbled(f"{self.line.name}: {error}", "open the link again") from error

    async def listen(self, timeout_s: float) -> bytes:
        """The next APDU that the server sends unasked: it is permitted to once a second."""
        end = monotonic_now() + int(timeout_s * NANOSECONDS_PER_S)
        while not self.apdus:
            if self._down is not None:
                raise self._explain(self._down, "while we listened")
            self.line.send(self._core.permit())
            left_s = max(0.0, (end - monotonic_now()) / NANOSECONDS_PER_S)
            try:
                await self._step(min(left_s, PERMIT_S))
            except TimedOut:
                if left_s <= PERMIT_S:
                    raise
        return self.apdus.popleft()

    async def _more(self, timeout_s: float) -> None:
        if self._down is not None:
            raise self._explain(self._down, "the request")
        if self._core.deadline() is None:
            # The last answer is complete and another one is wanted: the server holds it back.
            self.line.send(self._core.poll(monotonic_now()))
        await self._step(timeout_s)

    async def _step(self, timeout_s: float) -> None:
        now = monotonic_now()
        deadline = self._core.deadline()
        wait_s = timeout_s
        if deadline is not None:
            wait_s = max(0.0, (deadline - now) / NANOSECONDS_PER_S)
        try:
            data = await self.line.receive(wait_s)
        except TimedOut:
            if deadline is None:
                raise
            events = self._core.tick(monotonic_now())
        else:
            events = self._core.receive(data, monotonic_now())
        if out := self._core.data_to_send():
            self.line.send(out)
        for event in events:
            if isinstance(event, hdlc.Apdu):
                self.apdus.append(event.data)
            elif isinstance(event, hdlc.LinkUp):
                self._up = True
            elif isinstance(event, hdlc.LinkDown):
                self._up, self._down = False, event

    def _explain(self, down: hdlc.LinkDown, what: str) -> MeterError:
        counters, place = self._core.counters, self.line.name
        if down.reason is hdlc.Reason.REFUSED:
            return Refused(
                f"{place} answered DM to SNRM",
                f"client address {down.client} is probably not allowed; try 16 or 1",
            )
        if down.reason is hdlc.Reason.SILENT:
            return self._explain_silence(counters, what)
        if down.reason is hdlc.Reason.REJECTED:
            return Garbled(f"{place} and we lost step (FRMR)", "try window=1 and frame=128")
        return Garbled(f"{place} dropped the HDLC link", "its inactivity time may be short")

    def _explain_silence(self, counters: hdlc.LineCounters, what: str) -> MeterError:
        place = self.line.name
        if counters.frames > counters.echoes:
            return TimedOut(f"{place} stopped answering {what}", "allow more time, timeout=30")
        if counters.echoes:
            return TimedOut(
                f"{place}: only our own octets come back",
                "the adapter echoes; check the meter's power, its address and the wiring",
            )
        if counters.octets:
            return Garbled(
                f"{place} sends {counters.octets} octets without a valid frame",
                "check baud rate and parity (8N1 or 7E1), or use mode=e or dlms://",
            )
        address = self._settings.server
        return TimedOut(
            f"{place} does not answer {what} to server {address}",
            "check the server address (`blathy scan`): physical=17, or the last digits of the "
            "serial number; on a serial port baud= and mode=e, too",
        )

    async def _sign_on(self) -> None:
        settings = iec62056_21.ClientSettings(iec62056_21.Purpose.HDLC, baud_max=self._baud)
        core = iec62056_21.Iec21Client(settings)
        set_speed = getattr(self.line, "set_speed", None)
        if set_speed is not None:
            await set_speed(iec62056_21.INITIAL_BAUD, seven_bits=True)
        self.line.send(core.sign_on(monotonic_now()))
        seen = ""
        while True:
            deadline = core.deadline()
            assert deadline is not None
            try:
                data = await self.line.receive(
                    max(0.0, (deadline - monotonic_now()) / NANOSECONDS_PER_S)
                )
            except TimedOut:
                events = core.tick(monotonic_now())
            else:
                events = core.receive(data, monotonic_now())
            if out := core.data_to_send():
                self.line.send(out)
            for event in events:
                if isinstance(event, iec62056_21.BaudChange) and set_speed is not None:
                    await set_speed(event.baud, seven_bits=True)
                elif isinstance(event, iec62056_21.HandOver):
                    if set_speed is not None:
                        await set_speed(event.baud, seven_bits=False)
                    return
                elif isinstance(event, iec62056_21.Identified):
                    seen = event.identification.text
                elif isinstance(event, iec62056_21.NoAnswer) and seen and not event.octets:
                    raise Refused(
                        f"{self.line.name} ({seen}) offers no hand-over to HDLC",
                        "leave out mode=e, or read it by IEC 62056-21",
                    )
                elif isinstance(event, iec62056_21.NoAnswer):
                    raise TimedOut(
                        f"{self.line.name} does not answer the sign-on"
                        + (f" ({event.octets} octets of noise)" if event.octets else ""),
                        "check the optical head's place and side, or leave out mode=e",
                    )

    async def close(self) -> None:
        if self._up and not self.line.ended:
            try:
                self.line.send(self._core.disconnect(monotonic_now()))
                self._down = None
                while self._down is None:
                    await self._step(self.timeout_s)
            except MeterError:
                pass  # the meter ends the link by its own time-out
        await super().close()


def hdlc_settings(address: MeterAddress) -> hdlc.HdlcClientSettings:
    """The HDLC side of an address."""
    size = address.frame_size or hdlc.INFORMATION_MAX
    server = hdlc.ServerAddress(address.server, address.physical, address.address_size)
    return hdlc.HdlcClientSettings(
        client=address.client,
        server=server,
        parameters=hdlc.HdlcParameters(size, size, address.window, address.window),
        response_timeout_ms=int(address.timeout_s * 1000 / 3),
    )


def link_over(line: Line, address: MeterAddress) -> Link:
    """The link that an address asks for, over a line that is open already."""
    if address.scheme in {"dlms", "dlms+udp"}:
        return WrapperLink(line, address.client, address.server, address.timeout_s)
    try:
        settings = hdlc_settings(address)
    except LocalProtocolError as error:
        raise Refused(str(error), "check server=, physical= and address_size=") from error
    return HdlcLink(line, settings, address.timeout_s, mode_e=address.mode_e, baud=address.baud)


async def open_line(address: MeterAddress) -> Line:
    """Connect to where the address points."""
    limits = LineLimits(connect_s=address.timeout_s, response_s=address.timeout_s)
    source = address.source or None
    if address.scheme == "serial":
        from blathy.transport.serial_line import SerialLine

        return await SerialLine.connect(address.host, address.baud, limits=limits)
    if address.scheme == "dlms+udp":
        return await UdpLine.connect(address.host, address.port, source=source, limits=limits)
    return await TcpLine.connect(address.host, address.port, source=source, limits=limits)
