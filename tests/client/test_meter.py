"""The client against our server: every security, every framing, values with units, columns."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from blathy.client import (
    FileCounterStore,
    Garbled,
    KeySet,
    Meter,
    MeterError,
    ObjectCache,
    ObjectRefused,
    Refused,
    SyncMeter,
    TimedOut,
    Untrusted,
    VolatileCounterStore,
)
from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.obis import Obis
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import Framing, serve_dlms
from blathy.transport.line import TcpLine
from blathy.transport.memory import Faults
from tests.client.small_meter import (
    AK,
    DAY_START,
    EK,
    KEYS,
    PROFILE,
    SECURE,
    SmallMeter,
    address,
    device,
    line,
    lookup,
)
from tests.virtual_time import run_in_virtual_time
from tests.waiting import run

ENERGY = Quantity(1_234_567, 0, Unit.WH)
START = datetime.fromtimestamp(DAY_START, UTC)


def meter(model: SmallMeter, query: str, scheme: str = "dlms", **options: Any) -> Meter:
    found = options.pop("device", None) or device(model)
    made = line(
        found, options.pop("framing", Framing.DETECT), options.pop("there", None),
        options.pop("back", None), options.pop("physical", None), scheme == "dlms+udp",
    )  # fmt: skip
    options.setdefault("counters", VolatileCounterStore())
    return Meter.connect(address(query, scheme), line=made, cache=ObjectCache(), **options)


QUERIES = [
    "client=16",
    "client=2&auth=lls&password=12345678",
    "client=3&auth=hls6&password=12345678&title=4D4D4D0000000001",
    SECURE,
    f"{SECURE}&dedicated=1",
    f"{SECURE}&general=1",
]


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc", "dlms+udp"])
@pytest.mark.parametrize("query", QUERIES)
def test_every_security_over_every_framing(query: str, scheme: str) -> None:
    async def test() -> None:
        model = SmallMeter()
        async with meter(model, f"{query}&timeout=30", scheme) as one:
            assert await one.read("1-0:1.8.0") == ENERGY
            assert str(await one.read("1-0:32.7.0")) == "230.1 V"
            profile = await one.profile("1-0:99.1.0")
            assert len(profile) == 96

    run_in_virtual_time(test)


def test_units_names_texts_and_times() -> None:
    async def test() -> None:
        async with meter(SmallMeter(), "client=16") as one:
            assert await one.read("0-0:96.1.0") == b"00012345"
            clock = await one.read("0-0:1.0.0")
            assert isinstance(clock, CosemDateTime)
            assert clock.utc() == DAY_START
            assert await one.read(("0-0:96.3.10", 2)) is True

    run_in_virtual_time(test)


def test_one_refused_object_stops_no_other() -> None:
    async def test() -> None:
        async with meter(SmallMeter(), "client=16") as one:
            readings = await one.read_many(
                ["1-0:1.8.0", "0-0:96.1.9", "1-0:99.99.99", "1-0:32.7.0"]
            )
            assert [r.value for r in readings] == [ENERGY, None, None, Quantity(2301, -1, Unit.V)]
            assert [type(r.error) for r in readings] == [
                type(None), ObjectRefused, ObjectRefused, type(None),
            ]  # fmt: skip
            with pytest.raises(ObjectRefused, match=r"denied.*client="):
                await one.read("0-0:96.1.9")

    run_in_virtual_time(test)


def test_profile_between_two_moments_as_columns() -> None:
    async def test() -> None:
        async with meter(SmallMeter(), SECURE) as one:
            profile = await one.profile(
                PROFILE, START + timedelta(hours=1), START + timedelta(hours=2)
            )
            assert profile.times.utc_s.tolist() == [DAY_START + 900 * n for n in range(4, 9)]
            assert profile.columns[1].values.tolist() == [1_000_300 + 100 * n for n in range(5)]
            assert profile.quantity(0, 1) == Quantity(1_000_300, 0, Unit.WH)
            assert profile.period_s == 900
            assert profile.headings() == ["0-0:1.0.0", "1-0:1.8.0 [Wh]"]
            last = await one.profile(PROFILE, entries=(95, 96))
            assert len(last) == 2
            nothing = await one.profile(
                PROFILE, START + timedelta(days=9), START + timedelta(days=10)
            )
            assert len(nothing) == 0
            assert np.isfinite(profile.scaled(1)).all()

    run_in_virtual_time(test)


def test_type_knowledge_is_read_once_and_columns_once_a_connection() -> None:
    async def test() -> None:
        model, cache = SmallMeter(), ObjectCache()
        for _ in range(3):
            one = Meter.connect(address("client=16"), line=line(device(model)), cache=cache)
            async with one:
                await one.read("1-0:1.8.0")
                for _ in range(2):
                    await one.profile(PROFILE, START, START + timedelta(hours=1))
        attributes = [(ref.class_id, ref.attribute) for ref in model.asked]
        assert attributes.count((15, 2)) == 1
        assert attributes.count((3, 3)) == 1
        assert attributes.count((7, 3)) == 3
        assert attributes.count((7, 2)) == 6

    run_in_virtual_time(test)


def test_writing_methods_and_the_clock() -> None:
    async def test() -> None:
        model = SmallMeter()
        async with meter(model, "client=2&auth=lls&password=12345678") as one:
            await one.set("0-0:96.1.0", "00099999")
            assert model.serial == b"00099999"
            await one.set("0-0:96.1.0", axdr.octets(b"7"))
            assert model.serial == b"7"
            await one.action("0-0:96.3.10", "remote_disconnect")
            assert await one.read(("0-0:96.3.10", 2)) is False
            await one.action("0-0:96.3.10", 2)
            assert await one.read(("0-0:96.3.10", 2)) is True
            await one.set_clock(START + timedelta(days=1))
            assert (await one.clock()).utc() == DAY_START + 86_400
            with pytest.raises(ObjectRefused, match="denied"):
                await one.set("1-0:1.8.0", 5)
            with pytest.raises(Refused, match="no method"):
                await one.action("0-0:96.3.10", "explode")

    run_in_virtual_time(test)


@pytest.mark.parametrize("query", ["client=5&sn=1", "client=6&auth=hls4&password=12345678&sn=1"])
def test_short_names_read_write_and_call_the_same(query: str) -> None:
    async def test() -> None:
        model = SmallMeter()
        async with meter(model, query) as one:
            assert await one.read("1-0:1.8.0") == ENERGY
            assert await one.read("0-0:96.1.0") == b"00012345"
            assert len(await one.objects()) >= 7
            profile = await one.profile(PROFILE, START, START + timedelta(hours=1))
            assert len(profile) == 4
            await one.set("0-0:96.1.0", axdr.octets(b"42"))
            assert await one.read("0-0:96.1.0") == b"42"
            await one.action("0-0:96.3.10", "remote_disconnect")
            assert await one.read(("0-0:96.3.10", 2)) is False

    run_in_virtual_time(test)


def test_a_meter_without_lists_and_selection_gives_the_same_rows() -> None:
    async def test() -> None:
        async with meter(SmallMeter(), "client=4") as one:
            readings = await one.read_many(["1-0:1.8.0", "1-0:32.7.0"])
            assert [r.value for r in readings] == [ENERGY, Quantity(2301, -1, Unit.V)]
            profile = await one.profile(
                PROFILE, START + timedelta(hours=1), START + timedelta(hours=2)
            )
            assert profile.times.utc_s.tolist() == [DAY_START + 900 * n for n in range(4, 9)]
            assert profile.quantity(0, 1) == Quantity(1_000_300, 0, Unit.WH)

    run_in_virtual_time(test)


def test_columns_that_changed_are_learned_again() -> None:
    async def test() -> None:
        model = SmallMeter()
        async with meter(model, "client=16") as one:
            assert len((await one.profile(PROFILE)).columns) == 2
            model.extra_column = True
            changed = await one.profile(PROFILE)
            assert len(changed.columns) == 3
            assert changed.quantity(0, 2) == Quantity(2300, -1, Unit.V)

    run_in_virtual_time(test)


def test_how_far_the_clock_is_off() -> None:
    async def test() -> None:
        model = SmallMeter(clock=CosemDateTime.from_utc(int(time.time()) + 77, Zone("UTC")).raw())
        async with meter(model, "client=16") as one:
            assert abs(await one.clock_offset_s() - 77) <= 1

    run_in_virtual_time(test)


def test_long_answers_come_in_blocks_and_cut_octets_are_joined() -> None:
    async def test() -> None:
        model = SmallMeter(rows=2000)
        small = f"{SECURE}&pdu=200&timeout=30"
        async with meter(
            model, small, there=Faults(chunk_octets=1), back=Faults(chunk_octets=7)
        ) as one:
            profile = await one.profile(PROFILE)
            assert len(profile) == 2000
            assert profile.columns[1].values[-1] == 1_000_000 + 100 * 1999

    run_in_virtual_time(test)


def test_hdlc_with_small_frames_and_losses_still_gives_every_row() -> None:
    async def test() -> None:
        model = SmallMeter()
        there, back = Faults(loss=0.08, seed=5), Faults(loss=0.08, seed=6)
        query = "client=16&frame=128&timeout=1"
        async with meter(model, query, "dlms+hdlc", there=there, back=back) as one:
            assert len(await one.profile(PROFILE)) == 96
        assert [(r.class_id, r.attribute) for r in model.asked].count((7, 2)) == 1

    run_in_virtual_time(test)


def test_hdlc_to_a_physical_address() -> None:
    async def test() -> None:
        async with meter(SmallMeter(), "client=16&physical=17", "dlms+hdlc", physical=17) as one:
            assert await one.read("1-0:1.8.0") == ENERGY

    run_in_virtual_time(test)


def failing(
    kind: type[MeterError], match: str, query: str, scheme: str = "dlms", **options: Any
) -> None:
    async def test() -> None:
        one = meter(SmallMeter(), query, scheme, **options)
        with pytest.raises(kind, match=match):
            await one.open()

    run_in_virtual_time(test)


WRONG_EK = f"client=1&auth=hls5&ek={EK[::-1].hex()}&ak={AK.hex()}"
WRONG_AK = f"client=1&auth=hls5&ek={EK.hex()}&ak={AK[::-1].hex()}"


def test_wrong_credentials_name_cause_and_remedy() -> None:
    failing(Untrusted, r"password", "client=2&auth=lls&password=wrong")
    failing(Untrusted, r"key", WRONG_EK)
    failing(Untrusted, r"key", WRONG_AK)
    failing(Untrusted, r"secret|keys", "client=3&auth=hls6&password=x&title=4D4D4D0000000001")
    failing(MeterError, r"client 77", "client=77")
    failing(MeterError, r"auth", "client=2")
    failing(Refused, r"keys|ek=", "client=1&auth=hls5")


def test_keys_without_a_counter_store_are_refused_before_anything_is_sent() -> None:
    failing(Refused, "counters", SECURE, counters=None)


def test_nobody_there() -> None:
    failing(TimedOut, "does not answer SNRM", "client=16&physical=99&timeout=1", "dlms+hdlc")
    failing(TimedOut, "no answer", "client=16&server=9&timeout=1")
    failing(Garbled, "closed", "client=16&timeout=1", "dlms+hdlc", framing=Framing.WRAPPER)


def test_a_counter_that_the_meter_finds_too_low_is_followed_once() -> None:
    async def test() -> None:
        found = device(SmallMeter())
        ahead = VolatileCounterStore()
        async with meter(SmallMeter(), SECURE + "&ic=5000", device=found, counters=ahead) as one:
            await one.read("1-0:32.7.0")
        fresh = VolatileCounterStore()
        async with meter(SmallMeter(), SECURE, device=found, counters=fresh) as one:
            assert await one.read("1-0:1.8.0") == ENERGY

    run_in_virtual_time(test)


def test_a_dead_line_ends_in_an_outcome_and_closing_is_harmless() -> None:
    async def test() -> None:
        one = meter(SmallMeter(), "client=16&timeout=1", there=Faults(loss=0.0))
        await one.open()
        link = one.conversation._link
        await link.line.close()
        with pytest.raises(MeterError):
            await one.read("1-0:1.8.0")
        await one.close()
        await one.close()
        with pytest.raises(Refused, match="not connected"):
            await one.read("1-0:1.8.0")

    run_in_virtual_time(test)


def test_secrets_are_nowhere_to_be_seen() -> None:
    one = address(f"{SECURE}&password=hunter22")
    for text in (repr(one), str(one), repr(one.keys)):
        assert EK.hex() not in text
        assert AK.hex() not in text
        assert "hunter22" not in text


def test_one_port_serves_meters_by_address_over_wrapper_and_hdlc() -> None:
    async def test() -> None:
        found = device(SmallMeter())
        listener, port = await serve_dlms(
            lookup(found), port=0, knows=lambda ip: ip.startswith("127.0.9.")
        )
        for scheme in ("dlms", "dlms+hdlc"):
            url = f"{scheme}://127.0.9.7:{port}?{SECURE}"
            async with Meter.connect(url, counters=VolatileCounterStore()) as one:
                assert await one.read("1-0:1.8.0") == ENERGY
                assert one.system_title == bytes.fromhex("4D4D4D0000BC614E")
        unknown = await TcpLine.connect("127.0.8.1", port)
        with pytest.raises(MeterError):
            await unknown.receive(2)
        await listener.stop()

    run(test)


def test_the_synchronous_face() -> None:
    async def start() -> None:
        listener, port = await serve_dlms(lookup(device(SmallMeter())), port=0)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, use, port)
        await listener.stop()

    def use(port: int) -> None:
        url = f"dlms://127.0.0.1:{port}?client=2&auth=lls"
        with SyncMeter(Meter.connect(url, password="12345678")) as one:
            assert one.read("1-0:1.8.0") == ENERGY
            assert len(one.profile("1-0:99.1.0", START, START + timedelta(hours=1))) == 4
            assert Obis.parse("1-0:1.8.0") in {entry.obis for entry in one.objects()}
            one.action("0-0:96.3.10", "remote_disconnect")
            assert [r.value for r in one.read_many([("0-0:96.3.10", 2)])] == [False]
            one.set_clock(START)
            assert one.clock().utc() == DAY_START

    run(start)


def test_a_key_set_given_in_code(tmp_path: Any) -> None:
    async def test() -> None:
        store = FileCounterStore(tmp_path / "counters")
        one = meter(
            SmallMeter(), "client=1&auth=hls5&protect=both", keys=KeySet(0, EK, AK), counters=store
        )
        async with one:
            assert await one.read("1-0:1.8.0") == ENERGY
        assert KeySet(0, EK, AK) == KEYS
        store.close()

    run_in_virtual_time(test)
