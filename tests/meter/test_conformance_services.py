"""The services of IEC 62056-5-3 rule by rule: requests in octets to a real meter, and its answers.

A row is a rule, what was negotiated, and a conversation: what is sent and what is answered, as hex.
A dash ends what need not be the same on every day; nothing at all is silence.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blathy.meter.plan import MeterOptions
from blathy.models.model import Level
from tests.meter.conformance_lab import (
    SN_CONTEXT,
    Bench,
    Link,
    aarq,
    bench,
    initiate,
    link,
    one,
    outcome,
    tlv,
)
from tests.meter.running import fed

GET, SET, ACTION, SELECTION, LISTS = 0x10, 0x08, 0x01, 0x04, 0x200
BLOCKS_GET, BLOCKS_SET, BLOCKS_ACTION, GENERAL_BLOCKS = 0x1000, 0x0800, 0x0400, 0x200000
ALL_GET, ALL_SET, ACCESS = 0x2000, 0x8000, 0x40
EVERY = 0x42FEDF  # all but general block transfer
FULL = 0x62FEDF

CLOCK = "00080000010000FF02"
ENERGY = "00030100010800FF02"
ENERGY_VALUE = "0600015180"  # 86 400 Wh
SCALER = "00030100010800FF03"
SCALER_VALUE = "02020F00161E"
ABSENT = "00030100636363FF02"
OTHER_CLASS = "00040100010800FF02"
NO_ATTRIBUTE = "00030100010800FF40"
DURATION = "00470000110000FF06"
BUFFER = "00070100630100FF02"
LIST = "000F0000280000FF02"
RELAY_OFF = "0046000060030AFF01"
NO_METHOD = "0046000060030AFF09"
ABSENT_METHOD = "00460000606363FF01"
NO_SELECTOR = "00"

NOT_ALLOWED, NOT_SUPPORTED, TOO_LONG = "D80101", "D80102", "D80104"
ERRORS = "D8"

Row = tuple[str, int, int, tuple[tuple[str, str], ...]]
"""Rule, conformance, the client's PDU size, what is said and answered."""


def get(target: str, invoke: str = "C1", selection: str = NO_SELECTOR) -> str:
    return f"C001{invoke}{target}{selection}"


def put(target: str, value: str, invoke: str = "C1") -> str:
    return f"C101{invoke}{target}00{value}"


def call(target: str, value: str = "", invoke: str = "C1") -> str:
    return f"C301{invoke}{target}" + (f"01{value}" if value else "00")


ONE_OF = f"C401C100{ENERGY_VALUE}"

