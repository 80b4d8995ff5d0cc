"""What `blathy explain` says of real frames, and that nothing makes it fall over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blathy.client.capture import Chunk, from_record, load, to_record
from blathy.client.curve_keys import CurveKeys
from blathy.client.explain import KeyRing, explain_all
from blathy.cosem import axdr
from blathy.cosem.objectlist import ShortName, build_short_names
from blathy.cosem.selective import CaptureObject
from blathy.obis import Obis
from blathy.wire import apdu
from blathy.wire.acse import Mechanism
from blathy.wire.security import Envelope, KeyChoice, KeySet, Protection, public_key_of
from tests.wire.association_pair import (
    ABSENT,
    CLIENT_TITLE,
    CLOCK,
    DISCONNECT,
    ECHO,
    ENERGY,
    ENERGY_VALUE,
    LONG,
    SERVER_TITLE,
    WRITABLE,
    Pair,
    key_pair,
    keys,
    plain_pair,
    secured_pair,
)

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
    assert text.count("(right)") == 2  # the proofs of both sides
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


def test_keys_of_several_meters_are_told_apart_by_title() -> None:
    chunks = list(from_record(CONVERSATION))
    other = KeySet(0, bytes(16), bytes(16))
    ring = KeyRing(None, {bytes.fromhex("4D4D4D0000BC614E"): KEYS, b"OTHERone": other})
    text = text_of(chunks, ring=ring)
    assert "2026-11-21" in text
    assert "NOT AUTHENTICATED" not in text


def test_a_repeated_counter_and_a_wrong_proof_are_told() -> None:
    lines = CONVERSATION.strip().splitlines()
    text = text_of(list(from_record("\n".join([*lines, lines[4]]))), keys=KEYS)
    assert "REPEATED: the counter is not above 5" in text
    titles = {"client_title": bytes(8), "server_title": bytes(8)}
    wrong = CONVERSATION.replace("503677524A323146", "503677524A323147")
    assert "(WRONG)" in text_of(list(from_record(wrong)), keys=KEYS, **titles)


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


def test_damaged_frames_are_shown_with_what_is_wrong() -> None:
    aarq = (
        "7EA02B032110FBAFE6E600601DA109060760857405080101BE10040E01000000065F1F0400401E5DFFFF91237E"
    )
    good = bytes.fromhex(aarq)
    assert "wrong" not in text_of([Chunk("", good)])
    altered = good[:-3] + b"\x91\x24\x7e"
    assert "wrong frame check sequence: 9124 instead of 9123" in text_of([Chunk("", altered)])
    header = good[:6] + b"\xfb\xae" + good[8:]
    text = text_of([Chunk("", header)])
    assert "wrong header check sequence: fbae instead of fbaf" in text
    assert "Initiate request" in text  # the content is shown all the same
    cut = text_of([Chunk("", good[:30])])
    assert "it breaks off: 29 of its 43 octets are here" in cut
    assert "application context" in cut
    # a damaged frame takes none of the next ones with it
    long = bytes((good[0], 0xA7, 0xFF)) + good[3:]
    text = text_of([Chunk("", long + good + good)])
    assert text.count("Initiate request") >= 2
    assert "its length field says 2047 octets" in text


def test_what_is_readable_of_a_cut_apdu_is_shown() -> None:
    text = text_of([Chunk("", bytes.fromhex("C001C100080000010000"))])
    assert "choice: 1 normal" in text
    assert "it breaks off" in text
    answer = "C401C10001020204090C07EA0B15060C000000FFC40006000005390204090C07EA0B15"
    text = text_of([Chunk("", bytes.fromhex(answer))])
    assert "2026-11-21 12:00:00 +01:00" in text
    assert "double-long-unsigned 1337" in text
    assert text.splitlines()[-1].strip().startswith("it breaks off")
    packet = bytes.fromhex("000100010010002A") + bytes.fromhex("C401C10009280102")
    assert "34 octets of the APDU are missing" in text_of([Chunk("", packet)])
    aarq = text_of([Chunk("", bytes.fromhex("603A80020780A1090607608574050801018A0207808B07"))])
    assert "application context: 06 07 60 85 74 05 08 01 01" in aarq


def test_frames_of_every_framing_on_one_line() -> None:
    """The sign-on of mode E, then HDLC; M-Bus; noise of a line without a driver."""
    snrm = bytes.fromhex("7EA0070321930F017E")
    line = b"/?!\r\n\x06222\r\n" + snrm
    text = text_of([Chunk("client", line)])
    assert "IEC 62056-21: '/?!\\r\\n\\x06222\\r\\n'" in text
    assert "HDLC SNRM 16 → 1" in text
    noisy = b"\xff\x00\xff" + snrm
    assert "octets in no frame: ff 00 ff" in text_of([Chunk("", noisy)])
    assert "HDLC SNRM" in text_of([Chunk("", noisy)])
    mbus = bytes.fromhex("680B0B6853FF1001670F00000001000016")
    assert "wrong checksum" in text_of([Chunk("", mbus[:-2] + b"\x00\x16")])


def test_frmr_and_errors_are_put_into_words() -> None:
    assert "HDLC FRMR" in text_of(
        [Chunk("", bytes.fromhex("7EA00721039 72BE17E".replace(" ", "")))]
    )
    text = text_of([Chunk("", bytes.fromhex("D80106 00000010".replace(" ", "")))])
    assert "invocation counter error" in text
    assert "the lowest it accepts is 16" in text
    assert "the DLMS version is too low" in text_of([Chunk("", bytes.fromhex("0E010601"))])


def test_records_read_back_as_they_were_written() -> None:
    chunks = [Chunk("client", b"\xc0\x01"), Chunk("meter", b"\xc4"), Chunk("client", b"\x62\x00")]
    assert list(from_record(to_record(chunks))) == chunks


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


def _conversation(pair: Pair) -> list[Chunk]:
    return [Chunk("client" if way == ">" else "meter", octets) for way, octets in pair.wire]


def _with_units(pair: Pair) -> None:
    """Scaler of the register and columns of the profile, to be read in the conversation."""
    pair.meter.values[3, bytes(ENERGY.obis), 3] = bytes.fromhex("02020F01161E")
    columns = ((8, CLOCK.obis), (1, Obis(0, 0, 96, 10, 1)), (3, ENERGY.obis))
    pair.meter.values[7, bytes(LONG.obis), 3] = axdr.encode(
        axdr.array_of(CaptureObject(*column).data() for column in columns)
    )


def test_every_service_of_a_conversation() -> None:
    """Blocks put together, values with the units that are read only later, all by name."""
    pair = plain_pair(pdu_size=200, server_pdu_size=200)
    _with_units(pair)
    pair.associate()
    client = pair.client
    big = b"\x09\x82\x01\x2c" + bytes(300)
    kinds = apdu.AccessKind
    requests: tuple[Callable[[], bytes], ...] = (
        lambda: client.get(ENERGY),
        lambda: client.get(LONG),
        lambda: client.get(ENERGY, replace(ENERGY, attribute=3), ABSENT),
        lambda: client.get(replace(LONG, attribute=3)),
        lambda: client.set((WRITABLE, big)),
        lambda: client.action((ECHO, big)),
        lambda: client.action((DISCONNECT, b"\x0f\x00")),
        lambda: client.access([(kinds.GET, LONG), (kinds.ACTION, DISCONNECT)], [b"", b"\x0f\x00"]),
        client.release,
    )
    for request in requests:
        pair.exchange(request())
    text = text_of(_conversation(pair))
    assert "breaks off" not in text
    assert "missing" not in text
    assert text.count("double-long-unsigned 1337 = 13.37 kWh") == 2
    assert "value: refused, 4 object undefined" in text
    # the profile, once in blocks of GET and once in general blocks, as a table
    head = "0-0:1.0.0 clock | 0-0:96.10.1 profile status 1 | 1-0:1.8.0 active energy import [Wh]"
    assert text.count(head) == 2
    assert text.count("2026-11-21 12:00:00 +01:00 | 0 | 390 Wh") == 2
    assert text.count("304 octets in all") == 2
    assert "result of 0-0:96.3.10 remote_disconnect()" in text
    assert text.count("RLR") == 2


def test_dedicated_keys_are_learnt_from_the_conversation() -> None:
    pair = secured_pair(dedicated_key=True, envelope=Envelope.DED)
    pair.associate()
    pair.exchange(pair.client.get(ENERGY))
    chunks = _conversation(pair)
    text = text_of(chunks, keys=keys())
    assert "ded-get-request" in text
    assert "double-long-unsigned 1337" in text
    assert "dedicated key: (hidden)" in text
    assert "a dedicated key that this conversation has not shown" in text_of(
        chunks[4:], keys=keys()
    )


@pytest.mark.parametrize("envelope", [Envelope.GENERAL_CIPHERING, Envelope.GENERAL_GLO])
@pytest.mark.parametrize("suite", [0, 1, 2])
def test_general_protection_opens_in_every_suite(suite: int, envelope: Envelope) -> None:
    pair = secured_pair(suite=suite, envelope=envelope)
    pair.associate()
    pair.exchange(pair.client.get(ENERGY))
    text = text_of(_conversation(pair), keys=keys(suite))
    assert "originator system title" in text or "system title: 4d4d4d" in text
    assert "double-long-unsigned 1337" in text
    assert "can't be opened" not in text


def curves_of(suite: int, *private: str, of: str = "client server") -> CurveKeys:
    """Both sides' public keys, or those named; the private keys named."""
    found = CurveKeys()
    for name, title, own in zip(
        ("client", "server"), (CLIENT_TITLE, SERVER_TITLE), key_pair(suite), strict=True
    ):
        for scalar in (own.signing, own.agreement) if name in of else ():
            assert found.add_public(title, public_key_of(scalar, suite))
        for scalar in (own.signing, own.agreement) if name in private else ():
            assert found.add_private(title, scalar)
    return found


