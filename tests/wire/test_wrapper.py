"""The TCP and UDP wrapper: worked octets, any cut, wrong versions, lengths and time-outs."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.clock import Instant
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.wrapper import PacketTimeout, WrapperPacket, WrapperStream, decode_datagram, encode
from tests.mutations import IN_SUITE, ON_REQUEST, endure

T0 = Instant(0)
AARQ = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400401E5DFFFF")


def test_public_aarq_as_the_standard_frames_it() -> None:
    packet = WrapperPacket(0x10, 1, AARQ)
    assert packet.encode() == bytes.fromhex("000100100001001F") + AARQ
    assert packet.reply(b"\x61").encode() == bytes.fromhex("0001000100100001") + b"\x61"
    assert decode_datagram(packet.encode()) == packet


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(min_size=1, max_size=300)
        )
    ),
    st.integers(1, 40),
)
def test_any_packets_in_any_cut(packets: list[tuple[int, int, bytes]], cut: int) -> None:
    wanted = [WrapperPacket(*packet) for packet in packets]
    data = b"".join(packet.encode() for packet in wanted)
    stream = WrapperStream()
    got: list[WrapperPacket] = []
    for start in range(0, len(data), cut):
        got += stream.receive(data[start : start + cut], T0)
    assert got == wanted
    assert stream.deadline() is None


def test_what_came_before_a_wrong_version_is_delivered_and_then_it_is_over() -> None:
    stream = WrapperStream()
    good = encode(1, 16, b"\xc4")
    assert stream.receive(good + bytes.fromhex("7EA0070321930F01"), T0) == [
        WrapperPacket(1, 16, b"\xc4")
    ]
    for data in (b"", good):
        with pytest.raises(RemoteProtocolError, match="version"):
            stream.receive(data, T0)
    alone = WrapperStream()
    with pytest.raises(RemoteProtocolError):
        alone.receive(bytes.fromhex("0002001000010001"), T0)


def test_length_zero_is_skipped_and_a_length_over_the_limit_is_refused_at_once() -> None:
    stream = WrapperStream(apdu_size_max=100)
    assert stream.receive(encode(1, 1, b"") + encode(1, 1, b"\x01" * 100), T0) == [
        WrapperPacket(1, 1, b"\x01" * 100)
    ]
    with pytest.raises(RemoteProtocolError, match="101"):
        stream.receive(encode(1, 1, b"\x01" * 101)[:8], T0)


def test_a_packet_that_stays_incomplete_ends_the_stream() -> None:
    stream = WrapperStream(packet_timeout_s=10)
    assert stream.receive(b"\x00\x01", T0) == []
    assert stream.receive(b"\x00", Instant(9_000_000_000)) == []
    assert stream.deadline() == 10_000_000_000
    assert stream.tick(Instant(9_999_999_999)) == []
    assert stream.tick(Instant(10_000_000_000)) == [PacketTimeout(3)]
    with pytest.raises(RemoteProtocolError):
        stream.receive(b"", T0)


@pytest.mark.parametrize(
    "data", ["", "00", "0001001000010002C4", "0001001000010000C4", "0002001000010001C4"]
)
def test_wrong_datagrams(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_datagram(bytes.fromhex(data))


def test_fields_that_do_not_fit_are_our_mistake() -> None:
    for wrong in ((70_000, 1, b""), (1, -1, b""), (1, 1, bytes(70_000))):
        with pytest.raises(LocalProtocolError):
            encode(*wrong)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_fuzz_a_million_packets() -> None:
    _fuzz(ON_REQUEST)


def test_mutated_streams_in_any_cut_give_the_same() -> None:
    _fuzz(IN_SUITE)


def _outcome(data: bytes, size: int) -> tuple[list[WrapperPacket], bool]:
    stream = WrapperStream()
    got: list[WrapperPacket] = []
    for start in range(0, len(data), size):
        try:
            got += stream.receive(data[start : start + size], T0)
        except RemoteProtocolError:
            break
    return got, stream.failure is not None


def _fuzz(count: int) -> None:
    draw = random.Random(4059)
    packets = [encode(1, 16, draw.randbytes(size)) for size in range(20)]
    streams = [b"".join(draw.choices(packets, k=2)) for _ in range(100)]

    def take(data: bytes) -> None:
        whole = _outcome(data, len(data) or 1)
        assert whole == _outcome(data, 1 + len(data) % 9)
        with contextlib.suppress(RemoteProtocolError):
            packet = decode_datagram(data)
            assert whole == ([packet] if packet.apdu else [], False)

    endure("wrapper", take, streams, count, forgets=True)