SINGLE: tuple[Row, ...] = (
    ("GET", EVERY, 0, ((get(ENERGY), ONE_OF),)),
    ("the invoke id is copied", EVERY, 0,
     tuple((get(ENERGY, f"C{n:X}"), f"C401C{n:X}00{ENERGY_VALUE}") for n in range(16))),
    ("normal priority is copied", EVERY, 0, ((get(ENERGY, "41"), f"C4014100{ENERGY_VALUE}"),)),
    ("unconfirmed GET: silence", EVERY, 0,
     ((get(ENERGY, "81"), ""), (get(ENERGY, "01"), ""), (get(ENERGY), ONE_OF))),
    ("unknown object: 4", EVERY, 0, ((get(ABSENT), "C401C10104"),)),
    ("another class than the object's: 9", EVERY, 0, ((get(OTHER_CLASS), "C401C10109"),)),
    ("unknown attribute: 3", EVERY, 0, ((get(NO_ATTRIBUTE), "C401C10103"),)),
    ("attribute 0: all in one structure", EVERY, 0,
     ((get(ENERGY[:-2] + "00"), f"C401C100020309060100010800FF{ENERGY_VALUE}{SCALER_VALUE}"),)),
    ("attribute 0 was not negotiated: 13", EVERY & ~ALL_GET, 0,
     ((get(ENERGY[:-2] + "00"), "C401C1010D"), (get(ENERGY), ONE_OF))),
    ("unknown selector: never the whole buffer", EVERY, 0,
     ((get(BUFFER, selection="010900"), "C401C1010D"),
      (get(BUFFER, selection="01000100"), "C401C1010D"))),
    ("a selector with wrong parameters", EVERY, 0,
     ((get(BUFFER, selection="01020202" + "0600000001" * 2), "C401C1010D"),
      (get(BUFFER, selection="0101" + "00"), "C401C1010D"),
      (get(BUFFER, selection="0102" + "0204" + "090101090102120001120000"),
       "C401C1010D"))),
    ("a selector where the attribute has none", EVERY, 0,
     ((get(ENERGY, selection="01010100"), "C401C1010D"),)),
    ("selective access was not negotiated: 13", EVERY & ~SELECTION, 0,
     ((get(BUFFER, selection="0102" + "0204" + "06000000010600000001120001120000"),
       "C401C1010D"),)),
    ("entries are counted from 1, columns too, 0 is the end", EVERY, 0,
     ((get(BUFFER, selection="0102" + "0204" + "06000000010600000001120003120003"),
       "C401C100010102010600000384"),)),
    ("no entry matches: an empty array", EVERY, 0,
     ((get(BUFFER, selection="0102" + "0204" + "0600FFFFF10600FFFFFF120001120000"),
       "C401C1000100"),)),
    ("SET", EVERY, 0, ((put(DURATION, "0600000384"), "C501C100"),)),
    ("SET without confirmation is done and not answered", EVERY, 0,
     ((put(DURATION, "0600000708", "81"), ""), (get(DURATION), "C401C1000600000708"),
      (put(DURATION, "0600000384", "01"), ""), (get(DURATION), "C401C1000600000384"))),
    ("SET of what is read only: 3", EVERY, 0, ((put(ENERGY, ENERGY_VALUE), "C501C103"),)),
    ("SET of an unknown object: 4", EVERY, 0, ((put(ABSENT, "00"), "C501C104"),)),
    ("SET of the logical name: 3", EVERY, 0,
     ((put(ENERGY[:-2] + "01", "09060100010800FF"), "C501C103"),)),
    ("SET of another type: 12", EVERY, 0, ((put(DURATION, "0900"), "C501C10C"),)),
    ("ACTION", EVERY, 0, ((call(RELAY_OFF, "0F00"), "C701C10000"),)),
    ("ACTION without confirmation", EVERY, 0, ((call(RELAY_OFF, "0F00", "81"), ""),)),
    ("unknown method: 3", EVERY, 0, ((call(NO_METHOD, "0F00"), "C701C10300"),)),
    ("unknown object of a method: 4", EVERY, 0, ((call(ABSENT_METHOD, "0F00"), "C701C10400"),)),
    ("a method of a class without any: 3", EVERY, 0,
     ((call(ENERGY[:-2] + "02", "0F00"), "C701C10300"),)),
    *((f"{name} was not negotiated", FULL & ~bit, 0, ((said, NOT_SUPPORTED),))
      for name, bit, said in (
          ("GET", GET, get(ENERGY)), ("SET", SET, put(DURATION, "0600000384")),
          ("ACTION", ACTION, call(RELAY_OFF, "0F00")),
          ("GET with-list", LISTS, f"C003C101{ENERGY}00"),
          ("SET with-list", LISTS, f"C104C101{DURATION}00010600000384"),
          ("ACTION with-list", LISTS, f"C303C101{RELAY_OFF}010F00"),
          ("SET in blocks", BLOCKS_SET, f"C102C1{DURATION}00000000000103060000"),
          ("ACTION in blocks", BLOCKS_ACTION, f"C304C1{RELAY_OFF}0000000001010F"),
          ("ACCESS", ACCESS, f"D940000001000101{ENERGY}0100"),
          ("general block transfer", GENERAL_BLOCKS, "E0C3000100000DC001C1" + ENERGY + "00"),
      )),
    ("what was not negotiated is not answered where it is unconfirmed", 0x10, 0,
     ((put(DURATION, "0600000384", "81"), ""), (call(RELAY_OFF, "0F00", "81"), ""),
      (f"D900000001000101{ENERGY}0100", ""), (get(ENERGY), ONE_OF))),
)  # fmt: skip

LISTED: tuple[Row, ...] = (
    ("each element has its own result, in order", EVERY, 0,
     ((f"C003C104{ENERGY}00{ABSENT}00{SCALER}00{NO_ATTRIBUTE}00",
       f"C403C10400{ENERGY_VALUE}010400{SCALER_VALUE}0103"),)),
    ("one element", EVERY, 0, ((f"C003C101{ENERGY}00", f"C403C10100{ENERGY_VALUE}"),)),
    ("SET: one bad element never fails the others", EVERY, 0,
     ((f"C104C103{ENERGY}00{DURATION}00{ABSENT}00" + "03" + "00" + "0600000708" + "00",
       "C505C103030004"), (get(DURATION), "C401C1000600000708"),
      (put(DURATION, "0600000384"), "C501C100"))),
    ("SET: attributes and values that differ in number", EVERY, 0,
     ((f"C104C102{DURATION}00{DURATION}0001" + "0600000708", ERRORS + "-"),
      (get(DURATION), "C401C1000600000384"))),
    ("ACTION: null-data where there are no parameters", EVERY, 0,
     ((f"C303C103{RELAY_OFF}{NO_METHOD}{RELAY_OFF}030F00000F00", "C703C103" + "0000" + "0300"
       + "0000"),)),
    ("unconfirmed lists are done and not answered", EVERY, 0,
     ((f"C0038101{ENERGY}00", ""), (f"C1048101{DURATION}00010600000708", ""),
      (get(DURATION), "C401C1000600000708"), (put(DURATION, "0600000384"), "C501C100"))),
    ("more elements than there are octets", EVERY, 0,
     (("C003C17F" + ENERGY + "00", ERRORS + "-"), ("C003C184FFFFFFFF" + ENERGY, ERRORS + "-"),
      (get(ENERGY), ONE_OF))),
)  # fmt: skip

