"""Sends what the push setups of meters ask for: over TCP or UDP, to their destinations.

Randomised, in the communication windows, and again after the repetition delay where the transport
says that nobody took it, as often as the setup allows; with `confirmed`, where the receiver has
not confirmed that it has the message. A destination outside of this machine is
refused unless it was allowed: a virtual town calls nobody by accident.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

import structlog

from blathy.meter.classes.scripts import SERVER_SAP
from blathy.meter.meter import Meter
from blathy.meter.pushing import PushMessage, is_confirmation, may_go, push_apdus
from blathy.wire import wrapper
from blathy.wire.errors import LocalProtocolError

TCP: Final = 0
UDP: Final = 1
CONFIRMED_SERVICE: Final = 0x4000_0000
"""The bit of a long-invoke-id-and-priority that asks for an answer."""
CONNECT_TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 256
"""Messages under way; the meters' outboxes hold the others."""

log = structlog.get_logger("blathy.push")


def destination_of(message: PushMessage) -> tuple[str, int]:
    """Host and port of `192.0.2.1:4059` or `[2001:db8::1]:4059`; raise ValueError for others."""
    return place_of(message.destination)


def place_of(destination: bytes) -> tuple[str, int]:
    """The same of the octets of any destination."""
    text = destination.decode("ascii").strip()
    host, _, port = text.rpartition(":") if text[-1:].isdigit() and ":" in text else (text, "", "")
    host = host.strip("[]")
    ipaddress.ip_address(host)
    return host, int(port or wrapper.PORT)


class PushSender:
    """`outside`: whether destinations beyond this machine are served. `confirmed`: over TCP every
    message asks for a data-notification-confirm, and is sent again without one."""

    def __init__(self, *, outside: bool = False, confirmed: bool = False) -> None:
        self.outside = outside
        self.confirmed = confirmed
        self.sent = 0
        self.failed = 0
        self._invoke = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def collect(self, meter: Meter, source: str = "") -> None:
        """Take what may go from the meter's outbox; `source`: the meter's own address."""
        waiting = meter.outbox.pushes
        if not waiting:
            return
        kept = []
        for message in waiting:
            if message.service not in {TCP, UDP} or not message.destination:
                continue  # no network: the consumer port, or no destination set
            if len(self._tasks) >= AT_ONCE or not may_go(meter, message):
                kept.append(message)
                continue
            task = asyncio.get_running_loop().create_task(self._deliver(meter, message, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        waiting[:] = kept

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, meter: Meter, message: PushMessage, source: str) -> None:
        try:
            host, port = destination_of(message)
        except (ValueError, UnicodeDecodeError):
            self._lost(meter, message, "the destination is no address")
            return
        if not self.outside and not ipaddress.ip_address(host).is_loopback:
            self._lost(meter, message, "the destination is outside of this machine")
            return
        if message.randomisation_s:
            drawn = int.from_bytes(meter.entropy(4), "big")
            await asyncio.sleep(drawn % (message.randomisation_s * 1000 + 1) / 1000)
        reason = ""
        for attempt in range(message.retries + 1):
            if attempt:
                await asyncio.sleep(message.repetition_delay_s)
            try:
                await self._send(meter, message, (host, port), source)
            except (OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            except LocalProtocolError as error:
                reason = str(error)
                break
            else:
                self.sent += 1
                return
        self._lost(meter, message, reason)

    async def _send(
        self, meter: Meter, message: PushMessage, place: tuple[str, int], source: str
    ) -> None:
        self._invoke = self._invoke % 0xFFFFFF + 1
        confirmed = self.confirmed and message.service == TCP
        invoke = self._invoke | (CONFIRMED_SERVICE if confirmed else 0)
        packets = [
            wrapper.encode(SERVER_SAP, message.client_sap & 0xFF, apdu)
            for apdu in push_apdus(meter, message, invoke)
        ]
        if message.service == UDP:
            await _send_datagrams(packets, place, source)
            return
        local = (source, 0) if source else None
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*place, local_addr=local)
            try:
                writer.write(b"".join(packets))
                await writer.drain()
                if confirmed:
                    answer = await _packet(reader)
                    if not is_confirmation(meter, message, answer, invoke):
                        raise OSError("the receiver has not confirmed it")
            finally:
                writer.close()
            await writer.wait_closed()

    def _lost(self, meter: Meter, message: PushMessage, reason: str) -> None:
        self.failed += 1
        log.warning(
            "a push was not delivered",
            meter=meter.identity.serial_text,
            setup=str(message.setup),
            reason=reason,
        )


async def _packet(reader: asyncio.StreamReader) -> bytes:
    """The APDU of the next wrapper packet; OSError where none comes."""
    try:
        header = await reader.readexactly(wrapper.HEADER_SIZE)
        return await reader.readexactly(int.from_bytes(header[6:8], "big"))
    except asyncio.IncompleteReadError as error:
        raise OSError("the receiver has closed the connection without a confirmation") from error


async def _send_datagrams(packets: list[bytes], place: tuple[str, int], source: str) -> None:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        for packet in packets:
            await loop.sock_sendto(sock, packet, place)
