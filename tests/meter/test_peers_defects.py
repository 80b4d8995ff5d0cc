"""What other stacks do wrong, done right: a rule and its proof for each defect that was seen.

The rules are named after what a user of gurux-dlms 1.0.203, Gurux C or dlms-cosem 25.1.0 runs into.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, ObjectRefused, Refused, VolatileCounterStore
from blathy.client.address import parse_address
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.columns import decode_profile
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import CaptureObject, EntryDescriptor
from blathy.cosem.service import AttributeRef
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Mechanism
from blathy.obis import Obis
from blathy.store.store import Store
from blathy.transport.dlms_session import DlmsSession
from blathy.transport.memory import SessionLine
from blathy.transport.session import Endpoint
from blathy.wire import acse
from blathy.wire.acse import Mechanism as WireMechanism
from blathy.wire.association import (
    ClientAssociation,
    ClientConfig,
    Envelope,
    GetAnswer,
    ServerAssociation,
    ServiceRefused,
)
from blathy.wire.security import SecurityError, new_private_key, public_key_of, sign, verify
from tests.meter.running import START_S, fed
from tests.mutations import lines_run
from tests.waiting import run
from tests.wire.association_pair import (
    ENERGY,
    ENERGY_VALUE,
    LONG,
    NOW,
    Pair,
    plain_pair,
    secured_pair,
)

ENDPOINT = Endpoint("127.0.0.1", 4059, "127.0.0.1", 50_000)
PROFILE = Obis.parse("1-0:99.1.0")
EVERY = tuple(Level)


def meter_of(mechanism: Mechanism = Mechanism.LLS, suite: int = 0, **named: Any) -> Meter:
    options = MeterOptions(suite=suite, mechanisms=tuple((level, mechanism) for level in EVERY))
    return fed("mt372", 1, options=options, **named)


def client_of(meter: Meter, extra: str = "") -> tuple[Client, DlmsSession]:
    line = next(
        each
        for each in connection_lines(meter, [("meter", 4059)], "test")
        if each.startswith("management")
    )
    device = meter.logical_device()
    session = DlmsSession(ENDPOINT, lambda _: None, lambda _e, _s, _p: device)
    client = Client.connect(
        parse_address(line.split()[1] + extra), line=SessionLine(session),
        counters=VolatileCounterStore(), cache=ObjectCache(),
    )  # fmt: skip
    return client, session


# --- gurux-dlms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", [m for m in Mechanism if m is not Mechanism.NONE])
def test_a_server_starts_and_answers_by_every_way_to_authenticate(mechanism: Mechanism) -> None:
    """gurux: GXDLMSSecureServer() recurses without end, its HLS reply path raises."""
    suite = 1 if mechanism is Mechanism.HLS_ECDSA else 0

    async def test() -> None:
        client, _ = client_of(meter_of(mechanism, suite))
        async with client as meter:
            assert str(await meter.read("1-0:1.8.0")) == "86.400 kWh"

    run(test)


@pytest.mark.parametrize("suite", [0, 2])
def test_nothing_secret_is_printed_logged_or_shown(
    suite: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """gurux: prints the private signing key, and two lines for each ciphered APDU."""
    mechanism = Mechanism.HLS_ECDSA if suite else Mechanism.HLS_GMAC
    meter = meter_of(mechanism, suite)
    shown: list[str] = []

    async def test() -> None:
        with caplog.at_level(logging.DEBUG):
            client, _ = client_of(meter)
            async with client as one:
                await one.read("1-0:1.8.0")
                conversation = one.conversation.association
                shown.extend(map(repr, (one, one.address, one.address.keys, conversation)))
            wrong, _ = client_of(meter, f"&meter_title={'00' * 8}")
            with pytest.raises(Exception, match=r".") as refused:
                await wrong.open()
            shown.append(repr(refused.value))

    run(test)
    shown += [repr(meter.identity), repr(meter.key_set()), repr(meter.logical_device().profiles)]
    output = capfd.readouterr()
    text = "\n".join([output.out, output.err, caplog.text, *shown]).lower()
    names = ["unicast", "authentication", "broadcast", "master", *(["signing"] if suite else [])]
    for name in names:
        assert meter.key(name).hex() not in text, name
        assert repr(meter.key(name))[2:-1].lower() not in text, name
    assert output.out == output.err == ""


def test_challenges_are_fresh_and_signatures_need_no_chance() -> None:
    """gurux: challenges from random.randint, ECDSA nonces from random.randbytes."""
    seen: set[bytes] = set()
    drawn: list[int] = []

    def entropy(count: int) -> bytes:
        drawn.append(count)
        return os.urandom(count)

    config = ClientConfig(WireMechanism.HLS_SHA1, b"secret!!")
    meter = meter_of(Mechanism.HLS_SHA1)
    meter.entropy = entropy
    for _ in range(300):
        client = ClientAssociation(config, entropy, None)
        opening = acse.decode(client.associate())
        assert isinstance(opening, acse.Aarq)
        (answer,) = ServerAssociation(meter.logical_device(), 1).receive_apdu(opening.encode(), NOW)
        accepted = acse.decode_aare(answer)
        seen.add(opening.authentication_value or b"")
        seen.add(accepted.authentication_value or b"")
    assert len(seen) == 600
    assert len(drawn) == 600
    assert min(drawn) >= 8
    private = new_private_key(1, os.urandom)
    once, again = (sign(b"message", private, 1) for _ in range(2))
    other = sign(b"massage", private, 1)
    assert once == again  # RFC 6979: the nonce follows from key and message
    assert once[:32] != other[:32]
    assert verify(b"message", once, public_key_of(private, 1), 1)


def test_the_client_takes_no_answer_twice() -> None:
    """gurux: the Python client compares no received invocation counter."""
    pair = secured_pair()
    pair.associate()
    request = pair.client.get(ENERGY)
    (answer,) = pair.server.receive_apdu(request, NOW)
    (event,) = pair.client.receive_apdu(answer, NOW)
    assert isinstance(event, GetAnswer)
    pair.client.get(ENERGY)
    with pytest.raises(SecurityError):
        pair.client.receive_apdu(answer, NOW)


def test_a_ciphered_release_is_protected_by_default_and_taken() -> None:
    """gurux: its default ciphered release is refused by its own C server."""
    pair = secured_pair()
    pair.associate()
    answers = pair.server.receive_apdu(pair.client.release(), NOW)
    assert [answer[0] for answer in answers] == [0x63]
    assert not pair.server.associated
    pair.client.receive_apdu(answers[0], NOW)
    assert not pair.client.associated


def test_dates_are_written_year_first() -> None:
    """gurux: a date in text is read month first unless told otherwise."""
    moment = CosemDateTime.of(bytes.fromhex("07EA0304FF0102030000003C")[:12])
    assert str(moment).startswith("2026-03-04")


# --- Gurux C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [80, 128, 300, 1024, 65_535])
def test_a_profile_in_blocks_has_every_row_once(size: int) -> None:
    """Gurux C: 96 rows are announced, rows 0 to 33 are sent again and again."""
    meter = meter_of()

    async def test() -> None:
        client, _ = client_of(meter, f"&pdu={size}")
        async with client as one:
            rows = await one.profile(PROFILE)
            assert len(rows) == 96
            assert [int(t) for t in rows.times.utc_s] == [
                START_S + 900 * number for number in range(1, 97)
            ]

    run(test)


@pytest.mark.parametrize(
    ("first", "last", "count"), [(1, 1, 1), (96, 96, 1), (5, 9, 5), (90, 0, 7)]
)
def test_an_answer_by_entry_is_an_array_of_the_rows(first: int, last: int, count: int) -> None:
    """Gurux C: the answer by entry has no array header, one row arrives as a scalar."""
    meter = meter_of()

    async def test() -> None:
        client, _ = client_of(meter)
        async with client as one:
            selection = EntryDescriptor(first, last)
            ref = AttributeRef(7, PROFILE, 2, 2, axdr.encode(selection.data()))
            data = await one.get_data(ref)
            assert data.type is axdr.DataType.ARRAY
            assert len(data.value) == count
            assert all(row.type is axdr.DataType.STRUCTURE for row in data.value)

    run(test)


def test_what_was_kept_is_read_back() -> None:
    """Gurux C on Linux: a file that opens is taken for a failure, the profile is empty."""
    store = Store.in_memory()
    meter = meter_of(keeper=StoreKeeper(store, "m"))
    before = meter.ledger.now
    again = meter_of(keeper=StoreKeeper(store, "m"))
    assert again.ledger.now == before

    async def test() -> None:
        client, _ = client_of(again)
        async with client as one:
            assert len(await one.profile(PROFILE)) == 96

    run(test)


@pytest.mark.parametrize("ciphered", [False, True])
@pytest.mark.parametrize("octets", [65_535, 65_536, 66_000, 200_000])
def test_sizes_are_not_cut_at_16_bits(octets: int, ciphered: bool) -> None:
    """Gurux C: a buffer of 66 000 octets becomes 464, a ciphered APDU above 64 KiB fails."""
    pair: Pair = secured_pair() if ciphered else plain_pair()
    value = axdr.encode_octets(bytes(n & 0xFF for n in range(octets)))
    pair.meter.values[7, bytes(LONG.obis), 2] = value
    pair.associate()
    (answer,) = pair.exchange(pair.client.get(LONG))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (value,)


# --- dlms-cosem ---------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", ["06000013", "0906", "02", "0103", "0A05ab", "09840000FFFF"])
def test_truncated_data_is_refused_at_once(octets: str) -> None:
    """dlms-cosem: a truncated u32 never returns and fills the memory."""

    def decode() -> None:
        with pytest.raises(AxdrError):
            axdr.decode(bytes.fromhex(octets))

    assert lines_run(decode, 1_000)


def test_null_data_keeps_its_place_in_a_row() -> None:
    """dlms-cosem: a null in a value column is dropped, later columns shift to the left."""
    rows = axdr.array(
        axdr.structure(axdr.octets(bytes(12)), axdr.u8(1), axdr.u32(10), axdr.u32(20)),
        axdr.structure(axdr.null(), axdr.u8(2), axdr.null(), axdr.u32(21)),
    )
    captures = (
        CaptureObject(8, Obis(0, 0, 1, 0, 0), 2, 0),
        CaptureObject(1, Obis(0, 0, 96, 10, 1), 2, 0),
        CaptureObject(3, Obis.parse("1-0:1.8.0"), 2, 0),
        CaptureObject(3, Obis.parse("1-0:2.8.0"), 2, 0),
    )
    profile = decode_profile(axdr.encode(rows), captures)
    assert int(profile.columns[3].values[1]) == 21
    assert int(profile.columns[1].values[1]) == 2
    assert int(profile.columns[2].values[1]) in {0, 10}  # absent, or as in the row before


def test_an_exception_response_is_an_answer_with_a_reason() -> None:
    """dlms-cosem: a GET answered by an exception-response is an IndexError."""
    pair = plain_pair()
    pair.associate()
    pair.client.get(ENERGY)
    (event,) = pair.client.receive_apdu(bytes.fromhex("D80101"), NOW)
    assert isinstance(event, ServiceRefused)
    assert event.reason
    assert pair.client.associated


def test_an_error_inside_the_block_leaves_no_association_open() -> None:
    """dlms-cosem: session() has no try/finally, an exception leaves the association open."""
    meter = meter_of()

    async def test() -> None:
        client, session = client_of(meter)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
            async with client as one:
                await one.read("1-0:1.8.0")
                raise ZeroDivisionError
        held = session._associations.values()
        assert not any(association.associated for _, association in held)

    run(test)


def test_a_refused_set_is_raised() -> None:
    """dlms-cosem: the result of a SET is returned, and so overlooked."""
    meter = meter_of()

    async def test() -> None:
        client, _ = client_of(meter)
        async with client as one:
            with pytest.raises(ObjectRefused):
                await one.set(AttributeRef(3, Obis.parse("1-0:1.8.0"), 2), axdr.u32(0))
            with pytest.raises(Refused):
                await one.action("0-0:43.0.0", 3)

    run(test)


@pytest.mark.parametrize(
    "envelope", [Envelope.GLO, Envelope.DED, Envelope.GENERAL_GLO, Envelope.GENERAL_DED]
)
def test_every_kind_of_ciphered_answer_is_understood(envelope: Envelope) -> None:
    """dlms-cosem: only general-glo and the glo-Initiate are known."""
    dedicated = envelope in {Envelope.DED, Envelope.GENERAL_DED}
    pair = secured_pair(envelope=envelope, dedicated_key=dedicated)
    pair.associate()
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)


def test_a_session_logs_nothing_by_itself(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """dlms-cosem: every frame is rendered as a log line, which halves the sessions a second."""
    meter = meter_of()

    async def test() -> None:
        with caplog.at_level(logging.DEBUG, "blathy"):
            client, _ = client_of(meter)
            async with client as one:
                await one.profile(PROFILE)

    run(test)
    assert [r for r in caplog.records if r.name.startswith("blathy")] == []
    assert capfd.readouterr().out == ""