MALFORMED: tuple[Row, ...] = tuple(
    (name, EVERY, 0, ((said, ERRORS + "-"), (get(ENERGY), ONE_OF)))
    for name, said in (
        ("GET of unknown choice", "C004C1" + ENERGY + "00"),
        ("GET of choice 0", "C000C1" + ENERGY + "00"),
        ("SET of unknown choice", "C106C1" + DURATION + "0000"),
        ("ACTION of unknown choice", "C307C1" + RELAY_OFF + "00"),
        ("a tag alone", "C0"),
        ("without an invoke id", "C001"),
        ("without a descriptor", "C001C1"),
        ("half a descriptor", "C001C1" + ENERGY[:8]),
        ("without the selection flag", "C001C1" + ENERGY),
        ("a selection without parameters", "C001C1" + BUFFER + "0101"),
        ("octets behind the end", get(ENERGY) + "00"),
        ("SET without a value", "C101C1" + DURATION + "00"),
        ("SET with half a value", put(DURATION, "060000")),
        ("SET with a value of unknown type", put(DURATION, "FE00")),
        ("ACTION with half a parameter", "C301C1" + RELAY_OFF + "010F"),
        ("GET-next with half a number", "C002C10000"),
        ("an unknown APDU", "FE0102"),
        ("a gateway's prefix", "E6000001" + get(ENERGY)),
        ("Read in an association by long names", "0501020100"),
        ("Write in an association by long names", "06010201000100"),
        ("a glo-request in a plain context", "C81230" + "00" * 17),
        ("a ded-request in a plain context", "D01230" + "00" * 17),
        ("ACCESS with an element of unknown kind", "D940000001000107" + ENERGY + "0100"),
        ("ACCESS whose lists differ in length", "D940000001000101" + ENERGY + "00"),
    )
) + tuple(
    (f"{name}: silence, the association stands", EVERY, 0, ((said, ""), (get(ENERGY), ONE_OF)))
    for name, said in (
        ("a malformed unconfirmed GET", "C00481" + ENERGY + "00"),
        ("a malformed unconfirmed SET", "C10181" + DURATION + "0006"),
        ("UnconfirmedWrite by long names", "16010201000100"),
        ("an answer instead of a request", ONE_OF),
        ("an error instead of a request", NOT_ALLOWED),
        ("an event of a client", "C200" + ENERGY + "00"),
    )
)  # fmt: skip

NEXT, FIRST_BLOCK = "C002C1", "C402C10000000001-"

