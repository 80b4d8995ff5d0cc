"""Every meter of the data sheets, read by our client over its port as a head-end reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blathy.client import Meter, MeterAddress, ObjectCache, Refused, VolatileCounterStore
from blathy.client.address import parse_address
from blathy.client.readout import TextMeter
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import AccessRight
from blathy.cosem.service import AttributeRef
from blathy.meter.meter import Meter as Served
from blathy.meter.readout import sign_on_server
from blathy.models import MODELS
from blathy.models.model import Association, Ciphering, Level, Mechanism
from blathy.quantity import Quantity
from blathy.transport.dlms_session import DlmsSession, Framing, serve_dlms
from blathy.transport.line import Line
from blathy.transport.memory import SessionLine
from blathy.transport.session import Endpoint
from tests.meter.running import DAY_S, START_S, fed
from tests.waiting import run

ENDPOINT = Endpoint("127.0.0.1", 4059, "127.0.0.1", 50_000)


def management(served: Served) -> Association:
    return next(
        a
        for a in served.model.associations
        if a.level is Level.MANAGEMENT and not a.pre_established
    )


def address(served: Served, scheme: str = "dlms", place: str = "meter") -> MeterAddress:
    """As the meter's label and its key file say."""
    association = management(served)
    mechanism = served.mechanism_of(association)
    auth = {Mechanism.NONE: "none", Mechanism.LLS: "lls", Mechanism.HLS_GMAC: "hls5"}[mechanism]
    query = f"client={association.client_sap}&auth={auth}&timeout=30"
    secrets = {"password": served.secret_of(association).decode("latin-1")}
    if mechanism is Mechanism.HLS_GMAC or association.ciphering is Ciphering.REQUIRED:
        secrets |= {"ek": served.key("unicast").hex(), "ak": served.key("authentication").hex()}
        query += "&protect=both"
    return parse_address(f"{scheme}://{place}?{query}", secrets)


