"""ACSE: the worked octets both ways, what the field sends, and what must be refused."""

from __future__ import annotations

import pytest

from blathy.wire import acse
from blathy.wire.acse import Aare, Aarq, Rlre, Rlrq
from blathy.wire.errors import RemoteProtocolError

WORKED = [
    "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007",
    "6117A109060760857405080101A203020101A305A10302010D",
    "611FA109060760857405080101A203020101A305A103020101BE0604040E010601",
    "601DA109060760857405080101BE10040E01000000065F1F0400001E1DFFFF",
    (
        "603A80020780A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738BE10040E"
        "01000000065F1F0400001E1D0400"
    ),
    "6022A109060760857405080101A903020105BE10040E01000000065F1F0400001E1D0400",
    (
        "6055A109060760857405080103A60A04084D4D4D00000000018A0207808B0760857405080205AC0A80084B353669"
        "56616759BE230421211F30000000019945AB0E570975CCDF31E3C79CA00CE4687C52868A8A5B040284"
    ),
    (
        "6161A109060760857405080103A203020100A305A10302010EA40A04084D4D4D0000BC614E88020780890760857405"
        "080205AA0A8008503677524A323146BE230421281F3000000001D96106551DB77E310F9BD00B895AED67BF0D725A9C"
        "5EB697F97E"
    ),
    "6203800100",
    "6303800100",
    "6200",
    "6300",
    "6228800100BE230421211F30000000057E307C453D67AAFD39641C613EBBFD06DA660826818BD9B855FE",
]


@pytest.mark.parametrize("octets", WORKED)
def test_worked_octets_decode_and_encode_to_themselves(octets: str) -> None:
    raw = bytes.fromhex(octets)
    assert acse.decode(raw).encode() == raw


def test_fields_of_the_worked_hls_exchange() -> None:
    aarq = acse.decode_aarq(bytes.fromhex(WORKED[6]))
    assert aarq.context == acse.Context.LN_CIPHERED
    assert aarq.mechanism == acse.Mechanism.HLS_GMAC
    assert aarq.calling_ap_title == bytes.fromhex("4D4D4D0000000001")
    assert aarq.authentication_value == b"K56iVagY"
    aare = acse.decode_aare(bytes.fromhex(WORKED[7]))
    assert (aare.result, aare.source, aare.diagnostic) == (0, 1, 14)
    assert aare.responding_ap_title == bytes.fromhex("4D4D4D0000BC614E")
    assert aare.authentication_value == b"P6wRJ21F"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [("6300", None), ("6303800101", 1), ("630580030201001E".replace("001E", "1E"), 30)],
)
def test_release_reasons_in_all_their_forms(octets: str, reason: int | None) -> None:
    decoded = acse.decode(bytes.fromhex(octets))
    assert isinstance(decoded, Rlre)
    assert decoded.reason == reason


def test_reject_without_diagnostic_or_context_is_still_a_reject() -> None:
    aare = acse.decode_aare(bytes.fromhex("6105A203020101"))
    assert (aare.context, aare.result) == (-1, 1)


def test_unknown_context_tags_and_order_are_taken() -> None:
    octets = bytes.fromhex(
        "6022BE10040E01000000065F1F0400001E1DFFFF9D030102" + "03" + "A109060760857405080101"
    )
    octets = bytes((0x60, len(octets) - 2)) + octets[2:]
    assert acse.decode_aarq(octets).context == 1


def test_a_foreign_oid_is_no_context_of_ours() -> None:
    octets = bytes.fromhex("600BA1090607608574050901" + "01")
    assert acse.decode_aarq(octets).context == -1


MUST_REFUSE = [
    "", "60", "6001", "6000", "60808000", "60FF", "6085FFFFFFFFFF", "6084FFFFFFFF",
    "601DA109060760857405080101BE10040E01000000065F1F0400001E1DFF",  # cut
    "601DA109060760857405080101BE10040E01000000065F1F0400001E1DFFFF00",  # more behind
    "6016A109060760857405080101A109060760857405080101",  # the same field twice
    "600BA10904076085740508010100",  # no OID inside
    "600BA1090608608574050801" + "01",  # OID longer than its field
    "6103A20101", "6105A201020100", "610AA203020100A303040100", "6107A20502" + "03010000",
    "620280", "62028000", "64" + "00", "61" + "02" + "A100",
]  # fmt: skip


@pytest.mark.parametrize("octets", MUST_REFUSE)
def test_what_must_be_refused(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        acse.decode(bytes.fromhex(octets))


def test_secrets_do_not_show_in_a_request() -> None:
    aarq = Aarq(1, b"user", 1, b"passw0rd")
    assert "passw0rd" not in repr(aarq)
    assert b"passw0rd".hex() not in repr(aarq)


def test_generated_apdus_survive_the_round_trip() -> None:
    for length in (0, 1, 100, 127, 128, 255, 256, 300):
        for original in (
            Aarq(
                2, bytes(length) or b"\x01", 6, bytes(64), bytes(8), bytes(length), 200, b"\x07\x80"
            ),
            Aare(4, 0, 1, 14, bytes(length), bytes(8), bytes(length), b"\x07\x80", 7, bytes(64)),
            Rlrq(30, bytes(length)),
            Rlre(None, bytes(length)),
        ):
            assert acse.decode(original.encode()) == original
