"""What the data sheets promise of a meter's books, proved from outside: over its port, by a client
that knows nothing of its inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from blathy.client.cache import ObjectCache
from blathy.client.meter import Meter as Client
from blathy.client.sync import SyncMeter
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import CaptureObject
from blathy.meter.identity import maker_private_key
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.firmware import build_image
from blathy.models.model import Level, Mechanism
from blathy.models.omnipower import LAYOUTS
from blathy.obis import Obis
from blathy.quantity import Phase, Quantity
from blathy.registers.block import Incident
from blathy.transport.errors import Refused
from blathy.wire.security import VolatileCounterStore
from tests.meter.running import DAY_S, START_S, fed, made, plain, served
from tests.meter.simple_load import ConstantLoad
from tests.meter.test_clock_and_calendar import days


def url_of(meter: Meter, port: int, level: Level) -> str:
    association = next(a for a in meter.model.associations if a.level is level)
    url = f"dlms://127.0.0.1:{port}?client={association.client_sap}"
    if meter.mechanism_of(association) is Mechanism.LLS:
        return f"{url}&auth=lls&password={meter.secret_of(association).decode()}"
    keys = f"&ek={meter.key('unicast').hex()}&ak={meter.key('authentication').hex()}"
    return f"{url}&auth=hls5{keys}"


@contextmanager
def client(meter: Meter, level: Level = Level.MANAGEMENT) -> Iterator[SyncMeter]:
    with served(meter) as port:
        talk = Client.connect(
            url_of(meter, port, level), counters=VolatileCounterStore(), cache=ObjectCache()
        )
        with SyncMeter(talk) as open_meter:
            yield open_meter


def number(value: object) -> float:
    """A quantity in its unit."""
    return float(value) if isinstance(value, Quantity) else float(str(value))


def tree(value: Any) -> Any:
    if isinstance(value, Data):
        return plain(value)
    return value


# --- energies and demand --------------------------------------------------------------------------


@pytest.mark.requirement("MT372-01", "MT372-02")
@pytest.mark.parametrize("phases", [1, 2, 3])
def test_mt372_counts_with_one_two_or_three_phases(phases: int) -> None:
    meter = made("mt372")
    meter.advance(ConstantLoad(1200, phases), START_S + DAY_S)
    with client(meter, Level.READER) as port:
        readings = {code: number(port.read(f"1-0:{code}.8.0")) for code in (1, 2, 15)}
        assert readings == {1: 28_800 * phases, 2: 0, 15: 28_800 * phases}
        rates = [number(port.read(f"1-0:1.8.{rate}")) for rate in range(1, 5)]
        assert sum(rates) == readings[1]


@pytest.mark.requirement("MT372-03", "ESOX-02")
@pytest.mark.parametrize("key", ["mt372", "esox"])
def test_maximum_demand_with_its_time_and_its_reset(key: str) -> None:
    meter = fed(key, 1, 1200, options=MeterOptions(contracted_w=3000))
    with client(meter) as port:
        assert number(port.read("1-0:1.7.0")) == 3600
        assert number(port.read("1-0:1.6.0")) == 3600
        moment = port.read(("1-0:1.6.0", 5))
        assert isinstance(moment, CosemDateTime)
        assert (int(moment.utc()) - START_S) % 900 == 0
        assert number(port.read("1-0:1.4.0")) == 0
        assert number(port.read(("1-0:1.4.0", 3))) == 3600
        if key == "esox":
            assert number(port.read("1-0:1.38.0")) == 600
        port.action("0-0:10.0.1", "execute", axdr.u16(1))
        assert number(port.read("1-0:1.6.0")) == 0
        assert number(port.read("1-0:1.2.0")) == 3600


@pytest.mark.requirement("K-15", "ESOX-07")
@pytest.mark.parametrize(("key", "rates"), [("k382m", 8), ("k162m", 8), ("esox", 6), ("mt372", 4)])
def test_every_rate_counts_when_an_uploaded_calendar_says_so(key: str, rates: int) -> None:
    meter = made(key)
    b = 1 if meter.model.flag == "KAM" else 0
    hours = tuple((2 * n, n + 1) for n in range(rates))
    week = axdr.structure(axdr.octets(b"w"), *(axdr.u8(1) for _ in range(7)))
    start = b"\xff\xff\x01\x01\xff" + bytes(4) + b"\x80\x00\xff"
    season = axdr.structure(axdr.octets(b"s"), axdr.octets(start), axdr.octets(b"w"))
    with client(meter) as port:
        port.set(("0-0:13.0.0", 9), days((1, hours)))
        port.set(("0-0:13.0.0", 8), axdr.array(week))
        port.set(("0-0:13.0.0", 7), axdr.array(season))
        port.set(("0-0:13.0.0", 6), axdr.octets(b"all"))
        port.action("0-0:13.0.0", "activate_passive_calendar")
        phases = len(meter.model.phases)
        meter.advance(ConstantLoad(3600, phases), START_S + DAY_S)
        read = [number(port.read(f"1-{b}:1.8.{rate}")) for rate in range(rates + 1)]
    assert read[0] == 3600 * 24 * phases
    assert sum(read[1:]) == read[0]
    assert all(value >= 3600 * 2 * phases - 10 for value in read[1:])


# --- profiles -------------------------------------------------------------------------------------


@pytest.mark.requirement("OMNI-03")
@pytest.mark.parametrize(
    ("layout", "depths"),
    [
        ("A+", {900: 278, 1800: 556, 3600: 1113}),
        ("A+/A-", {900: 235, 1800: 470, 3600: 941}),
        ("A+/A-/R+/R-", {900: 180, 1800: 360, 3600: 720}),
        ("A+/A-/R1/R2/R3/R4", {900: 145, 1800: 291, 3600: 583}),
        ("A+/A-/R+/R-/R1/R2/R3/R4", {900: 122, 1800: 244, 3600: 489}),
    ],
)
def test_omnipower_profile_depth_as_the_meter_states_it(
    layout: str, depths: dict[int, int]
) -> None:
    meter = made("omnipower", options=MeterOptions(layout=layout))
    with client(meter) as port:
        for period_s, whole_days in depths.items():
            port.set(("1-1:99.1.0", 4), axdr.u32(period_s))
            records = int(number(port.read(("1-1:99.1.0", 8))))
            assert records * period_s // DAY_S == whole_days
        captured = tree(port.read(("1-1:99.1.0", 3)))
    assert len(captured) == 2 + len(LAYOUTS[layout])


@pytest.mark.requirement("OMNI-03")
def test_omnipower_for_austria_keeps_60_days_and_drops_the_oldest() -> None:
    meter = made("omnipower", options=MeterOptions(variant="austria", layout="A+"))
    meter.advance(ConstantLoad(1000, 1), START_S + 62 * DAY_S, 900)
    with client(meter, Level.READER) as port:
        assert number(port.read(("1-1:99.1.0", 7))) == 60 * 96
        rows = port.profile("1-1:99.1.0", START_S, START_S + 62 * DAY_S)
    times = rows.times.utc_s
    assert len(times) == 60 * 96
    assert times[0] == START_S + 2 * DAY_S + 900


@pytest.mark.requirement("MT372-07")
def test_mt372_profile_of_380_days_at_half_an_hour() -> None:
    meter = made("mt372")
    with client(meter) as port:
        for period_s, depth in ((900, 190), (1800, 380), (3600, 760)):
            port.set(("1-0:99.1.0", 4), axdr.u32(period_s))
            records = int(number(port.read(("1-0:99.1.0", 8))))
            assert records * period_s // DAY_S == depth
        port.set(("1-0:99.1.0", 4), axdr.u32(1800))
        meter.advance(ConstantLoad(1000), START_S + 385 * DAY_S, 1800)
        assert number(port.read(("1-0:99.1.0", 7))) == 380 * 48
        row = tree(port.read(("1-0:99.1.0", 3)))
        assert len(row) == 4


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize("period_s", [300, 900, 1800, 3600])
def test_k382m_logs_at_every_period_of_the_sheet(period_s: int) -> None:
    meter = made("k382m")
    with client(meter) as port:
        port.set(("1-1:99.1.0", 4), axdr.u32(period_s))
        meter.advance(ConstantLoad(), START_S + DAY_S)
        assert number(port.read(("1-1:99.1.0", 7))) == DAY_S // period_s


@pytest.mark.requirement("K-09", "OMNI-04", "ESOX-08")
@pytest.mark.parametrize(
    ("key", "profile", "most"),
    [("k382m", "1-1:99.1.1", 16), ("omnipower", "1-1:99.1.1", 24), ("esox", "1-0:99.4.0", 32)],
)
def test_a_logger_takes_as_many_values_of_choice_as_promised(
    key: str, profile: str, most: int
) -> None:
    meter = made(key)
    rows = [r for r in meter.model.rows if r.class_id == 3 and not r.source.name]
    assert len(rows) > 40
    clock = CaptureObject(8, meter.model.clock.obis, 2, 0)
    wanted = [clock, *(CaptureObject(3, row.obis, 2, 0) for row in rows[-most:])]
    too_many = [*wanted, CaptureObject(3, rows[0].obis, 2, 0)]
    with client(meter) as port:
        with pytest.raises(Refused):
            port.set((profile, 3), axdr.array_of(c.data() for c in too_many))
        port.set((profile, 3), axdr.array_of(c.data() for c in wanted))
        meter.advance(ConstantLoad(phases=len(meter.model.phases)), START_S + 7200)
        table = port.profile(profile, START_S, START_S + 7200)
    assert len(table) >= 8


# --- logs -----------------------------------------------------------------------------------------


@pytest.mark.requirement("MT372-08")
def test_mt372_log_book_keeps_exactly_128_events() -> None:
    opened = tuple(
        Incident(START_S + 10 * n, "terminal_cover_opened" if n % 2 else "main_cover_opened")
        for n in range(1, 141)
    )
    meter = made("mt372")
    meter.advance(ConstantLoad(incidents=opened), START_S + 3600)
    with client(meter, Level.READER) as port:
        rows = tree(port.read(("0-0:99.98.0", 2)))
        assert number(port.read(("0-0:99.98.0", 8))) == 128
    assert len(rows) == 128
    times = [int(CosemDateTime.of(row[0]).utc()) for row in rows]
    assert times == [START_S + 10 * n for n in range(13, 141)]
    assert [row[1] for row in rows[:2]] == [0x8011, 0x8010]


@pytest.mark.requirement("ESOX-09", "ESOX-05")
def test_esox_keeps_seven_logs_apart() -> None:
    happened = (
        Incident(START_S + 10, "sag_start", Phase.L1),
        Incident(START_S + 20, "sag_end", Phase.L1),
        Incident(START_S + 30, "swell_start", Phase.L2),
        Incident(START_S + 40, "current_without_voltage", Phase.L3),
        Incident(START_S + 50, "missing_current_start", Phase.L1),
        Incident(START_S + 60, "overcurrent_start", Phase.L2),
        Incident(START_S + 70, "terminal_cover_opened"),
        Incident(START_S + 80, "magnet_start"),
        Incident(START_S + 90, "alarm_input_on"),
        Incident(START_S + 100, "long_outage"),
        Incident(START_S + 110, "current_asymmetry_start"),
        Incident(START_S + 120, "voltage_asymmetry_start"),
    )
    meter = made("esox")
    meter.advance(ConstantLoad(incidents=happened), START_S + 600)
    with client(meter) as port:
        counts = [int(number(port.read((f"0-0:99.98.{n}", 7)))) for n in range(7)]
        port.set_clock(START_S + 10_000)
        assert number(port.read(("0-0:99.98.4", 7))) == 2
    assert counts == [1, 4, 4, 2, 0, 0, 1]


# --- billing --------------------------------------------------------------------------------------


@pytest.mark.requirement("OMNI-02")
def test_omnipower_debiting_loggers_keep_the_table_of_the_sheet() -> None:
    meter = made("omnipower")
    meter.advance(ConstantLoad(1000, 1), START_S + 40 * DAY_S, 900)
    with client(meter, Level.READER) as port:
        columns = tree(port.read(("1-1:98.1.0", 3)))
        rows = tree(port.read(("1-1:98.1.0", 2)))
        daily = tree(port.read(("1-1:98.2.0", 2)))
        capacities = [number(port.read((f"1-1:98.{n}.0", 8))) for n in (1, 2)]
    codes = {str(Obis.of(column[1])) for column in columns}
    sheet = {
        *(f"1-1:{c}.8.0" for c in (1, 2, 3, 4, 9, 10)),
        *(f"1-1:{c}.8.{rate}" for c in (1, 3) for rate in (1, 2, 3, 4)),
        *("1-1:1.6.0", "1-1:1.6.1", "1-1:1.6.2", "1-1:1.2.0", "1-1:1.2.1", "1-1:1.2.2"),
        *("1-1:3.6.0", "1-1:3.6.1", "1-1:3.6.2", "1-1:3.2.0", "1-1:9.6.0", "1-1:10.6.0"),
        *("0-1:96.8.0", "1-1:0.1.0", "1-1:96.51.2", "1-1:0.128.1"),
    }
    assert sheet <= codes
    assert capacities == [36, 175]
    assert len(rows) == 1
    assert CosemDateTime.of(rows[0][0]).utc() == START_S + 31 * DAY_S - 3600
    assert len(daily) == 40


@pytest.mark.requirement("ESOX-11")
def test_esox_records_up_to_fifty_values_at_the_end_of_a_period() -> None:
    meter = made("esox")
    meter.advance(ConstantLoad(1000), START_S + 35 * DAY_S, 900)
    with client(meter, Level.READER) as port:
        columns = tree(port.read(("0-0:98.1.0", 3)))
        rows = tree(port.read(("0-0:98.1.0", 2)))
    assert 40 <= len(columns) - 1 <= 50
    assert len(rows) == 1
    assert len(rows[0]) == len(columns)


# --- supply ---------------------------------------------------------------------------------------


@pytest.mark.requirement("K-04")
@pytest.mark.parametrize("key", ["omnipower", "k162m", "k382m"])
def test_supply_is_cut_and_released_from_afar_and_closed_at_the_button(key: str) -> None:
    meter = fed(key, 1)
    load = ConstantLoad(1200, len(meter.model.phases))
    with client(meter) as port:
        before = number(port.read("1-1:1.8.0"))
        port.action("0-0:96.3.10", "remote_disconnect")
        assert port.read(("0-0:96.3.10", 2)) is False
        meter.advance(load, START_S + 2 * DAY_S)
        assert number(port.read("1-1:1.8.0")) == before
        port.action("0-0:96.3.10", "remote_reconnect")
        assert [port.read(("0-0:96.3.10", n)) for n in (2, 3)] == [False, 2]
        port.action("0-0:10.128.0", "execute", axdr.u16(2))
        assert [port.read(("0-0:96.3.10", n)) for n in (2, 3)] == [True, 1]
        meter.advance(load, START_S + 3 * DAY_S)
        assert number(port.read("1-1:1.8.0")) > before


@pytest.mark.requirement("OMNI-07")
@pytest.mark.parametrize("key", ["omnipower", "k382m"])
def test_bought_energy_runs_out_and_is_bought_again(key: str) -> None:
    meter = made(key)
    phases = len(meter.model.phases)
    load = ConstantLoad(3600, phases)
    with client(meter) as port:
        port.action("0-0:19.0.0", "activate_account")
        port.action("0-0:19.10.0", "update_amount", axdr.i32(20_000))
        meter.advance(load, START_S + 60)
        assert number(port.read("0-0:19.10.0")) == 20_000 - 60 * phases
        meter.advance(load, START_S + DAY_S)
        assert port.read(("0-0:96.3.10", 2)) is False
        assert number(port.read("1-1:1.8.0")) == pytest.approx(20_000, abs=200)
        warned = [row[1] for row in tree(port.read(("0-0:99.98.2", 2)))]
        assert {140, 141} <= set(warned)
        port.action("0-0:19.10.0", "update_amount", axdr.i32(5_000))
        port.action("0-0:96.3.10", "remote_reconnect")
        port.action("0-0:10.128.0", "execute", axdr.u16(2))
        assert port.read(("0-0:96.3.10", 2)) is True


@pytest.mark.requirement("MT372-18")
@pytest.mark.parametrize("key", ["mt372", "k382m"])
def test_load_relays_and_contactor_are_switched(key: str) -> None:
    with client(made(key)) as port:
        for relay in ("0-1:96.3.10", "0-2:96.3.10"):
            port.action(relay, "remote_reconnect")
            assert port.read((relay, 2)) is True
            port.action(relay, "remote_disconnect")
            assert port.read((relay, 2)) is False
        port.action("0-0:96.3.10", "remote_disconnect")
        assert port.read(("0-0:96.3.10", 2)) is False


# --- face, alarms, security -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "digits"), [("omnipower", "0000057"), ("mt372", "0000172"), ("k382m", "000172.8")]
)
def test_the_display_shows_the_register_in_the_ordered_format(key: str, digits: str) -> None:
    meter = fed(key, 2, 1200)
    with client(meter, Level.MANAGEMENT) as port:
        seen = {}
        for _ in range(40):
            face = tree(port.read("0-0:96.128.0"))
            seen[face[3]] = face[4]
            port.action("0-0:10.128.0", "execute", axdr.u16(1))
            assert face[0] in {"automatic", "manual"}
    assert seen["1.8.0"] == digits


def test_the_light_pulses_with_load_and_is_lit_without() -> None:
    meter = fed("mt372", 1)
    with client(meter, Level.READER) as port:
        assert tree(port.read("0-0:96.128.0"))[8][0][2] == "pulsing"
        meter.advance(ConstantLoad(0), START_S + DAY_S + 60)
        assert tree(port.read("0-0:96.128.0"))[8][0][2] == "lit"


@pytest.mark.requirement("OMNI-08", "K-06")
@pytest.mark.parametrize("key", ["omnipower", "k162m"])
def test_tampering_is_logged_shown_and_pushed(key: str) -> None:
    tampered = (
        Incident(START_S + 30, "terminal_cover_opened"),
        Incident(START_S + 40, "magnet_start"),
    )
    meter = made(key, options=MeterOptions(alarms=True))
    meter.advance(ConstantLoad(phases=1, incidents=tampered), START_S + 60)
    with client(meter) as port:
        assert [row[1] for row in tree(port.read(("0-0:99.98.1", 2)))] == [40, 42]
        symbols = {s[0]: s[2] for s in tree(port.read("0-0:96.128.0"))[7]}
        assert symbols["tamper"] is True
        assert number(port.read("0-0:97.98.3")) == (1 << 20) | (1 << 18)
    assert len(meter.outbox.pushes) == 2


@pytest.mark.parametrize("level", [Level.READER, Level.INSTALLER, Level.MANAGEMENT])
def test_legal_data_cannot_be_changed_by_anybody(level: Level) -> None:
    meter = fed("omnipower", 1)
    with client(meter, level) as port:
        before = number(port.read("1-1:1.8.0"))
        with pytest.raises(Refused):
            port.set("1-1:1.8.0", axdr.u32(0))
        with pytest.raises(Refused):
            port.action("1-1:1.8.0", "reset")
        assert number(port.read("1-1:1.8.0")) == before


@pytest.mark.requirement("MT372-19")
@pytest.mark.parametrize(
    ("key", "version_at"),
    [("omnipower", "1-1:0.2.0"), ("mt372", "1-0:0.2.0"), ("mpta-3", "1-0:0.2.0")],
)
def test_firmware_is_transferred_verified_and_activated(key: str, version_at: str) -> None:
    meter = made(key)
    signer = maker_private_key(MODELS[key], "test")
    image = build_image(key, "V9.9", bytes(3000), signer)
    with client(meter) as port:
        size = int(number(port.read("0-0:44.0.0")))
        name = axdr.structure(axdr.octets(b"V9.9"), axdr.u32(len(image)))
        port.action("0-0:44.0.0", "image_transfer_initiate", name)
        for at in range(0, len(image), size):
            block = axdr.structure(axdr.u32(at // size), axdr.octets(image[at : at + size]))
            port.action("0-0:44.0.0", "image_block_transfer", block)
        port.action("0-0:44.0.0", "image_verify")
        port.action("0-0:44.0.0", "image_activate")
        assert number(port.read(("0-0:44.0.0", 6))) == 6
        version = port.read(version_at)
    assert version in {"V9.9", b"V9.9"}