def connected(served: Served, scheme: str = "dlms") -> Meter:
    device = served.logical_device()
    session = DlmsSession(
        ENDPOINT, lambda _: None, lambda _e, sap, _p: device if sap == 1 else None
    )
    return Meter.connect(
        address(served, scheme), line=SessionLine(session), cache=ObjectCache(),
        counters=VolatileCounterStore(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def meters() -> dict[str, Served]:
    return {}


def meter(meters: dict[str, Served], name: str) -> Served:
    if name not in meters:
        meters[name] = fed(name, days=1)
    return meters[name]


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_every_readable_attribute_of_every_model_reads(
    meters: dict[str, Served], name: str, scheme: str
) -> None:
    async def test() -> None:
        served = meter(meters, name)
        async with connected(served, scheme) as one:
            objects = await one.objects()
            refs = [
                AttributeRef(entry.class_id, entry.obis, row.index)
                for entry in objects
                for row in entry.attributes
                if row.right & AccessRight.READ and entry.class_id != 7
            ]
            readings = await one.read_many(refs)
            wrong = [str(r.error) for r in readings if r.error is not None]
            assert wrong == []
            assert len(readings) > 50
            clock = await one.clock()
            assert isinstance(clock, CosemDateTime)
            assert abs(clock.utc() - (START_S + DAY_S)) <= 2

    run(test)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_load_profiles_agree_with_the_registers(meters: dict[str, Served], name: str) -> None:
    async def test() -> None:
        served = meter(meters, name)
        async with connected(served) as one:
            profiles = [e for e in await one.objects() if e.class_id == 7]
            assert profiles
            checked = 0
            for entry in profiles:
                reading = await one.profile(entry.obis)
                assert reading.times.valid.all()
                for number, column in enumerate(reading.columns):
                    code = column.capture.obis
                    if not reading.period_s or code.a != 1 or code.d != 8 or not len(reading):
                        continue
                    register = await one.read(code)
                    last = reading.quantity(len(reading) - 1, number)
                    assert isinstance(register, Quantity)
                    assert last is not None
                    assert float(last) <= float(register)
                    checked += 1
            assert checked

    run(test)


@pytest.mark.requirement("K-12")
@pytest.mark.parametrize("name", ["k382m", "k162m", "omnipower"])
def test_what_an_encrypting_meter_says_is_not_to_be_seen_on_the_line(
    meters: dict[str, Served], name: str
) -> None:
    async def test() -> None:
        served = meter(meters, name)
        device = served.logical_device()
        heard = bytearray()

        class Tapped(SessionLine):
            def send(self, data: bytes) -> None:
                heard.extend(data)
                super().send(data)

            def feed(self, data: bytes) -> None:
                heard.extend(data)
                super().feed(data)

        session = DlmsSession(ENDPOINT, lambda _: None, lambda _e, _s, _p: device)
        where = address(served)
        assert where.keys.unicast, f"{name} does not ask for encryption"
        async with Meter.connect(
            where, line=Tapped(session), cache=ObjectCache(), counters=VolatileCounterStore()
        ) as one:
            energy = await one.read("1-0:1.8.0")
            assert isinstance(energy, Quantity)
            ref = await one.reference("1-0:1.8.0")
            value = await one.get(ref)
        assert bytes(heard).find(bytes(ref.obis)) < 0
        assert bytes(heard).find(value) < 0
        wrong = parse_address(
            f"dlms://meter?client={where.client}&auth=hls5",
            {"ek": where.keys.unicast[::-1].hex(), "ak": where.keys.authentication.hex()},
        )
        again = DlmsSession(ENDPOINT, lambda _: None, lambda _e, _s, _p: device)
        with pytest.raises(Exception, match="key"):
            await Meter.connect(
                wrong, line=SessionLine(again), counters=VolatileCounterStore()
            ).open()

    run(test)


@pytest.mark.requirement("MT372-11")
def test_32_mt372_answer_on_one_loop() -> None:
    async def test() -> None:
        base = fed("mt372", days=1)
        devices = {16: base.logical_device()}
        serials = {16: b"%d" % 12_345_678}
        for number in range(17, 48):
            one = fed("mt372", days=0, serial=20_000_000 + number)
            devices[number] = one.logical_device()
            serials[number] = b"%d" % (20_000_000 + number)

        def lookup(_endpoint: Endpoint, sap: int, physical: int | None) -> Any:
            return devices.get(physical or 0) if sap == 1 else None

        listener, port = await serve_dlms(lookup, "127.0.0.1", 0)
        for number, serial in serials.items():
            where = f"dlms+hdlc://127.0.0.1:{port}?client=16&physical={number}"
            async with Meter.connect(where, cache=ObjectCache()) as meter_:
                name = await meter_.read("0-0:42.0.0")
                assert isinstance(name, bytes)
                assert serial[-6:] in name or serial in name, (name, serial)
        with pytest.raises(Exception, match="does not answer"):
            await Meter.connect(
                f"dlms+hdlc://127.0.0.1:{port}?client=16&physical=60&timeout=1"
            ).open()
        await listener.stop()

    run(test)


class Head(SessionLine):
    """An optical head: taking it away leaves the meter's port as it is."""

    async def close(self) -> None:
        await Line.close(self)


@pytest.mark.requirement("MT372-12")
def test_mt372_speaks_dlms_on_modem_and_loop_and_both_languages_at_its_optical_port(
    meters: dict[str, Served],
) -> None:
    async def test() -> None:
        served = meter(meters, "mt372")
        device = served.logical_device()
        values = []
        for scheme in ("dlms", "dlms+hdlc"):  # the modem: GPRS, and CSD as an HDLC stream
            async with connected(served, scheme) as one:
                values.append(await one.read("1-0:1.8.0"))

        def by_number(_endpoint: Endpoint, sap: int, physical: int | None) -> Any:
            return device if (sap, physical) == (1, 17) else None

        loop = DlmsSession(ENDPOINT, lambda _: None, by_number, framing=Framing.HDLC)
        where = replace(address(served, "dlms+hdlc"), physical=17)
        async with Meter.connect(
            where, line=SessionLine(loop), cache=ObjectCache(), counters=VolatileCounterStore()
        ) as one:
            values.append(await one.read("1-0:1.8.0"))

        optical = DlmsSession(
            ENDPOINT, lambda _: None, lambda _e, sap, _p: device if sap == 1 else None,
            sign_on=lambda _endpoint: sign_on_server(served),
        )  # fmt: skip
        texts = []
        for _ in range(2):
            async with TextMeter.connect("iec62056-21://meter:1", line=Head(optical)) as reader:
                rows = {row.address: row for row in await reader.readout()}
                texts.append((rows["1.8.0"].value, rows["1.8.0"].unit))
            where = replace(address(served, "dlms+hdlc"), mode_e=True)
            async with Meter.connect(
                where, line=Head(optical), cache=ObjectCache(), counters=VolatileCounterStore()
            ) as one:
                assert optical.speed is not None
                assert optical.speed[1] is False  # eight bits: HDLC after the hand-over
                values.append(await one.read("1-0:1.8.0"))
        energy = values[0]
        assert isinstance(energy, Quantity)
        assert values == [energy] * 5
        assert texts == [texts[0]] * 2
        assert texts[0][1] == "kWh"
        assert float(texts[0][0]) == pytest.approx(float(energy) / 1000, abs=0.001)

    run(test)


@pytest.mark.requirement("ESOX-12")
def test_esox_is_read_with_dlms_and_with_iec_62056_21(meters: dict[str, Served]) -> None:
    async def test() -> None:
        served = meter(meters, "esox")
        values = []
        for scheme in ("dlms", "dlms+hdlc"):
            async with connected(served, scheme) as one:
                values.append([await one.read("1-0:1.8.0"), len(await one.objects())])
        assert values[0] == values[1]
        optical = DlmsSession(
            ENDPOINT, lambda _: None, lambda _e, _s, _p: None,
            sign_on=lambda _endpoint: sign_on_server(served),
        )  # fmt: skip
        async with TextMeter.connect("iec62056-21://meter:1", line=Head(optical)) as reader:
            rows = {row.address: row for row in await reader.readout()}
        energy = values[0][0]
        assert isinstance(energy, Quantity)
        assert rows["1.8.0"].unit == "kWh"
        assert float(rows["1.8.0"].value) == pytest.approx(float(energy) / 1000, abs=0.01)

    run(test)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_clock_is_set_from_afar(name: str) -> None:
    async def test() -> None:
        served = fed(name, days=0)
        async with connected(served) as one:
            await one.set_clock(START_S + 3600)
            assert (await one.clock()).utc() - (START_S + 3600) in {0, 1}
        public = parse_address("dlms://meter?client=16")
        device = served.logical_device()
        session = DlmsSession(ENDPOINT, lambda _: None, lambda _e, _s, _p: device)
        async with Meter.connect(public, line=SessionLine(session), cache=ObjectCache()) as two:
            with pytest.raises(Refused):
                await two.set_clock(START_S)

    run(test)
