"""What real meters were recorded to say, said to our client over a real port, and odder ones.

The pieces are of several recordings; frames are put round them anew, since each answer must carry
the addresses, the sequence numbers and the invoke id of its request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from blathy.client import Meter, ObjectCache
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.wire.hdlc import fcs

pytestmark = pytest.mark.timeout(600)
CLOCK: Final = AttributeRef(8, Obis(0, 0, 1, 0, 0), 2)


@dataclass(frozen=True, slots=True)
class Recorded:
    """APDUs and link parameters of recordings; `shown` is the clock that they hold."""

    aare: bytes
    clock: bytes
    ua: bytes
    push: bytes
    shown: bytes


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Recorded:
    vectors = json.loads((shared_data / "dlms-vectors.json").read_text())
    octets = {entry["name"]: bytes.fromhex(entry["hex"]) for entry in vectors}
    frame = octets["hdlc-session-07"]
    clock = frame[frame.index(b"\xe6\xe7\x00") + 3 : -2]
    ua = octets["hdlc-session-01"]
    push = octets["push-iskraemeco-gh615-1"]
    return Recorded(
        octets["aare-1-no_ciphering_no_security_ok_as"], clock, ua[ua.index(b"\x81\x80") : -2],
        push[push.index(b"\xe6\xe7\x00") + 3 : -3], clock[4:],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Oddity:
    """How a meter differs from the plain one."""

    bare_ua: bool = False
    release: bytes | None = b"\x63\x00"
    pushes_first: bool = False
    octet_by_octet: bool = False


ODDITIES: Final = {
    "as recorded": Oddity(release=bytes.fromhex("6303800100")),
    "a release response without anything": Oddity(),
    "closes instead of a release response": Oddity(release=None),
    "pushes before it answers": Oddity(pushes_first=True),
    "octet by octet": Oddity(octet_by_octet=True),
    "no parameters in UA": Oddity(bare_ua=True),
}


class RecordedMeter:
    """Answers every request by what was recorded."""

    def __init__(self, recorded: Recorded, odd: Oddity) -> None:
        self.recorded = recorded
        self.odd = odd
        self.closed = asyncio.Event()

    def answers(self, request: bytes) -> list[bytes] | None:
        """The APDUs to say; None where the connection ends."""
        if request[0] == 0x60:
            return [self.recorded.aare]
        if request[0] == 0x62:
            return None if self.odd.release is None else [self.odd.release]
        answer = self.recorded.clock[:2] + request[2:3] + self.recorded.clock[3:]
        return [self.recorded.push, answer] if self.odd.pushes_first else [answer]

    async def wrapped(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(8)
                apdu = await reader.readexactly(int.from_bytes(head[6:], "big"))
                said = self.answers(apdu)
                if said is None:
                    break
                for each in said:
                    back = head[:2] + head[4:6] + head[2:4] + len(each).to_bytes(2, "big")
                    await self.say(writer, back + each)
        writer.close()
        self.closed.set()

    async def framed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = 0
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(3)
                while head[1] & 0xF0 != 0xA0:
                    head = head[1:] + await reader.readexactly(1)
                length = int.from_bytes(head[1:], "big") & 0x7FF
                body = await reader.readexactly(length - 2 + 1)
                server, client, control = body[:1], body[1:2], body[2]
                addresses = client + server
                if control == 0x93:
                    received = 0
                    await self.say(writer, frame(addresses, 0x73, self.ua()))
                elif control == 0x53:
                    await self.say(writer, frame(addresses, 0x73, b""))
                elif not control & 1:
                    said = self.answers(body[8:-3])
                    if said is None:
                        break
                    *pushes, answer = said
                    for push in pushes:
                        await self.say(writer, frame(addresses, 0x03, b"\xe6\xe7\x00" + push))
                    number = (received + 1) % 8 << 5 | 0x10 | received << 1
                    received = (received + 1) % 8
                    await self.say(writer, frame(addresses, number, b"\xe6\xe7\x00" + answer))
        writer.close()
        self.closed.set()

    def ua(self) -> bytes:
        return b"" if self.odd.bare_ua else self.recorded.ua

    async def say(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        pieces = [octets]
        if self.odd.octet_by_octet:
            pieces = [octets[at : at + 1] for at in range(len(octets))]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()


def frame(addresses: bytes, control: int, information: bytes) -> bytes:
    """An HDLC frame of format type 3 with its check sequences."""
    length = len(addresses) + 3 + 2 + (len(information) + 2 if information else 0)
    head = (0xA000 | length).to_bytes(2, "big") + addresses + bytes([control])
    checked = head + fcs(head)
    if information:
        checked += information
        checked += fcs(checked)
    return b"\x7e" + checked + b"\x7e"


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
@pytest.mark.parametrize("odd", ODDITIES.values(), ids=ODDITIES.keys())
def test_our_client_reads_a_recorded_meter(recorded: Recorded, scheme: str, odd: Oddity) -> None:
    async def test() -> None:
        meter = RecordedMeter(recorded, odd)
        handle: Callable[..., Any] = meter.framed if scheme.endswith("hdlc") else meter.wrapped
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            url = f"{scheme}://127.0.0.1:{port}?client=16&timeout=60"
            async with Meter.connect(url, cache=ObjectCache()) as client:
                for _ in range(9):  # more than a round of HDLC's numbers
                    assert await client.get(CLOCK) == recorded.shown
            await meter.closed.wait()

    asyncio.run(asyncio.wait_for(test(), 120))
