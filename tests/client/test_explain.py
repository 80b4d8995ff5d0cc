"""What `blathy explain` says of real frames, and that nothing makes it fall over."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from blathy.client.capture import CaptureError, Chunk, from_octets, from_record, load, to_record
from blathy.client.explain import explain_all
from blathy.wire.security import KeySet

KEYS = KeySet(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
CONVERSATION = """
> 6055A109060760857405080103A60A04084D4D4D00000000018A0207808B0760857405080205AC0A80084B35366956616759BE230421211F30000000019945AB0E570975CCDF31E3C79CA00CE4687C52868A8A5B040284
< 6161A109060760857405080103A203020100A305A10302010EA40A04084D4D4D0000BC614E88020780890760857405080205AA0A8008503677524A323146BE230421281F3000000001D96106551DB77E310F9BD00B895AED67BF0D725A9C5EB697F97E
> CB3130 00000003 603876AB2931261F682CAB4C405FAA04ED038F352A9E2056A40AFA3E365D1B94F2C7AD4E7BAF24AC03EA34E1
< CF2A30 00000003 BCC29BB99B746A2ECC67525F54FB50955879DAB0ECFFA6CDE11B359020398A508CDAD93E1C
> C81E30 00000004 C0376965ADE5B79EF38D5538F25D90B2465D22E0A3FB7F0799
< CC2330 00000004 B2D13F4EE549CBEAF1B17BE31013DE8119E533723FF8A432999CEA7D1F3B
> 6228800100BE230421211F30 00000005 7E307C453D67AAFD39641C613EBBFD06DA660826818BD9B855FE
"""  # noqa: E501


def text_of(chunks: list[Chunk], **options: Any) -> str:
    return "\n".join("\n".join(node.lines()) for node in explain_all(chunks, **options))


def test_a_ciphered_conversation_opens_with_its_keys() -> None:
    text = text_of(list(from_record(CONVERSATION)), keys=KEYS)
    assert "client system title: 4d4d4d0000000001 (MMM)" in text
    assert "hls gmac" in text
    assert "reply_to_hls_authentication() (" in text.lower()
    assert "0-0:1.0.0 time (clock; Clock 8.2)" in text
    assert "2026-11-21" in text
    assert "NOT AUTHENTICATED" not in text
    assert "can't be opened" not in text


def test_without_keys_or_with_wrong_ones_it_says_so() -> None:
    chunks = list(from_record(CONVERSATION))
    assert "give --ek" in text_of(chunks)
    assert "can't be opened" in text_of(chunks, keys=KeySet(0, bytes(16), bytes(16)))
    assert "NOT AUTHENTICATED" in text_of(chunks, keys=KeySet(0, bytes(range(16))))


def test_passwords_and_keys_stay_hidden() -> None:
    aarq = (
        "603A80020780A109060760857405080101 8A0207808B0760857405080201 AC0A80083132333435363738"
        "BE10040E01000000065F1F0400001E1D0400"
    )
    assert "31 32 33" not in text_of(load(aarq))
    assert "hidden" in text_of(load(aarq))


def test_units_selections_and_results_have_names() -> None:
    text = text_of([
        Chunk("a", bytes.fromhex("C001C100030100010800FF0300")),
        Chunk("b", bytes.fromhex("C401C10002020F00161E")),
    ])  # fmt: skip
    assert "scaler 10^0, unit Wh" in text
    assert "active energy import" in text
    refused = text_of([Chunk("", bytes.fromhex("C401C10103"))])
    assert "read write denied" in refused
    entry = "C001C1 0007 0100630100FF 02 01 02 0204 06 00000001 06 0000000A 12 0001 12 0000"
    assert "selection by entry" in text_of(load(entry))


def test_segments_of_hdlc_are_joined() -> None:
    octets = bytes.fromhex(
        "7EA81521035 27DD0E6E700C401C100090C07EA0B8AC37E".replace(" ", "")
        + "7EA0122103544AB815060C000000FFC4004A457E"
    )
    text = text_of([Chunk("", octets)])
    assert "segmented" in text
    assert "2026-11-21" in text


def test_records_read_back_as_they_were_written() -> None:
    chunks = [Chunk("client", b"\xc0\x01"), Chunk("meter", b"\xc4"), Chunk("client", b"\x62\x00")]
    assert list(from_record(to_record(chunks))) == chunks


def ethernet(source: int, target: int, sequence: int, data: bytes, *, syn: bool = False) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", source, target, sequence, 0, 0x50, 2 if syn else 24, 0, 0, 0)
    size = 40 + len(data)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return bytes(12) + b"\x08\x00" + ip + tcp + data


def pcap(packets: list[bytes]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack("<IIII", 0, 0, len(p), len(p)) + p for p in packets)


def pcapng(packets: list[bytes]) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    found = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    found += block(1, struct.pack("<HHI", 1, 0, 65535))
    for packet in packets:
        found += block(6, struct.pack("<IIIII", 0, 0, 0, len(packet), len(packet)) + packet)
    return found


@pytest.mark.parametrize("pack", [pcap, pcapng])
def test_packet_captures_are_put_in_order(pack: Any, tmp_path: Path) -> None:
    request = bytes.fromhex("00010010000100 0DC001C100080000010000FF0200".replace(" ", ""))
    packets = [
        ethernet(50000, 4059, 99, b"", syn=True),
        ethernet(50000, 4059, 110, request[10:]),
        ethernet(50000, 4059, 100, request[:10]),
        ethernet(50000, 4059, 100, request[:10]),
    ]
    file = tmp_path / "capture"
    file.write_bytes(pack(packets))
    text = text_of(load(str(file)))
    assert text.count("Get request normal") == 1
    assert "10.0.0.1:50000: wrapper 16 → 1" in text


def test_files_of_every_kind(tmp_path: Path) -> None:
    for content in (
        b"C0 01 C1 00 08 00 00 01 00 00 FF 02 00",
        bytes.fromhex("C001C100080000010000FF0200"),
    ):
        assert "clock" in text_of(from_octets(content))
    for wrong in ("", "xyz", "C0 0"):
        with pytest.raises(CaptureError):
            load(wrong)
    with pytest.raises(CaptureError, match="no TCP"):
        from_octets(pcap([]))


def vectors(shared_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / "dlms-vectors.json").read_text())
    return found


def test_every_recorded_vector_is_explained(shared_data: Path) -> None:
    for vector in vectors(shared_data):
        if vector["kind"].startswith(("axdr", "cosem", "mbus-key", "negative")):
            continue
        text = text_of([Chunk("", bytes.fromhex(vector["hex"]))])
        if "expect_error" not in vector and "malformed" not in vector["name"]:
            assert "breaks off" not in text, (vector["name"], vector["kind"], text)


def test_mutated_frames_never_make_it_fall_over(shared_data: Path) -> None:
    draw = random.Random(3)
    seeds = [bytes.fromhex(vector["hex"]) for vector in vectors(shared_data)]
    for _ in range(3000):
        data = bytearray(draw.choice(seeds)[:400])
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        text_of([Chunk("", bytes(data[: draw.randrange(1, len(data) + 1)]))], keys=KEYS)
