"""Pushes of real meters, as they were recorded, decoded with names and units."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from blathy.client.push import Push, PushReceiver, Unreadable, named_values, push_sessions
from blathy.client.push_model import PushModel, model_of
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.objectlist import AccessRight, ScalerUnit
from blathy.cosem.selective import CaptureObject
from blathy.models.recorded import RecordedAttribute, RecordedMeter, RecordedObject
from blathy.obis import Obis
from blathy.quantity import Quantity, Unit
from blathy.transport.line import TcpLine
from blathy.transport.listener import TcpListener
from blathy.transport.session import Endpoint
from blathy.wire import apdu
from blathy.wire.hdlc import HdlcServer, ServerAddress
from blathy.wire.security import (
    Envelope,
    InvocationCounters,
    KeyChoice,
    KeySet,
    Protection,
    SecurityContext,
    VolatileCounterStore,
)
from blathy.wire.suites import public_key_of
from blathy.wire.wrapper import encode
from tests.mutations import IN_SUITE, ON_REQUEST, endure

T0 = Instant(0)
TITLE = bytes.fromhex("4D4D4D0000BC614E")
KEYS = KeySet(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))


def vectors(shared_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / "dlms-vectors.json").read_text())
    return found


def plain(data: Data) -> Any:
    """As the vectors write a value."""
    value = data.value
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        value = [plain(element) for element in value]
    elif isinstance(value, bytes):
        value = value.hex()
    return [data.type.text, value]


def keys_of(vector: dict[str, Any]) -> KeySet | None:
    params = vector.get("params") or {}
    ek = params.get("ek") or params.get("key") or params.get("encryption_key")
    ak = params.get("ak") or params.get("authentication_key")
    return KeySet(0, bytes.fromhex(ek), bytes.fromhex(ak or "")) if ek else None


def receiver_of(vector: dict[str, Any]) -> PushReceiver:
    return PushReceiver(lambda _title: keys_of(vector))


def test_gas_meters_push_ciphered_datagrams(shared_data: Path) -> None:
    for vector in vectors(shared_data):
        if vector["kind"] == "wrapper+general-glo":
            (push,) = receiver_of(vector).receive_datagram(bytes.fromhex(vector["hex"]))
            assert isinstance(push, Push)
            assert push.authenticated
            assert push.counter == vector["expected"]["ic"]
            assert apdu.DataNotification(
                int(vector["expected"]["plaintext"][2:10], 16), b"", axdr.encode(push.body)
            ).encode() == bytes.fromhex(vector["expected"]["plaintext"])


def test_recorded_pushes_give_the_expected_values(shared_data: Path) -> None:
    checked = 0
    for vector in vectors(shared_data):
        expected = vector["expected"]
        messages = expected.get("messages", [expected]) if isinstance(expected, dict) else []
        bodies = [m["apdu"]["data"] for m in messages if isinstance(m.get("apdu"), dict)
                  and "data" in m["apdu"]]  # fmt: skip
        if vector["kind"] not in {"hdlc-frame", "hdlc-stream"} or not bodies:
            continue
        octets = bytes.fromhex(vector["hex"])
        if octets[0] != 0x7E or messages[0]["apdu"]["apdu"] != "data-notification":
            continue
        for cut in (len(octets), 1, 100):
            receiver = receiver_of(vector)
            found = []
            for start in range(0, len(octets), cut):
                found += receiver.receive(octets[start : start + cut], T0)
            pushes = [push for push in found if isinstance(push, Push)]
            assert [plain(push.body) for push in pushes] == bodies, (vector["name"], found)
        checked += 1
    assert checked >= 8


def recorded(shared_data: Path, name: str) -> Push:
    vector = next(v for v in vectors(shared_data) if v["name"] == name)
    receiver = PushReceiver(lambda _title: keys_of(vector))
    octets = bytes.fromhex(vector["hex"])
    if octets[:2] == b"\xe6\xe7":
        octets = HdlcServer().push(32, ServerAddress(1), octets[3:])
    (push,) = receiver.receive(octets, T0)
    assert isinstance(push, Push), push
    return push


def value_of(push: Push, code: str) -> Any:
    obis = Obis.parse(code)
    return next(v.value for v in push.values if v.obis is not None and v.obis == obis)


def test_aidon_says_its_scalers_itself(shared_data: Path) -> None:
    push = recorded(shared_data, "han-aidon-no_list_1")
    assert value_of(push, "1-0:1.7.0") == Quantity(280, 0, Unit.W)


def test_kamstrup_has_fixed_scalers_and_its_own_group_b(shared_data: Path) -> None:
    push = recorded(shared_data, "push-kamstrup-gh862-3")
    assert value_of(push, "1-1:51.7.0") == Quantity(995, -2, Unit.A)
    assert value_of(push, "1-1:32.7.0") == Quantity(242, 0, Unit.V)


def test_kaifa_names_nothing_and_is_known_by_its_lists(shared_data: Path) -> None:
    push = recorded(shared_data, "han-kaifa-no_list_1")
    assert value_of(push, "1-0:1.7.0") == Quantity(5852, 0, Unit.W)
    three = recorded(shared_data, "han-kaifa-no_list_3")
    assert isinstance(value_of(three, "1-0:1.8.0"), Quantity)


def test_iskraemeco_names_nothing_and_is_known_by_its_lists(shared_data: Path) -> None:
    """Of each list the sums that the recording itself bears out."""

    def read(name: str) -> dict[str, Quantity]:
        values = recorded(shared_data, f"push-iskraemeco-{name}").values
        return {str(v.obis): v.value for v in values if isinstance(v.value, Quantity)}

    first, second, third = read("gh615-1"), read("gh615-2"), read("gh869-1")
    assert first["1-0:1.7.0"] == Quantity(1393, 0, Unit.W)
    assert first["1-0:4.7.0"] == Quantity(738, 0, Unit.VAR)
    assert first["1-0:52.7.0"] == Quantity(2379, -1, Unit.V)
    assert first["1-0:71.7.0"] == Quantity(597, -2, Unit.A)
    phases = [first[f"1-0:{code}.7.0"].mantissa for code in (21, 41, 61)]
    assert abs(sum(phases) - 1393) <= len(phases)
    for total in (1, 2):
        rates = [second[f"1-0:{total}.8.{rate}"].mantissa for rate in (1, 2)]
        assert sum(rates) == second[f"1-0:{total}.8.0"].mantissa
    assert second["1-0:1.8.0"] == Quantity(52_837, 0, Unit.WH)
    assert third["1-0:1.7.0"] == Quantity(373, 0, Unit.W)
    assert third["1-0:32.7.0"] == Quantity(2301, -1, Unit.V)


def test_a_single_number_is_not_taken_for_the_power_of_another_maker() -> None:
    one = axdr.encode(axdr.structure(axdr.u32(5852)))
    (plain_one,) = PushReceiver().receive_datagram(b"\x0f\0\0\0\1\0" + one)
    assert isinstance(plain_one, Push)
    assert plain_one.values[0].obis is None
    time = bytes.fromhex("07e3020401173416ff800000")
    (kaifa,) = PushReceiver().receive_datagram(b"\x0f\x40\0\0\0\x09\x0c" + time + one)
    assert isinstance(kaifa, Push)
    assert kaifa.values[0].value == Quantity(5852, 0, Unit.W)


def notifications(shared_data: Path) -> dict[str, bytes]:
    """Every recorded push in clear, as its APDU."""
    found = {}
    for vector in vectors(shared_data):
        octets = bytes.fromhex(vector["hex"])
        if vector["name"].startswith("han"):
            found[vector["name"]] = octets[3:]
        elif vector["name"].startswith(("push", "stream")):
            receiver = PushReceiver()
            wholes = [receiver.whole(body) for body in receiver.apdus(octets, T0)]
            if wholes and wholes[-1] is not None and wholes[-1][:1] == b"\x0f":
                found[vector["name"]] = wholes[-1]
    return found


def as_peers_write(data: Data) -> Any:
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        return [as_peers_write(element) for element in data.value]
    return data.value.hex() if isinstance(data.value, bytes) else data.value


@pytest.mark.interop
@pytest.mark.parametrize(("peer", "least"), [("gurux", 16), ("dlms_cosem", 14)])
def test_independent_readers_see_the_same_values(shared_data: Path, peer: str, least: int) -> None:
    """dlms-cosem gives up on the two whose time stands as Kaifa writes it."""
    pushes = notifications(shared_data)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("peer_push_reader.py")), peer],
        input="\n".join(octets.hex() for octets in pushes.values()) + "\n",
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    compared = 0
    for (name, octets), line in zip(pushes.items(), done.stdout.splitlines(), strict=True):
        theirs = json.loads(line)
        if isinstance(theirs, dict):
            continue
        message = apdu.decode(octets)
        assert isinstance(message, apdu.DataNotification)
        assert as_peers_write(axdr.decode(message.body)) == theirs, name
        compared += 1
    assert compared >= least


def recording(*items: tuple[int, str, int, bytes], title: bytes = b"") -> RecordedMeter:
    """A clone with these attributes: class, code, attribute, octets."""
    objects = tuple(
        RecordedObject(
            class_id, 0, Obis.parse(code),
            (RecordedAttribute(attribute, AccessRight.READ, value=value),),
        )
        for class_id, code, attribute, value in items
    )  # fmt: skip
    return RecordedMeter("10.0.0.7:4059", 1, 1, "none", False, title, 0, objects)


def test_units_come_from_the_clone_of_a_meter_that_pushes_integers_alone(
    shared_data: Path,
) -> None:
    push = recorded(shared_data, "stream-lg_e360-valid_data_cfg2026")
    assert value_of(push, "1-0:32.7.0") == 2357
    model = PushModel(recording((3, "1-0:32.7.0", 3, ScalerUnit(-1, Unit.V).encode())))
    assert value_of(model.read(push), "1-0:32.7.0") == Quantity(2357, -1, Unit.V)
    assert value_of(model.read(push), "1-0:31.7.0") == value_of(push, "1-0:31.7.0")


def test_codes_come_from_the_clone_of_a_meter_that_pushes_values_alone() -> None:
    listed = axdr.encode(axdr.array_of(
        CaptureObject(class_id, Obis.parse(code), 2).data()
        for class_id, code in ((8, "0-0:1.0.0"), (3, "1-0:1.8.0"))
    ))  # fmt: skip
    energy = (3, "1-0:1.8.0", 3, ScalerUnit(0, Unit.WH).encode())
    model = PushModel(recording((40, "0-0:25.9.0", 2, listed), energy, title=TITLE))
    time = bytes.fromhex("07e3020401173416ff800000")
    body = notification(axdr.structure(axdr.octets(time), axdr.u32(1337)))
    (push,) = PushReceiver().receive_datagram(body)
    assert isinstance(push, Push)
    named = model.read(push)
    assert value_of(named, "1-0:1.8.0") == Quantity(1337, 0, Unit.WH)
    assert str(value_of(named, "0-0:1.0.0")).startswith("2019-02-04 23:52:22")
    other = PushModel(recording(title=b"OTHERone"))
    assert model_of(push, [model]) is model
    assert model_of(push, [model, other]) is None
    assert model_of(replace(push, originator=TITLE), [other, model]) is model
    assert model_of(replace(push, originator=b"SOMEBODY"), [model]) is None


def test_several_meters_on_one_listener_and_wrong_keys() -> None:
    """Each meter by its own keys; a wrong key gives a clear word and no value."""
    other = KeySet(0, bytes(range(1, 17)), bytes(range(0xC0, 0xD0)))
    second = bytes.fromhex("4D4D4D0000BC614F")
    ring = {TITLE: KEYS, second: other}

    def pushed(title: bytes, keys: KeySet) -> bytes:
        context = SecurityContext(
            title, keys, InvocationCounters(VolatileCounterStore()), bytes, peer_title=b"LISTENER"
        )
        body = notification(axdr.structure(axdr.u8(1)))
        return encode(1, 1, context.protect(body, 0x30, Envelope.GENERAL_GLO))

    receiver = PushReceiver(ring.get)
    stream = pushed(TITLE, KEYS) + pushed(second, other) + pushed(second, KEYS)
    stream += pushed(b"UNKNOWN!", KEYS)
    first, good, wrong, unknown = receiver.receive(stream, T0)
    for push, title in ((first, TITLE), (good, second)):
        assert isinstance(push, Push)
        assert push.authenticated
        assert push.originator == title
    assert isinstance(wrong, Unreadable)
    assert "wrong key" in wrong.reason
    assert wrong.originator == second
    assert isinstance(unknown, Unreadable)
    assert "no keys for this meter" in unknown.reason


def test_without_the_authentication_key_it_is_read_and_flagged(shared_data: Path) -> None:
    vector = next(v for v in vectors(shared_data) if v["name"] == "stream-encrypted-lg-e450-no-ak")
    keys = keys_of(vector)
    assert keys is not None
    assert not keys.authentication
    (push,) = PushReceiver(lambda _title: keys).receive(bytes.fromhex(vector["hex"]), T0)
    assert isinstance(push, Push)
    assert push.ciphered
    assert not push.authenticated
    assert push.originator == bytes.fromhex(vector["expected"]["ciphered"]["system_title"])
    assert value_of(push, "1-0:4.7.0") == 442
    (unread,) = PushReceiver().receive(bytes.fromhex(vector["hex"]), T0)
    assert isinstance(unread, Unreadable)
    assert unread.originator == push.originator


def notification(body: Data) -> bytes:
    return apdu.DataNotification(1, b"", axdr.encode(body)).encode()


def sealed(count: int = 1) -> list[bytes]:
    """The same push, protected by a meter under rising counters."""
    counters = InvocationCounters(VolatileCounterStore())
    context = SecurityContext(TITLE, KEYS, counters, lambda n: bytes(n))
    plain_apdu = notification(axdr.structure(axdr.octets(b"\x01\x00\x01\x08\x00\xff"), axdr.u32(7)))
    return [context.protect(plain_apdu, 0x30, Envelope.GENERAL_GLO) for _ in range(count)]


def test_authenticated_pushes_and_repeated_counters() -> None:
    receiver = PushReceiver(lambda title: KEYS if title == TITLE else None)
    first, second = sealed(2)
    got = [
        receiver.receive(encode(1, 1, octets), T0)[0] for octets in (first, second, second, first)
    ]
    pushes = [push for push in got if isinstance(push, Push)]
    assert [push.authenticated for push in pushes] == [True] * 4
    assert [push.repeated for push in pushes] == [False, False, True, True]


def test_a_push_under_the_broadcast_key_says_nothing_of_its_meter() -> None:
    """Any meter of the group could have sent it, and used up the numbers of the one it names."""
    keys = KeySet(0, KEYS.unicast, KEYS.authentication, broadcast=bytes(range(70, 86)))
    counters = InvocationCounters(VolatileCounterStore())
    context = SecurityContext(TITLE, keys, counters, bytes)
    octets = context.protect(
        notification(axdr.u32(1)), 0x30, Envelope.GENERAL_GLO, KeyChoice.BROADCAST
    )
    (made,) = PushReceiver(lambda _title: keys).receive_datagram(octets)
    assert isinstance(made, Unreadable)
    assert "broadcast key" in made.reason


def test_a_forged_push_is_never_a_push() -> None:
    (octets,) = sealed()
    for bit in range(8 * 9, 8 * len(octets)):
        forged = bytearray(octets)
        forged[bit // 8] ^= 1 << bit % 8
        receiver = PushReceiver(lambda _title: KEYS)
        for found in receiver.receive(encode(1, 1, bytes(forged)), T0):
            assert isinstance(found, Unreadable)


def test_values_are_named_by_the_list_in_the_body_or_by_the_list_given() -> None:
    setup = CaptureObject(40, Obis.parse("0-0:25.9.0"), 2)
    energy, clock = (
        CaptureObject(3, Obis.parse("1-0:1.8.0")),
        CaptureObject(8, Obis.parse("0-0:1.0.0")),
    )
    objects = (setup, clock, energy)
    stamp = bytes.fromhex("07EA0B15060C000000FFC400")
    inside = axdr.structure(
        axdr.array_of(item.data() for item in objects), axdr.octets(stamp), axdr.u32(1337)
    )
    values = named_values(inside)
    assert [str(v.obis) for v in values] == ["0-0:25.9.0", "0-0:1.0.0", "1-0:1.8.0"]
    assert (values[2].value, values[2].class_id, values[2].attribute) == (1337, 3, 2)
    bare = axdr.structure(axdr.octets(b"x"), axdr.octets(stamp), axdr.u32(1337))
    assert named_values(bare, objects)[2].obis == energy.obis
    assert [v.obis for v in named_values(bare)] == [None, None, None]


def test_meters_push_to_a_listener() -> None:
    async def test() -> None:
        got: list[Push | Unreadable] = []
        arrived = asyncio.Event()

        def sink(_endpoint: Any, push: Push | Unreadable) -> None:
            got.append(push)
            arrived.set()

        listener = TcpListener(push_sessions(sink, lambda _title: KEYS))
        port = await listener.start("127.0.0.1", 0)
        line = await TcpLine.connect("127.0.0.1", port)
        line.send(encode(1, 1, sealed()[0]))
        await asyncio.wait_for(arrived.wait(), 60)
        assert isinstance(got[0], Push)
        assert got[0].authenticated
        await line.close()
        await listener.stop()

    asyncio.run(test())


def test_events_name_their_attribute() -> None:
    event = bytes.fromhex("C2 00 0001 0000616200FF 02 06 00000001")
    (push,) = PushReceiver().receive(encode(1, 1, event), T0)
    assert isinstance(push, Push)
    assert push.event == CaptureObject(1, Obis.parse("0-0:97.98.0"), 2)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_noise_before_the_first_frame_is_passed_over_in_any_cut(size: int) -> None:
    """Whoever is plugged into a running line hears the end of something first."""
    body = notification(axdr.structure(axdr.u8(1)))
    noise = b"\x13\0\x01\0\x01\0\0"
    receiver, data = PushReceiver(), noise + HdlcServer().push(16, ServerAddress(1), body)
    cuts = (data[at : at + size] for at in range(0, len(data), size))
    found = [push for cut in cuts for push in receiver.receive(cut, T0)]
    assert [type(push) for push in found] == [Push]


def test_a_connection_that_lost_its_place_is_closed() -> None:
    made: list[Push | Unreadable] = []
    make = push_sessions(lambda _endpoint, push: made.append(push))
    session = make(Endpoint("", 0, "127.0.0.1", 1), lambda _octets: None)
    assert session is not None
    good = encode(1, 1, notification(axdr.structure(axdr.u8(1))))
    closing = []
    for octets in (good, b"\xff" * 8 + good, good):
        session.receive(octets, T0)
        closing.append(session.closing)
    assert closing == [False, True, True]
    assert len(made) == 1


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_fuzz_a_million_times() -> None:
    _fuzz(ON_REQUEST)


def test_any_octets_in_any_cut_give_the_same_and_never_an_exception() -> None:
    _fuzz(IN_SUITE)


MBUS_NOTHING = bytes.fromhex("68050568 53FF100167 CA 16")

CUT_ONE_IN = 4


def _fuzz(count: int) -> None:
    body = notification(axdr.structure(axdr.u8(1)))
    seeds = [
        encode(1, 1, body), encode(1, 1, sealed(1)[0]),
        HdlcServer().push(16, ServerAddress(1), body),
        bytes.fromhex("68FAFA6853FF000167DB08") + body, b"\xe0\x40\x00\x01\x00\x00\x05hello",
    ]  # fmt: skip

    first = [b"", HdlcServer().push(16, ServerAddress(1), body), MBUS_NOTHING]

    def take(data: bytes) -> None:
        """No cut makes a difference, whatever comes first: noise, or a frame of a kind."""
        data = first[len(data) % 3] + data
        whole = PushReceiver(lambda _title: KEYS)
        if data and data[-1] % CUT_ONE_IN:
            whole.receive(data, T0)
            return
        pieces = PushReceiver(lambda _title: KEYS)
        size = (1, 7, 19, 31)[len(data) // 3 % 4] + len(data) // 300
        cuts = (data[at : at + size] for at in range(0, len(data), size))
        found = [push for cut in cuts for push in pieces.receive(cut, T0)]
        assert found == whole.receive(data, T0)
        assert pieces.broken is whole.broken

    endure("push", take, [*seeds, *(a + b for a, b in pairwise(seeds))], count, forgets=True)


METER_SIGNS = bytes(range(1, 33))
SIGNED = Protection.BOTH | Protection.SIGNED
INSIDE = SIGNED | Protection.SIGNED_INSIDE


def signed_push(protection: int, recipient: bytes = b"HEADEND1") -> bytes:
    """A notification of a meter that signs, as its own protection makes it."""
    keys = KeySet(1, KEYS.unicast, KEYS.authentication, signing=METER_SIGNS)
    counters = InvocationCounters(VolatileCounterStore())
    meter = SecurityContext(TITLE, keys, counters, bytes, peer_title=recipient)
    return meter.protect(notification(axdr.u32(1337)), protection, Envelope.GENERAL_CIPHERING)


@pytest.mark.parametrize("protection", [SIGNED, INSIDE, Protection.SIGNED])
def test_a_signed_push_opens_and_says_whether_its_signature_was_checked(protection: int) -> None:
    """Signed around the cipher, within it, and in clear; forged ones are no push."""
    octets = signed_push(protection)
    known = KeySet(1, KEYS.unicast, KEYS.authentication)
    judge = replace(known, peer_signing=public_key_of(METER_SIGNS, 1))
    wrong = replace(known, peer_signing=public_key_of(bytes(range(2, 34)), 1))
    (unchecked,) = PushReceiver(lambda _title: known).receive_datagram(octets)
    (checked,) = PushReceiver(lambda _title: judge).receive_datagram(octets)
    (forged,) = PushReceiver(lambda _title: wrong).receive_datagram(octets)
    assert isinstance(unchecked, Push)
    assert isinstance(checked, Push)
    assert checked.values[0].value == unchecked.values[0].value == 1337
    assert checked.originator == unchecked.originator == TITLE
    assert (unchecked.signed, unchecked.signature_checked) == (True, False)
    assert unchecked.authenticated == unchecked.ciphered == bool(protection & Protection.BOTH)
    assert checked.signature_checked
    assert checked.authenticated
    assert isinstance(forged, Unreadable)
    assert forged.originator == TITLE
    assert "signature does not hold" in forged.reason


def test_who_signs_the_push_of_another_meter_is_found_out() -> None:
    """The cipher names one meter and the signature in it another."""
    other = bytes.fromhex("4D4D4D0000BC614F")
    keys = KeySet(1, KEYS.unicast, KEYS.authentication, signing=METER_SIGNS)
    counters = InvocationCounters(VolatileCounterStore())
    signer = SecurityContext(other, keys, counters, bytes, peer_title=b"HEADEND1")
    inner = signer.protect(notification(axdr.u32(1)), Protection.SIGNED)
    meter = SecurityContext(TITLE, keys, counters, bytes, peer_title=b"HEADEND1")
    octets = meter.protect(inner, Protection.BOTH, Envelope.GENERAL_GLO)
    (found,) = PushReceiver(lambda _title: keys).receive_datagram(octets)
    assert isinstance(found, Unreadable)
    assert "another than who ciphered it" in found.reason