IN_BLOCKS: tuple[Row, ...] = (
    ("a long answer comes in blocks; the client names the block received", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), (NEXT + "00000001", "C402C10000000002-"),
      (NEXT + "00000002", "C402C10000000003-"))),
    ("a wrong number: one block, last, error 19; the transfer is over", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), (NEXT + "00000002", "C402C101000000020113"),
      (NEXT + "00000001", "C402C101000000010110"))),
    ("number 0", EVERY, 60, ((get(LIST), FIRST_BLOCK), (NEXT + "00000000", "C402C101-0113"))),
    ("the same block again is a wrong number", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), (NEXT + "00000001", "C402C10000000002-"),
      (NEXT + "00000001", "C402C101-0113"))),
    ("next with nothing running: 16", EVERY, 60, ((NEXT + "00000001", "C402C101000000010110"),)),
    ("next with another invoke id ends it", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), ("C002C200000001", "C402C201-0113"),
      (NEXT + "00000001", "C402C101-0110"))),
    ("a new request ends the transfer", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), (get(ENERGY), ONE_OF), (NEXT + "00000001", "C402C101-0110"))),
    ("the same request begins anew", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), (NEXT + "00000001", "C402C10000000002-"),
      (get(LIST), FIRST_BLOCK), (NEXT + "00000001", "C402C10000000002-"))),
    ("unconfirmed next: silence", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), ("C0028100000001", ""))),
    ("ACTION-next does not continue a GET", EVERY, 60,
     ((get(LIST), FIRST_BLOCK), ("C302C100000001", "C701C11000"))),
    ("no blocks were negotiated: pdu-too-long", EVERY & ~BLOCKS_GET, 60, ((get(LIST), TOO_LONG),)),
    ("with-list in blocks", EVERY, 24,
     ((f"C003C102{ENERGY}00{CLOCK}00", "C402C10000000001000E0200" + ENERGY_VALUE + "00090C07EA-"),
      (NEXT + "00000001", "C402C1010000000200-"))),
    ("SET in blocks", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"),
      ("C103C100000000020100", "C502C100000002"),
      ("C103C10100000003020708", "C503C10000000003"),
      (get(DURATION), "C401C1000600000708"), (put(DURATION, "0600000384"), "C501C100"))),
    ("SET in one last block", EVERY, 0,
     ((f"C102C1{DURATION}000100000001050600000384", "C503C10000000001"),)),
    ("SET: a block lost: 19, nothing is written, the transfer is over", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"),
      ("C103C1010000000303000708", "C503C11300000003"),
      ("C103C1010000000203000708", "C503C11200000002"), (get(DURATION), "C401C1000600000384"))),
    ("SET: a block twice", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"),
      ("C103C100000000010100", "C503C11300000001"), (get(DURATION), "C401C1000600000384"))),
    ("SET: the first block has another number than 1", EVERY, 0,
     ((f"C102C1{DURATION}000000000002020600", "C503C11300000002"),)),
    ("SET: a block without a first one: 18", EVERY, 0,
     (("C103C101000000020100", "C503C11200000002"),)),
    ("SET: another invoke id", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"),
      ("C103C2010000000203000708", "C503C21300000002"))),
    ("SET: another request forgets what came", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"), (get(ENERGY), ONE_OF),
      ("C103C1010000000203000708", "C503C11200000002"))),
    ("SET: blocks that make no value: 12", EVERY, 0,
     ((f"C102C1{DURATION}000000000001020600", "C502C100000001"),
      ("C103C101000000020100", "C503C10C00000002"))),
    ("SET: blocks with octets behind the value: 12", EVERY, 0,
     ((f"C102C1{DURATION}00010000000106060000070800", "C503C10C00000001"),
      (get(DURATION), "C401C1000600000384"))),
    ("SET of what is read only: 3 after the last block", EVERY, 0,
     ((f"C102C1{ENERGY}00010000000105{ENERGY_VALUE}", "C503C10300000001"),)),
    ("SET with-list in blocks: a result each", EVERY, 0,
     ((f"C105C102{DURATION}00{ENERGY}000000000001" + "06020600000384", "C502C100000001"),
      ("C103C10100000002" + "05" + ENERGY_VALUE, "C504C102000300000002"))),
    ("SET with-list in blocks: too few values", EVERY, 0,
     ((f"C105C102{DURATION}00{ENERGY}000100000001" + "06020600000708", "C504C1020C0C00000001"),
      (get(DURATION), "C401C1000600000384"))),
    ("ACTION in blocks", EVERY, 0,
     ((f"C304C1{RELAY_OFF}0000000001010F", "C704C100000001"),
      ("C306C101000000020100", "C701C10000"))),
    ("ACTION: a block lost ends it", EVERY, 0,
     ((f"C304C1{RELAY_OFF}0000000001010F", "C704C100000001"),
      ("C306C101000000030100", "C701C10F00"), ("C306C101000000020100", "C701C11000"))),
    ("ACTION: a block without a first one: 16", EVERY, 0,
     (("C306C101000000020100", "C701C11000"),)),
    ("ACTION-next with nothing running: 16", EVERY, 0, (("C302C100000001", "C701C11000"),)),
    ("ACTION: the first block has another number than 1", EVERY, 0,
     ((f"C304C1{RELAY_OFF}0000000002010F", "C701C10F00"),)),
    ("ACTION with-list in blocks", EVERY, 0,
     ((f"C305C102{RELAY_OFF}{NO_METHOD}000000000103020F00", "C704C100000001"),
      ("C306C101000000020100", "C703C10200000300"))),
    ("ACTION: unconfirmed blocks are not answered", EVERY, 0,
     ((f"C30481{RELAY_OFF}0000000001010F", ""), ("C30681010000000201" + "00", ""))),
)  # fmt: skip


def sum_of(*octets: str) -> str:
    return "".join(octets).replace(" ", "")


ACCESSED: tuple[Row, ...] = (
    ("GET, SET and ACTION in one: data before results", EVERY, 0,
     ((sum_of("D9 40000001 00 03", "01", ENERGY, "02", DURATION, "03", RELAY_OFF,
              "03 00 0600000384 0F00"),
       sum_of("DA 40000001 00 00 03", ENERGY_VALUE, "00 00", "03 0100 0200 0300")),)),
    ("with selection", EVERY, 0,
     ((sum_of("D9 40000002 00 01 04", BUFFER, "02 0204 06 00000001 06 00000001 120003 120003",
              "01 00"),
       sum_of("DA 40000002 00 00 01 0101 0201 06 00000384 01 0100")),)),
    ("SET with a selection where there is none", EVERY, 0,
     ((sum_of("D9 40000002 00 01 05", DURATION, "01 00", "01 06 00000384"),
       sum_of("DA 40000002 00 00 01 00 01 02-")),)),
    ("the service goes on after an error", EVERY, 0,
     ((sum_of("D9 40000003 00 03 01", ABSENT, "01", ENERGY, "03", NO_METHOD, "03 00 00 00"),
       sum_of("DA 40000003 00 00 03 00", ENERGY_VALUE, "00 03 0104 0100 0303")),)),
    ("break on error: what follows is not done", EVERY, 0,
     ((sum_of("D9 60000004 00 03 01", ENERGY, "01", ABSENT, "02", DURATION, "03 00 00 0600000708"),
       sum_of("DA 60000004 00 00 03", ENERGY_VALUE, "00 00 03 0100 0104 02FA")),
      (get(DURATION), "C401C1000600000384"))),
    ("self-descriptive: the specifications come back", EVERY, 0,
     ((sum_of("D9 50000005 00 01 01", ENERGY, "01 00"),
       sum_of("DA 50000005 00 01 01 01", ENERGY, "01", ENERGY_VALUE, "01 0100")),)),
    ("unconfirmed: done and not answered", EVERY, 0,
     ((sum_of("D9 00000006 00 01 02", DURATION, "01 0600000708"), ""),
      (get(DURATION), "C401C1000600000708"), (put(DURATION, "0600000384"), "C501C100"))),
    ("a date-time may be given", EVERY, 0,
     ((sum_of("D9 40000007 0C 07EA0B15060C000000FFC400 01 01", ENERGY, "01 00"),
       sum_of("DA 40000007 00 00 01", ENERGY_VALUE, "01 0100")),)),
    ("attribute 0 needs no negotiation", EVERY & ~ALL_GET & ~LISTS, 0,
     ((sum_of("D9 40000008 00 01 01", ENERGY[:-2], "00 01 00"),
       sum_of("DA 40000008 00 00 01 0203 0906 0100010800FF", ENERGY_VALUE, SCALER_VALUE,
              "01 0100")),)),
    ("selective access does", EVERY & ~SELECTION, 0,
     ((sum_of("D9 40000009 00 01 04", BUFFER, "02 0204 06 00000001 06 00000001 120003 120003",
              "01 00"), sum_of("DA 40000009 00 00 01 00 01 010D")),)),
    ("nothing asked, nothing answered", EVERY, 0,
     (("D9400000010000" + "00", "DA40000001000000" + "00"),)),
    ("it is never cut into blocks of a service: pdu-too-long", EVERY, 60,
     ((sum_of("D9 40000001 00 01 01", LIST, "01 00"), TOO_LONG),)),
)  # fmt: skip

