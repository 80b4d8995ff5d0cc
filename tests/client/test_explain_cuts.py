"""What `explain` shows does not depend on how the octets of one side were cut on their way."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from blathy.client.chunk import Chunk
from blathy.client.explain import explain_all
from blathy.wire.hdlc import Frame
from blathy.wire.wrapper import encode

GET = bytes.fromhex("C001C100080000010000FF0200")
ANSWER = bytes.fromhex("C401C100090C07EA0B15060C000000FFC400")
AARQ = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400401E5DFFFF")
WRITE = bytes.fromhex("06010200080112000A")  # by short name: begins as an ACK does
PUSH = bytes.fromhex("0F 00000001 00 02020906 0100010800FF 0600000539")
BROKEN = bytes.fromhex("0F 00000001 00 02020600")
UI = Frame(b"\x03", b"\x21", 0x13, b"\xe6\xe7\x00" + PUSH).encode()
P1 = (
    b"/KFM5KAIFA-METER\r\n\r\n1-3:0.2.8(42)\r\n0-0:1.0.0(261121120000W)\r\n"
    b"1-0:1.8.1(000123.456*kWh)\r\n1-0:1.7.0(00.120*kW)\r\n!5E7A\r\n"
)
READOUT = b"\x02F.F(00)\r\n1.8.0(000123.45*kWh)\r\n0.0.0(12345678)\r\n!\r\n\x03\x7b"

TALKS: dict[str, list[tuple[str, bytes]]] = {
    "bare APDUs in turn": [("client", GET), ("meter", ANSWER), ("client", GET), ("meter", ANSWER)],
    "bare APDUs of one side": [("meter", PUSH + ANSWER + PUSH)],
    "an association": [("client", AARQ + GET)],
    "a bare write by short name": [("client", WRITE), ("meter", b"\x0d\x01\x00")],
    "an APDU and octets after it": [("meter", ANSWER + b"\xff\xff\x01")],
    "an APDU that breaks off": [("meter", ANSWER[:-3]), ("client", GET)],
    "a push that breaks off, and one": [("meter", BROKEN), ("client", GET), ("meter", PUSH)],
    "octets that are nothing": [("meter", bytes(range(0xA1, 0xE0)))],
    "a telegram of a P1 port": [("meter", P1 + P1)],
    "a sign-on and a readout": [
        ("client", b"/?!\r\n"), ("meter", b"/ISK5ME382-1003\r\n"), ("client", b"\x06050\r\n"),
        ("meter", READOUT),
    ],
    "mode E and HDLC": [
        ("client", b"/?12345678!\r\n"), ("meter", b"/LGZ5\\2ZMD4104407.B32\r\n"),
        ("client", b"\x06252\r\n"), ("meter", b"\x06252\r\n" + UI), ("client", UI),
    ],
    "noise between frames": [("meter", b"\xff\xff\x00" + UI + b"\x00\xff\x7e" + UI + b"\xff")],
    "an HDLC frame without flags": [("meter", UI[1:-1]), ("client", UI[1:-1])],
    "packets": [("client", encode(16, 1, GET) * 2), ("meter", encode(1, 16, ANSWER) + b"\x00\x01")],
}  # fmt: skip


def shown(chunks: list[Chunk]) -> list[str]:
    return [line for node in explain_all(chunks) for line in node.lines()]


def cut(sender: str, octets: bytes, *places: int) -> list[Chunk]:
    ends = (0, *sorted(places), len(octets))
    return [Chunk(sender, octets[start:end]) for start, end in pairwise(ends) if start < end]


@pytest.mark.parametrize("name", list(TALKS))
def test_the_tree_is_the_same_in_any_cut(name: str) -> None:
    talk, draw = TALKS[name], Random(name)
    whole = shown([Chunk(*turn) for turn in talk])
    singly = [
        chunk for sender, octets in talk for chunk in cut(sender, octets, *range(len(octets)))
    ]
    assert shown(singly) == whole
    for number in range(max(len(octets) for _, octets in talk)):
        once = [chunk for sender, octets in talk for chunk in cut(sender, octets, number)]
        assert shown(once) == whole, number
    for _ in range(60):
        places = [
            chunk
            for sender, octets in talk
            for chunk in cut(sender, octets, *draw.choices(range(len(octets)), k=3))
        ]
        assert shown(places) == whole


def test_texts_and_bare_apdus_are_shown_where_they_were_said() -> None:
    lines = shown([Chunk(*turn) for turn in TALKS["a sign-on and a readout"]])
    heads = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert heads[:4] == ["client", "meter", "client", "meter"]
    (telegrams,) = shown([Chunk("", P1)])
    assert telegrams.startswith("IEC 62056-21: '/KFM5KAIFA-METER")
    two = [line for line in shown([Chunk("", PUSH + ANSWER)]) if line.startswith("APDU")]
    assert two == [f"APDU, {len(PUSH)} octets", f"APDU, {len(ANSWER)} octets"]
