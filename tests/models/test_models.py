"""The tables: what the data sheets promise of depth, rates and names, and that a wrong cell is
refused when it is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blathy.models import MODELS, Model, ModelError, model
from blathy.models.kamstrup_162m_382m import K162M, K382M, analysis_area
from blathy.models.model import Capacity, Column, DataType, DisplayList, Level, Right, Row
from blathy.models.mpta import MPTA_1, MPTA_3
from blathy.models.mt372 import MT372
from blathy.models.omnipower import LAYOUTS, OMNIPOWER
from blathy.models.row_groups import columns, energies, o
from blathy.models.smartesox import SMARTESOX
from blathy.obis import Obis
from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.events import EVENTS

SEVEN = ("mpta-1", "mpta-3", "mt372", "k162m", "k382m", "omnipower", "esox")


def test_the_seven_meters_are_there() -> None:
    assert tuple(MODELS) == SEVEN


@pytest.mark.parametrize("name", ["omnipower", "OMNIPOWER", " Kamstrup OMNIPOWER single-phase "])
def test_a_model_is_found_by_key_or_name(name: str) -> None:
    assert model(name) is OMNIPOWER


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="mt372"):
        model("mt999")


# --- depth of the memories, number by number as the data sheets print them ----------------------


@pytest.mark.parametrize(
    ("layout", "days"),
    [
        ("A+", (278, 556, 1113)),
        ("A+/A-", (235, 470, 941)),
        ("A+/A-/R+/R-", (180, 360, 720)),
        ("A+/A-/R1/R2/R3/R4", (145, 291, 583)),
        ("A+/A-/R+/R-/R1/R2/R3/R4", (122, 244, 489)),
    ],
)
def test_omnipower_profile_depth_is_that_of_the_sheet(
    layout: str, days: tuple[int, int, int]
) -> None:
    profile = OMNIPOWER.profile("load")
    channels = len(LAYOUTS[layout])
    found = tuple(profile.capacity.whole_days(channels, t * 60) for t in (15, 30, 60))
    assert found == days


def test_omnipower_for_austria_keeps_60_days() -> None:
    assert OMNIPOWER.profile("load").variants["austria"].whole_days(4, 900) == 60


@pytest.mark.parametrize(("period_s", "days"), [(900, 190), (1800, 380), (3600, 760)])
def test_mt372_keeps_380_days_at_30_minutes(period_s: int, days: int) -> None:
    assert MT372.profile("load").capacity.whole_days(2, period_s) == days


@pytest.mark.parametrize(
    ("registers", "records"),
    [(1, 33_696), (2, 19_680), (3, 13_536), (4, 10_464), (6, 7_104), (8, 5_472)],
)
def test_mt372_table_of_2008(registers: int, records: int) -> None:
    assert MT372.profile("load").variants["table-2008"].records(registers, 900) == records


def test_a_table_is_interpolated_between_its_neighbours() -> None:
    table = MT372.profile("load").variants["table-2008"]
    assert table.records(4, 900) > table.records(5, 900) > table.records(6, 900)


@pytest.mark.parametrize(
    ("load_channels", "registers", "days"),
    [(1, 3, 77), (2, 4, 50), (4, 6, 17), (1, 7, 41), (2, 8, 29), (4, 10, 11)],
)
def test_162m_382m_analysis_depth_is_that_of_the_description(
    load_channels: int, registers: int, days: int
) -> None:
    area = Capacity(area_bytes=analysis_area(load_channels), overhead_bytes=11, channel_bytes=7)
    assert area.whole_days(registers, 900) == days


@pytest.mark.parametrize("period_s", [900, 1800, 3600])
def test_162m_382m_keep_130_days_at_any_of_the_periods(period_s: int) -> None:
    for table in (K162M, K382M):
        assert table.profile("load").capacity.whole_days(4, period_s) == 130
    assert K162M.profile("load").capacity.whole_days(4, 300) == 43


@pytest.mark.parametrize(
    ("table", "records", "second"),
    [(MPTA_3, 50_148, ("mod. 6", 30_447)), (MPTA_1, 52_156, ("mod. 2", 34_515))],
)
def test_mpta_rings_follow_from_flash_and_record(
    table: Model, records: int, second: tuple[str, int]
) -> None:
    ring = table.profile("load")
    assert ring.records() == records
    assert ring.variants[second[0]].records(0, 300) == second[1]


def test_logs_are_as_deep_as_promised() -> None:
    assert MT372.logs[0].entries == 128
    assert next(log for log in K162M.logs if log.key == "voltage_quality").entries == 200
    assert len(SMARTESOX.logs) == 7


def test_rates_are_as_promised() -> None:
    rates = {key: MODELS[key].tariffs.rates for key in ("mt372", "k162m", "k382m", "esox")}
    assert rates == {"mt372": 4, "k162m": 8, "k382m": 8, "esox": 6}


# --- every table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", MODELS.values(), ids=SEVEN)
def test_events_of_the_logs_are_events_of_the_books(table: Model) -> None:
    named = {name for log in table.logs for name in log.codes} | set(table.alarms)
    assert named <= set(EVENTS)


@pytest.mark.parametrize("table", MODELS.values(), ids=SEVEN)
def test_codes_of_a_log_tell_its_events_apart(table: Model) -> None:
    for log in table.logs:
        codes = [
            code
            for name, found in log.codes.items()
            if not name.startswith(("clock_adjusted", "missing_current_start"))
            for code in ((found,) if isinstance(found, int) else found)
        ]
        assert len(codes) == len(set(codes)), log.key


@pytest.mark.parametrize("table", MODELS.values(), ids=SEVEN)
def test_energy_and_power_codes_follow_from_their_sources(table: Model) -> None:
    """A+ is 1.8.0 whoever writes the row; Kamstrup only changes group B."""
    b = 1 if table.flag == "KAM" else 0
    for row in table.rows:
        if row.source.kind is Kind.ENERGY and row.source.loss is None:
            assert row.source.measure is not None
            c = row.source.measure.value + 20 * row.source.phase
            assert row.obis == Obis(1, b, c, 8, row.source.tariff)


@pytest.mark.parametrize("table", MODELS.values(), ids=SEVEN)
def test_legal_data_cannot_be_changed_at_any_level(table: Model) -> None:
    for level in table.access:
        for row in table.rows:
            if row.source.kind is Kind.ENERGY:
                assert Right.SET not in table.right(level, row.group)


@pytest.mark.parametrize("table", MODELS.values(), ids=SEVEN)
def test_everybody_can_find_out_what_a_meter_is(table: Model) -> None:
    levels = {association.level for association in table.associations}
    assert {Level.PUBLIC, Level.READER, Level.MANAGEMENT} <= levels
    assert table.association(16) is not None
    assert table.sources
    assert table.assumptions


# --- a wrong cell is refused ---------------------------------------------------------------------


def test_a_code_cannot_be_given_twice() -> None:
    with pytest.raises(ModelError, match=r"1-0:1\.8\.0 is both"):
        replace(MT372, key="x", rows=(*MT372.rows, MT372.row("1-0:1.8.0")))


def test_a_row_of_a_missing_phase_is_refused() -> None:
    row = Row(o("1-1:52.7.0"), 3, Source(Kind.INSTANT, Measure.U, Phase.L2), DataType.U16)
    with pytest.raises(ModelError, match="L2"):
        replace(OMNIPOWER, key="x", rows=(*OMNIPOWER.rows, row))


def test_a_rate_that_is_not_there_is_refused() -> None:
    extra = energies((Measure.R_PLUS,), 5, DataType.U32, 0)
    with pytest.raises(ModelError, match="rate 5"):
        replace(MT372, key="x", rows=(*MT372.rows, *extra))


def test_a_profile_of_a_missing_register_is_refused() -> None:
    profile = replace(MT372.profiles[0], columns=columns("1-0:3.8.0"))
    with pytest.raises(ModelError, match=r"1-0:3\.8\.0, which no row defines"):
        replace(MT372, key="x", profiles=(profile,))


def test_a_column_of_another_unit_than_its_register_is_refused() -> None:
    column = Column(o("1-0:1.8.0"), 2, Source(Kind.INSTANT, Measure.U, Phase.L1))
    profile = replace(MT372.profiles[0], columns=(column,))
    with pytest.raises(ModelError, match="unit"):
        replace(MT372, key="x", profiles=(profile,))


def test_a_display_item_that_no_row_has_is_refused() -> None:
    assert MT372.display is not None
    display = replace(MT372.display, lists=(DisplayList("automatic", ("1-0:9.8.0",)),))
    with pytest.raises(ModelError, match="automatic"):
        replace(MT372, key="x", display=display)


def test_a_row_of_another_unit_than_its_source_is_refused() -> None:
    from blathy.quantity import Unit

    with pytest.raises(ModelError, match="unit"):
        Row(o("1-0:1.8.0"), 3, Source(Kind.ENERGY, Measure.A_IMPORT), unit=Unit.VARH)
