"""IEC 62056-46 rule by rule: what a real meter answers to frames, over TCP and on a serial port.

Every row is a rule, the frames sent, and what is to be seen (`conformance_lab.Seen.text`: I frames
as `I N(S) N(R)`, a minus where F is 0, a plus on segments). Rows begin without a link. That nothing
is answered is seen from the answer to the next thing asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectCache
from blathy.cosem.service import AttributeRef
from blathy.models.model import Level
from blathy.obis import Obis
from tests.meter.conformance_lab import (
    COMMAND,
    DISC,
    FOUR,
    ONE,
    RESPONSE,
    RNR,
    RR,
    SNRM,
    TWO,
    UI,
    Bench,
    HdlcHead,
    aarq,
    bench,
    check,
    data,
    frame,
    initiate,
)
from tests.meter.running import fed

CLOCK = bytes.fromhex("C001C100080000010000FF0200")
LONG_GET = bytes.fromhex("C001C1000F0000280000FF0200")  # the object list
OPEN = bytes.fromhex(aarq(initiate(0x00FE9F)))

DAYS = AttributeRef(20, Obis(0, 0, 13, 0, 0), 9)  # day profiles of the calendar to come
WORDS = COMMAND + OPEN
SMALL = COMMAND + CLOCK
ALL_ONE = bytes((0xFF,))
ALL_LOWER = bytes((0x02, 0xFF))
ALL_TWO = bytes((0xFE, 0xFF))
CALLING = bytes((0x02, 0xFD))
NO_STATION = bytes((0x01,))


def parameters(*values: str) -> bytes:
    """The information field of SNRM with these `id len value` as hex."""
    content = "".join(values)
    return bytes.fromhex(f"8180{len(content) // 2:02X}{content}")


def broken(sent: bytes, at: int) -> bytes:
    """One octet falsified."""
    return sent[:at] + bytes((sent[at] ^ 0x55,)) + sent[at + 1 :]


def segments(apdu: bytes, size: int, receive: int = 0) -> list[bytes]:
    """I frames of a segmented APDU, each with the token."""
    parts = [apdu[at : at + size] for at in range(0, len(apdu), size)]
    return [data(n & 7, receive, part, more=n < len(parts) - 1) for n, part in enumerate(parts)]


AARQ_IN_SEGMENTS = segments(WORDS, 10)
EXACT = COMMAND + bytes.fromhex(
    aarq(initiate(0x00FE9F), after="A441" + "00" * 65 + "A519" + "00" * 25)
)
assert len(EXACT) == 128
Row = tuple[str, tuple[bytes, ...], tuple[str, ...]]

FRAMES: tuple[Row, ...] = (
    ("SNRM in NDM: UA", (frame(SNRM),), ("UA",)),
    ("SNRM with P = 0 is taken as one", (frame(0x83),), ("UA",)),
    ("DISC in NDM: DM", (frame(DISC),), ("DM",)),
    ("DISC in NRM: UA, then DM", (frame(SNRM), frame(DISC), frame(DISC)), ("UA", "UA", "DM")),
    ("I in NDM: DM", (data(0, 0, SMALL),), ("DM",)),
    ("RR in NDM: DM", (frame(RR),), ("DM",)),
    ("I after DISC: DM, nothing is delivered",
     (frame(SNRM), frame(DISC), data(0, 0, WORDS)), ("UA", "UA", "DM")),
    ("SNRM in NRM: UA, the numbers begin anew, the association is lost",
     (frame(SNRM), data(0, 0, WORDS), frame(SNRM), data(0, 0, WORDS)),
     ("UA", "I 0 1", "UA", "I 0 1")),
    ("RR with the right N(R): RR", (frame(SNRM), frame(RR), frame(RR)), ("UA", "RR 0", "RR 0")),
    ("RR without P: nothing", (frame(SNRM), frame(RR & ~0x10)), ("UA",)),
    ("RNR: RR, and no I frame until RR",
     (frame(SNRM), data(0, 0, WORDS), frame(RNR | 1 << 5), data(1, 1, SMALL),
      frame(RNR | 1 << 5), frame(RR | 1 << 5), frame(RR | 2 << 5)),
     ("UA", "I 0 1", "RR 1", "RR 2", "RR 2", "I 1 2", "RR 2")),
    ("N(R) of what was never sent, in RR: FRMR",
     (frame(SNRM), frame(RR | 3 << 5)), ("UA", "FRMR")),
    ("N(R) of what was never sent, in I: FRMR",
     (frame(SNRM), data(0, 3, WORDS)), ("UA", "FRMR")),
    ("after FRMR only SNRM and DISC help",
     (frame(SNRM), frame(RR | 3 << 5), frame(RR), data(0, 0, WORDS), frame(SNRM), frame(RR)),
     ("UA", "FRMR", "FRMR", "FRMR", "UA", "RR 0")),
    ("after FRMR, DISC ends the link",
     (frame(SNRM), frame(RR | 3 << 5), frame(DISC), frame(DISC)), ("UA", "FRMR", "UA", "DM")),
    ("unknown control field: FRMR", (frame(SNRM), frame(0x3F)), ("UA", "FRMR")),
    ("REJ is not in the repertoire: FRMR", (frame(SNRM), frame(0x19)), ("UA", "FRMR")),
    ("wrong N(S): not delivered, RR with the expected N(R)",
     (frame(SNRM), data(1, 0, WORDS), data(0, 0, WORDS)), ("UA", "RR 0", "I 0 1")),
    ("the same N(S) twice: served once, the answer repeated",
     (frame(SNRM), data(0, 0, WORDS), data(0, 0, WORDS), data(1, 1, SMALL)),
     ("UA", "I 0 1", "I 0 1", "I 1 2")),
    ("a lost answer is repeated on RR with the old N(R)",
     (frame(SNRM), data(0, 0, WORDS), frame(RR), frame(RR | 1 << 5)),
     ("UA", "I 0 1", "I 0 1", "RR 1")),
    ("information field longer than agreed: FRMR",
     (frame(SNRM), data(0, 0, COMMAND + bytes(126))), ("UA", "FRMR")),
    ("an information field of exactly the agreed length is taken",
     (frame(SNRM), data(0, 0, EXACT)), ("UA", "I 0 1")),
    ("numbers run modulo 8",
     (frame(SNRM), data(0, 0, WORDS), *(data(n & 7, n & 7, SMALL) for n in range(1, 10))),
     ("UA", "I 0 1", *(f"I {n & 7} {n + 1 & 7}" for n in range(1, 10)))),
    ("a frame without LLC is not delivered: RR",
     (frame(SNRM), data(0, 0, OPEN)), ("UA", "RR 1")),
    ("the LLC of a response is not taken from a client: RR",
     (frame(SNRM), data(0, 0, RESPONSE + OPEN)), ("UA", "RR 1")),
    ("destination LSAP FF is accepted",
     (frame(SNRM), data(0, 0, b"\xff" + WORDS[1:])), ("UA", "I 0 1")),
    ("a segmented AARQ: RR for every segment, then the answer",
     (frame(SNRM), *AARQ_IN_SEGMENTS),
     ("UA", *(f"RR {n}" for n in range(1, len(AARQ_IN_SEGMENTS))),
      f"I 0 {len(AARQ_IN_SEGMENTS)}")),
    ("SNRM in the middle of segments forgets them",
     (frame(SNRM), AARQ_IN_SEGMENTS[0], frame(SNRM), data(0, 0, WORDS)),
     ("UA", "RR 1", "UA", "I 0 1")),
    ("a repeated segment is not taken twice",
     (frame(SNRM), AARQ_IN_SEGMENTS[0], *AARQ_IN_SEGMENTS),
     ("UA", "RR 1", "RR 1", *(f"RR {n}" for n in range(2, len(AARQ_IN_SEGMENTS))),
      f"I 0 {len(AARQ_IN_SEGMENTS)}")),
    ("UA, DM and FRMR of a client are no commands: dropped",
     (frame(SNRM), frame(0x73), frame(0x1F), frame(0x97), frame(RR)), ("UA", "RR 0")),
)  # fmt: skip

DROPPED: tuple[Row, ...] = tuple(
    (name, (frame(SNRM), sent, frame(RR)), ("UA", "RR 0"))
    for name, sent in (
        ("wrong format type", frame(SNRM, kind=0xB)),
        ("wrong format type, old", frame(SNRM, kind=0x9)),
        ("wrong FCS", broken(frame(RR | 3 << 5), 7)),
        ("wrong HCS", broken(data(0, 3, SMALL), 6)),
        ("wrong address with the FCS of the right one", broken(frame(RR), 3)),
        ("a length one too short", frame(SNRM, surplus=-1)),
        ("shorter than 7 octets", b"\x7e\xa0\x06\x03\x21\x93\x00\x7e"),
        ("nothing between flags", b"\x7e\x7e\x7e\x7e"),
        ("noise between frames", b"\x00\xff\x0d\x0a\xa0\x55"),
        ("a source address of two octets", frame(SNRM, client=b"\x20\x21")),
        ("a source address of four octets", frame(SNRM, client=b"\x20\x20\x20\x21")),
        ("no-station as source", frame(SNRM, client=0)),
        ("all-station as source", frame(SNRM, client=127)),
        ("unknown logical device", frame(SNRM, server=b"\x0b")),
        ("unknown logical device in two octets", frame(SNRM, server=b"\x0a\x23")),
        ("unknown physical device", frame(SNRM, server=b"\x02\x25")),
        ("no-station as destination", frame(SNRM, server=NO_STATION)),
        ("no-station as lower destination", frame(SNRM, server=b"\x02\x01")),
        ("the CALLING address: the meter did not call", frame(SNRM, server=CALLING)),
        ("the CALLING address in four octets", frame(SNRM, server=b"\x00\x02\xfe\xfd")),
        ("three octets of address", frame(SNRM, server=b"\x02\x00\x23")),
        ("five octets of address", frame(SNRM, server=b"\x00\x02\x00\x00\x23")),
        ("all-station with SNRM", frame(SNRM, server=ALL_ONE)),
        ("all-station with I", data(0, 0, SMALL, server=ALL_TWO)),
        ("all lower stations with SNRM", frame(SNRM, server=ALL_LOWER)),
        ("all-station with UI and P = 1", frame(UI, SMALL, server=ALL_TWO)),
        ("all-station with UI and P = 0: heard, never answered",
         frame(0x03, SMALL, server=ALL_TWO)),
        ("UI: nobody answers in UI", frame(UI, SMALL)),
        ("an empty UI with P = 1 and nothing to say", frame(UI)),
    )
)  # fmt: skip


EVERY = FRAMES + DROPPED


@pytest.fixture(scope="module")
def meter() -> Iterator[Bench]:
    with bench(fed("mt372", 1)) as found:
        yield found


@pytest.mark.parametrize("over", ["tcp", "serial"])
@pytest.mark.parametrize(
    ("sent", "seen"),
    [row[1:] for row in FRAMES + DROPPED],
    ids=[row[0] for row in FRAMES + DROPPED],
)
def test_frames(meter: Bench, over: str, sent: tuple[bytes, ...], seen: tuple[str, ...]) -> None:
    head = HdlcHead(meter, over)
    try:
        answers: list[str] = []
        for each in sent:
            answers += head.told(each)
        assert tuple(answers) == seen
    finally:
        head.close()


# --- negotiation ----------------------------------------------------------------------------------

AGREED: tuple[tuple[str, bytes, tuple[int, int, int, int]], ...] = (
    # rule, information field of SNRM, what UA says: transmit and receive size, windows of the meter
    ("no information field: the defaults", b"", (128, 128, 1, 1)),
    ("an empty group: the defaults", parameters(), (128, 128, 1, 1)),
    ("sizes in one octet", parameters("050180", "060180"), (128, 128, 1, 1)),
    ("sizes in two octets where one would do", parameters("05020080", "06020080"),
     (128, 128, 1, 1)),
    ("the largest sizes", parameters("050207EE", "060207EE"), (2030, 2030, 1, 1)),
    ("larger than the meter takes: its own limit", parameters("0502FFFF", "0602FFFF"),
     (2030, 2030, 1, 1)),
    ("transmit of the client meets receive of the meter", parameters("05020200", "060140"),
     (64, 512, 1, 1)),
    ("a missing value is the default", parameters("06020400"), (1024, 128, 1, 1)),
    ("windows larger than those of the meter: its own",
     parameters("070400000007", "080400000007"), (128, 128, 1, 1)),
    ("windows in one octet", parameters("070103", "080103"), (128, 128, 1, 1)),
    ("identifiers in any order", parameters("08040000000106020100050180"), (256, 128, 1, 1)),
    ("an unknown identifier is skipped", parameters("090155", "060140"), (64, 128, 1, 1)),
    ("a user-data group behind the parameters is skipped",
     parameters("060140") + bytes.fromhex("C003010203"), (64, 128, 1, 1)),
    ("a user-data group before the parameters is skipped",
     bytes.fromhex("81C003010203800306") + bytes.fromhex("0140"), (64, 128, 1, 1)),
    ("a size of no octets is taken for one octet", parameters("060100"),
     (1, 128, 1, 1)),
    ("another format identifier: the defaults", bytes.fromhex("8280030601FF"), (128, 128, 1, 1)),
)  # fmt: skip


def decoded(information: bytes) -> tuple[int, int, int, int]:
    """Format and group of a UA, then 05 06 07 08, each once, windows in four octets."""
    assert information[:2] == b"\x81\x80"
    assert information[2] == len(information) - 3
    at, found = 3, {}
    while at < len(information):
        identifier, size = information[at], information[at + 1]
        assert size == 4 if identifier > 6 else size in {1, 2}
        found[identifier] = int.from_bytes(information[at + 2 : at + 2 + size], "big")
        at += 2 + size
    assert sorted(found) == [5, 6, 7, 8]
    return found[5], found[6], found[7], found[8]


@pytest.mark.parametrize(
    ("offer", "agreed"), [row[1:] for row in AGREED], ids=[row[0] for row in AGREED]
)
def test_negotiation(meter: Bench, offer: bytes, agreed: tuple[int, int, int, int]) -> None:
    head = HdlcHead(meter)
    (ua,) = head.ask(frame(SNRM, offer))
    assert ua.text == "UA"
    assert decoded(ua.information) == agreed
    # What was agreed holds: no segment of an answer is longer, the last one may be shorter.
    told = head.ask(data(0, 0, WORDS))
    received = 0
    for _ in range(60):
        if not told or not told[-1].more:
            break
        assert len(told[-1].information) == agreed[0]
        received = received + 1 & 7
        told = head.ask(frame(RR | received << 5))
    assert not told or len(told[-1].information) <= agreed[0]
    head.close()


# --- windows and segments -------------------------------------------------------------------------


def set_up(meter: Bench, number: int, value: str) -> str:
    """Write an attribute of IEC HDLC setup (0-0:22.0.0) as the management client, over HDLC."""
    head = HdlcHead(meter)
    password = meter.meter.identity.passwords[Level.MANAGEMENT]
    opening = aarq(initiate(0x00FE9F), mechanism=1, password=password)
    head.ask(frame(SNRM, client=1))
    (answer,) = head.ask(data(0, 0, COMMAND + bytes.fromhex(opening), client=1))
    assert "A203020100" in answer.information.hex().upper()
    request = bytes.fromhex(f"C101C100170000160000FF{number:02X}00{value}")
    (answer,) = head.ask(data(1, 1, COMMAND + request, client=1))
    head.ask(frame(DISC, client=1))
    head.close()
    return answer.information[3:].hex().upper()


@pytest.fixture
def wide(meter: Bench) -> Iterator[Bench]:
    """The meter with windows of 3 both ways and 64 octets a frame, set up over its own port."""
    own = ((3, "1103"), (4, "1103"), (5, "120040"), (6, "120040"))
    for number, value in own:
        assert set_up(meter, number, value) == "C501C100"
    yield meter
    for number, value in ((3, "1101"), (4, "1101"), (5, "1207EE"), (6, "1207EE")):
        assert set_up(meter, number, value) == "C501C100"


EVERYTHING = parameters("050207EE", "060207EE", "070400000007", "080400000007")


def test_what_the_setup_object_says_is_what_ua_says(wide: Bench) -> None:
    head = HdlcHead(wide)
    (ua,) = head.ask(frame(SNRM, EVERYTHING))
    assert decoded(ua.information) == (64, 64, 3, 3)
    (ua,) = head.ask(frame(SNRM, parameters("070400000002", "080400000001")))
    assert decoded(ua.information) == (64, 64, 1, 2)
    head.close()


@pytest.mark.parametrize(
    ("number", "value"),
    [(3, "1100"), (3, "1108"), (5, "12001F"), (6, "1207EF"), (7, "120013"), (7, "121771")],
)
def test_the_setup_object_takes_nothing_out_of_range(meter: Bench, number: int, value: str) -> None:
    assert set_up(meter, number, value) != "C501C100"


def test_a_window_of_the_client_is_acknowledged_once(wide: Bench) -> None:
    head = HdlcHead(wide)
    head.ask(frame(SNRM, EVERYTHING))
    parts = [WORDS[at : at + 12] for at in range(0, len(WORDS), 12)]
    assert len(parts) == 3
    sent = [data(n, 0, part, poll=n == 2, more=n < 2) for n, part in enumerate(parts)]
    assert head.told(*sent) == ["I 0 3"]
    # The middle one of a window is lost: the last is not taken, the meter asks for the lost one.
    assert head.told(frame(SNRM, EVERYTHING), sent[0], sent[2]) == ["UA", "RR 1"]
    assert head.told(sent[1], sent[2]) == ["I 0 3"]
    head.close()


def test_a_window_of_the_meter_has_the_token_on_its_last_frame(wide: Bench) -> None:
    head = HdlcHead(wide)
    assert head.told(frame(SNRM, EVERYTHING), data(0, 0, WORDS)) == ["UA", "I 0 1"]
    first = head.ask(data(1, 1, COMMAND + LONG_GET))
    assert [seen.text for seen in first] == ["I 1 2 - +", "I 2 2 - +", "I 3 2 +"]
    assert all(len(seen.information) == 64 for seen in first)
    # The second got lost: what follows it is sent again, with the same numbers.
    again = head.ask(frame(RR | 2 << 5))
    assert [seen.text for seen in again] == ["I 2 2 - +", "I 3 2 +"]
    assert [seen.information for seen in again] == [seen.information for seen in first[1:]]
    assert head.told(frame(RNR | 4 << 5)) == ["RR 2"]
    assert head.told(frame(RR | 4 << 5)) == ["I 4 2 - +", "I 5 2 - +", "I 6 2 +"]
    head.close()


def test_our_client_reads_in_windows_both_ways(wide: Bench) -> None:
    secret = wide.meter.identity.passwords[Level.MANAGEMENT].decode()
    url = (
        f"dlms+hdlc://127.0.0.1:{wide.tcp}?client=1&auth=lls&password={secret}&window=7&timeout=60"
    )

    async def test() -> None:
        async with Client.connect(url, cache=ObjectCache()) as client:
            assert len(await client.objects()) > 100
            assert len(await client.profile("1-0:99.1.0")) == 96
            calendar = await client.get(DAYS)
            await client.set(DAYS, calendar)  # longer than a window
            assert await client.get(DAYS) == calendar

    asyncio.run(asyncio.wait_for(test(), 240))


def test_a_long_answer_in_segments_is_whole(meter: Bench) -> None:
    head = HdlcHead(meter)
    head.ask(frame(SNRM), data(0, 0, WORDS))
    (seen,) = head.ask(data(1, 1, COMMAND + LONG_GET))
    whole, number = seen.information, 1
    while seen.more:
        number = number + 1 & 7
        (seen,) = head.ask(frame(RR | number << 5))
        assert seen.text.removesuffix(" +") == f"I {number} 2"
        assert RESPONSE not in seen.information[:3]
        whole += seen.information
    assert whole[:3] == RESPONSE
    assert whole[3:6] in {bytes.fromhex("C401C1"), bytes.fromhex("C402C1")}
    assert len(whole) > 500
    head.close()


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [ONE, TWO, FOUR], ids=["1 octet", "2 octets", "4 octets"])
@pytest.mark.parametrize("over", ["tcp", "serial"])
def test_the_answer_has_the_address_in_the_form_asked(
    meter: Bench, over: str, server: bytes
) -> None:
    head = HdlcHead(meter, over)
    for sent in (
        frame(SNRM, server=server),
        data(0, 0, WORDS, server=server),
        frame(RR | 1 << 5, server=server),
        frame(DISC, server=server),
    ):
        (seen,) = head.ask(sent)
        assert seen.source == server
        assert seen.destination == bytes((16 << 1 | 1,))
    head.close()


def test_clients_have_links_of_their_own(meter: Bench) -> None:
    head = HdlcHead(meter)
    assert head.told(frame(SNRM), data(0, 0, WORDS), frame(RR, client=32)) == ["UA", "DM", "I 0 1"]
    assert head.told(frame(SNRM, client=32), data(1, 1, SMALL)) == ["UA", "I 1 2"]
    assert head.told(frame(DISC, client=32), data(2, 2, SMALL)) == ["UA", "I 2 3"]
    head.close()


def test_a_client_without_an_association_of_its_own_has_a_link_and_a_refusal(meter: Bench) -> None:
    head = HdlcHead(meter)
    ua, answer = head.ask(frame(SNRM, client=55), data(0, 0, WORDS, client=55))
    assert (ua.text, answer.text) == ("UA", "I 0 1")
    assert answer.information[:4] == RESPONSE + b"\x61"
    assert bytes.fromhex("A203020101") in answer.information
    head.close()


# --- time -----------------------------------------------------------------------------------------


def test_the_inactivity_time_out_ends_link_and_association(meter: Bench) -> None:
    assert set_up(meter, 8, "120001") == "C501C100"
    try:
        head = HdlcHead(meter)
        assert head.told(frame(SNRM), data(0, 0, WORDS)) == ["UA", "I 0 1"]
        for pause_s in range(2, 12):  # the link was idle for longer each time it is asked
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                assert head.told(frame(RR, client=33)) == ["DM"]  # others do not keep it alive
                time.sleep(0.1)
            if head.told(frame(RR | 1 << 5)) == ["DM"]:
                break
        assert head.told(data(1, 1, SMALL)) == ["DM"]
        ua, refused = head.ask(frame(SNRM), data(0, 0, SMALL))
        assert (ua.text, refused.information) == ("UA", RESPONSE + bytes.fromhex("D80101"))
        head.close()
    finally:
        assert set_up(meter, 8, "120078") == "C501C100"


@pytest.mark.parametrize("over", ["tcp", "serial"])
def test_a_frame_that_stops_is_given_up_and_the_next_is_served(meter: Bench, over: str) -> None:
    head = HdlcHead(meter, over)
    assert head.told(frame(SNRM)) == ["UA"]
    head.send(data(0, 0, WORDS)[:-20])
    until = time.monotonic() + 120
    answers: list[str] = []
    while not answers and time.monotonic() < until:
        head.send(frame(RR))
        time.sleep(0.5)
        answers = [seen.text for seen in head.ask()]
    assert set(answers) == {"RR 0"}
    assert head.told(data(0, 0, WORDS)) == ["I 0 1"]
    head.close()


def test_one_flag_closes_a_frame_and_opens_the_next(meter: Bench) -> None:
    head = HdlcHead(meter)
    assert head.told(frame(SNRM)[:-1] + frame(RR)[:-1] + frame(RR)) == ["UA", "RR 0", "RR 0"]
    head.close()


def test_octets_that_come_one_by_one_are_a_frame(meter: Bench) -> None:
    head = HdlcHead(meter)
    for octet in frame(SNRM) + data(0, 0, WORDS):
        head.send(bytes((octet,)))
    assert head.told() == ["UA", "I 0 1"]
    head.close()


def test_flags_inside_the_data_are_data(meter: Bench) -> None:
    request = COMMAND + bytes.fromhex(aarq(initiate(0x00FE9F, 0x7E7E)))
    head = HdlcHead(meter)
    assert head.told(frame(SNRM), data(0, 0, request)) == ["UA", "I 0 1"]
    head.close()


def test_frmr_says_what_was_wrong(meter: Bench) -> None:
    for sent, control, reason in (
        (frame(0x19), 0x19, 0x01),
        (data(0, 0, bytes(129)), 0x10, 0x04),
        (frame(RR | 3 << 5), 0x71, 0x08),
    ):
        head = HdlcHead(meter)
        _, reject = head.ask(frame(SNRM), sent)
        assert reject.text == "FRMR"
        assert reject.information == bytes((control, 0, reason))
        head.close()


def test_the_bench_checks_what_the_standard_says() -> None:
    """The check sequence and the frames of the bench are the worked ones, not the stack's."""
    assert check(bytes.fromhex("033F")) == bytes.fromhex("5BEC")
    assert frame(SNRM).hex(" ").upper() == "7E A0 07 03 21 93 0F 01 7E"
    assert frame(SNRM, server=TWO).hex(" ").upper() == "7E A0 08 02 23 21 93 BD 64 7E"
    assert frame(SNRM, server=FOUR).hex(" ").upper() == "7E A0 0A 00 02 00 23 21 93 18 71 7E"
