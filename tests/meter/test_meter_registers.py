"""Registers, profiles, billing and logs as a client sees them, against a load known by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from blathy.cosem import axdr
from blathy.cosem.columns import decode_profile
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import (
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    parse_capture_objects,
)
from blathy.cosem.service import AccessError, AttributeRef, DataAccessResult
from blathy.meter.classes.values import number_encoder
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS, ModelError
from blathy.models.model import DataType, Level
from blathy.obis import Obis
from blathy.quantity import Phase
from blathy.registers.block import Incident
from blathy.store.store import Store
from tests.meter.running import DAY_S, START_S, call, fed, get, made, put, who
from tests.meter.simple_load import ConstantLoad
from tests.mutations import lines_run

LOAD_W = 1200


def energy(model: str) -> str:
    return "1-1:1.8.0" if MODELS[model].flag == "KAM" else "1-0:1.8.0"


def captures(meter: Meter, obis: Obis) -> tuple[CaptureObject, ...]:
    raw = meter.objects.get(AttributeRef(7, obis, 3), who(meter))
    return parse_capture_objects(raw)


def rows_of(meter: Meter, obis: Obis, selector: int, parameters: bytes) -> bytes:
    return meter.objects.get(AttributeRef(7, obis, 2, selector, parameters), who(meter))


def between(first_s: int, last_s: int, meter: Meter) -> bytes:
    clock = CaptureObject(8, meter.model.clock.obis, 2, 0)
    first = CosemDateTime.from_utc(first_s, meter.zone)
    last = CosemDateTime.from_utc(last_s, meter.zone)
    return RangeDescriptor.between(first, last, restricting=clock).encode()


@pytest.mark.parametrize("key", MODELS)
def test_energy_is_what_the_load_used(key: str) -> None:
    meter = fed(key, 2, LOAD_W)
    value, (scaler, unit) = (get(meter, 3, energy(key), n) for n in (2, 3))
    phases = len(meter.model.phases)
    assert value * 10**scaler == LOAD_W * 48 * phases
    assert unit == 30


def test_rates_add_up_to_the_total() -> None:
    meter = fed("mt372", 9)
    rates = [get(meter, 3, f"1-0:1.8.{rate}", 2) for rate in range(5)]
    assert sum(rates[1:]) == rates[0]
    assert rates[1] > 0
    assert rates[2] > 0


@pytest.mark.parametrize("key", MODELS)
def test_a_day_of_the_load_profile_by_range(key: str) -> None:
    meter = fed(key, 3, LOAD_W)
    profile = meter.model.profiles[0]
    first = START_S + DAY_S
    raw = rows_of(meter, profile.obis, 1, between(first + 1, first + DAY_S, meter))
    table = decode_profile(raw, captures(meter, profile.obis))
    assert len(table) == DAY_S // profile.period_s
    times = table.times(meter.zone).utc_s
    assert times[0] == first + profile.period_s
    assert times[-1] == first + DAY_S
    assert (np.diff(times) == profile.period_s).all()
    column = table[Obis.parse(energy(key))]
    row = meter.model.row(energy(key))
    assert (column[-1] - column[0]) * 10**row.scaler == pytest.approx(
        LOAD_W * len(meter.model.phases) * (DAY_S - profile.period_s) / 3600, abs=10**row.scaler
    )


def test_bounds_of_a_range_are_inclusive() -> None:
    meter = fed("mt372", 1)
    one = between(START_S + 900, START_S + 900, meter)
    assert len(axdr.decode(rows_of(meter, Obis.parse("1-0:99.1.0"), 1, one)).value) == 1


def test_an_empty_range_is_an_empty_array() -> None:
    meter = fed("mt372", 1)
    nothing = between(START_S - 2 * DAY_S, START_S - DAY_S, meter)
    assert rows_of(meter, Obis.parse("1-0:99.1.0"), 1, nothing) == b"\x01\x00"


def test_rows_by_entry_count_from_the_oldest() -> None:
    meter = fed("mt372", 1)
    obis = Obis.parse("1-0:99.1.0")
    everything = axdr.decode(meter.objects.get(AttributeRef(7, obis, 2), who(meter))).value
    picked = axdr.decode(rows_of(meter, obis, 2, EntryDescriptor(3, 5, 1, 0).encode())).value
    assert picked == everything[2:5]
    columns = axdr.decode(rows_of(meter, obis, 2, EntryDescriptor(1, 1, 3, 3).encode())).value
    assert [cell.value for cell in columns[0].value] == [everything[0].value[2].value]


def test_a_range_may_select_columns() -> None:
    meter = fed("mt372", 1)
    obis = Obis.parse("1-0:99.1.0")
    wanted = captures(meter, obis)[2:3]
    clock = CaptureObject(8, meter.model.clock.obis, 2, 0)
    first, last = (CosemDateTime.from_utc(START_S + n, meter.zone) for n in (900, 1800))
    selection = RangeDescriptor.between(first, last, wanted, restricting=clock).encode()
    rows = axdr.decode(rows_of(meter, obis, 1, selection)).value
    assert [len(row.value) for row in rows] == [1, 1]


@pytest.mark.parametrize(
    ("selector", "parameters"),
    [
        (3, axdr.encode(axdr.null())),
        (1, axdr.encode(axdr.null())),
        (2, b"\x02\x04"),
        (1, RangeDescriptor(
            CaptureObject(3, Obis.parse("1-0:99.99.0"), 2, 0), axdr.u32(0), axdr.u32(1)
        ).encode()),
    ],
)  # fmt: skip
def test_a_wrong_selection_is_out_of_scope(selector: int, parameters: bytes) -> None:
    meter = fed("mt372", 1)
    with pytest.raises(AccessError) as refused:
        rows_of(meter, Obis.parse("1-0:99.1.0"), selector, parameters)
    assert refused.value.result is DataAccessResult.SCOPE_OF_ACCESS_VIOLATED


def test_rows_may_be_restricted_by_a_register() -> None:
    meter = fed("mt372", 1, LOAD_W)
    obis = Obis.parse("1-0:99.1.0")
    register = captures(meter, obis)[2]
    selection = RangeDescriptor(register, axdr.u32(9_000), axdr.u32(18_000)).encode()
    rows = axdr.decode(rows_of(meter, obis, 1, selection)).value
    assert [row.value[2].value for row in rows] == [9000 + 900 * n for n in range(11)]


def test_no_work_is_done_row_by_row_to_read_a_load_profile() -> None:
    """What makes a day of it take half a millisecond, which `make bench` measures."""
    meter = fed("omnipower", 6)
    obis = Obis.parse("1-1:99.1.0")
    days = [between(START_S + DAY_S, START_S + (1 + n) * DAY_S - 1, meter) for n in (1, 4)]
    rows = [len(axdr.decode(rows_of(meter, obis, 1, each)).value) for each in days]
    assert rows[1] == 4 * rows[0]
    one, four = (lines_run(partial(rows_of, meter, obis, 1, each), 100_000) for each in days)
    assert four < one + rows[0]


def test_a_profile_keeps_the_ordered_columns_period_and_memory() -> None:
    options = MeterOptions(layout="A+/A-/R1/R2/R3/R4", period_s=1800, variant="")
    meter = made("omnipower", options=options)
    assert len(captures(meter, Obis.parse("1-1:99.1.0"))) == 2 + 6
    assert get(meter, 7, "1-1:99.1.0", 4) == 1800
    assert get(meter, 7, "1-1:99.1.0", 8) == 13_994
    austria = made("omnipower", options=MeterOptions(variant="austria"))
    assert get(austria, 7, "1-1:99.1.0", 8) == 60 * 96


@pytest.mark.parametrize(
    "options", [MeterOptions(layout="B"), MeterOptions(period_s=60), MeterOptions(variant="x")]
)
def test_what_cannot_be_ordered_is_refused_with_what_can(options: MeterOptions) -> None:
    with pytest.raises(ModelError, match="OMNIPOWER"):
        made("omnipower", options=options)


def test_maximum_demand_with_its_time_and_the_running_demand() -> None:
    meter = fed("mt372", 1, LOAD_W)
    value, unit, _status, moment = (get(meter, 4, "1-0:1.6.0", n) for n in (2, 3, 4, 5))
    assert value == 3 * LOAD_W
    assert unit == [0, 27]
    at = CosemDateTime.of(moment).utc()
    assert (at - START_S) % 900 == 0
    last, period, number = (get(meter, 5, "1-0:1.4.0", n) for n in (3, 8, 9))
    assert (last, period, number) == (3 * LOAD_W, 900, 1)


def test_a_maximum_that_was_never_reached_has_no_time() -> None:
    moment = get(made("mt372"), 4, "1-0:1.6.4", 5)
    assert CosemDateTime.of(moment).is_unset


def test_the_billing_reset_writes_a_row_and_starts_the_maximum_anew() -> None:
    meter = fed("mt372", 1, LOAD_W)
    call(meter, 9, "0-0:10.0.1", 1, axdr.u16(1))
    assert get(meter, 7, "0-0:98.1.0", 7) == 1
    assert get(meter, 4, "1-0:1.6.0", 2) == 0
    assert get(meter, 3, "1-0:1.2.0", 2) == 3 * LOAD_W
    assert get(meter, 1, "1-0:0.1.0", 2) == 1
    row = get(meter, 7, "0-0:98.1.0", 2)[0]
    assert 3 * LOAD_W * 24 in row
    with pytest.raises(AccessError, match="try again in"):
        call(meter, 7, "0-0:98.1.0", 2)


def test_the_sealed_reset_button_ends_the_billing_period() -> None:
    meter = fed("mt372", 1)
    buttons = [t.key for t in meter.model.terminals if t.kind == "button"]
    number = 2 * buttons.index("reset") + 1
    call(meter, 9, "0-0:10.128.0", 1, axdr.u16(number))
    assert get(meter, 7, "0-0:98.1.0", 7) == 1


def test_operating_hours_are_hours() -> None:
    meter = fed("omnipower", 2)
    assert get(meter, 3, "0-1:96.8.0", 2) == 48
    assert get(meter, 3, "0-1:96.8.0", 3) == [0, 5]
    call(meter, 7, "1-1:98.1.0", 2)
    assert get(meter, 7, "1-1:98.1.0", 2)[0][1] == 48


def test_events_go_into_the_log_with_the_makers_codes() -> None:
    covers = (
        Incident(START_S + 100, "terminal_cover_opened"),
        Incident(START_S + 200, "phase_lost", Phase.L2),
    )
    meter = made("mt372")
    meter.advance(ConstantLoad(incidents=covers), START_S + 600)
    codes = [row[1] for row in get(meter, 7, "0-0:99.98.0", 2)]
    assert codes == [0x8011, 0x8002]
    assert get(meter, 1, "0-0:96.11.0", 2) == 0x8002


def test_logs_are_read_by_range_and_by_entry() -> None:
    covers = tuple(Incident(START_S + 100 * n, "terminal_cover_opened") for n in range(1, 6))
    meter = made("mt372")
    meter.advance(ConstantLoad(incidents=covers), START_S + 600)
    obis = Obis.parse("0-0:99.98.0")
    ranged = axdr.decode(rows_of(meter, obis, 1, between(START_S + 200, START_S + 400, meter)))
    assert len(ranged.value) == 3
    entries = axdr.decode(rows_of(meter, obis, 2, EntryDescriptor(4, 0, 1, 0).encode()))
    assert len(entries.value) == 2


def test_clearing_a_log_leaves_the_note_that_it_was_cleared() -> None:
    covers = (Incident(START_S + 100, "terminal_cover_opened"),)
    meter = made("k382m")
    meter.advance(ConstantLoad(incidents=covers), START_S + 600)
    assert get(meter, 7, "0-0:99.98.1", 7) == 1
    with pytest.raises(AccessError):
        call(meter, 7, "0-0:99.98.1", 1, level=Level.READER)
    call(meter, 7, "0-0:99.98.1", 1)
    assert get(meter, 7, "0-0:99.98.1", 7) == 0
    assert get(meter, 7, "0-0:99.98.0", 2)[-1][1] == 255


def test_clearing_a_load_profile_keeps_the_registers() -> None:
    meter = fed("mt372", 1)
    before = get(meter, 3, "1-0:1.8.0", 2)
    call(meter, 7, "1-0:99.1.0", 1)
    assert get(meter, 7, "1-0:99.1.0", 7) == 0
    assert get(meter, 3, "1-0:1.8.0", 2) == before


def test_excess_power_is_counted_above_the_contract() -> None:
    meter = fed("esox", 1, LOAD_W, options=MeterOptions(contracted_w=3000))
    assert get(meter, 3, "1-0:1.36.0", 2) == 96
    assert get(meter, 4, "1-0:1.38.0", 2) == 600
    assert get(meter, 4, "1-0:128.6.10", 2) == 600
    assert get(meter, 3, "1-0:128.8.0", 2) == 96 * 600


def test_harmonics_are_null_until_metrology_delivers_them() -> None:
    meter = made("esox")
    assert get(meter, 3, "1-0:32.7.5", 2) is None
    meter.harmonics = np.zeros((2, 3, 51), np.int64)
    meter.harmonics[0, 0, 5] = 312
    assert get(meter, 3, "1-0:32.7.5", 2) == 312
    assert get(meter, 3, "1-0:32.7.5", 3) == [-2, 56]


def test_a_register_wraps_at_the_width_of_its_type_and_a_value_that_does_not_fit_is_null() -> None:
    counting = number_encoder(DataType.U32, wraps=True)
    showing = number_encoder(DataType.U16, wraps=False)
    assert axdr.decode(counting(2**32 + 7)).value == 7
    assert axdr.decode(showing(65_536)).value is None
    assert axdr.decode(showing(65_535)).value == 65_535


def test_a_meter_is_read_in_order_even_when_its_clock_was_set_back_by_days() -> None:
    meter = fed("mt372", 4)
    meter.set_clock(START_S + DAY_S)
    meter.advance(ConstantLoad(), START_S + 6 * DAY_S)
    obis = Obis.parse("1-0:99.1.0")
    raw = rows_of(meter, obis, 1, between(START_S + 2 * DAY_S, START_S + 2 * DAY_S + 900, meter))
    assert len(axdr.decode(raw).value) == 4


# --- what a running meter can be told to record -------------------------------------------------


def test_another_period_begins_the_profile_anew_and_keeps_the_registers() -> None:
    store = Store.in_memory()
    meter = fed("mt372", 1, LOAD_W, keeper=StoreKeeper(store, "m"))
    before = get(meter, 3, "1-0:1.8.0", 2)
    put(meter, 7, "1-0:99.1.0", 4, axdr.u32(1800))
    assert get(meter, 7, "1-0:99.1.0", 7) == 0
    assert get(meter, 7, "1-0:99.1.0", 4) == 1800
    assert get(meter, 3, "1-0:1.8.0", 2) == before
    assert get(meter, 7, "1-0:99.2.0", 7) == 1
    meter.advance(ConstantLoad(LOAD_W), START_S + DAY_S + 7200)
    assert get(meter, 7, "1-0:99.1.0", 7) == 4
    again = made("mt372", keeper=StoreKeeper(store, "m"))
    assert get(again, 7, "1-0:99.1.0", 4) == 1800
    assert get(again, 7, "1-0:99.1.0", 2) == get(meter, 7, "1-0:99.1.0", 2)
    with pytest.raises(AccessError):
        put(again, 7, "1-0:99.1.0", 4, axdr.u32(77))


def test_a_period_that_was_set_survives_a_restart_before_the_first_record() -> None:
    store = Store.in_memory()
    meter = fed("mt372", 1, LOAD_W, keeper=StoreKeeper(store, "m"))
    put(meter, 7, "1-0:99.1.0", 4, axdr.u32(3600))
    again = made("mt372", keeper=StoreKeeper(store, "m"))
    assert get(again, 7, "1-0:99.1.0", 7) == 0
    assert get(again, 3, "1-0:1.8.0", 2) == 3 * LOAD_W * 24


@pytest.mark.parametrize(
    ("key", "profile", "codes"),
    [
        ("esox", "1-0:99.4.0", ("1-0:1.8.0", "1-0:52.7.0", "1-0:14.25.0")),
        ("omnipower", "1-1:99.1.1", ("1-1:32.7.0", "1-1:31.7.0", "0-1:96.8.0")),
        ("k382m", "1-1:99.1.1", ("1-1:1.25.0", "1-1:72.25.0")),
    ],
)
def test_a_profile_records_what_it_is_told_to(
    key: str, profile: str, codes: tuple[str, ...]
) -> None:
    meter = fed(key, 1)
    rows = [meter.model.row(code) for code in codes]
    wanted = [CaptureObject(8, meter.model.clock.obis, 2, 0)]
    wanted += [CaptureObject(row.class_id, row.obis, 2, 0) for row in rows]
    put(meter, 7, profile, 3, axdr.array_of(capture.data() for capture in wanted))
    found = captures(meter, Obis.parse(profile))
    assert [str(capture.obis) for capture in found[2:]] == list(codes)
    meter.advance(ConstantLoad(LOAD_W, len(meter.model.phases)), START_S + 2 * DAY_S)
    newest = get(meter, 7, profile, 2)[-1]
    assert len(newest) == 2 + len(codes)
    assert newest[2] is not None
    table = next(p for p in meter.model.profiles if p.obis == Obis.parse(profile))
    assert get(meter, 7, profile, 8) == table.records(channels=len(codes))


@pytest.mark.parametrize("code", ["0-0:42.0.0", "1-0:99.8.0", "0-0:96.11.0"])
def test_what_cannot_be_recorded_is_refused_and_nothing_is_lost(code: str) -> None:
    meter = fed("mt372", 1)
    wanted = CaptureObject(1, Obis.parse(code), 2, 0)
    with pytest.raises(AccessError) as refused:
        put(meter, 7, "1-0:99.1.0", 3, axdr.array(wanted.data()))
    assert refused.value.result is DataAccessResult.OTHER_REASON
    assert get(meter, 7, "1-0:99.1.0", 7) == 96
