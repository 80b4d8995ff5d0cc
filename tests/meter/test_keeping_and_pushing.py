"""What a meter keeps over a power cut, what it sends by itself, what its face shows."""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError
from blathy.meter.classes.mbus_client import Device, MbusReading
from blathy.meter.keeping import StoreKeeper, pack_settings, unpack_settings
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.quantity import Phase
from blathy.registers.block import Incident
from blathy.registers.state import StateError
from blathy.store.store import Store
from tests.meter.running import DAY_S, START_S, call, fed, get, made, put
from tests.meter.simple_load import ConstantLoad

# --- keeping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", MODELS)
def test_a_meter_goes_on_where_it_was_committed(key: str) -> None:
    store = Store.in_memory()
    meter = fed(key, 1, keeper=StoreKeeper(store, "m"))
    put(meter, 41, "0-0:25.0.0", 2, axdr.u16(4060))
    again = made(key, keeper=StoreKeeper(store, "m"))
    assert again.ledger.now == START_S + DAY_S
    assert again.ledger.state_hash() == meter.ledger.state_hash()
    assert get(again, 41, "0-0:25.0.0", 2) == 4060
    obis = str(meter.model.profiles[0].obis)
    assert get(again, 7, obis, 7) == get(meter, 7, obis, 7)


def test_what_was_not_committed_is_not_shown() -> None:
    meter = made("mt372", keeper=StoreKeeper(Store.in_memory(), "m"))
    meter.step(ConstantLoad().block(START_S, 60, 60))
    assert get(meter, 3, "1-0:1.8.0", 2) == 0
    meter.commit()
    assert get(meter, 3, "1-0:1.8.0", 2) == 3600


def test_a_kept_meter_of_another_order_is_refused() -> None:
    store = Store.in_memory()
    made("omnipower", keeper=StoreKeeper(store, "m"))
    with pytest.raises(StateError):
        made("omnipower", keeper=StoreKeeper(store, "m"), options=MeterOptions(period_s=1800))


def test_settings_pack_and_unpack() -> None:
    settings = {b"a": b"", b"": b"x" * 300, b"key:\x00": b"\xff"}
    assert unpack_settings(pack_settings(settings)) == settings
    with pytest.raises(ValueError, match="damaged"):
        unpack_settings(pack_settings(settings)[:-1])


@pytest.mark.parametrize(
    ("class_id", "obis", "attribute", "data"),
    [
        (41, "0-0:25.0.0", 2, axdr.u32(4059)),
        (23, "0-0:22.0.0", 3, axdr.u8(8)),
        (23, "0-0:22.0.0", 2, axdr.enum(10)),
        (40, "0-0:25.9.0", 2, axdr.array(axdr.u8(1))),
        (40, "0-0:25.9.0", 4, axdr.array(axdr.structure(axdr.octets(b"x"), axdr.octets(b"y")))),
        (28, "0-0:2.2.0", 6, axdr.structure(axdr.u8(1))),
    ],
)
def test_a_setting_of_the_wrong_type_or_range_is_refused_and_the_old_one_stays(
    class_id: int, obis: str, attribute: int, data: axdr.Data
) -> None:
    meter = made("mt372")
    before = get(meter, class_id, obis, attribute)
    with pytest.raises(AccessError):
        put(meter, class_id, obis, attribute, data)
    assert get(meter, class_id, obis, attribute) == before


# --- pushing ------------------------------------------------------------------------------------


def test_a_push_sends_what_its_setup_lists() -> None:
    meter = fed("mt372", 1)
    listed = axdr.array(
        axdr.structure(
            axdr.u16(3), axdr.octets(bytes((1, 0, 1, 8, 0, 255))), axdr.i8(2), axdr.u16(0)
        )
    )
    put(meter, 40, "0-0:25.9.0", 2, listed)
    put(meter, 40, "0-0:25.9.0", 3, axdr.structure(
        axdr.enum(0), axdr.octets(b"127.0.0.1:4060"), axdr.enum(0)))  # fmt: skip
    call(meter, 40, "0-0:25.9.0", 1)
    (message,) = meter.outbox.pushes
    assert message.destination == b"127.0.0.1:4060"
    body = axdr.decode(message.body)
    assert [part.value for part in body.value] == [3 * 1200 * 24]


def test_the_consumer_list_is_code_and_value_in_turn_and_null_for_missing_phases() -> None:
    meter = made("omnipower")
    meter.advance(ConstantLoad(616, 1), START_S + 60)
    call(meter, 40, "0-1:25.9.0", 1)
    body = axdr.decode(meter.outbox.pushes[0].body).value
    assert len(body) == 25
    assert body[0].value == "Kamstrup_V0001"
    pairs = {part.value: body[n + 1].value for n, part in enumerate(body) if n % 2 and part.value}
    assert pairs[bytes((1, 1, 1, 7, 0, 255))] == 616
    assert pairs[bytes((1, 1, 32, 7, 0, 255))] == 230
    assert [part.value for part in body[15:19]] == [None] * 4


def test_an_alarm_sets_its_bit_and_is_pushed_when_its_filter_lets_it() -> None:
    cover = (Incident(START_S + 30, "terminal_cover_opened"),)
    quiet = made("omnipower")
    quiet.advance(ConstantLoad(incidents=cover, phases=1), START_S + 60)
    assert get(quiet, 1, "0-0:97.98.3", 2) == 1 << 20
    assert not quiet.outbox.pushes
    loud = made("omnipower", options=MeterOptions(alarms=True))
    loud.advance(ConstantLoad(incidents=cover, phases=1), START_S + 60)
    assert len(loud.outbox.pushes) == 1
    put(loud, 1, "0-0:97.98.3", 2, axdr.u32(0))
    assert get(loud, 1, "0-0:97.98.3", 2) == 0


