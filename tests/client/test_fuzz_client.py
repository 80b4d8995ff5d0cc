"""Mutated frames, conversations, captures and files: nothing foreign is raised, nothing hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from random import Random

import pytest

from blathy.client.address import parse_address
from blathy.client.capture import CaptureError, Chunk, from_octets
from blathy.client.explain import Explainer, KeyRing
from blathy.client.framing import HdlcPiece, LineReader
from blathy.client.push import PushReceiver
from blathy.client.readout import parse_text_address
from blathy.clock import Instant
from blathy.cosem.axdr import DataType
from blathy.cosem.columns import OutColumn, encode_profile
from blathy.cosem.objectlist import AccessRight, MethodAccess
from blathy.models.recorded import (
    RecordedAttribute,
    RecordedMeter,
    RecordedObject,
    RecordingError,
    read_recording,
    write_recording,
)
from blathy.transport.errors import MeterError
from blathy.wire import wrapper
from blathy.wire.hdlc import Frame
from tests.client.test_capture import PACKET, SNRM, UA, hexdump_c, pcap, pcapng, tcp, xxd
from tests.client.test_explain import CONVERSATION, KEYS
from tests.mutations import (
    IN_SUITE,
    ON_REQUEST,
    assert_lines_are_due,
    endure,
)
from tests.wire.association_pair import ENERGY, ENERGY_VALUE, keys
from tests.wire.test_apdu import SAMPLES
from tests.wire.test_dlms_fuzz import ACSE_SAMPLES, conversation


def _framed(apdus: list[bytes]) -> list[bytes]:
    """The same APDUs bare, in HDLC, wrapper and M-Bus frames."""
    found = [*apdus, SNRM, UA, PACKET]
    for octets in apdus:
        found.append(wrapper.encode(1, 16, octets))
        found.append(Frame(b"\x03", b"\x21", 0x10, b"\xe6\xe7\x00" + octets[:120]).encode())
        body = b"\x53\xff\x10\x01\x67" + octets[:240]
        check = bytes((sum(body) & 0xFF, 0x16))
        found.append(b"\x68" + bytes((len(body),)) * 2 + b"\x68" + body + check)
    return found


def _apdus() -> list[bytes]:
    found = [*SAMPLES, *ACSE_SAMPLES]
    for secured in (False, True):
        _, to_server, to_client = conversation(secured)
        found += [*to_server, *to_client]
    return found


APDUS = _apdus()
FRAMES = _framed(APDUS)
PACKETS = [tcp(50000, 4059, 100 + 21 * n, PACKET) for n in range(2)] + [
    tcp(4059, 50000, 5, wrapper.encode(1, 16, APDUS[0]))
]
FILES = [
    pcap(PACKETS, 101), pcapng(PACKETS, 101), pcap([bytes(12) + b"\x08\x00" + p for p in PACKETS]),
    CONVERSATION.encode(), xxd(PACKET * 3).encode(), hexdump_c(UA * 3).encode(),
    f"TX: 10:00:00 {SNRM.hex(' ')}\nRX: 10:00:01 {UA.hex(' ')}\n".encode(), PACKET.hex().encode(),
]  # fmt: skip
RECORDING = write_recording(
    RecordedMeter(
        "1.2.3.4:4059", 1, 1, "hls5", True, b"MMM\0\0\xbc\x61\x4e", 1_790_000_000,
        (
            RecordedObject(
                3, 0, ENERGY.obis,
                (
                    RecordedAttribute(2, AccessRight.READ, value=ENERGY_VALUE, text="1337 Wh"),
                    RecordedAttribute(3, AccessRight.READ, refused=3),
                ),
                (MethodAccess(1, AccessRight.READ),),
            ),
        ),
    )
).encode()  # fmt: skip
URLS = [
    b"dlms://10.0.0.7:4059?client=1&auth=hls5&ek=000102030405060708090a0b0c0d0e0f&pdu=512",
    b"serial:///dev/ttyUSB0?baud=9600&mode=e&client=16&server=1", b"dlms+hdlc://[::1]:4059",
]  # fmt: skip
TEXT_URLS = [b"iec62056-21://10.0.0.7:4060?address=12345678&table=2&wake=1&baud=9600&timeout=2.5"]


CUT = 1 / 8
"""The share of frames that come in pieces: those cost many times as much."""


def _cut(draw: Random, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = (1, 3, 20, len(data))[int(draw.random() * 4)]
        yield data[at : at + size]
        at += size


class _Explain:
    """One explainer for some frames at a time: what they leave behind meets the next ones."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.count = 0
        self.fresh()

    def fresh(self) -> None:
        ring = self.draw.choice([KeyRing(), KeyRing(KEYS), KeyRing(keys(), {b"MMM12345": KEYS})])
        self.explainer = Explainer(ring, b"MMM\0\0\0\0\1", b"MMM\0\0\xbc\x61\x4e")

    def __call__(self, raw: bytes) -> None:
        self.count += 1
        who = self.draw.choice(("client", "meter", ""))
        for piece in _cut(self.draw, raw) if self.draw.random() < CUT else (raw,):
            for node in self.explainer.explain(Chunk(who, piece, self.count % 3 == 0)):
                assert node.lines()
        if self.count % 20 == 0:
            for node in self.explainer.finish():
                assert node.lines()
            self.fresh()