def signed_conversation(suite: int, inside: Protection = Protection.NONE) -> list[Chunk]:
    signed = Protection.BOTH | Protection.SIGNED | inside
    pair = secured_pair(Mechanism.HLS_ECDSA, suite, protection=signed)
    pair.associate()
    pair.exchange(pair.client.get(ENERGY))
    return _conversation(pair)


@pytest.mark.parametrize("inside", [Protection.NONE, Protection.SIGNED_INSIDE])
@pytest.mark.parametrize("suite", [1, 2])
def test_of_every_signature_it_is_said_whether_it_holds(suite: int, inside: Protection) -> None:
    """Of general-signing in either order and of the proofs of HLS 7, two of each."""
    chunks = signed_conversation(suite, inside)
    ring = KeyRing(keys(suite), curves=curves_of(suite))
    text = text_of(chunks, ring=ring)
    assert "Get request normal" in text
    assert text.count("signature holds: signed by 4d4d4d0000000001") == 2
    assert text.count("signature holds: signed by 4d4d4d0000bc614e") == 2
    assert text.count("(right)") == 2
    text = text_of(chunks, ring=KeyRing(keys(suite), curves=curves_of(suite, of="server")))
    assert text.count("not checked; give --public-key 4d4d4d0000000001=") == 2
    assert text.count("signature holds") == 2
    assert text.count("(not checked)") == text.count("(right)") == 1
    swapped = CurveKeys({
        CLIENT_TITLE: ring.curves.public[SERVER_TITLE],
        SERVER_TITLE: ring.curves.public[CLIENT_TITLE],
    })  # fmt: skip
    text = text_of(chunks, ring=KeyRing(keys(suite), curves=swapped))
    assert text.count("WRONG: not signed by") == 4
    assert text.count("(WRONG)") == 2
    assert "signature holds" not in text


