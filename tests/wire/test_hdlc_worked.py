"""HDLC octets written down by hand and checked against other implementations."""

from __future__ import annotations

from blathy.clock import Instant
from blathy.wire.hdlc import (
    FLAG,
    Apdu,
    Frame,
    FrameDecoder,
    FrameType,
    HdlcClient,
    HdlcClientSettings,
    HdlcParameters,
    HdlcServer,
    HdlcServerSettings,
    LinkDown,
    LinkUp,
    Reason,
    ServerAddress,
    fcs,
    parse_frame,
)

T0 = Instant(0)
SERVER_1 = ServerAddress(1)
DEFAULTS = HdlcParameters()
AARQ = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400401E5DFFFF")
GET = bytes.fromhex("C001C100080000010000FF0200")
ANSWER = bytes.fromhex("C401C100090C07EA0B15060C000000FFC400")


def hx(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def client(**changes: object) -> HdlcClient:
    return HdlcClient(HdlcClientSettings(parameters=DEFAULTS, **changes))  # type: ignore[arg-type]


def test_check_sequence_of_the_standard() -> None:
    assert fcs(b"\x03\x3f") == hx("5B EC")


def test_addresses() -> None:
    assert ServerAddress(0x1234, 0x3FFF).encode() == hx("48 68 FE FF")
    assert ServerAddress(1, 17).encode() == hx("02 23")
    assert ServerAddress(1, 17, 4).encode() == hx("00 02 00 23")
    for octets in (hx("03"), hx("02 23"), hx("00 02 00 23"), hx("48 68 FE FF")):
        assert ServerAddress.decode(octets).encode() == octets


def test_snrm_default_and_with_parameters() -> None:
    assert client().connect(T0) == hx("7E A0 07 03 21 93 0F 01 7E")
    assert HdlcClient().connect(T0) == hx(
        "7E A0 20 03 21 93 7D D9 81 80 14 05 02 07 EE 06 02 07 EE"
        "07 04 00 00 00 01 08 04 00 00 00 01 B5 D4 7E"
    )
    assert client(server=ServerAddress(1, 17)).connect(T0) == hx("7E A0 08 02 23 21 93 BD 64 7E")
    assert client(server=ServerAddress(1, 17, 4)).connect(T0) == hx(
        "7E A0 0A 00 02 00 23 21 93 18 71 7E"
    )


def test_server_answers_ua_with_the_worked_octets() -> None:
    server = HdlcServer(HdlcServerSettings(parameters=DEFAULTS))
    events = server.receive(hx("7E A0 07 03 21 93 0F 01 7E"), T0)
    assert events == [LinkUp(16, SERVER_1, DEFAULTS)]
    assert server.data_to_send() == hx(
        "7E A0 1E 21 03 73 C3 7A 81 80 12 05 01 80 06 01 80 07 04 00 00 00 01"
        "08 04 00 00 00 01 53 3B 7E"
    )


def linked() -> tuple[HdlcClient, HdlcServer]:
    one, two = client(), HdlcServer(HdlcServerSettings(parameters=DEFAULTS))
    two.receive(one.connect(T0), T0)
    assert isinstance(one.receive(two.data_to_send(), T0)[0], LinkUp)
    return one, two


def test_conversation_gives_the_worked_octets() -> None:
    one, two = linked()
    sent = one.send(AARQ, T0)
    assert sent == hx(
        "7E A0 2B 03 21 10 FB AF E6 E6 00 60 1D A1 09 06 07 60 85 74 05 08 01 01 BE 10 04 0E"
        "01 00 00 00 06 5F 1F 04 00 40 1E 5D FF FF 91 23 7E"
    )
    assert two.receive(sent, T0) == [Apdu(16, SERVER_1, AARQ)]
    answer = two.send(16, SERVER_1, b"\x61\x00")
    assert one.receive(answer, T0) == [Apdu(16, SERVER_1, b"\x61\x00")]
    sent = one.send(GET, T0)
    assert sent == hx(
        "7E A0 19 03 21 32 6F D8 E6 E6 00 C0 01 C1 00 08 00 00 01 00 00 FF 02 00 60 1A 7E"
    )
    two.receive(sent, T0)
    answer = two.send(16, SERVER_1, ANSWER)
    assert answer == hx(
        "7E A0 1E 21 03 52 48 4A E6 E7 00 C4 01 C1 00 09 0C 07 EA 0B 15 06 0C 00 00 00 FF C4 00"
        "5D FF 7E"
    )
    assert one.receive(answer, T0) == [Apdu(16, SERVER_1, ANSWER)]
    assert one.disconnect(T0) == hx("7E A0 07 03 21 53 03 C7 7E")
    assert two.receive(hx("7E A0 07 03 21 53 03 C7 7E"), T0) == [
        LinkDown(16, SERVER_1, Reason.RELEASED)
    ]
    two.data_to_send()
    two.receive(hx("7E A0 07 03 21 53 03 C7 7E"), T0)
    assert two.data_to_send() == hx("7E A0 07 21 03 1F 6B E9 7E")


def test_segmented_answer_of_the_standard_is_joined() -> None:
    one, two = linked()
    two.receive(one.send(AARQ, T0), T0)
    one.receive(two.send(16, SERVER_1, b"\x61\x00"), T0)
    one.send(GET, T0)
    first = hx("7E A8 15 21 03 52 7D D0 E6 E7 00 C4 01 C1 00 09 0C 07 EA 0B 8A C3 7E")
    assert one.receive(first, T0) == []
    assert one.data_to_send() == hx("7E A0 07 03 21 51 11 E4 7E")
    second = hx("7E A0 12 21 03 54 4A B8 15 06 0C 00 00 00 FF C4 00 4A 45 7E")
    assert one.receive(second, T0) == [Apdu(16, SERVER_1, ANSWER)]


def test_push_in_a_ui_frame() -> None:
    notification = hx("0F 00 00 00 01 00 02 01 06 00 00 05 39")
    octets = hx("7E A0 19 CF 03 13 5E 57 E6 E7 00 0F 00 00 00 01 00 02 01 06 00 00 05 39 E5 54 7E")
    assert HdlcServer().push(103, SERVER_1, notification) == octets
    listener = HdlcClient(HdlcClientSettings(client=103))
    assert listener.receive(octets, T0) == [Apdu(103, SERVER_1, notification, confirmed=False)]


def test_supervisory_frames() -> None:
    for octets, kind in (
        ("A0 07 03 21 11 15 A6", FrameType.RR),
        ("A0 07 21 03 35 33 67", FrameType.RNR),
        ("A0 07 21 03 97 2B E1", FrameType.FRMR),
    ):
        frame = parse_frame(hx(octets))
        assert frame is not None
        assert frame.kind is kind
        assert frame.encode() == b"\x7e" + hx(octets) + b"\x7e"


def test_every_single_bit_error_is_refused() -> None:
    octets = Frame(b"\x03", b"\x21", 0x10, b"\xe6\xe6\x00" + GET).encode()
    for bit in range(8, (len(octets) - 1) * 8):
        broken = bytearray(octets)
        broken[bit // 8] ^= 1 << bit % 8
        assert FrameDecoder().receive(bytes(broken), T0) == []


def test_a_flag_inside_the_data_is_legal_and_one_flag_may_serve_two_frames() -> None:
    one = Frame(b"\x03", b"\x21", 0x10, bytes([FLAG]) * 9).encode()
    two = Frame(b"\x03", b"\x21", 0x32, b"\xa0\x7e\xa0").encode()
    decoder = FrameDecoder()
    assert len(decoder.receive(one + two[1:], T0)) == 2
    assert len(FrameDecoder().receive(b"\x00\xff\x7e\xa7\xff" + one, T0)) == 0