def _capture(_draw: Random) -> Callable[[bytes], object]:
    def take(raw: bytes) -> None:
        with contextlib.suppress(CaptureError):
            from_octets(raw)

    return take


def _framing(draw: Random) -> Callable[[bytes], object]:
    def take(raw: bytes) -> None:
        line = LineReader(framed=draw.random() < 0.5)
        cuts = _cut(draw, raw) if draw.random() < CUT else (raw,)
        pieces = [piece for cut in cuts for piece in line.receive(cut)]
        pieces += line.finish()
        assert sum(len(piece.octets) for piece in pieces) <= len(raw) + len(pieces)

    return take


def _push(_draw: Random) -> Callable[[bytes], object]:
    receiver = PushReceiver(lambda _title: KEYS)
    return lambda raw: (receiver.receive(raw, Instant(0)), receiver.receive_datagram(raw))


def _recording(_draw: Random) -> Callable[[bytes], object]:
    def take(raw: bytes) -> None:
        with contextlib.suppress(RecordingError):
            read_recording(raw.decode("latin-1"))

    return take


def _address(_draw: Random) -> Callable[[bytes], object]:
    def take(raw: bytes) -> None:
        with contextlib.suppress(MeterError):
            parse_address(raw.decode("latin-1"))

    return take


def _text_address(_draw: Random) -> Callable[[bytes], object]:
    def take(raw: bytes) -> None:
        with contextlib.suppress(MeterError):
            parse_text_address(raw.decode("latin-1"))

    return take


PARSERS: dict[str, tuple[Callable[[Random], Callable[[bytes], object]], list[bytes]]] = {
    "explain": (_Explain, FRAMES),
    "capture": (_capture, FILES),
    "framing": (_framing, FRAMES),
    "push": (_push, FRAMES),
    "recording": (_recording, [RECORDING]),
    "address": (_address, URLS),
    "text address": (_text_address, TEXT_URLS),
}


def _run(name: str, count: int) -> None:
    make, seeds = PARSERS[name]
    endure(name, make(Random(name)), seeds, count, forgets=name not in ("explain", "push"))


@pytest.mark.parametrize("name", list(PARSERS))
def test_mutated_input(name: str) -> None:
    _run(name, IN_SUITE)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", list(PARSERS))
def test_a_million_mutations(name: str) -> None:
    _run(name, ON_REQUEST)


def test_good_frames_are_found_in_any_cut() -> None:
    draw = Random(9)
    frames = [Frame(b"\x03", b"\x21", 0x13, draw.randbytes(n)).encode() for n in (0, 1, 60, 2000)]
    stream = b"".join(frames) + frames[2][:-1] + frames[2]  # two share a flag
    for _ in range(60):
        line = LineReader()
        pieces = [piece for cut in _cut(draw, stream) for piece in line.receive(cut)]
        pieces += line.finish()
        assert len(pieces) == 6
        assert all(isinstance(piece, HdlcPiece) and not piece.faults for piece in pieces)


def test_a_long_profile_and_a_deep_value_are_shown_in_time() -> None:
    """The largest answer that a file may hold, and nesting that only an attacker sends."""
    rows = encode_profile([OutColumn(DataType.UNSIGNED, [n % 200 for n in range(20_000)])])
    deep = b"\x02\x01" * 60_000

    def explain(value: bytes) -> None:
        explainer = Explainer(KeyRing())
        nodes = explainer.explain(Chunk("", b"\xc4\x01\xc1\x00" + value)) + explainer.finish()
        assert sum(len(node.lines()) for node in nodes) < 200

    for value in (rows, deep):
        assert_lines_are_due("explain", explain, value)


@pytest.mark.parametrize(
    "pattern", ["7EA7FF", "7EA007", "6803036800", "68FFFF68", "2F", "00010001", "7E", "0A2F", "E5"]
)
def test_octets_made_to_be_searched_for_ever_are_searched_once(pattern: str) -> None:
    octets = bytes.fromhex(pattern) * (12_000 // (len(pattern) // 2))

    def read(data: bytes) -> None:
        for cut in (len(data), 500):
            line = LineReader()
            for at in range(0, len(data), cut):
                line.receive(data[at : at + cut])
            line.finish()

    assert_lines_are_due("line", read, octets)
