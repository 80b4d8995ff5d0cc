"""Conversations out of everything that people have: hex of any kind, dumps, traces, captures."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from blathy.client.capture import CaptureError, Chunk, from_octets, from_record, from_text, load
from blathy.client.explain import explain_all

GET = bytes.fromhex("C001C100080000010000FF0200")
SNRM = bytes.fromhex("7EA0070321930F017E")
UA = bytes.fromhex("7EA01E210373C37A81801205018006018007040000000108040000000153 3B7E")
PACKET = bytes.fromhex("000100100001000D") + GET


def text_of(chunks: list[Chunk]) -> str:
    return "\n".join("\n".join(node.lines()) for node in explain_all(chunks))


# --- hex ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "C001C100080000010000FF0200",
        "c0 01 c1 00 08 00 00 01 00 00 ff 02 00",
        "C0:01:C1:00:08:00:00:01:00:00:FF:02:00",
        "C0-01-C1-00-08-00-00-01-00-00-FF-02-00",
        "0xC0, 0x01, 0xC1, 0x0, 0x08, 0x00, 0x00, 0x01, 0x00, 0x00, 0xFF, 0x02, 0x00",
        "0xC001C100080000010000FF0200",
        "{ 0xC0,0x01,0xC1,0x00,0x08,0x00,0x00,0x01,0x00,0x00,0xFF,0x02,0x00 };",
        r'"\xC0\x01\xC1\x00\x08\x00\x00\x01\x00\x00\xff\x02\x00"',
        "C001C100\n08000001\n0000FF\n0200\n",
        "C0 01 C1 00 08 00 00 01\r\n00 00 FF 02 00\r\n",
        "  C001 C100 0800 0001 0000 FF02 00  # the clock",
        "[C0 01 C1 00 08 00 00 01 00 00 FF 02 00]",
    ],
)
def test_hex_as_people_write_it(text: str) -> None:
    (chunk,) = from_text(text)
    assert chunk.data == GET


@pytest.mark.parametrize("offset", ["00000000", "0000"])
@pytest.mark.parametrize("beside", ["", "        |.............|"])
def test_one_line_of_a_dump_is_known_by_its_offset(offset: str, beside: str) -> None:
    (chunk,) = from_text(f"{offset}  {GET.hex(' ')}{beside}")
    assert chunk.data == GET


def test_what_is_no_hex_is_refused_in_one_sentence() -> None:
    for wrong, what in (
        ("", "no octets"),
        ("xyz", "neither a file nor hex"),
        ("C0 0", "3 hex digits are no whole octets"),
        ("no-such-file.pcap", "check the file"),
        ("٣٤", "neither"),
        ("DwAAAAEAAgIJBgEAAQgA/wYAAAU5", "base64 -d"),
        (".", "is a folder"),
    ):
        with pytest.raises(CaptureError, match=what) as caught:
            load(wrong) if wrong else from_text(wrong)
        assert "\n" not in str(caught.value)


def test_an_apdu_a_line_is_an_apdu_each() -> None:
    chunks = from_text(f"{GET.hex()}\nC401C100090C07EA0B15060C000000FFC400\n")
    assert len(chunks) == 2
    assert "2026-11-21 12:00:00" in text_of(chunks)


# --- dumps with offsets -------------------------------------------------------------------------


def xxd(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        words = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in part)
        lines.append(f"{at:08x}: {words:<39}  {text}")
    return "\n".join(lines)


def hexdump_c(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        halves = "  ".join((part[:8].hex(" "), part[8:].hex(" ")))
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in part)
        lines.append(f"{at:08x}  {halves:<48}  |{text}|")
    return "\n".join([*lines, f"{len(data):08x}"])


def wireshark(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in part)
        lines.append(f"{at:04x}   {part.hex(' '):<47}   {text}")
    return "\n".join(lines)


def od_words(data: bytes) -> str:
    """`od -x` of a little-endian machine: offsets in octal."""
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        words = " ".join(part[i : i + 2][::-1].hex() for i in range(0, len(part) - 1, 2))
        lines.append(f"{at:07o} {words}")
    return "\n".join([*lines, f"{len(data):07o}"])


def tcpdump(packets: Iterable[bytes]) -> str:
    """`tcpdump -x`: a line about the packet, then its octets from the IP header on."""
    lines = []
    for packet in packets:
        lines.append("10:11:12.131415 IP 10.0.0.1.50000 > 10.0.0.2.4059: Flags [P.], length 21")
        for at in range(0, len(packet), 16):
            part = packet[at : at + 16]
            words = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
            lines.append(f"\t0x{at:04x}:  {words}")
    return "\n".join(lines)


@pytest.mark.parametrize("dump", [xxd, hexdump_c, wireshark, od_words])
def test_dumps_with_offsets(dump: Callable[[bytes], str]) -> None:
    aarq = bytes.fromhex(
        "7EA02B032110FBAFE6E600601DA109060760857404050801 01BE10040E01000000065F1F0400401E5DFFFF00"
    )
    data = (SNRM + aarq + b"ab cd ef 12 34")[:62]
    assert from_text(dump(data)) == [Chunk("", data)]


def test_packets_of_tcpdump_are_unpacked() -> None:
    packets = [tcp(50000, 4059, 100, PACKET), tcp(4059, 50000, 7, b"\0\1\0\1\0\x10\0\3\xd8\1\1")]
    text = text_of(from_text(tcpdump(packets)))
    assert "10.0.0.1:50000: wrapper 16 → 1, 13 octets" in text
    assert "Exception response" in text


# --- traces -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trace",
    [
        "TX: 10:11:12\t{snrm}\nRX: 10:11:13\t{ua}\n",
        "TX: 10:11:12:\t{snrm}\r\nRX: 10:11:13:\t{ua}\r\n",
        "10:11:12.123 TX: {snrm}\n10:11:12.400 RX: {ua}",
        "2026-11-21 10:11:12,123 DEBUG Send (9): {snrm}\n2026-11-21 10:11:12,300 DEBUG Recv: {ua}",
        "[10:11:12] -> {snrm}\n[10:11:12] <- {ua}",
        "Connected.\nsent: {snrm}\nwaiting ...\nreceived: {ua}\nClosed.",
        "> {snrm}  # call\n< {ua}\n# a remark\n",
        "1> {snrm}\n1< {ua}\n",
        "client {snrm}\nmeter {ua}\n",
    ],
)
def test_traces_with_directions(trace: str) -> None:
    for between in (" ", ""):
        snrm, ua = (octets.hex(" ").replace(" ", between) for octets in (SNRM, UA))
        chunks = from_text(trace.format(snrm=snrm, ua=ua.upper()))
        assert [(chunk.sender, chunk.data) for chunk in chunks] == [("client", SNRM), ("meter", UA)]


def test_long_frames_of_a_trace_go_on_in_the_next_line() -> None:
    half = len(UA) // 2
    text = f"TX: {SNRM.hex(' ')}\nRX: {UA[:half].hex(' ')}\n    {UA[half:].hex(' ')}\n"
    assert [chunk.data for chunk in from_text(text)] == [SNRM, UA]


def test_connections_of_one_record_are_kept_apart() -> None:
    chunks = list(from_record(f"1> {PACKET[:9].hex()}\n2> {PACKET.hex()}\n1> {PACKET[9:].hex()}"))
    assert {chunk.conversation for chunk in chunks} == {"1", "2"}
    assert text_of(chunks).count("Get request normal") == 2


# --- packet captures ----------------------------------------------------------------------------


def tcp(
    source: int, target: int, sequence: int, data: bytes, *, flags: int = 24, ack: int = 0,
    ends: tuple[int, int] = (1, 2),
) -> bytes:  # fmt: skip
    """An IPv4 packet with a segment of TCP."""
    if source == 4059:
        ends = ends[::-1]
    body = struct.pack(">HHIIBBHHH", source, target, sequence, ack, 0x50, flags, 0, 0, 0) + data
    return ipv4(6, body, ends)


def ipv4(protocol: int, body: bytes, ends: tuple[int, int], fragment: int = 0) -> bytes:
    addresses = bytes((10, 0, 0, ends[0], 10, 0, 0, ends[1]))
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 7, fragment, 64, protocol, 0)
    total = sum(struct.unpack(">10H", head + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    check: bytes = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(head[:10]) + check + addresses + body


def udp(data: bytes, source: int = 4059, target: int = 50000) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(data), 0) + data


def ipv6(packet: bytes, options: bytes = b"") -> bytes:
    kind, body = packet[9], packet[20:]
    next_header = 0 if options else kind
    options = bytes((kind,)) + options[1:] if options else b""
    ends = [bytes(15) + packet[15:16], bytes(15) + packet[19:20]]
    head = struct.pack(">IHBB", 0x60000000, len(options) + len(body), next_header, 64)
    return head + ends[0] + ends[1] + options + body


LINKS = {
    "ethernet": (1, bytes(12) + b"\x08\x00"),
    "vlan": (1, bytes(12) + b"\x81\x00\x00\x05\x08\x00"),
    "two vlans": (1, bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00"),
    "pppoe": (1, bytes(12) + b"\x88\x64" + bytes(6) + b"\x00\x21"),
    "linux cooked": (113, bytes(14) + b"\x08\x00"),
    "linux cooked 2": (276, b"\x08\x00" + bytes(18)),
    "loopback": (0, b"\x02\0\0\0"),
    "raw": (101, b""),
    "raw of BSD": (12, b""),
    "IPv4": (228, b""),
}


def pcap(packets: Iterable[bytes], link: int = 1, order: str = "<", snap: int = 65535) -> bytes:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, link)
    return head + b"".join(
        struct.pack(order + "IIII", 0, 0, min(len(p), snap), len(p)) + p[:snap] for p in packets
    )


def pcapng(packets: Iterable[bytes], link: int = 1, order: str = "<", snap: int = 65535) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    found = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    found += block(1, struct.pack(order + "HHI", link, 0, snap))
    for packet in packets:
        kept = packet[:snap]
        found += block(6, struct.pack(order + "IIIII", 0, 0, 0, len(kept), len(packet)) + kept)
    return found


Pack = Callable[..., bytes]
PACKS: list[Pack] = [
    pcap,
    partial(pcap, order=">"),
    pcapng,
    partial(pcapng, order=">"),
]


@pytest.mark.parametrize("pack", PACKS)
def test_segments_are_put_in_order_and_repetitions_dropped(pack: Pack, tmp_path: Path) -> None:
    link = LINKS["ethernet"][1]
    packets = [
        tcp(50000, 4059, 99, b"", flags=2),
        tcp(50000, 4059, 110, PACKET[10:]),
        tcp(50000, 4059, 100, PACKET[:10]),
        tcp(50000, 4059, 100, PACKET[:10]),
        tcp(50000, 4059, 105, PACKET[5:15]),  # sent again, cut elsewhere
        tcp(50000, 4059, 121, PACKET + PACKET),
    ]
    file = tmp_path / "capture"
    file.write_bytes(pack([link + packet for packet in packets]))
    text = text_of(load(str(file)))
    assert text.count("Get request normal") == 3
    assert "10.0.0.1:50000: wrapper 16 → 1" in text
    assert "missing" not in text


@pytest.mark.parametrize("name", list(LINKS))
def test_every_link_layer(name: str) -> None:
    link, head = LINKS[name]
    for pack in PACKS:
        chunks = from_octets(pack([head + tcp(50000, 4059, 100, PACKET)], link))
        assert [chunk.data for chunk in chunks] == [PACKET]


def test_ipv6_with_options_and_fragments() -> None:
    link = bytes(12) + b"\x86\xdd"
    packet = tcp(50000, 4059, 100, PACKET)
    for options in (b"", bytes(8), b"\0\1" + bytes(14)):
        chunks = from_octets(pcap([link + ipv6(packet, options)]))
        assert [chunk.data for chunk in chunks] == [PACKET]
        assert chunks[0].sender == "[::1]:50000"
    whole = udp(PACKET * 4)
    parts = [(whole[:48], 0x2000), (whole[48:], 6)]
    for order in (parts, parts[::-1]):
        packets = [LINKS["ethernet"][1] + ipv4(17, body, (1, 2), flags) for body, flags in order]
        (chunk,) = from_octets(pcap(packets))
        assert chunk.data == PACKET * 4
        assert chunk.datagram


def test_several_conversations_do_not_disturb_each_other() -> None:
    """Two clients, each with half a packet in turn, and a web page that nobody asked for."""
    first, second = PACKET[:9], PACKET[9:]
    packets = [
        tcp(50000, 4059, 100, first), tcp(50001, 4059, 300, first, ends=(3, 2)),
        tcp(50000, 4059, 109, second), tcp(50001, 4059, 309, second, ends=(3, 2)),
        tcp(50002, 80, 1, b"GET / HTTP/1.1\r\n\r\n"),
    ]  # fmt: skip
    text = text_of(from_octets(pcap([LINKS["ethernet"][1] + packet for packet in packets])))
    assert text.count("Get request normal") == 2
    assert "another one is not shown: no DLMS in it" in text
    assert "HTTP" not in text


def test_a_connection_opened_again_between_the_same_ports_begins_anew() -> None:
    packets = [
        tcp(50000, 4059, 99, b"", flags=2), tcp(50000, 4059, 100, PACKET[:9]),
        tcp(50000, 4059, 999_999, b"", flags=2), tcp(50000, 4059, 1_000_000, PACKET),
    ]  # fmt: skip
    chunks = from_octets(pcap(packets, 101))
    assert len({chunk.conversation for chunk in chunks}) == 2
    assert "Get request normal" in text_of(chunks)


def test_hdlc_over_tcp_in_segments_of_any_size() -> None:
    cut = random.Random(5)
    data, sequence, packets = SNRM * 5, 100, []
    while data:
        size = cut.randrange(1, 6)
        packets.append(tcp(50000, 4059, sequence, data[:size]))
        data, sequence = data[size:], sequence + len(data[:size])
    cut.shuffle(packets)
    packets.insert(0, tcp(50000, 4059, 99, b"", flags=2))
    assert text_of(from_octets(pcap(packets, 101))).count("HDLC SNRM") == 5


def test_what_a_capture_lacks_is_told() -> None:
    # a segment was never captured, and the other end has acknowledged it
    packets = [
        tcp(50000, 4059, 99, b"", flags=2),
        tcp(50000, 4059, 100, PACKET[:9]),
        tcp(50000, 4059, 100 + len(PACKET), PACKET),
        tcp(4059, 50000, 1, b"", flags=16, ack=100 + 2 * len(PACKET)),
        tcp(50000, 4059, 100 + 2 * len(PACKET), PACKET),
    ]
    text = text_of(from_octets(pcap(packets, 101)))
    assert f"{len(PACKET) - 9} octets are missing here in the capture" in text
    assert text.count("Get request normal") == 2
    # packets cut by the snap length
    cut = pcap([tcp(50000, 4059, 100, PACKET), tcp(50000, 4059, 121, PACKET)], 101, snap=55)
    text = text_of(from_octets(cut))
    assert "octets are missing here in the capture" in text
    assert "it breaks off" in text
    cut = pcap([ipv4(17, udp(PACKET), (1, 2))], 101, snap=42)
    assert "7 octets of this datagram are not in the capture" in text_of(from_octets(cut))
    # a file that ends in the middle
    whole = pcap([tcp(50000, 4059, 100, PACKET)] * 2, 101)
    text = text_of(from_octets(whole[:-5]))
    assert "breaks off in the middle of a packet" in text
    assert "Get request normal" in text


def test_a_capture_without_conversations_is_refused() -> None:
    for pack in PACKS:
        with pytest.raises(CaptureError, match="no TCP"):
            from_octets(pack([]))
    with pytest.raises(CaptureError, match="no TCP"):
        from_octets(pcap([b"\x01\x02\x03"], link=999))


def test_sequence_numbers_that_run_over() -> None:
    start = 0xFFFF_FFF8
    packets = [
        tcp(50000, 4059, start, PACKET[:8]),
        tcp(50000, 4059, 2, PACKET[10:]),
        tcp(50000, 4059, 0, PACKET[8:10]),
    ]
    assert text_of(from_octets(pcap(packets, 101))).count("Get request normal") == 1


# --- files --------------------------------------------------------------------------------------


def test_files_of_every_kind(tmp_path: Path) -> None:
    texts = [GET.hex(" "), f"> {GET.hex()}\n", xxd(PACKET), f"TX: {GET.hex()}"]
    contents = [GET, PACKET, SNRM, *(text.encode() for text in texts)]
    contents += [text.encode("utf-16") for text in texts]
    contents += [b"\xef\xbb\xbf" + text.encode() for text in texts]
    for number, content in enumerate(contents):
        file = tmp_path / f"file {number}"
        file.write_bytes(content)
        text = text_of(load(str(file)))
        assert "clock" in text or "HDLC SNRM" in text, content


def test_readouts_are_kept_as_text() -> None:
    text = text_of(from_octets(b"/ISK5\\2MT372\r\n\x021.8.0(001234.5*kWh)\r\n!\r\n\x03"))
    assert "IEC 62056-21" in text


def test_recorded_telegrams_of_other_protocols_are_shown_somehow(shared_data: Path) -> None:
    """Not their decoder, but nobody falls over, and P1 and readouts are recognised as text."""
    for entry in json.loads((shared_data / "telegrams.json").read_text()):
        if entry["encoding"] not in {"hex", "latin-1"}:
            continue
        hexed = entry["encoding"] == "hex"
        try:
            data = bytes.fromhex(entry["data"]) if hexed else entry["data"].encode("latin-1")
        except ValueError:
            continue
        assert text_of([Chunk("", data)]), entry["name"]
