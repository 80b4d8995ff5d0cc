"""xDLMS APDUs: the worked octets both ways, what must be refused, bombs that must not go off."""

from __future__ import annotations

import pytest

from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.wire import apdu
from blathy.wire.apdu import AccessKind, Conformance
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import length_octets
from tests.mutations import assert_lines_are_due

WORKED = """
01 00 00 00 06 5F1F0400 007E1F 04B0
01 01 10 00112233445566778899AABBCCDDEEFF 00 00 06 5F1F0400 007E1F 04B0
08 00 06 5F1F0400 00501F 01F4 0007
08 00 06 5F1F0400 1C0320 01F4 FA00
C001C1 0008 0000010000FF 02 00
C003C1 02 0008 0000010000FF 02 00 0003 0100010800FF 02 00
C001C1 0007 0100630100FF 02 01 02 0204 06 00000001 06 0000000A 12 0001 12 0000
C401C1 00 06 00000539
C401C1 01 04
C403C1 02 00 06 00000539 01 04
C402C1 00 00000001 00 04 01020304
C402C1 01 00000002 01 0F
C101C1 0001 0000600100FF 02 00 09 05 48656C6C6F
C501C1 00
C102C1 0001 0000800000FF 02 00 00 00000001 0A 01020304050607080910
C502C1 00000001
C103C1 01 00000002 04 AABBCCDD
C503C1 00 00000002
C104C1 02 0001 0000600100FF 02 00 0001 0000600101FF 02 00 02 11 01 11 02
C105C1 02 0001 0000600100FF 02 00 0001 0000600101FF 02 00 00 00000001 02 AABB
C505C1 02 00 00
C504C1 02 00 03 00000002
C301C1 0046 000060030AFF 01 01 0F 00
C301C1 0046 000060030AFF 01 00
C701C1 00 00
C701C1 00 01 00 09 02 0102
C701C1 00 01 01 03
C702C1 00 00000001 02 AABB
C703C1 02 00 00 03 00
C303C1 02 0046 000060030AFF 01 0046 000060030AFF 02 02 0F00 00
C304C1 0046 000060030AFF 01 00 00000001 02 AABB
C305C1 01 0046 000060030AFF 01 00 00000001 02 AABB
C306C1 01 00000002 02 AABB
C302C1 00000001
C704C1 00000001
C2 01 0C 07EA0B15060C000000FFC400 0001 0000616200FF 02 06 00000001
C2 00 0001 0000616200FF 02 06 00000001
D9 40000000 00 03 01 0003 0000600100FF 02 02 0014 00000D0000FF 07 03 0046 000060030AFF 01 03 00
  0900 0F00
D9 40000000 00 01 04 0007 0100630100FF 02 02 0204 06 00000001 06 0000000A 12 0001 12 0000 01 00
DA 40000000 00 00 03 06 00000539 00 00 03 01 00 02 00 03 00
DA 50000000 00 01 01 01 0003 0000600100FF 02 01 06 00000539 01 01 00
0F 00000001 0C 07EA0B150600000000000000 0203 0906 0000190900FF 06 00000539 11 00
0F 00000001 00 0201 06 00000539
0F 40000000 09 0C 07E3020401173416FF800000 0201 06 000016DC
10 00000001 00
18 00 01 02 FA08 01 06 00000539
D8 01 01
D8 01 06 00000010
0E 01 06 01
05 01 02 0100
05 02 02 0100 02 0110
05 01 04 0100 02 0F00
05 01 05 0001
05 01 06 00 0001 02 AABB
0C 01 00 06 00000539
0C 01 01 04
0C 01 02 00 0001 02 AABB
0C 01 03 0001
06 01 02 0100 01 09 02 0102
06 01 07 00 0001 01 09 02 AABB
16 01 02 0100 01 09 02 0102
0D 01 00
0D 01 01 03
0D 01 02 0001
E0 43 0001 0001 05 C401C10009
E0 83 0002 0003 00
E0 C0 0003 0000 02 AABB
DB 08 4D4D4D0000BC614E 06 30 01234567 41
DB 00 06 30 01234567 41
DC 08 4D4D4D0000BC614E 06 30 01234567 41
DD 08 0000000000000001 08 4D4D4D0000000001 08 4D4D4D0000BC614E 00 00 01 00 00 06 30 00000006 8F
DD 00 00 00 00 00 01 01 00 02 AABB 06 30 00000006 8F
DD 00 00 00 00 00 01 02 01 02 00 06 30 00000006 8F
DD 00 00 00 00 00 00 06 30 00000006 8F
DF 08 0000000000000001 08 4D4D4D0000000001 08 4D4D4D0000BC614E 00 00 02 C001 03 AABBCC
C8 06 30 01234567 41
D0 06 30 01234567 41
E6 01 02 AABB C001C100080000010000FF0200
E7 01 00 C501C100
"""
SAMPLES = [
    bytes.fromhex(line.replace(" ", "")) for line in WORKED.strip().replace("\n ", "").splitlines()
]


