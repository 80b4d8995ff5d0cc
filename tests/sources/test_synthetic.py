"""The synthetic grid: deterministic, additive over any cut, plausible in size and shape."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.clock import Zone
from blathy.registers.block import INSTANT_INDEX, PHASES
from blathy.sources.happenings import QUIET, GridSupply, Rates
from blathy.sources.load_shapes import load_shape
from blathy.sources.measured import MeasuredSource
from blathy.sources.synthetic import Charger, FeederSource, LoadSpec, Machines, SyntheticSource
from blathy.sources.waveform import WaveformSynthesizer

DAY = 20_600
START = DAY * 86_400
HOUSE = LoadSpec(appliances=("kettle", "refrigerator", "laptop"), phases=3, pv_peak_w=4_000)


def house(key: int = 5, spec: LoadSpec = HOUSE) -> SyntheticSource:
    return SyntheticSource(spec, seed=1, key=key)


def test_a_household_of_1000_kwh_uses_1000_kwh_a_year() -> None:
    shape = load_shape("h0")
    year = sum(
        float(shape.day(date.fromordinal(n)).sum()) / 4000.0
        for n in range(date(2026, 1, 1).toordinal(), date(2027, 1, 1).toordinal())
    )
    assert year == pytest.approx(1000, rel=0.02)


def test_an_unknown_shape_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known are h0"):
        load_shape("h9")


@given(first=st.integers(0, 1300), minutes=st.integers(1, 120))
@settings(max_examples=30)
def test_seconds_add_up_to_their_minutes_to_the_last_uwh(first: int, minutes: int) -> None:
    source = house()
    start = START + first * 60
    coarse = source.block(start, minutes, 60).energy_u.sum(axis=0)
    fine = source.block(start, minutes * 60, 1).energy_u.sum(axis=0)
    assert (coarse == fine).all()


def test_two_sources_with_the_same_seed_deliver_the_same_numbers() -> None:
    a, b = house().block(START, 96, 900), house().block(START, 96, 900)
    assert (a.energy_u == b.energy_u).all()
    assert (a.instant == b.instant).all()
    other = house(key=6).block(START, 96, 900)
    assert (a.energy_u != other.energy_u).any()


def test_a_block_may_cross_midnight() -> None:
    source = house()
    whole = source.block(START + 86_400 - 1800, 4, 900)
    halves = [source.block(START + 86_400 + s, 2, 900) for s in (-1800, 0)]
    assert (whole.energy_u == np.concatenate([h.energy_u for h in halves])).all()


def test_extremes_enclose_the_mean() -> None:
    block = house().block(START, 96, 900)
    assert block.instant_min is not None
    assert block.instant_max is not None
    assert (block.instant_min <= block.instant).all()
    assert (block.instant <= block.instant_max).all()


def test_a_roof_exports_at_noon_and_not_at_night() -> None:
    spec = LoadSpec(annual_kwh=500, pv_peak_w=6_000)
    day = SyntheticSource(spec, 1, 1).block(
        (date(2026, 6, 21).toordinal() - 719_163) * 86_400, 24, 3600
    )
    export_wh = day.energy_u[:, 0, 1] / 1e6
    assert export_wh[10:12].sum() > 300
    assert export_wh[22:].sum() == 0


def test_the_workshop_has_a_bad_power_factor_in_working_hours() -> None:
    spec = LoadSpec(shape="g1", annual_kwh=2_000, phases=3, machines=Machines())
    monday = (date(2026, 6, 22).toordinal() - 719_163) * 86_400
    noon = SyntheticSource(spec, 1, 3, Zone("Europe/Budapest")).block(monday + 8 * 3600, 60, 60)
    factor = noon.instant[:, INSTANT_INDEX[("pf_milli", PHASES[0])]].mean()
    assert 600 < factor < 850


def test_a_charger_loads_the_evening() -> None:
    spec = LoadSpec(phases=3, charger=Charger(share_of_days=1.0))
    day = SyntheticSource(spec, 1, 3).block(START, 24, 3600)
    assert day.energy_u[:, 0, 0].max() / 1e6 > 6_000


def test_an_outage_stops_energy_and_voltage_for_all_points_of_a_feeder() -> None:
    rates = Rates(outage=3.0, sag=0, swell=0, cover=0, magnet=0, overcurrent=0, reversed_current=0)
    supplies = [GridSupply(1, 2, point, rates=rates) for point in (1, 2)]
    day = next(d for d in range(DAY, DAY + 50) if supplies[0].outages(d))
    off, on = supplies[0].outages(day)[0]
    assert supplies[1].outages(day) == [(off, on)]
    block = SyntheticSource(HOUSE, 1, 5, supply=supplies[0]).block(day * 86_400, 1440, 60)
    assert (block.supply == 0).sum() == on - off
    assert block.energy_u[off:on].sum() == 0
    assert block.energy_u[off - 1].sum() > 0


def test_a_feeder_is_the_sum_of_its_points_and_its_losses() -> None:
    quiet = GridSupply(1, 1, 1, rates=QUIET)
    parts = tuple(SyntheticSource(LoadSpec(phases=3), 1, k, supply=quiet) for k in range(4))
    lossless = FeederSource(LoadSpec(phases=3), 1, 99, parts=parts, resistance_ohm=0.0)
    lossy = FeederSource(LoadSpec(phases=3), 1, 99, parts=parts, resistance_ohm=0.05)
    points = sum(int(p.block(START, 96, 900).energy_u[:, 0, 0].sum()) for p in parts)
    head = int(lossless.block(START, 96, 900).energy_u[:, 0, 0].sum())
    assert head == pytest.approx(points, rel=1e-5)
    assert int(lossy.block(START, 96, 900).energy_u[:, 0, 0].sum()) > head


def test_waveforms_carry_the_power_of_their_interval() -> None:
    block = house().block(START + 9 * 3600, 3, 1)
    synth = WaveformSynthesizer()
    for row in range(3):
        samples = synth.second(block, row).astype(np.float64)
        for k, phase in enumerate(PHASES[1:]):
            power = (samples[k] * samples[3 + k]).mean()
            want = block.instant[row, INSTANT_INDEX[("p_mw", phase)]] / 1000
            assert power == pytest.approx(want, rel=2e-3, abs=0.5)
            volts = np.sqrt((samples[k] ** 2).mean())
            assert volts == pytest.approx(
                block.instant[row, INSTANT_INDEX[("u_mv", phase)]] / 1000, rel=1e-3
            )


def test_a_step_that_does_not_fit_the_minute_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit the minute"):
        house().block(START, 1, 7)


def test_a_measured_second_equals_the_second_that_was_drawn() -> None:
    quiet = SyntheticSource(HOUSE, 1, 5, supply=GridSupply(1, 1, 1, rates=QUIET))
    source = MeasuredSource(quiet)
    start = START + 9 * 3600
    drawn, seen = quiet.block(start, 20, 1), source.block(start, 20, 1)
    assert seen.start_utc_s == start
    total, want = int(seen.energy_u[:, 0, 0].sum()), int(drawn.energy_u[:, 0, 0].sum())
    assert total == pytest.approx(want, rel=2e-3)
    volts = seen.instant[:, INSTANT_INDEX[("u_mv", PHASES[1])]]
    assert volts == pytest.approx(drawn.instant[:, INSTANT_INDEX[("u_mv", PHASES[1])]], rel=1e-3)


def test_the_cut_of_live_requests_does_not_change_what_is_measured() -> None:
    def run(cuts: list[int]) -> np.ndarray:
        source = MeasuredSource(house())
        at, parts = START, []
        for n in cuts:
            parts.append(source.block(at, n, 1).energy_u)
            at += n
        return np.concatenate(parts)

    assert (run([12]) == run([1, 4, 2, 5])).all()


def test_a_sag_drawn_into_the_samples_is_found_by_the_engine() -> None:
    rates = Rates(outage=0, sag=40, swell=0, cover=0, magnet=0, overcurrent=0, reversed_current=0)
    grid = GridSupply(1, 2, 3, rates=rates)
    sag = next(i for i in grid.incidents(DAY) if i.name == "sag_start")
    source = MeasuredSource(SyntheticSource(HOUSE, 1, 5, supply=grid))
    block = source.block(sag.at_utc_s - 3, 8, 1)
    found = {i.name: i for i in block.incidents}
    assert found["sag_start"].at_utc_s in {sag.at_utc_s, sag.at_utc_s + 1}
    assert found["sag_end"].value == pytest.approx(sag.value, rel=0.02)


def test_the_past_is_answered_by_the_model() -> None:
    source = MeasuredSource(house())
    assert (source.block(START, 96, 900).energy_u == house().block(START, 96, 900).energy_u).all()