BY_NAME = SINGLE + LISTED + MALFORMED + IN_BLOCKS + ACCESSED


@pytest.fixture(scope="module")
def meter() -> Iterator[Bench]:
    with bench(fed("mt372", 1)) as found:
        reached = opened(found)
        assert one(reached, put(DURATION, "0600000384")) == "C501C100"
        reached.close()
        yield found


def opened(
    meter: Bench, over: str = "wrapper", bits: int = EVERY, pdu: int = 0, context: str = ""
) -> Link:
    """The management client's association."""
    reached = link(meter, over, 1)
    password = meter.meter.identity.passwords[Level.MANAGEMENT]
    named = {"context": context} if context else {}
    opening = aarq(initiate(bits, pdu), mechanism=1, password=password, **named)
    assert outcome(one(reached, opening)) == "0 user 0"
    return reached


def hold(reached: Link, said: str, expected: str) -> None:
    """Say it and compare; a dash stands for anything."""
    answer = one(reached, said)
    if "-" in expected:
        head, tail = expected.split("-")
        assert answer.startswith(head), (said, answer)
        assert answer.endswith(tail), (said, answer)
    else:
        assert answer == expected, (said, answer)


@pytest.mark.parametrize(
    ("bits", "pdu", "talk"), [row[1:] for row in BY_NAME], ids=[row[0] for row in BY_NAME]
)
def test_a_service_by_logical_name(
    meter: Bench, bits: int, pdu: int, talk: tuple[tuple[str, str], ...]
) -> None:
    reached = opened(meter, "wrapper", bits, pdu)
    for said, expected in talk:
        hold(reached, said, expected)
    reached.close()


@pytest.mark.parametrize("over", ["hdlc", "udp", "serial"])
def test_the_same_over_every_other_link(meter: Bench, over: str) -> None:
    for _, bits, pdu, talk in BY_NAME:
        if bits != EVERY or pdu:
            continue
        reached = opened(meter, over, bits, pdu)
        for said, expected in talk:
            hold(reached, said, expected)
        if over == "udp":
            one(reached, "6200")
        reached.close()


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["wrapper", "hdlc"])
@pytest.mark.parametrize("pdu", [12, 13, 20, 64, 127, 128, 129, 255, 256, 257, 300, 1024, 65535, 0])
def test_no_answer_is_longer_than_the_client_takes(meter: Bench, over: str, pdu: int) -> None:
    reached = opened(meter, over, EVERY, pdu)
    whole = b""
    answer = bytes.fromhex(
        one(reached, get(BUFFER, selection="0102020406000000010600000005120001120000"))
    )
    if answer[1] == 1:
        whole = answer[4:]
    block = 1
    while answer[1] == 2:
        assert len(answer) <= pdu
        last, number, choice = answer[3], int.from_bytes(answer[4:8], "big"), answer[8]
        assert (number, choice) == (block, 0)
        size, start = answer[9], 10
        if size > 0x80:
            size, start = int.from_bytes(answer[10 : 10 + (size & 0x7F)], "big"), 10 + (size & 0x7F)
        assert size == len(answer) - start
        whole += answer[start:]
        if last:
            break
        answer = bytes.fromhex(one(reached, f"{NEXT}{block:08X}"))
        block += 1
    assert whole.startswith(b"\x01\x05")
    assert len(whole) == 2 + 5 * (2 + 14 + 2 + 5 + 5)
    assert one(reached, NEXT + f"{block:08X}")[-4:] == "0110"
    reached.close()


