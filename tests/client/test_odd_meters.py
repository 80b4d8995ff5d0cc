"""What a robust client tolerates: a scripted odd meter for every deviation that the field knows.

Each meter is a right one whose octets are bent on their way: what it says is as in the row, the
rest of the conversation is whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from blathy.client import (
    Meter,
    MeterError,
    ObjectCache,
    ObjectRefused,
    Untrusted,
    VolatileCounterStore,
)
from blathy.clock import Instant, Zone
from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef, Requester
from blathy.obis import Obis
from blathy.quantity import Quantity, Unit
from blathy.transport.line import Line
from blathy.transport.memory import SessionLine
from blathy.wire import acse, apdu, hdlc, wrapper
from blathy.wire.server import ServerAssociation
from tests.client.small_meter import (
    CLOCK_CODE,
    DAY_START,
    PROFILE,
    SECURE,
    TITLE,
    VOLTAGE,
    SmallMeter,
    address,
    device,
    line,
)
from tests.virtual_time import run_in_virtual_time

READ = Quantity(1_234_567, 0, Unit.WH)
NOW = Instant(0)
Bend = Callable[[bytes, bytes], bytes]
"""(request, answer) -> the answer as this meter gives it; empty for silence."""


class OddLine(Line):
    """A wrapper connection to a meter whose every APDU is bent."""

    def __init__(self, model: SmallMeter, bend: Bend) -> None:
        super().__init__("an odd meter")
        self._device = device(model)
        self._bend = bend
        self._stream = wrapper.WrapperStream()
        self._associations: dict[int, ServerAssociation] = {}

    def send(self, data: bytes) -> None:
        for packet in self._stream.receive(data, NOW):
            client = packet.source
            association = self._associations.setdefault(
                client, ServerAssociation(self._device, client)
            )
            for answer in association.receive_apdu(packet.apdu, NOW) or [b""]:
                if bent := self._bend(packet.apdu, answer):
                    self.feed(packet.reply(bent).encode())


def run(test: Any) -> Any:
    return run_in_virtual_time(lambda: test)


def odd(bend: Bend, query: str = "client=16", model: SmallMeter | None = None) -> Meter:
    where = replace(address(query), timeout_s=0.3)
    return Meter.connect(
        where, line=OddLine(model or SmallMeter(), bend), cache=ObjectCache(),
        counters=VolatileCounterStore(),
    )  # fmt: skip


def reads(bend: Bend, query: str = "client=16") -> None:
    """The meter is read as if nothing were odd."""

    async def test() -> None:
        async with odd(bend, query) as meter:
            assert await meter.read("1-0:1.8.0") == READ
            assert len(await meter.profile("1-0:99.1.0")) == 96

    run(test())


def of_aare(change: Callable[[acse.Aare], acse.Aare]) -> Bend:
    def bend(_request: bytes, answer: bytes) -> bytes:
        return change(acse.decode_aare(answer)).encode() if answer[:1] == b"\x61" else answer

    return bend


def of_response(change: Callable[[apdu.InitiateResponse], bytes]) -> Bend:
    def bent(aare: acse.Aare) -> acse.Aare:
        response = apdu.decode(aare.user_information)
        assert isinstance(response, apdu.InitiateResponse)
        return replace(aare, user_information=change(response))

    return of_aare(bent)


def on(head: str, answer: str) -> Bend:
    """Whatever is asked with these octets in front gets this answer."""

    def bend(request: bytes, real: bytes) -> bytes:
        return bytes.fromhex(answer) if request.hex().startswith(head.lower()) else real

    return bend


# --- the association ------------------------------------------------------------------------------

AARES: tuple[tuple[str, str, Bend], ...] = (
    ("a wrong VAA name", "client=16", of_response(lambda r: replace(r, vaa_name=0x1234).encode())),
    ("the VAA name of short names", "client=16",
     of_response(lambda r: replace(r, vaa_name=0xFA00).encode())),
    ("no VAA name", "client=16", of_response(lambda r: r.encode()[:-2])),
    ("conformance that was never proposed", "client=16",
     of_response(lambda r: replace(r, conformance=0xFFFFFF).encode())),
    ("a PDU size of 0", "client=16", of_response(lambda r: replace(r, max_pdu_size=0).encode())),
    ("a PDU size of FFFF", "client=16",
     of_response(lambda r: replace(r, max_pdu_size=0xFFFF).encode())),
    ("version 7", "client=16", of_response(lambda r: replace(r, version=7).encode())),
    ("quality of service", "client=16",
     of_response(lambda r: replace(r, quality_of_service=1).encode())),
    ("a single 5F", "client=16",
     of_response(lambda r: r.encode().replace(b"\x5f\x1f\x04", b"\x5f\x04"))),
    ("protocol version 1", "client=16",
     of_aare(lambda a: replace(a, protocol_version=b"\x07\x80"))),
    ("responder requirements without bits", "client=16",
     of_aare(lambda a: replace(a, responder_requirements=b"\x07\x00"))),
    ("a mechanism named where there is none", "client=16",
     of_aare(lambda a: replace(a, mechanism=0))),
    ("a title nobody needs", "client=16", of_aare(lambda a: replace(a, responding_ap_title=TITLE))),
    ("octets behind the AARE", "client=16",
     lambda _, answer: answer + b"\x00\x00" if answer[:1] == b"\x61" else answer),
    ("LLS with the mechanism and an empty value", "client=2&auth=lls&password=12345678",
     of_aare(lambda a: replace(a, mechanism=1, responder_requirements=b"\x07\x80"))),
    ("no title, but it is known", SECURE + f"&meter_title={TITLE.hex()}",
     of_aare(lambda a: replace(a, responding_ap_title=None))),
    ("the title as hexadecimal text", SECURE,
     of_aare(lambda a: replace(a, responding_ap_title=TITLE.hex().encode()))),
    ("no responder requirements with HLS", SECURE,
     of_aare(lambda a: replace(a, responder_requirements=None))),
    ("no mechanism with HLS", SECURE, of_aare(lambda a: replace(a, mechanism=None))),
    ("accepted with diagnostic 0 in HLS", SECURE, of_aare(lambda a: replace(a, diagnostic=0))),
)  # fmt: skip


@pytest.mark.parametrize(("query", "bend"), [r[1:] for r in AARES], ids=[r[0] for r in AARES])
def test_an_odd_aare_is_taken(query: str, bend: Bend) -> None:
    reads(bend, query)


OWN_TERMS = "6129A109060760857405080101A203020101A305A103020102BE10040E0800065F1F0400001E1D04000007"


@pytest.mark.parametrize(
    "answer",
    [
        "6117A109060760857405080101A203020101A305A10302010D",
        "6100", "6105A203020101", "610DA203020101A306A1030201010000", "D80101", "D80102", "D80106",
        "D8010600000000", "0E010601",
        OWN_TERMS,
    ],
)  # fmt: skip
def test_every_refusal_is_told_in_words(answer: str) -> None:
    async def test() -> None:
        with pytest.raises(MeterError) as refused:
            await odd(on("60", answer)).open()
        assert refused.value.remedy

    run(test())


def test_a_fourth_pass_without_data_is_a_server_that_does_not_authenticate_itself() -> None:
    for answer in ("C701C10000", "C701C1000100" + "0900", "C701C100010103", "C701C103" + "00"):
        query = "client=3&auth=hls6&password=12345678"

        def bend(request: bytes, real: bytes, answer: str = answer) -> bytes:
            return bytes.fromhex(answer) if request[:1] == b"\xc3" else real

        async def test(bend: Bend = bend, query: str = query) -> str:
            with pytest.raises(Untrusted) as refused:
                await odd(bend, query).open()
            return str(refused.value)

        text = run(test())
        if answer == "C701C10000":
            assert "does not authenticate itself" in text


@pytest.mark.parametrize("octets", [b"8-octets", TITLE])
def test_a_title_of_eight_characters_is_a_title(octets: bytes) -> None:
    async def test() -> bytes:
        bend = of_aare(lambda a: replace(a, responding_ap_title=octets))
        meter = odd(bend, "client=2&auth=lls&password=12345678")
        async with meter:
            return meter.conversation.association.server_title

    assert run(test()) == octets


@pytest.mark.parametrize("switched", [False, True])
def test_old_meters_require_or_forbid_the_protocol_version(switched: bool) -> None:
    def bend(request: bytes, answer: bytes) -> bytes:
        if request[:1] != b"\x60":
            return answer
        said = acse.decode_aarq(request).protocol_version is not None
        return answer if said is switched else bytes.fromhex("6107A203020101A300")

    reads(bend, "client=16" + ("&acse_version=1" if switched else ""))


# --- the release ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    ["", "6300", "6303800100", "63058003020100", "6303800101", "620380011E", "D80101", "D80102",
     "D802", "0E060201", "63", "61", "C401C100",
     "63158001" + "00BE10040E0800065F1F0400001E1D04000007"],
)  # fmt: skip
def test_the_end_comes_whatever_the_meter_says_to_it(answer: str) -> None:
    async def test() -> bool:
        meter = odd(on("62", answer))
        await meter.open()
        conversation = meter.conversation
        await meter.close()
        return conversation._link.line.ended

    assert run(test())


# --- answers --------------------------------------------------------------------------------------


def invoke(number: int | None, *, keep: int = 0xF0) -> Bend:
    """Another invoke id in every answer; None counts by itself."""
    count = iter(range(100, 100_000))

    def bend(_request: bytes, answer: bytes) -> bytes:
        if answer[:1] not in {b"\xc4", b"\xc5", b"\xc7"}:
            return answer
        own = next(count) & 0x0F if number is None else number
        return answer[:2] + bytes((answer[2] & keep | own,)) + answer[3:]

    return bend


@pytest.mark.parametrize("number", [0, 1, 5, None])
def test_invoke_ids_that_are_not_copied(number: int | None) -> None:
    reads(invoke(number))


@pytest.mark.parametrize("keep", [0x7F, 0xBF, 0x3F, 0x0F])
def test_another_priority_or_service_class_in_the_answer(keep: int) -> None:
    def bend(_request: bytes, answer: bytes) -> bytes:
        if answer[:1] != b"\xc4":
            return answer
        return answer[:2] + bytes((answer[2] & keep,)) + answer[3:]

    reads(bend)


def asks_for(request: bytes, class_id: int, obis: Obis, attribute: int) -> bool:
    """Whether this is a GET of one attribute in clear."""
    wanted = class_id.to_bytes(2, "big") + obis + bytes((attribute,))
    return request[:2] == b"\xc0\x01" and request[3:12] == wanted


def valued(class_id: int, obis: Obis, attribute: int, value: bytes) -> Bend:
    """One attribute has this value (A-XDR)."""

    def bend(request: bytes, answer: bytes) -> bytes:
        if asks_for(request, class_id, obis, attribute):
            return b"\xc4\x01" + request[2:3] + b"\x00" + value
        return answer

    return bend


def test_answers_longer_than_the_client_said_it_takes() -> None:
    async def test() -> int:
        whole = SmallMeter().get(AttributeRef(7, PROFILE, 2), Requester(16, 1, PROFILE))
        async with odd(valued(7, PROFILE, 2, whole), "client=16&pdu=128") as meter:
            return len(await meter.profile("1-0:99.1.0"))

    assert run(test()) == 96


@pytest.mark.parametrize("error", ["D80101", "D80102", "D80103", "D80202", "D80106", "0E050101"])
@pytest.mark.parametrize("head", ["60", "c001", "c003", "c101", "c301", "62"])
def test_an_error_of_three_octets_in_every_state(head: str, error: str) -> None:
    async def test() -> None:
        async with odd(on(head, error)) as meter:
            await meter.read("1-0:1.8.0")
            await meter.profile("1-0:99.1.0")
            await meter.set("0-0:1.0.0", axdr.octets(bytes(12)))
            await meter.action("0-0:96.3.10", "remote_disconnect")

    if head == "62" or (head == "c003" and error != "D80106"):
        run(test())  # nobody cares, or everything is asked for one by one
    else:
        with pytest.raises(MeterError, match=r"."):
            run(test())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("0E050606", "the server refuses to initiate"),  # class 6, not the 6 of a counter error
        ("CC071F00000001AABB", "it sent only a ciphered APDU, and there are no keys to read it"),
        ("C501C100", "it sent only an APDU C5 that answers no request; see it with"),
    ],
)
def test_what_a_meter_says_instead_of_an_answer_is_told(answer: str, says: str) -> None:
    async def test() -> None:
        async with odd(on("C0", answer)) as meter:
            await meter.read("0-0:42.0.0")

    with pytest.raises(MeterError, match=says) as found:
        run(test())
    assert "counter" not in str(found.value)


def test_plain_errors_to_ciphered_requests_and_ciphered_ones_to_plain() -> None:
    async def test() -> None:
        meter = odd(on("c8", "D80102"), SECURE)
        await meter.open()
        with pytest.raises(MeterError):
            await meter.read("1-0:1.8.0")
        await meter.close()
        strange = "CC1630" + "00000001" + "00" * 17
        with pytest.raises(MeterError):
            async with odd(on("c001", strange)) as one:
                await one.read("1-0:1.8.0")

    run(test())


@pytest.mark.parametrize("code", [1, 2, 3, 4, 9, 11, 12, 13, 250, 99])
def test_one_attribute_refused_with_any_code_leaves_the_others(code: int) -> None:
    def bend(request: bytes, answer: bytes) -> bytes:
        if asks_for(request, 3, VOLTAGE, 2):
            return bytes((0xC4, 1, request[2], 1, code))
        return answer

    async def test() -> None:
        async with odd(bend, "client=4") as meter:  # without lists
            voltage, energy = await meter.read_many(["1-0:32.7.0", "1-0:1.8.0"])
            assert isinstance(voltage.error, ObjectRefused)
            assert energy.value == READ

    run(test())


# --- times ----------------------------------------------------------------------------------------

MOMENT = datetime(2026, 3, 10, 6, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        "090C07EA030A0206 1E0000000000",  # octet-string, UTC
        "1907EA030A02061E0000000000",  # date-time
        "090C07EA030A02061E00FF000000",  # no hundredths
        "090C07EA030AFF061E0000000000",  # no day of the week
        "090C07EA030A02061E00008000FF",  # no deviation, no status
        "090C07EA030A02061E0000000080",  # daylight saving
        "090C07EA030A02071E0000FFC400",  # UTC+1 as the standard writes it
    ],
)
def test_every_form_of_the_clock(value: str) -> None:
    async def test() -> float:
        async with odd(valued(8, CLOCK_CODE, 2, bytes.fromhex(value))) as meter:
            return float((await meter.clock()).utc(Zone("UTC")))

    assert run(test()) == MOMENT


@pytest.mark.parametrize(
    "value", ["090CFFFFFFFFFFFFFFFFFF8000FF", "090C" + "00" * 12, "0900", "00", "090507EA030A02"]
)
def test_a_clock_that_was_never_set_is_told_in_words(value: str) -> None:
    async def test() -> None:
        async with odd(valued(8, CLOCK_CODE, 2, bytes.fromhex(value))) as meter:
            (await meter.clock()).utc()

    with pytest.raises((MeterError, ValueError), match=r"."):
        run(test())


# --- profiles -------------------------------------------------------------------------------------


def stamp(quarter: int, tag: str = "090C", tail: str = "00000000") -> str:
    moment = datetime.fromtimestamp(DAY_START + 900 * quarter, UTC)
    day = f"{moment.year:04X}{moment.month:02X}{moment.day:02X}FF"
    return f"{tag}{day}{moment.hour:02X}{moment.minute:02X}00{tail}"


def rows(*cells: str) -> str:
    return f"01{len(cells):02X}" + "".join(f"0202{cell}" for cell in cells)


def u32(value: int) -> str:
    return f"06{value:08X}"


PROFILES: tuple[tuple[str, str, list[int]], ...] = (
    # oddity, buffer, the values in the order of time
    ("as it should be", rows(*(stamp(n) + u32(n) for n in range(1, 5))), [1, 2, 3, 4]),
    ("newest first", rows(*(stamp(n) + u32(n) for n in (4, 3, 2, 1))), [1, 2, 3, 4]),
    ("null-data where nothing changed", rows(stamp(1) + u32(7), stamp(2) + "00"), [7, 7]),
    ("null-data for the next clock", rows(stamp(1) + u32(1), "00" + u32(2), "00" + u32(3)),
     [1, 2, 3]),
    ("date-time instead of octet-string",
     rows(stamp(1, "19") + u32(1), stamp(2, "19") + u32(2)), [1, 2]),
    ("no deviation", rows(stamp(1, tail="008000FF") + u32(1), stamp(2, tail="008000FF") + u32(2)),
     [1, 2]),
    ("values of another width", rows(stamp(1) + "120001", stamp(2) + u32(2)), [1, 2]),
    ("nothing", "0100", []),
)  # fmt: skip


@pytest.mark.parametrize(("buffer", "values"), [r[1:] for r in PROFILES],
                         ids=[r[0] for r in PROFILES])  # fmt: skip
def test_an_odd_profile(buffer: str, values: list[int]) -> None:
    async def test() -> list[int]:
        async with odd(valued(7, PROFILE, 2, bytes.fromhex(buffer))) as meter:
            profile = await meter.profile("1-0:99.1.0")
            inside = sorted(profile, key=lambda row: row.utc_s or 0)
            return [int(float(row["1-0:1.8.0"])) for row in inside]

    assert run(test()) == values


def test_the_hour_that_comes_twice_is_kept_twice() -> None:
    """03:00 summer time to 02:00 winter time: the clock column shows every quarter twice."""
    summer = [(1, n, "FF8880") for n in (0, 15, 30, 45)]
    winter = [(1, n, "FFC400") for n in (0, 15, 30, 45)]
    cells = [
        f"090C07EA0A1907{hour + 1:02X}{minute:02X}0000{tail}" + u32(number)
        for number, (hour, minute, tail) in enumerate(summer + winter)
    ]

    async def test() -> list[float]:
        async with odd(valued(7, PROFILE, 2, bytes.fromhex(rows(*cells)))) as meter:
            profile = await meter.profile("1-0:99.1.0")
            assert len(profile) == 8
            return [float(row.utc_s or 0) for row in profile]

    times = run(test())
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [900.0] * 7


# --- HDLC -----------------------------------------------------------------------------------------


class OddHdlc(SessionLine):
    """A meter behind HDLC whose octets are bent on their way back."""

    def __init__(self, bend: Callable[[bytes], bytes], *, echo: bool = False) -> None:
        made = line(device(SmallMeter()))
        super().__init__(made._session)
        self._bend, self._echo = bend, echo

    def transmit(self, data: bytes) -> None:
        super().transmit(self._bend(data) if data else data)

    def send(self, data: bytes) -> None:
        if self._echo:
            self.feed(data)
        super().send(data)


def ua_of(information: str) -> Callable[[bytes], bytes]:
    def bend(data: bytes) -> bytes:
        out = b""
        for found in hdlc.FrameDecoder().receive(data, NOW):
            is_ua = found.kind is hdlc.FrameType.UA
            bent = replace(found, information=bytes.fromhex(information)) if is_ua else found
            out += bent.encode()
        return out

    return bend


HDLC: tuple[tuple[str, Callable[[bytes], bytes], bool], ...] = (
    ("UA without parameters", ua_of(""), False),
    ("UA with an empty group", ua_of("818000"), False),
    ("lengths of two octets", ua_of("8180140502008006020080070400000001080400000001"), False),
    ("windows of one octet", ua_of("81800C050180060180070101080101"), False),
    ("a window bigger than asked", ua_of("818012050180060180070400000007080400000007"), False),
    ("sizes bigger than asked", ua_of("81800805020FFF06020FFF"), False),
    ("a group length that is wrong", ua_of("8180FF050180060180"), False),
    ("an unknown parameter", ua_of("818009550101050180060180"), False),
    ("an echo of our own octets", lambda data: data, True),
    ("leading FF", lambda data: b"\xff\xff\xff" + data, False),
    ("leading zeros", lambda data: bytes(20) + data, False),
    ("two flags between frames", lambda data: b"\x7e" + data + b"\x7e", False),
    ("a flag and noise", lambda data: b"\x7e\x00\x55" + data, False),
)  # fmt: skip


@pytest.mark.parametrize(("bend", "echo"), [r[1:] for r in HDLC], ids=[r[0] for r in HDLC])
def test_an_odd_hdlc_meter_is_read(bend: Callable[[bytes], bytes], echo: bool) -> None:
    async def test() -> None:
        where = replace(address("client=16&frame=128", "dlms+hdlc"), timeout_s=3)
        meter = Meter.connect(where, line=OddHdlc(bend, echo=echo), cache=ObjectCache())
        async with meter:
            assert await meter.read("1-0:1.8.0") == READ
            assert len(await meter.profile("1-0:99.1.0")) == 96

    run(test())