@pytest.mark.parametrize("octets", SAMPLES, ids=lambda o: o.hex()[:24])
def test_worked_octets_decode_and_encode_to_themselves(octets: bytes) -> None:
    assert apdu.decode(octets).encode() == octets


@pytest.mark.parametrize("octets", SAMPLES, ids=lambda o: o.hex()[:24])
def test_every_cut_is_refused_or_ends_in_the_open_data(octets: bytes) -> None:
    open_ended = octets[0] in (0x0F, 0xC2, 0xE6, 0xE7, 0x08) or octets[:2] == b"\xc4\x01"
    for length in range(len(octets)):
        try:
            decoded = apdu.decode(octets[:length])
        except RemoteProtocolError:
            continue
        optional = octets[0] == 0xD8 and length == 3
        assert open_ended or optional, (length, decoded)


@pytest.mark.parametrize("octets", SAMPLES, ids=lambda o: o.hex()[:24])
def test_octets_behind_the_end_are_refused(octets: bytes) -> None:
    if octets[0] in (0x0F, 0xC2, 0xE6, 0xE7, 0x08) or octets[:4] == bytes.fromhex("C401C100"):
        return  # the rest is Data that whoever decodes it checks, or tolerated by intent
    with pytest.raises(RemoteProtocolError):
        apdu.decode(octets + b"\x00")


def test_fields_of_what_the_standard_shows() -> None:
    request = apdu.decode(SAMPLES[6])
    assert isinstance(request, apdu.GetRequestNormal)
    assert request.attribute.selector == 2
    assert request.attribute.parameters == bytes.fromhex(
        "020406000000010600 00000A120001120000".replace(" ", "")
    )
    access = apdu.decode(SAMPLES[37])
    assert isinstance(access, apdu.AccessRequest)
    assert [kind for kind, _ in access.specifications] == list(AccessKind)
    assert access.data == (b"\x00", b"\x09\x00", b"\x0f\x00")
    error = apdu.decode(bytes.fromhex("D8010600000010"))
    assert isinstance(error, apdu.ExceptionResponse)
    assert error.lowest_counter == 16


def test_conformance_bits_stand_where_the_standard_puts_them() -> None:
    assert int(Conformance.GET | Conformance.SET | Conformance.SELECTIVE_ACCESS) == 0x00001C
    assert int(Conformance.ACTION | Conformance.EVENT_NOTIFICATION) == 0x000003
    assert apdu.Conformance(0x1C0320) == (
        Conformance.READ
        | Conformance.WRITE
        | Conformance.UNCONFIRMED_WRITE
        | Conformance.MULTIPLE_REFERENCES
        | Conformance.INFORMATION_REPORT
        | Conformance.PARAMETERIZED_ACCESS
    )
    for bit, member in ((1, "GENERAL_PROTECTION"), (2, "GENERAL_BLOCK_TRANSFER"), (17, "ACCESS")):
        assert int(Conformance[member]) == 0x800000 >> bit


def test_negative_attribute_and_method_numbers_are_the_makers_own() -> None:
    ref = AttributeRef(1, Obis(0, 0, 96, 1, 0), -5)
    decoded = apdu.decode(apdu.GetRequestNormal(0xC1, ref).encode())
    assert isinstance(decoded, apdu.GetRequestNormal)
    assert decoded.attribute.attribute == -5
    call = apdu.decode(apdu.ActionRequestNormal(0xC1, MethodRef(1, ref.obis, -1)).encode())
    assert isinstance(call, apdu.ActionRequestNormal)
    assert call.method.method == -1


def test_conformance_of_old_devices_without_the_second_tag_octet_is_read() -> None:
    decoded = apdu.decode(bytes.fromhex("01000000065F0400007E1F04B0"))
    assert isinstance(decoded, apdu.InitiateRequest)
    assert decoded.conformance == 0x007E1F


def test_event_time_without_length_octet_is_read() -> None:
    octets = bytes.fromhex("C20107EA0B15060C000000FFC40000010000616200FF020600000001")
    decoded = apdu.decode(octets)
    assert isinstance(decoded, apdu.EventNotification)
    assert decoded.time == bytes.fromhex("07EA0B15060C000000FFC400")
    assert decoded.encode() == octets