def test_one_changed_bit_makes_a_signature_wrong() -> None:
    chunks = signed_conversation(1)
    ring = KeyRing(keys(1), curves=curves_of(1))
    at = max(n for n, chunk in enumerate(chunks) if chunk.data[:1] == b"\xdf")
    octets = bytearray(chunks[at].data)
    octets[-1] ^= 1
    chunks[at] = replace(chunks[at], data=bytes(octets))
    assert text_of(chunks, ring=ring).count("WRONG: not signed by") == 1


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("choice", [KeyChoice.ONE_PASS, KeyChoice.STATIC, KeyChoice.WRAPPED])
def test_keys_that_came_along_are_found_again(suite: int, choice: KeyChoice) -> None:
    """With the private key of either side for static agreement, of both for one-pass, the master
    key for wrapped ones; also in the APDUs that no longer name it."""
    pair = secured_pair(
        Mechanism.HLS_ECDSA, suite, envelope=Envelope.GENERAL_CIPHERING, key_choice=choice
    )
    pair.associate()
    for _ in range(2):
        pair.exchange(pair.client.get(ENERGY))
    chunks = _conversation(pair)
    known = keys(suite)
    bare = replace(known, unicast=b"", master=b"", broadcast=b"")
    opened = {"neither": 0, "client": 2, "server": 2, "client server": 4}
    for sides in opened:
        curves = curves_of(suite, *sides.split())
        text = text_of(chunks, ring=KeyRing(known, curves=curves))
        count = text.count("Get request normal") + text.count("Get response normal")
        if choice is KeyChoice.STATIC:
            assert count == (0 if sides == "neither" else 4), sides
        elif choice is KeyChoice.ONE_PASS:
            assert count == opened[sides], sides
            assert text.count("ephemeral key: its signature holds") == 2
        else:
            assert count == 4
        assert "NOT AUTHENTICATED" not in text
    text = text_of(chunks, ring=KeyRing(bare, curves=curves_of(suite)))
    assert "Get request normal" not in text