def test_alarms_of_a_phase_have_a_bit_each() -> None:
    lost = (Incident(START_S + 30, "phase_lost", Phase.L3),)
    meter = made("k382m")
    meter.advance(ConstantLoad(incidents=lost), START_S + 60)
    assert get(meter, 1, "0-0:97.98.1", 2) == 1 << 4


def test_what_an_mbus_device_answers_is_shown_with_its_unit_and_kept() -> None:
    store = Store.in_memory()
    meter = made("mpta-3", keeper=StoreKeeper(store, "m"))
    assert get(meter, 4, "0-1:24.2.1", 2) is None
    reading = MbusReading(12_345, -3, 13, START_S + 30, Device(87_654_321, device_type=7))
    meter.keep_mbus_reading(1, reading)
    meter.flush()
    again = made("mpta-3", keeper=StoreKeeper(store, "m"))
    assert get(again, 4, "0-1:24.2.1", 2) == 12_345
    assert get(again, 4, "0-1:24.2.1", 3) == [-3, 13]
    assert get(again, 72, "0-1:24.1.0", 6) == 87_654_321
    assert get(again, 72, "0-1:24.1.0", 9) == 7


# --- face ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [key for key, table in MODELS.items() if table.display])
def test_the_mirror_shows_what_the_register_says(key: str) -> None:
    meter = fed(key, 1, 1500)
    energy = "1-1:1.8.0" if meter.model.flag == "KAM" else "1-0:1.8.0"
    assert meter.model.display is not None
    seen = {}
    for step in range(len(meter.model.display.lists[0].items)):
        face = get(meter, 1, "0-0:96.128.0", 2)
        seen[face[3]] = (face[4], face[5])
        scroll_s = meter.model.display.scroll_s
        meter.step(ConstantLoad(1500).block(meter.ledger.now, scroll_s, 1))
        meter.commit()
        assert face[1] == step + 1 or face[0] == "automatic"
    shown, unit = seen[energy.partition(":")[2]]
    value, (scaler, _unit) = (get(meter, 3, energy, n) for n in (2, 3))
    assert unit == "kWh"
    assert float(shown) <= value * 10**scaler / 1000
    assert float(shown) == pytest.approx(value * 10**scaler / 1000, abs=1)


def test_buttons_are_pressed_through_the_script_table() -> None:
    meter = fed("omnipower", 1)
    assert get(meter, 1, "0-0:96.128.0", 2)[0] == "automatic"
    call(meter, 9, "0-0:10.128.0", 1, axdr.u16(1))
    face = get(meter, 1, "0-0:96.128.0", 2)
    assert (face[0], face[1], face[3]) == ("manual", 1, "1.8.0")
    call(meter, 9, "0-0:10.128.0", 1, axdr.u16(1))
    assert get(meter, 1, "0-0:96.128.0", 2)[3] == "1.8.1"
    call(meter, 9, "0-0:10.128.0", 1, axdr.u16(3))
    assert get(meter, 1, "0-0:96.128.0", 2)[0] == "utility"
    with pytest.raises(AccessError):
        call(meter, 9, "0-0:10.128.0", 1, axdr.u16(99))


def test_lights_and_symbols_follow_the_load() -> None:
    meter = fed("mt372", 1)
    face = get(meter, 1, "0-0:96.128.0", 2)
    symbols = {identity: on for identity, _label, on in face[7]}
    assert symbols["l1"]
    assert symbols["l3"]
    assert not symbols["reversed"]
    assert face[8] == [["kwh", "imp/kWh", "pulsing"]]
    meter.advance(ConstantLoad(0), START_S + 2 * DAY_S)
    assert get(meter, 1, "0-0:96.128.0", 2)[8] == [["kwh", "imp/kWh", "lit"]]


def test_an_open_cover_shows_until_it_is_closed() -> None:
    cover = (
        Incident(START_S + 30, "terminal_cover_opened"),
        Incident(START_S + 90, "terminal_cover_closed"),
    )
    meter = made("omnipower")
    for until, expected in ((60, True), (120, False)):
        meter.advance(ConstantLoad(incidents=cover, phases=1), START_S + until)
        symbols = {i: on for i, _label, on in get(meter, 1, "0-0:96.128.0", 2)[7]}
        assert symbols["tamper"] is expected


@pytest.mark.parametrize(
    ("class_id", "obis", "attribute", "data"),
    [
        (7, "1-0:99.1.0", 4, axdr.u32(1800)),
        (8, "0-0:1.0.0", 3, axdr.i16(0)),
        (8, "0-0:1.0.0", 8, axdr.boolean(False)),
    ],
)
def test_a_power_cut_at_any_commit_leaves_a_meter_that_starts(
    class_id: int, obis: str, attribute: int, data: Data
) -> None:
    store = Store.in_memory()
    keeper = StoreKeeper(store, "m")
    meter = fed("mt372", 1, keeper=keeper)
    before = get(meter, class_id, obis, attribute)
    commit, found = keeper.commit, []

    def commit_and_look() -> None:
        commit()
        found.append(get(made("mt372", keeper=StoreKeeper(store, "m")), class_id, obis, attribute))

    keeper.commit = commit_and_look  # type: ignore[method-assign]
    put(meter, class_id, obis, attribute, data)
    assert found[-1] == data.value
    assert set(found) <= {before, data.value}