MUST_REFUSE = """
C0 | C000C1 | C004C1 | C0FFC1 | C100C1 | C106C1 | C300C1 | C307C1 | C400C1 | C404C1 | C500C1
C506C1 | C700C1 | C705C1 | 00 | 02 | 03 | 07 | 0B | 11 | 60 | 7F | 80 | FF | C6 | DE | E1 | E5
E8 | C001C1000800000100 00FF0202 | C001C1 0008 0000010000FF 02 01
C001C1 0008 0000010000FF 02 01 01 | C001C1 0007 0100630100FF 02 01 02 0204 06 00000001
C003C1 02 0008 0000010000FF 02 00 | C003C1 FF | C003C1 82FFFF | C003C1 84FFFFFFFF | C003C1 80
C003C1 85 | C101C1 0001 0000600100FF 02 00 | C101C1 0001 0000600100FF 02 00 09 05 48
C101C1 0001 0000600100FF 02 00 0B | C101C1 0001 0000600100FF 02 00 1100 00
C104C1 01 0001 0000600100FF 02 00 00 | C104C1 01 0001 0000600100FF 02 00 02 00 00
C102C1 0001 0000800000FF 02 00 00 00000001 0A 0102 | C103C1 01 00000002 84FFFFFFFF AA
C301C1 0046 000060030AFF 01 01 | C301C1 0046 000060030AFF 01 01 FE
C303C1 01 0046 000060030AFF 01 02 00 00 | C303C1 01 0046 000060030AFF 01 00 | C401C1 00
C401C1 01 | C402C1 00 00000001 00 05 01020304 | C403C1 03 00 06 00000539 01 04 | C505C1 03 00 00
C504C1 02 00 03 0000 | C701C1 00 01 00 | C703C1 02 00 00 | C2 01 0C 07EA
C2 00 0001 0000616200FF 02 | D9 40000000 00 01 06 0003 0000600100FF 02 01 00
D9 40000000 00 01 00 0003 0000600100FF 02 01 00
D9 40000000 00 02 01 0003 0000600100FF 02 01 00
D9 40000000 00 01 01 0003 0000600100FF 02 02 00 00 | DA 40000000 00 00 00 01 04 00
DA 40000000 00 00 01 00 01 04 00 | 0F 00000001 0D | 0F 00000001 FF | 05 01 03 0100 | 05 01 07
05 02 02 0100 | 05 01 04 0100 02 | 0C 01 04 | 0C 01 00 | 0C 01 02 00 0001 03 AABB
06 01 02 0100 00 | 06 01 02 0100 02 00 00 | 0D 01 03 | 0D 02 00 | 16 01 02 0100 00
18 00 01 02 FA08 00 | D8 01 | D8 01 06 0000 | D8 01 01 00 | 0E 01 06
01 01 00 00 00 06 5F1F0400 007E1F 04B0 | 01 00 00 00 06 5E1F0400 007E1F 04B0
01 00 00 00 06 5F1F0300 007E1F 04B0 | 01 00 00 00 06 5F1F0401 007E1F 04B0
01 00 00 00 06 5F1F0400 007E1F 04 | 08 00 06 5F1F0400 00501F 01 | E0 43 0001 0001 06 C401C10009
E0 43 0001 | DB 09 4D4D4D0000BC614E 01 30 | DB 08 4D4D4D0000BC614E | DD 00 00 00 00 00 01 03 00
DD 00 00 00 00 00 01 00 | DF 00 00 00 00 00 01 00 | C8 82FFFF 30 | C8 | D0 05 30
"""


@pytest.mark.parametrize(
    "octets",
    [o.replace(" ", "") for line in MUST_REFUSE.splitlines() for o in line.split("|") if o],
)
def test_what_must_be_refused(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        apdu.decode(bytes.fromhex(octets))


def test_an_empty_apdu_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        apdu.decode(b"")


BOMBS = {
    "nested structures": b"\xc1\x01\xc1" + bytes(8) + b"\x02\x00" + b"\x02\x01" * 30_000,
    "array of four billion": b"\xc1\x01\xc1" + bytes(8) + b"\x02\x00\x01\x84\xff\xff\xff\xff",
    "list of a million": b"\xc0\x03\xc1\x83\x0f\x42\x40" + bytes(60_000),
    "results of a million": b"\xc4\x03\xc1\x83\x0f\x42\x40" + bytes(60_000),
    "octet-string of four billion": b"\xc1\x03\xc1\x00\x00\x00\x00\x02\x84\xff\xff\xff\xff",
    "compact array": b"\xc1\x01\xc1" + bytes(8) + b"\x02\x00\x13" + b"\x02\x01" * 30_000,
    "ciphered": b"\xc8\x84\xff\xff\xff\xff" + bytes(100),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        apdu.decode(BOMBS[name])
    assert_lines_are_due(name, apdu.decode, BOMBS[name], RemoteProtocolError)


def test_64_kib_of_the_worst_case_is_linear() -> None:
    listed = b"\xc4\x03\xc1\x82\xff\x00" + b"\x00\x00" * 0xFF00
    deep = b"\x02\x20" + b"\x00" * 32
    rows = b"\xc1\x01\xc1" + bytes(8) + b"\x02\x00\x01" + length_octets(1900) + deep * 1900
    for octets in (listed, rows):
        assert_lines_are_due("APDU", apdu.decode, octets)