def test_the_worked_octets_of_static_agreement_open_with_either_private_key() -> None:
    """P-256 with the private keys 1 and 2; `cryptography` alone gives the same key."""
    octets = bytes.fromhex(
        "DD 08 0000000000000001 08 4D4D4D0000000001 08 4D4D4D0000BC614E 00 00 01 02 01 02 00"
        "1E 31 00000001 D6466C1F32E676C0791AF8B05D2FA339BD7F36F421430D5C88"
    )
    ones = {CLIENT_TITLE: (1).to_bytes(32, "big"), SERVER_TITLE: (2).to_bytes(32, "big")}
    for own, peer in ((CLIENT_TITLE, SERVER_TITLE), (SERVER_TITLE, CLIENT_TITLE)):
        curves = CurveKeys()
        assert curves.add_private(own, ones[own])
        assert curves.add_public(peer, public_key_of(ones[peer], 1))
        ring = KeyRing(KeySet(0, authentication=KEYS.authentication), curves=curves)
        text = text_of([Chunk("", octets)], ring=ring)
        assert "0-0:1.0.0 time (clock; Clock 8.2)" in text
        assert "NOT AUTHENTICATED" not in text
        text = text_of([Chunk("", octets)], ring=KeyRing(curves=curves))
        assert "NOT AUTHENTICATED" in text
    assert "give --ak and the --private-key" in text_of([Chunk("", octets)])


@pytest.mark.parametrize(
    "mechanism", [Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256]
)
@pytest.mark.parametrize("short_names", [False, True])
def test_proofs_are_checked_with_the_secret(mechanism: Mechanism, short_names: bool) -> None:
    pair = plain_pair(mechanism, short_names=short_names)
    pair.associate()
    chunks = _conversation(pair)
    right = text_of(chunks, ring=KeyRing(password=b"12345678"))
    assert right.count("(right)") == 2
    assert text_of(chunks, ring=KeyRing(password=b"87654321")).count("(WRONG)") == 2
    assert text_of(chunks).count("(not checked)") == 2


def test_short_names_are_resolved_with_the_object_list() -> None:
    pair = plain_pair(short_names=True)
    names = [ShortName(0xFA00, 12, 4, Obis(0, 0, 40, 0, 0)), ShortName(0x0100, 3, 0, ENERGY.obis)]
    listed = Obis(0, 0, 40, 0, 0)
    pair.meter.values[12, bytes(listed), 2] = build_short_names(names)
    pair.associate()
    read = apdu.ReadRequest((apdu.VariableName(0x0108),)).encode()
    answer = apdu.ReadResponse((ENERGY_VALUE,)).encode()
    again = apdu.ReadRequest((apdu.VariableName(0xFA08),)).encode()
    table = apdu.ReadResponse((build_short_names(names),)).encode()
    chunks = [Chunk("client" if n % 2 == 0 else "meter", octets)
              for n, octets in enumerate((read, answer, again, table))]  # fmt: skip
    text = text_of(chunks)
    assert "short name 0108, 1-0:1.8.0 value (active energy import; Register 3.2)" in text
    assert "short name FA08, 0-0:40.0.0 object_list" in text


def test_a_lost_general_block_is_named() -> None:
    blocks = [
        apdu.GeneralBlockTransfer(last, True, 0, number, 0, b"\x0f\0\0\0\1\0").encode()
        for number, last in ((1, False), (3, True))
    ]
    assert "blocks missing: 2" in text_of([Chunk("", each) for each in blocks])