@pytest.mark.parametrize("octets", [2048, 2049, 60_000])
def test_a_request_longer_than_the_meter_takes_is_told(meter: Bench, octets: int) -> None:
    reached = opened(meter)
    value = "0982" + f"{octets - 17:04X}" + "00" * (octets - 17)
    said = put(DURATION, value)
    assert len(said) // 2 == octets
    assert one(reached, said) == ("C501C10C" if octets <= 2048 else TOO_LONG)
    assert one(reached, get(ENERGY)) == ONE_OF
    reached.close()


# --- general block transfer -----------------------------------------------------------------------


def block(number: int, seen: int, octets: str = "", *, window: int = 3, last: bool = True,
          stream: bool = False) -> str:  # fmt: skip
    control = (0x80 if last else 0) | (0x40 if stream else 0) | window
    return f"E0{control:02X}{number:04X}{seen:04X}" + tlv(0, octets)[2:]


def parts(answers: list[bytes]) -> list[tuple[bool, bool, int, int, bytes]]:
    """Last, streaming, number, acknowledged, data of each block."""
    found = []
    for answer in answers:
        assert answer[0] == 0xE0
        size, start = answer[6], 7
        if size > 0x80:
            size, start = int.from_bytes(answer[7 : 7 + (size & 0x7F)], "big"), 7 + (size & 0x7F)
        assert len(answer) == start + size
        found.append(
            (bool(answer[1] & 0x80), bool(answer[1] & 0x40), int.from_bytes(answer[2:4], "big"),
             int.from_bytes(answer[4:6], "big"), answer[start:])
        )  # fmt: skip
    return found


def ask_block(reached: Link, said: str) -> list[tuple[bool, bool, int, int, bytes]]:
    return parts(reached.ask(bytes.fromhex(said)))


def whole_list(meter: Bench) -> bytes:
    reached = opened(meter, "wrapper", EVERY, 0)
    (answer,) = reached.ask(bytes.fromhex(get(LIST)))
    reached.close()
    return answer


BLOCKS_ONLY = FULL & ~(BLOCKS_GET | BLOCKS_SET | BLOCKS_ACTION)


@pytest.mark.parametrize("over", ["wrapper", "udp", "hdlc"])
@pytest.mark.parametrize("window", [1, 3, 63])
def test_a_long_answer_streams_in_the_clients_window(meter: Bench, over: str, window: int) -> None:
    reached = opened(meter, over, BLOCKS_ONLY, 400)
    found = ask_block(reached, block(1, 0, get(LIST), window=window))
    whole, own = b"", 1
    while True:
        assert 1 <= len(found) <= window
        numbers = [each[2] for each in found]
        assert numbers == list(range(numbers[0], numbers[0] + len(found)))
        assert [each[1] for each in found] == [True] * (len(found) - 1) + [False]
        assert all(each[3] == own for each in found)  # it has every block of ours
        whole += b"".join(each[4] for each in found)
        if found[-1][0]:
            break
        own += 1
        found = ask_block(reached, block(own, numbers[-1], window=window))
    assert whole == whole_list(meter)
    if over == "udp":
        one(reached, "6200")
    reached.close()


