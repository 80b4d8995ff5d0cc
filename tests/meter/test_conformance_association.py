"""ACSE and Initiate of IEC 62056-5-3 rule by rule: what a real meter answers to whom, in octets."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5

import pytest

from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Mechanism
from tests.meter.conformance_lab import (
    LN_CIPHERED,
    LN_CONTEXT,
    SN_CONTEXT,
    Bench,
    Cipher,
    Link,
    WrapperLink,
    aarq,
    bench,
    fields,
    initiate,
    link,
    one,
    outcome,
    tlv,
)
from tests.meter.running import fed

PUBLIC, MANAGEMENT, READER, INSTALLER, NOBODY = 16, 1, 2, 3, 77
"""Clients of the meter on the bench: none, LLS, HLS 3, HLS 5."""
CLOCK = "C001C100080000010000FF0200"
NOT_ALLOWED = "D80101"
GOOD = initiate(0x00FE9F)
PASSWORD = b"????????"  # stands for the meter's own
TITLE = "4D4D4D0000000001"
CHALLENGE = b"K56iVagY"


@pytest.fixture(scope="module")
def meter() -> Iterator[Bench]:
    mechanisms = (
        (Level.MANAGEMENT, Mechanism.LLS),
        (Level.READER, Mechanism.HLS_MD5),
        (Level.INSTALLER, Mechanism.HLS_GMAC),
    )
    with bench(fed("mt372", 1, options=MeterOptions(mechanisms=mechanisms))) as found:
        found.device.guard = None  # it would lock the bench out after ten wrong passwords
        yield found


def lls(user: str = GOOD, **others: object) -> str:
    given: dict[str, object] = {"mechanism": 1, "password": PASSWORD, **others}
    return aarq(user, **given)  # type: ignore[arg-type]


def hls(user: str = GOOD, **others: object) -> str:
    given: dict[str, object] = {"mechanism": 3, "password": CHALLENGE, **others}
    return aarq(user, **given)  # type: ignore[arg-type]


def gmac(user: str = GOOD, **others: object) -> str:
    given: dict[str, object] = {
        "mechanism": 5, "password": CHALLENGE, "title": TITLE, **others,
    }  # fmt: skip
    return aarq(user, **given)  # type: ignore[arg-type]


def say(meter: Bench, octets: str) -> str:
    """With the password of this meter put in."""
    return octets.replace(PASSWORD.hex(), meter.meter.identity.passwords[Level.MANAGEMENT].hex())


# --- the AARQ -------------------------------------------------------------------------------------

OPENINGS: tuple[tuple[str, int, str, str], ...] = (
    # rule, client, AARQ, result source diagnostic of the AARE
    ("lowest level: accepted", PUBLIC, aarq(GOOD), "0 user 0"),
    ("LLS with its password: accepted", MANAGEMENT, lls(), "0 user 0"),
    ("HLS, second pass: accepted with 14", READER, hls(), "0 user 14"),
    ("GMAC, second pass: accepted with 14", INSTALLER, gmac(), "0 user 14"),
    ("protocol version 1 may be said", PUBLIC, aarq(GOOD, before="80020780"), "0 user 0"),
    ("protocol version with more bits than version 1", PUBLIC,
     aarq(GOOD, before="800206C0"), "0 user 0"),
    ("protocol version without version 1", PUBLIC, aarq(GOOD, before="80020740"), "1 provider 2"),
    ("protocol version without bits", PUBLIC, aarq(GOOD, before="800100"), "1 provider 2"),
    ("called-AP-title is ignored", PUBLIC, aarq(GOOD, after="A20404020102"), "0 user 0"),
    ("called-AE-qualifier is ignored", PUBLIC, aarq(GOOD, after="A30404020102"), "0 user 0"),
    ("called invocation ids are ignored", PUBLIC,
     aarq(GOOD, after="A403020105A503020106"), "0 user 0"),
    ("calling-AP-invocation-id is ignored", PUBLIC, aarq(GOOD, after="A803020105"), "0 user 0"),
    ("a user id where none is asked for", PUBLIC, aarq(GOOD, after="A903020105"), "0 user 0"),
    ("implementation-information is ignored", PUBLIC, aarq(GOOD, after="9D03414243"), "0 user 0"),
    ("implementation-information as BD too", PUBLIC, aarq(GOOD, after="BD050403414243"),
     "0 user 0"),
    ("a title where none is needed, of any length", PUBLIC, aarq(GOOD, title="414243"), "0 user 0"),
    ("mechanism 0 named for the lowest level", PUBLIC, aarq(GOOD, mechanism=0), "0 user 0"),
    ("short names where there are none", PUBLIC, aarq(GOOD, context=SN_CONTEXT), "1 user 2"),
    ("a ciphered context without keys", PUBLIC,
     aarq(GOOD, context=LN_CIPHERED, title=TITLE), "1 user 2"),
    ("a context that does not exist", PUBLIC,
     aarq(GOOD, context="A109060760857405080109"), "1 user 2"),
    ("a context of another tree", PUBLIC, aarq(GOOD, context="A10506032A0304"), "1 user 2"),
    ("no context", PUBLIC, aarq(GOOD, context=""), "1 provider 1"),
    ("the context twice", PUBLIC, aarq(GOOD, before=LN_CONTEXT), "1 provider 1"),
    ("wrong password", MANAGEMENT, lls(password=b"12345678"), "1 user 13"),
    ("password one octet too long", MANAGEMENT, lls(password=PASSWORD + b"1"), "1 user 13"),
    ("empty password", MANAGEMENT, lls(password=b""), "1 user 13"),
    ("a mechanism without its value", MANAGEMENT, lls(password=None), "1 user 13"),
    ("no authentication where LLS is asked for", MANAGEMENT, aarq(GOOD), "1 user 14"),
    ("a value without its mechanism", MANAGEMENT, lls(mechanism=None), "1 user 12"),
    ("mechanism 0 where LLS is asked for", MANAGEMENT, lls(mechanism=0), "1 user 11"),
    ("HLS where LLS is asked for", MANAGEMENT, lls(mechanism=3), "1 user 11"),
    ("a mechanism that does not exist", MANAGEMENT, lls(mechanism=8), "1 user 11"),
    ("LLS where none is asked for", PUBLIC, lls(), "1 user 11"),
    ("LLS where HLS is asked for", READER, hls(mechanism=1), "1 user 11"),
    ("another HLS than asked for", READER, hls(mechanism=4), "1 user 11"),
    ("a challenge of 7 octets", READER, hls(password=bytes(7)), "1 user 13"),
    ("no challenge", READER, hls(password=None), "1 user 13"),
    ("a challenge of 64 octets", READER, hls(password=bytes(range(64))), "0 user 14"),
    ("a challenge of 65 octets", READER, hls(password=bytes(65)), "1 user 13"),
    ("GMAC without calling-AP-title", INSTALLER, gmac(title=""), "1 user 3"),
    ("GMAC with a title of 7 octets", INSTALLER, gmac(title=TITLE[2:]), "1 user 3"),
    ("GMAC with a title of 9 octets", INSTALLER, gmac(title=TITLE + "00"), "1 user 3"),
    ("an unknown client", NOBODY, aarq(GOOD), "1 user 1"),
    ("no user-information", PUBLIC, aarq(""), "1 user 1"),
    ("user-information that is no InitiateRequest", PUBLIC, aarq("C0" + GOOD[2:]), "1 user 1"),
    ("an InitiateRequest cut short", PUBLIC, aarq(GOOD[:-2]), "1 provider 1"),
    ("an InitiateRequest with an octet behind it", PUBLIC, aarq(GOOD + "00"), "1 provider 1"),
    ("user-information without octet string", PUBLIC,
     tlv(0x60, LN_CONTEXT + tlv(0xBE, GOOD)), "1 provider 1"),
    ("an AARQ longer than it says", PUBLIC, "6000", "1 provider 1"),
    ("an AARQ shorter than it says", PUBLIC, aarq(GOOD)[:-2], "1 provider 1"),
    ("octets behind the AARQ", PUBLIC, aarq(GOOD) + "00", "1 provider 1"),
    ("the length in the long form", PUBLIC, "6081" + aarq(GOOD)[2:], "0 user 0"),
    ("a ciphered Initiate in a plain context", INSTALLER, gmac("2112" + "30" + "00" * 17),
     "1 user 1"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("client", "octets", "seen"), [row[1:] for row in OPENINGS], ids=[row[0] for row in OPENINGS]
)
def test_an_aarq(meter: Bench, client: int, octets: str, seen: str) -> None:
    reached = link(meter, "wrapper", client)
    answer = one(reached, say(meter, octets))
    assert outcome(answer) == seen
    # Whoever is refused has no association, whoever is accepted by LLS or without proof has one.
    served = one(reached, CLOCK)
    assert served.startswith("C401C100") if seen == "0 user 0" else served == NOT_ALLOWED
    reached.close()


TERMS: tuple[tuple[str, str, str], ...] = (
    # rule, InitiateRequest, what stands in the user-information of the AARE
    ("LN, negotiated is the AND of both", initiate(0x00101C, 1200), "0800065F1F040000101C08000007"),
    ("bits of short names are cleared", initiate(0x1C1320, 1200), "-0E010602"),
    ("of all bits those of long names are left", initiate(0xFFFFFF, 1200),
     "0800065F1F040062FEDF08000007"),
    ("quality of service is ignored", initiate(0x00101C, quality="0105"),
     "0800065F1F040000101C08000007"),
    ("a negative quality of service too", initiate(0x00101C, quality="01FF"),
     "0800065F1F040000101C08000007"),
    ("response-allowed TRUE said aloud", initiate(0x00101C, allowed="0101"),
     "0800065F1F040000101C08000007"),
    ("TRUE as FF", initiate(0x00101C, allowed="01FF"), "0800065F1F040000101C08000007"),
    ("a single 5F", initiate(0x00101C, head="5F0400"), "0800065F1F040000101C08000007"),
    ("version 7: answered with 6", initiate(0x00101C, version=7), "0800065F1F040000101C08000007"),
    ("version 5: too low", initiate(0x00101C, version=5), "-0E010601"),
    ("version 0: too low", initiate(0x00101C, version=0), "-0E010601"),
    ("nothing in common", initiate(0x000000), "-0E010602"),
    ("only short names", initiate(0x1C0320), "-0E010602"),
    ("only helpers, no service", initiate(0x00FE00), "-0E010602"),
    ("PDU size 0: no limit", initiate(0x00101C, 0), "0800065F1F040000101C08000007"),
    *((f"PDU size {size}: too short", initiate(0x00101C, size), "-0E010603")
      for size in (1, 2, 6, 11)),
    ("PDU size 12", initiate(0x00101C, 12), "0800065F1F040000101C08000007"),
    ("PDU size 65535", initiate(0x00101C, 65535), "0800065F1F040000101C08000007"),
    ("a dedicated key in a plain context", initiate(0x00101C, key="0110" + "11" * 16), "-0E010604"),
    ("a dedicated key of 15 octets", initiate(0x00101C, key="010F" + "11" * 15), "-0E010604"),
    ("a dedicated key of no octets", initiate(0x00101C, key="0100"), "-"),
)  # fmt: skip


@pytest.mark.parametrize("over", ["wrapper", "hdlc", "udp"])
@pytest.mark.parametrize(
    ("request_", "seen"), [row[1:] for row in TERMS], ids=[row[0] for row in TERMS]
)
def test_an_initiate_request(meter: Bench, over: str, request_: str, seen: str) -> None:
    reached = link(meter, over, PUBLIC)
    found = fields(one(reached, aarq(request_)))
    assert found[0xA2] == ("020101" if seen.startswith("-") else "020100")
    assert found.get(0xBE, "0400")[4:] == seen.lstrip("-")
    if seen.startswith("-"):
        assert one(reached, CLOCK) == NOT_ALLOWED
    one(reached, "6200")
    reached.close()


def test_the_aare_of_each_kind_has_its_fields_and_no_others(meter: Bench) -> None:
    for client, octets, tags in (
        (PUBLIC, aarq(GOOD), {0xA1, 0xA2, 0xA3, 0xBE}),
        (PUBLIC, aarq(GOOD, title=TITLE), {0xA1, 0xA2, 0xA3, 0xBE}),
        (MANAGEMENT, lls(), {0xA1, 0xA2, 0xA3, 0xBE}),
        (READER, hls(), {0xA1, 0xA2, 0xA3, 0x88, 0x89, 0xAA, 0xBE}),
        (INSTALLER, gmac(), {0xA1, 0xA2, 0xA3, 0xA4, 0x88, 0x89, 0xAA, 0xBE}),
        (INSTALLER, gmac(title=""), {0xA1, 0xA2, 0xA3}),
    ):
        reached = link(meter, "wrapper", client)
        found = fields(one(reached, say(meter, octets)))
        mechanism = 3 if client == READER else 5
        assert set(found) == tags
        assert found[0xA1] == LN_CONTEXT[4:]
        if 0xA4 in found:
            assert found[0xA4] == "0408" + meter.device.system_title.hex().upper()
        if 0x89 in found:
            assert found[0x88] == "0780"
            assert found[0x89] == f"608574050802{mechanism:02X}"
            challenge = bytes.fromhex(found[0xAA])
            assert challenge[0] == 0x80
            assert 8 <= challenge[1] == len(challenge) - 2 <= 64
        reached.close()


def test_a_refusal_for_context_or_password_tells_what_the_meter_would_have_agreed_to(
    meter: Bench,
) -> None:
    own = "040E0800065F1F040062FEDF08000007"
    for client, octets in (
        (PUBLIC, aarq(GOOD, context=SN_CONTEXT)),
        (MANAGEMENT, lls(password=b"12345678")),
        (MANAGEMENT, aarq(GOOD)),
        (READER, hls(mechanism=1)),
    ):
        reached = link(meter, "wrapper", client)
        answer = one(reached, say(meter, octets))
        assert outcome(answer).startswith("1 user")
        assert fields(answer)[0xBE] == own
        reached.close()
    reached = link(meter, "wrapper", NOBODY)
    assert 0xBE not in fields(one(reached, aarq(GOOD)))  # a stranger learns nothing
    reached.close()


def test_challenges_are_never_the_same(meter: Bench) -> None:
    reached = link(meter, "wrapper", READER)
    challenges = {fields(one(reached, hls()))[0xAA] for _ in range(20)}
    reached.close()
    assert len(challenges) == len(set(challenges))


# --- what is said without an association ----------------------------------------------------------

UNASSOCIATED: tuple[tuple[str, str, str], ...] = (
    ("GET", CLOCK, NOT_ALLOWED),
    ("GET without confirmation", "C00181" + CLOCK[6:], ""),
    ("GET-next", "C002C100000001", NOT_ALLOWED),
    ("SET", "C101C10001000060010000FF0200" + "0900", NOT_ALLOWED),
    ("SET without confirmation", "C1018100010000600100FF02000900", ""),
    ("ACTION", "C301C100460000600" + "30AFF01010F00", NOT_ALLOWED),
    ("ACTION without confirmation", "C3018100460000600" + "30AFF01010F00", ""),
    ("ACCESS", "D940000001000101000800000100" + "00FF020100", NOT_ALLOWED),
    ("ACCESS without confirmation", "D900000001000101000800000100" + "00FF020100", ""),
    ("Read", "050102FA00", "0E050201"),
    ("Write", "060102FA00010F00", "0E060201"),
    ("UnconfirmedWrite", "160102FA00010F00", ""),
    ("RLRQ", "6200", NOT_ALLOWED),
    ("general block transfer", "E0830001000001C0", NOT_ALLOWED),
    ("glo-get", "C81230" + "00" * 17, NOT_ALLOWED),
    ("general-glo", "DB00" + "1230" + "00" * 17, NOT_ALLOWED),
    ("an exception-response", "D80101", ""),
    ("a GET response", "C401C10000", ""),
    ("a DataNotification", "0F00000001000000", ""),
    ("an EventNotification", "C2000001000060010000FF0200", ""),
    ("an unknown tag", "FE010203", NOT_ALLOWED),
    ("one octet", "00", NOT_ALLOWED),
)


@pytest.mark.parametrize("over", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    ("said", "seen"), [row[1:] for row in UNASSOCIATED], ids=[row[0] for row in UNASSOCIATED]
)
def test_before_an_association(meter: Bench, over: str, said: str, seen: str) -> None:
    reached = link(meter, over, PUBLIC)
    assert one(reached, said) == seen
    assert outcome(one(reached, aarq(GOOD))) == "0 user 0"
    reached.close()


# --- an AARQ in an association --------------------------------------------------------------------


def test_an_aarq_in_an_association_begins_anew(meter: Bench) -> None:
    reached = link(meter, "wrapper", PUBLIC)
    assert outcome(one(reached, aarq(initiate(0x00101C, 100)))) == "0 user 0"
    first = one(reached, "C001C1000F0000280000FF0200")
    assert first.startswith("C402C100")  # in blocks of 100
    assert outcome(one(reached, aarq(GOOD))) == "0 user 0"
    assert one(reached, "C002C100000001") == "C402C101000000010110"  # nothing is under way
    assert one(reached, "C001C1000F0000280000FF0200").startswith("C401C100")
    reached.close()


def test_a_refused_aarq_leaves_the_association(meter: Bench) -> None:
    reached = link(meter, "wrapper", MANAGEMENT)
    assert outcome(one(reached, say(meter, lls()))) == "0 user 0"
    assert outcome(one(reached, lls(password=b"12345678"))) == "1 user 13"
    assert one(reached, CLOCK).startswith("C401C100")
    reached.close()


# --- the unconfirmed association ------------------------------------------------------------------


def test_an_unconfirmed_association_has_no_aare_and_unconfirmed_services_only(
    meter: Bench,
) -> None:
    reached = link(meter, "wrapper", MANAGEMENT)
    silent = initiate(0x00FE9F, allowed="0100")
    assert one(reached, say(meter, lls(silent))) == ""
    assert one(reached, CLOCK) == NOT_ALLOWED
    assert one(reached, "C00181" + CLOCK[6:]) == ""
    period = "0007 0100630100FF 04 00".replace(" ", "")
    assert one(reached, "C10181" + period + "0600000708") == ""  # 1 800 s, done and not said
    reached.close()
    reached = link(meter, "wrapper", MANAGEMENT)
    assert outcome(one(reached, say(meter, lls()))) == "0 user 0"
    assert one(reached, "C001C1" + period) == "C401C1000600000708"
    assert one(reached, "C101C1" + period + "0600000384") == "C501C100"
    reached.close()


def test_nobody_hears_why_an_unconfirmed_association_was_refused(meter: Bench) -> None:
    for user in (initiate(0x00FE9F, allowed="0100"), initiate(0, allowed="0100")):
        reached = link(meter, "wrapper", MANAGEMENT)
        assert one(reached, lls(user, password=b"12345678")) == ""
        assert one(reached, CLOCK) == NOT_ALLOWED
        reached.close()


# --- HLS ------------------------------------------------------------------------------------------

REPLY = "C301C1000F0000280000FF0101"


def stoc_of(answer: str) -> bytes:
    return bytes.fromhex(fields(answer)[0xAA])[2:]


def test_hls_in_four_passes(meter: Bench) -> None:
    secret = meter.meter.identity.hls_secrets[Level.READER]
    reached = link(meter, "wrapper", READER)
    answer = one(reached, hls())
    stoc = stoc_of(answer)
    for said in (CLOCK, "C101C1" + "0001000060010AFF02000900", "C002C100000001"):
        assert one(reached, said) == NOT_ALLOWED  # nothing but the third pass
    proof = md5(stoc + secret, usedforsecurity=False).hexdigest()
    returned = one(reached, REPLY + "0910" + proof)
    own = md5(CHALLENGE + secret, usedforsecurity=False).hexdigest().upper()
    assert returned == "C701C1000100" + "0910" + own
    assert one(reached, CLOCK).startswith("C401C100")
    assert one(reached, REPLY + "0910" + proof)[:8] == "C701C103"  # it is over
    reached.close()


@pytest.mark.parametrize("wrong", ["0910" + "00" * 16, "0900", "090F" + "11" * 15, "00", "0A0141"])
def test_a_wrong_third_pass_ends_it(meter: Bench, wrong: str) -> None:
    reached = link(meter, "wrapper", READER)
    assert outcome(one(reached, hls())) == "0 user 14"
    answer = one(reached, REPLY + wrong)
    assert answer[:6] == "C701C1"
    assert answer[6:8] != "00"
    assert answer[8:] == "00"  # no proof of the meter's own
    assert one(reached, CLOCK) == NOT_ALLOWED
    assert one(reached, REPLY + "0910" + "00" * 16) == NOT_ALLOWED
    reached.close()


# --- the ciphered context -------------------------------------------------------------------------

BOTH, AUTHENTICATED, ENCRYPTED = 0x30, 0x10, 0x20
_STARTS = iter(range(1, 1 << 20))


def cipher(meter: Bench) -> Cipher:
    """A client title of its own for each: every one begins to count at 0."""
    key, authentication = meter.meter.key("unicast"), meter.meter.key("authentication")
    title = bytes.fromhex("4D4D4D") + next(_STARTS).to_bytes(5, "big")
    return Cipher(key, authentication, title, 0, meter.device.system_title)


def ciphered(
    meter: Bench, user: bytes, by: Cipher, *, over: str = "wrapper", title: str = ""
) -> tuple[Link, str]:
    reached = link(meter, over, INSTALLER)
    opening = gmac(user.hex(), context=LN_CIPHERED, title=title or by.title.hex())
    return reached, one(reached, opening)


def associated(
    meter: Bench, control: int = BOTH, key: str = "00", over: str = "wrapper"
) -> tuple[Link, Cipher]:
    """Through all four passes."""
    by = cipher(meter)
    request = bytes.fromhex(initiate(0x00FE9F, key=key))
    reached, answer = ciphered(meter, by.wrap(0x21, control, request), by, over=over)
    assert outcome(answer) == "0 user 14"
    response = by.unwrap(bytes.fromhex(fields(answer)[0xBE])[2:])
    assert response[0] == 0x08
    third = bytes.fromhex(REPLY + "0911" + by.proof(stoc_of(answer)).hex())
    fourth = by.unwrap(reached.ask(by.wrap(0xCB, BOTH, third))[0])
    assert fourth[:8] == bytes.fromhex("C701C10001000911")
    return reached, by


DEDICATED = bytes(range(0x60, 0x70))
KEYED = "0110" + DEDICATED.hex()

INITIATES: tuple[tuple[str, int, str, str], ...] = (
    # rule, security control, InitiateRequest, outcome
    ("authenticated and encrypted", BOTH, GOOD, "0 user 14"),
    ("a dedicated key in it", BOTH, initiate(0x00FE9F, key=KEYED), "0 user 14"),
    ("a dedicated key of 15 octets", BOTH, initiate(0x00FE9F, key="010F" + "11" * 15), "1 user 1"),
    ("a dedicated key of 17 octets", BOTH, initiate(0x00FE9F, key="0111" + "11" * 17), "1 user 1"),
    ("a dedicated key of no octets", BOTH, initiate(0x00FE9F, key="0100"), "1 provider 1"),
    ("a dedicated key, only authenticated", AUTHENTICATED, initiate(0x00FE9F, key=KEYED),
     "1 user 1"),
    ("a dedicated key, only encrypted", ENCRYPTED, initiate(0x00FE9F, key=KEYED), "1 user 1"),
    ("PDU size 11", BOTH, initiate(0x00FE9F, 11), "1 user 1"),
    ("version 5", BOTH, initiate(0x00FE9F, version=5), "1 user 1"),
    ("no InitiateRequest inside", BOTH, CLOCK, "1 user 13"),
    ("nothing inside", BOTH, "", "1 user 13"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("control", "user", "seen"), [row[1:] for row in INITIATES], ids=[row[0] for row in INITIATES]
)
def test_a_ciphered_initiate_request(meter: Bench, control: int, user: str, seen: str) -> None:
    by = cipher(meter)
    reached, answer = ciphered(meter, by.wrap(0x21, control, bytes.fromhex(user)), by)
    assert outcome(answer) == seen
    found = fields(answer)
    if seen.startswith("0"):
        assert found[0xBE][4:6] == "28"  # the InitiateResponse is protected as the request was
        assert found[0xA4] == "0408" + meter.device.system_title.hex().upper()
    else:
        assert one(reached, CLOCK) == NOT_ALLOWED
    reached.close()


def test_a_title_other_than_the_one_ciphered_with_is_refused(meter: Bench) -> None:
    by = cipher(meter)
    sealed = by.wrap(0x21, BOTH, bytes.fromhex(GOOD))
    for title, seen in (("", "1 user 3"), (TITLE, "1 user 13"), ("00" * 7, "1 user 3")):
        reached = link(meter, "wrapper", INSTALLER)
        opening = gmac(sealed.hex(), context=LN_CIPHERED, title=title)
        assert outcome(one(reached, opening)) == seen
        reached.close()


RELEASES: tuple[tuple[str, int | None, str, bool], ...] = (
    # rule, protection (None: in clear), key of the InitiateRequest, whether the association ends
    ("no user-information", None, "", False),
    ("the InitiateRequest in clear", None, "clear", False),
    ("only authenticated", AUTHENTICATED, "global", False),
    ("only encrypted", ENCRYPTED, "global", False),
    ("under the dedicated key", BOTH, "dedicated", False),
    ("authenticated and encrypted under the global key", BOTH, "global", True),
)


@pytest.mark.parametrize("over", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    ("control", "key", "ends"), [row[1:] for row in RELEASES], ids=[row[0] for row in RELEASES]
)
def test_a_release_in_a_ciphered_association(
    meter: Bench, over: str, control: int | None, key: str, ends: bool
) -> None:
    reached, by = associated(meter, key=KEYED, over=over)
    plain = bytes.fromhex(GOOD)
    user = b""
    if control is not None:
        tag = 0x41 if key == "dedicated" else 0x21
        user = by.wrap(tag, control, plain, DEDICATED if tag == 0x41 else None)
    elif key == "clear":
        user = plain
    answer = one(reached, tlv(0x62, "800100" + (tlv(0xBE, tlv(0x04, user.hex())) if user else "")))
    assert (answer[:2] == "63") is ends
    served = reached.ask(by.wrap(0xC8, BOTH, bytes.fromhex(CLOCK)))[0]
    if ends:
        assert fields(answer)[0x80] == "00"
        assert by.unwrap(bytes.fromhex(fields(answer)[0xBE])[2:])[0] == 0x08
        assert served.hex().upper() == NOT_ALLOWED
    else:
        assert answer[:2] == "D8"
        assert by.unwrap(served)[:4] == bytes.fromhex("C401C100")
    reached.close()


def test_a_plain_association_is_released_in_every_form(meter: Bench) -> None:
    for said, answer in (
        ("6200", "6303800100"),
        ("6203800100", "6303800100"),
        ("6203800101", "6303800100"),
        ("620380011E", "6303800100"),
        ("62058003020100", "6303800100"),
        (tlv(0x62, "800100" + tlv(0xBE, tlv(0x04, GOOD))), ""),
    ):
        reached = link(meter, "wrapper", PUBLIC)
        assert outcome(one(reached, aarq(GOOD))) == "0 user 0"
        released = one(reached, said)
        assert released == answer or fields(released)[0xBE].startswith("040E08")
        assert one(reached, CLOCK) == NOT_ALLOWED
        assert one(reached, said) == NOT_ALLOWED
        assert outcome(one(reached, aarq(GOOD))) == "0 user 0"
        reached.close()


def test_the_dedicated_key_serves_from_the_fourth_pass_on(meter: Bench) -> None:
    reached, by = associated(meter, key=KEYED)
    by.counter = 0  # each association counts for its dedicated key anew
    request = by.wrap(0xD0, BOTH, bytes.fromhex(CLOCK), DEDICATED)
    answer = by.unwrap(reached.ask(request)[0], DEDICATED)
    assert answer[:4] == bytes.fromhex("C401C100")
    reached.close()


@pytest.mark.parametrize("form", ["in clear", "dedicated", "authenticated"])
def test_a_third_pass_with_less_protection_fails(meter: Bench, form: str) -> None:
    by = cipher(meter)
    request = bytes.fromhex(initiate(0x00FE9F, key=KEYED))
    reached, answer = ciphered(meter, by.wrap(0x21, BOTH, request), by)
    third = bytes.fromhex(REPLY + "0911" + by.proof(stoc_of(answer)).hex())
    said = third
    if form == "dedicated":
        said = by.wrap(0xD3, BOTH, third, DEDICATED)
    elif form == "authenticated":
        said = by.wrap(0xCB, AUTHENTICATED, third)
    assert reached.ask(said)[0][:1] in {b"\xd8", b"\xcf", b"\xc7"}
    assert reached.ask(by.wrap(0xC8, BOTH, bytes.fromhex(CLOCK)))[0][0] == 0xD8
    reached.close()


def test_the_pre_established_association_needs_no_aarq_and_knows_no_release(meter: Bench) -> None:
    reached = WrapperLink(meter, 102)
    reached.open()
    assert outcome(one(reached, aarq(GOOD))).startswith("1 ")
    assert one(reached, "6200") == NOT_ALLOWED
    assert one(reached, CLOCK) == NOT_ALLOWED  # in clear it serves nothing
    reached.close()