def test_lost_blocks_are_sent_again_from_the_gap(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    first = ask_block(reached, block(1, 0, get(LIST)))
    assert [each[2] for each in first] == [1, 2, 3]
    again = ask_block(reached, block(2, 1, window=1))  # 2 and 3 were lost
    assert again == [(False, False, 2, 2, first[1][4])]
    more = ask_block(reached, block(3, 2))
    assert [each[2] for each in more] == [3, 4, 5]
    assert more[0][4] == first[2][4]
    same = ask_block(reached, block(4, 2))  # all three were lost
    assert [each[2:3] + each[4:] for each in same] == [each[2:3] + each[4:] for each in more]
    reached.close()


def test_a_request_in_blocks_is_acknowledged_and_executed_once(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    said = put(DURATION, "0600000708")
    first, second, third = said[:12], said[12:24], said[24:]
    assert ask_block(reached, block(1, 0, first, last=False, stream=True)) == []
    # The second is lost: what stands without gap is acknowledged.
    ((last, _, number, acknowledged, empty),) = ask_block(reached, block(3, 0, third))
    assert (last, number, acknowledged, empty) == (True, 1, 1, b"")
    ((_, _, _, acknowledged, answer),) = ask_block(reached, block(2, 1, second, last=False))
    assert acknowledged == 3
    assert answer.hex().upper() == "C501C100"
    assert one(reached, get(DURATION)) == "C401C1000600000708"
    assert one(reached, put(DURATION, "0600000384")) == "C501C100"
    reached.close()


def test_duplicates_are_ignored(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    said = get(ENERGY)
    for _ in range(3):
        assert ask_block(reached, block(1, 0, said[:8], last=False, stream=True)) == []
    (answer,) = ask_block(reached, block(2, 0, said[8:]))
    assert answer[4].hex().upper() == ONE_OF
    reached.close()


def test_block_number_0_aborts_and_another_request_too(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    assert len(ask_block(reached, block(1, 0, get(LIST)))) == 3
    assert one(reached, block(0, 0)) == ""
    assert one(reached, get(ENERGY)) == ONE_OF
    assert len(ask_block(reached, block(1, 0, get(LIST)))) == 3
    assert one(reached, get(ENERGY)) == ONE_OF
    assert one(reached, block(2, 3)) == ""  # nothing is under way any more
    assert one(reached, get(ENERGY)) == ONE_OF
    reached.close()


def test_an_unconfirmed_request_in_blocks_is_done_without_an_answer(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    said = put(DURATION, "0600000708", "81")
    assert one(reached, block(1, 0, said[:20], window=0, last=False)) == ""
    assert one(reached, block(2, 0, said[20:], window=0)) == ""
    assert one(reached, get(DURATION)) == "C401C1000600000708"
    assert one(reached, put(DURATION, "0600000384")) == "C501C100"
    reached.close()


@pytest.mark.parametrize("said", ["E0", "E083", "E08300010000", "E0830001000005C001"])
def test_half_a_block_is_told(meter: Bench, said: str) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    assert one(reached, said).startswith(ERRORS)
    assert one(reached, get(ENERGY)) == ONE_OF
    reached.close()


def test_a_block_transfer_inside_another_is_refused(meter: Bench) -> None:
    reached = opened(meter, "wrapper", BLOCKS_ONLY, 400)
    (answer,) = reached.ask(bytes.fromhex(block(1, 0, block(1, 0, get(ENERGY)))))
    assert ERRORS in answer.hex().upper()
    assert one(reached, get(ENERGY)) == ONE_OF
    reached.close()


# --- short names ----------------------------------------------------------------------------------

READ, WRITE, UNCONFIRMED_WRITE, PARAMETERS = 0x100000, 0x080000, 0x040000, 0x20
SHORT = 0x3C1BA0 & ~GENERAL_BLOCKS
CLOCK_BASE, ENERGY_BASE, ADDRESS_NAME, RELAY_BASE = 0x0100, 0x1470, 0x2148, 0x0900


@pytest.fixture(scope="module")
def short() -> Iterator[Bench]:
    with bench(fed("mt372", 1, options=MeterOptions(short_names=True))) as found:
        reached = opened(found, "wrapper", SHORT, 0, SN_CONTEXT)
        name = f"{base_of(found, '0-0:17.0.0') + 40:04X}"
        assert one(reached, f"060102{name}010600000384") == "0D0100"
        reached.close()
        yield found


def base_of(meter: Bench, obis: str) -> int:
    names = meter.meter.tree.short_names
    return next(base for base, item in names.items() if str(item.obis).startswith(obis))


NAMES = {"E": ("1-0:1.8.0", 8), "P": ("0-0:17.0.0", 40), "B": ("1-0:99.1.0", 8),
         "R": ("0-0:96.3.10", 0x20), "L": ("0-0:96.3.10", 0), "N": ("0-0:42.0.0", 8)}  # fmt: skip
"""Energy's value, the limiter's duration, the profile's buffer, the relay's remote_disconnect, …"""

BY_SHORT_NAME: tuple[Row, ...] = (
    ("Read", SHORT, 0, (("050102{E}", f"0C0100{ENERGY_VALUE}"),)),
    ("Read of several: each its own result", SHORT, 0,
     (("050302{E}027FF802{E}", f"0C0300{ENERGY_VALUE}010400{ENERGY_VALUE}"),)),
    ("several were not negotiated", SHORT & ~LISTS, 0, (("050202{E}02{E}", NOT_SUPPORTED),)),
    ("an unknown name: 4", SHORT, 0, (("0501027FF8", "0C010104"),)),
    ("a name between two attributes", SHORT, 0, (("0501020001", "0C0101-"),)),
    ("the Association SN has FA00; its list FA08 has signed names", SHORT, 0,
     (("050102FA00", "0C010009060000280000FF"), ("050102FA08", "0C010001-"))),
    ("the logical device name stands at FD08", SHORT, 0, (("050102FD08", "0C010009-"),)),
    ("SAP assignment stands at FC08", SHORT, 0, (("050102FC08", "0C010001010202120001-"),)),
    ("a parameter: entries of a profile", SHORT, 0,
     (("050104{B}02020406000000010600000001120003120003", "0C0100010102010600000384"),)),
    ("parameters were not negotiated: 13", SHORT & ~PARAMETERS, 0,
     (("050104{B}02020406000000010600000001120003120003", "0C01010D"),)),
    ("an unknown access specification", SHORT, 0,
     (("050103{E}", "0C0101-"), ("0501FF", "0C0101-"), ("060103{E}0100", "0D0101-"),
      ("050102{E}", f"0C0100{ENERGY_VALUE}"))),
    ("half a request", SHORT, 0,
     (("050102", "0E05-"), ("0502", "0E05-"), ("05", "0E05-"), ("060102{P}", "0E06-"),
      ("060102{P}01", "0E06-"), ("060202{P}02{P}010600000708", "0E06-"),
      ("050102{E}", f"0C0100{ENERGY_VALUE}"))),
    ("Write", SHORT, 0,
     (("060102{P}010600000708", "0D0100"), ("050102{P}", "0C01000600000708"),
      ("060102{P}010600000384", "0D0100"))),
    ("Write of several: each its own result", SHORT, 0,
     (("060302{E}02{P}027FF803000600000384" + "00", "0D030103000104"),)),
    ("Write of another type: 12", SHORT, 0, (("060102{P}010900", "0D01010C"),)),
    ("UnconfirmedWrite is done and not answered", SHORT, 0,
     (("160102{P}010600000708", ""), ("050102{P}", "0C01000600000708"),
      ("160102{P}010600000384", ""), ("050102{P}", "0C01000600000384"))),
    ("UnconfirmedWrite was not negotiated: nothing is done", SHORT & ~UNCONFIRMED_WRITE, 0,
     (("160102{P}010600000708", ""), ("050102{P}", "0C01000600000384"))),
    ("Read was not negotiated", SHORT & ~READ, 0, (("050102{E}", NOT_SUPPORTED),)),
    ("Write was not negotiated", SHORT & ~WRITE, 0,
     (("060102{P}010600000708", NOT_SUPPORTED), ("050102{P}", "0C01000600000384"))),
    ("a method without an answer, by Write", SHORT, 0, (("060102{R}010F00", "0D0100"),)),
    ("a method by Read", SHORT, 0, (("050104{R}000F00", "0C010000"),)),
    ("services by logical name are not served", SHORT, 0,
     ((get(ENERGY), ERRORS + "-"), (put(DURATION, "0600000708"), ERRORS + "-"),
      ("050102{P}", "0C01000600000384"))),
    ("a long answer in blocks", SHORT, 60,
     (("050102FA08", "0C010200000133-"), ("0501050001", "0C0102000002-"),
      ("0501050002", "0C0102000003-"))),
    ("a wrong block: 19, and it is over", SHORT, 60,
     (("050102FA08", "0C010200000133-"), ("0501050002", "0C010113"), ("0501050001", "0C010110"))),
    ("a block without a transfer: 16", SHORT, 60, (("0501050001", "0C010110"),)),
    ("another request ends it", SHORT, 60,
     (("050102FA08", "0C0102-"), ("050102{E}", f"0C0100{ENERGY_VALUE}"),
      ("0501050001", "0C010110"))),
    ("no blocks were negotiated", SHORT & ~BLOCKS_GET, 60, (("050102FA08", TOO_LONG),)),
    ("a long Read comes in blocks", SHORT, 0,
     (("05010600000102" + "0102", "0C01030001"), ("05010601000202{E}", f"0C0100{ENERGY_VALUE}"))),
    ("a Read in blocks: one lost", SHORT, 0,
     (("05010600000102" + "0102", "0C01030001"), ("05010601000302{E}", "0C010113"),
      ("05010601000202{E}", "0C0101-"))),
    ("a Read in blocks was not negotiated", SHORT & ~BLOCKS_GET, 0,
     (("05010600000102" + "0102", NOT_SUPPORTED),)),
    ("a long Write comes in blocks", SHORT, 0,
     (("0601070000010109040102{P}", "0D01020001"),
      ("060107010002010906010600000708", "0D0100"),
      ("050102{P}", "0C01000600000708"), ("060102{P}010600000384", "0D0100"))),
    ("a Write in blocks: one lost, nothing is written", SHORT, 0,
     (("0601070000010109040102{P}", "0D01020001"),
      ("060107010003010906010600000708", "0D010113"), ("050102{P}", "0C01000600000384"))),
    ("a Write in blocks was not negotiated", SHORT & ~BLOCKS_SET, 0,
     (("0601070000010109040102{P}", NOT_SUPPORTED),)),
    ("blocks inside of blocks", SHORT, 0,
     (("05010601000107" + "01050600000100", "0C0101-"), ("050102{E}", f"0C0100{ENERGY_VALUE}"))),
)  # fmt: skip


@pytest.mark.parametrize("over", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    ("bits", "pdu", "talk"),
    [row[1:] for row in BY_SHORT_NAME],
    ids=[row[0] for row in BY_SHORT_NAME],
)
def test_a_service_by_short_name(
    short: Bench, over: str, bits: int, pdu: int, talk: tuple[tuple[str, str], ...]
) -> None:
    names = {
        letter: f"{base_of(short, obis) + offset:04X}" for letter, (obis, offset) in NAMES.items()
    }
    reached = opened(short, over, bits, pdu, SN_CONTEXT)
    for said, expected in talk:
        hold(reached, said.format(**names), expected)
    reached.close()


def test_the_list_of_short_names_is_signed_and_complete(short: Bench) -> None:
    reached = opened(short, "wrapper", SHORT, 0, SN_CONTEXT)
    (answer,) = reached.ask(bytes.fromhex("050102FA08"))
    reached.close()
    names = short.meter.tree.short_names
    assert answer[:4] == bytes.fromhex("0C010001")
    assert bytes.fromhex("020410FA0012000C1100" + "09060000280000FF") in answer
    assert answer.count(bytes.fromhex("020410")) == len(names)
    assert all(base % 8 == 0 for base in names)
