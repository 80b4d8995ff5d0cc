"""The controller: limits, credit and relays act on the energy that is counted; any cut agrees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.control.breaker import BreakerPlan, State
from blathy.control.controller import Controller, ControlPlan, ControlRefusedError
from blathy.control.limiter import EmergencyProfile, LimiterPlan, SmartDisconnectPlan
from blathy.control.prepayment import PrepaymentPlan
from blathy.control.relays import Input, Level, RateIs, RelayPlan
from blathy.control.windows import Window
from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.block import INSTANT_INDEX, Block, Incident
from blathy.registers.ledger import Ledger
from tests.registers.intervals import DAY, UTC_2026, WH, A, block, full_plan, random_block

PLAN = full_plan()
POWER = Source(Kind.INSTANT, Measure.A_IMPORT)
VOLTAGE = Source(Kind.INSTANT, Measure.U, Phase.L1)
KWH = 1000 * WH
EVERYTHING = ControlPlan(
    BreakerPlan(mode=5),
    (LimiterPlan(POWER, 600_000, 200_000, 180, 120, emergency_groups=frozenset({1})),),
    SmartDisconnectPlan(limit=500_000, times_s=(60, 120, 300), reconnect_s=400),
    PrepaymentPlan(friendly=(Window(22 * 3600, 6 * 3600),), enabled=True),
    (
        RelayPlan("boiler", ((RateIs(frozenset({2})),),), min_on_s=300, min_off_s=600),
        RelayPlan(
            "heater",
            ((Level(POWER, 100_000, 300_000, 60), Window(8 * 3600, 20 * 3600)), (Input("hot"),)),
            min_off_s=120,
        ),
    ),
)


def made(plan: ControlPlan, start: int = UTC_2026) -> Controller:
    return Controller(plan, Ledger(PLAN, start))


def names(happened: tuple[Incident, ...]) -> list[str]:
    return [incident.name for incident in happened]


def energy_wh(controller: Controller) -> int:
    return controller.ledger.snapshot().value(A) // WH


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    start=st.sampled_from([UTC_2026, UTC_2026 + 20 * 3600 + 7, 1_774_717_200]),
    step_s=st.sampled_from([1, 60, 97, 900]),
    n=st.integers(1, 200),
    credit=st.integers(1, 200),
    cuts=st.lists(st.integers(1, 199), max_size=10),
)
def test_any_cut_switches_and_counts_the_same(
    seed: int, start: int, step_s: int, n: int, credit: int, cuts: list[int]
) -> None:
    whole = random_block(np.random.default_rng(seed), start, n, step_s)
    results = []
    for edges in ([0, n], [0, *sorted({c for c in cuts if c < n}), n]):
        controller = made(EVERYTHING, start)
        controller.add_credit(credit * 10**9, "shop")
        profile = EmergencyProfile(1, start + 5_000, 7_000)
        assert controller.limiters[0].set_emergency(profile)
        happened: list[Incident] = []
        for first, last in pairwise(edges):
            happened += controller.advance(whole.cut(first, last))
        results.append((happened, controller.ledger.state_hash(), controller.state_bytes()))
    assert results[0] == results[1]


def test_one_interval_at_a_time_switches_the_same() -> None:
    whole = random_block(np.random.default_rng(3), UTC_2026, 600, 60)
    at_once, singly = made(EVERYTHING), made(EVERYTHING)
    one = at_once.advance(whole)
    other = [i for k in range(600) for i in singly.advance(whole.cut(k, k + 1))]
    assert list(one) == other
    assert at_once.ledger.state_hash() == singly.ledger.state_hash()
    assert at_once.state_bytes() == singly.state_bytes()


def test_a_restored_controller_goes_on_the_same() -> None:
    whole = random_block(np.random.default_rng(4), UTC_2026, 400, 60)
    one = made(EVERYTHING)
    one.advance(whole.cut(0, 200))
    other = Controller(EVERYTHING, one.ledger)
    other.restore(one.state_bytes())
    assert other.state_bytes() == one.state_bytes()
    with pytest.raises(ValueError, match="damaged"):
        other.restore(one.state_bytes()[:-1] + b"x")


# --- breaker and limits -------------------------------------------------------------------


def test_an_open_breaker_counts_nothing_and_keeps_the_voltage() -> None:
    controller = made(ControlPlan(BreakerPlan(mode=1)))
    controller.advance(block(UTC_2026, 60, 60, watt=6000))
    assert controller.remote_disconnect("head-end")
    controller.advance(block(controller.ledger.now, 60, 60, watt=6000))
    seen = controller.ledger.snapshot()
    assert seen.value(A) // WH == 6000
    assert seen.value(POWER) == 0
    assert seen.value(VOLTAGE) == 230_000
    assert controller.remote_reconnect("head-end")
    controller.advance(block(controller.ledger.now, 60, 60, watt=6000))
    assert energy_wh(controller) == 12_000


def test_the_breaker_keeps_its_state_over_a_power_cut() -> None:
    controller = made(ControlPlan(BreakerPlan(mode=4)))
    controller.remote_disconnect("head-end")
    controller.advance(block(UTC_2026, 30, 60, supply=[7] * 10 + [0] * 10 + [7] * 10))
    assert controller.breaker.state is State.DISCONNECTED
    assert not controller.press_button()
    controller.remote_reconnect("head-end")
    assert controller.breaker.state is State.READY
    assert controller.press_button()
    assert controller.breaker.connected


def test_the_limiter_opens_after_its_time_and_closes_after_the_other() -> None:
    plan = LimiterPlan(POWER, 5_000_000, 2_000_000, min_over_s=300, min_under_s=600)
    controller = made(ControlPlan(BreakerPlan(mode=5), (plan,)))
    happened = controller.advance(block(UTC_2026, 40, 60, watt=[6000] * 6 + [1000] * 34))
    at = {incident.name: (incident.at_utc_s - UTC_2026) // 60 for incident in happened}
    assert at["power_limit_exceeded"] == at["breaker_opened_automatically"] == 5
    assert at["power_limit_ended"] == at["breaker_closed_automatically"] == 15
    assert energy_wh(controller) == 5 * 100 + 25 * 1000 // 60


def test_a_short_peak_does_not_open() -> None:
    plan = LimiterPlan(POWER, 5_000_000, 2_000_000, min_over_s=300)
    controller = made(ControlPlan(BreakerPlan(mode=5), (plan,)))
    happened = controller.advance(block(UTC_2026, 40, 60, watt=([6000] * 4 + [1000]) * 8))
    assert "breaker_opened_automatically" not in names(happened)


def test_the_emergency_threshold_applies_in_its_time_only() -> None:
    plan = LimiterPlan(
        POWER, 5_000_000, 2_000_000, 60, 60, reconnects=False, emergency_groups=frozenset({3})
    )
    controller = made(ControlPlan(BreakerPlan(mode=4), (plan,)))
    limiter = controller.limiters[0]
    assert not limiter.set_emergency(EmergencyProfile(9, UTC_2026, 600))
    assert limiter.set_emergency(EmergencyProfile(3, UTC_2026 + 1800, 600))
    happened = controller.advance(block(UTC_2026, 60, 60, watt=3000))
    at = {incident.name: (incident.at_utc_s - UTC_2026) // 60 for incident in happened}
    assert at["power_limit_exceeded"] == 31
    assert not limiter.emergency_active


def amps(n: int, values_ma: list[int]) -> Block:
    made_block = block(UTC_2026, n, 1)
    made_block.instant[:, INSTANT_INDEX["i_ma", Phase.TOTAL]] = values_ma
    return made_block


@pytest.mark.parametrize(
    ("current_ma", "opens_after_s"), [(102_000, 10), (83_000, 40), (70_000, 100), (62_000, None)]
)
def test_smart_disconnect_opens_the_sooner_the_further_above(
    current_ma: int, opens_after_s: int | None
) -> None:
    plan = SmartDisconnectPlan(limit=63_000, times_s=(10, 30, 60), short_circuit=1_000_000)
    controller = made(ControlPlan(BreakerPlan(mode=5), smart=plan))
    happened = controller.advance(amps(120, [current_ma] * 120))
    opened = [i.at_utc_s - UTC_2026 for i in happened if i.name == "breaker_opened_automatically"]
    assert opened[:1] == ([] if opens_after_s is None else [opens_after_s])


def test_smart_disconnect_leaves_a_short_circuit_to_the_fuse() -> None:
    plan = SmartDisconnectPlan(limit=63_000, times_s=(10, 30, 60), short_circuit=500_000)
    controller = made(ControlPlan(BreakerPlan(mode=5), smart=plan))
    assert "breaker_opened_automatically" not in names(controller.advance(amps(90, [600_000] * 90)))


def test_smart_disconnect_recloses_by_itself_after_its_time() -> None:
    plan = SmartDisconnectPlan(limit=63_000, times_s=(10, 30, 60), reconnect_s=60)
    controller = made(ControlPlan(BreakerPlan(mode=5), smart=plan))
    happened = controller.advance(amps(80, [102_000] * 75 + [1000] * 5))
    at = {incident.name: incident.at_utc_s - UTC_2026 for incident in happened}
    assert at["breaker_opened_automatically"] == 10
    assert at["breaker_closed_automatically"] == 70


# --- prepayment -----------------------------------------------------------------------------


def prepaid(mode: int = 5, **changes: object) -> Controller:
    table: dict[str, object] = {"low_credit_uwh": KWH // 2, "emergency_uwh": KWH, "enabled": True}
    return made(ControlPlan(BreakerPlan(mode), prepayment=PrepaymentPlan(**(table | changes))))  # type: ignore[arg-type]


def test_the_breaker_opens_when_the_bought_energy_is_used_up() -> None:
    controller = prepaid()
    controller.add_credit(2 * KWH, "shop")
    happened = controller.advance(block(UTC_2026, 240, 60, watt=1200))
    at = {incident.name: (incident.at_utc_s - UTC_2026) / 60 for incident in happened}
    assert at["low_credit"] == pytest.approx(75, abs=1)
    assert at["credit_exhausted"] == at["breaker_opened_automatically"]
    assert at["credit_exhausted"] == pytest.approx(100, abs=1)
    assert energy_wh(controller) == pytest.approx(2000, abs=20)
    assert not controller.press_button()
    controller.add_credit(KWH, "shop")
    assert controller.breaker.connected


def test_without_permission_to_reconnect_the_button_closes_after_a_purchase() -> None:
    controller = prepaid(mode=2)
    controller.add_credit(KWH, "shop")
    controller.advance(block(UTC_2026, 120, 60, watt=1200))
    assert controller.breaker.state is State.READY
    assert not controller.press_button()
    controller.add_credit(KWH, "shop")
    assert controller.breaker.state is State.READY
    assert controller.press_button()


def test_emergency_credit_is_offered_low_used_once_and_paid_back() -> None:
    controller = prepaid()
    controller.add_credit(KWH, "shop")
    with pytest.raises(ControlRefusedError, match="no emergency credit"):
        controller.take_emergency_credit()
    controller.advance(block(UTC_2026, 120, 60, watt=1200))
    assert not controller.breaker.connected
    controller.take_emergency_credit()
    assert controller.breaker.connected
    controller.advance(block(controller.ledger.now, 120, 60, watt=1200))
    assert not controller.breaker.connected
    assert controller.prepayment.balance_uwh == pytest.approx(-KWH, abs=0.03 * KWH)
    owed = -controller.prepayment.balance_uwh
    controller.add_credit(3 * KWH, "shop")
    assert controller.prepayment.balance_uwh == 3 * KWH - owed
    assert controller.breaker.connected


def test_a_friendly_period_keeps_the_supply_until_it_ends() -> None:
    night = Window(22 * 3600, 6 * 3600)
    controller = prepaid(friendly=(night,))
    controller.add_credit(KWH, "shop")
    happened = controller.advance(block(UTC_2026, 24 * 12, 300, watt=1200))
    at = {incident.name: incident.at_utc_s - UTC_2026 for incident in happened}
    assert at["credit_exhausted"] == pytest.approx(50 * 60, abs=300)
    assert at["breaker_opened_automatically"] == 5 * 3600  # 06:00 in Budapest
    assert controller.prepayment.balance_uwh < -4 * KWH


def test_a_purchase_must_be_one() -> None:
    controller = prepaid()
    for amount in (0, -5, 10**20):
        with pytest.raises(ControlRefusedError, match="purchase"):
            controller.add_credit(amount, "shop")
    controller.set_prepayment("utility", enabled=False)
    with pytest.raises(ControlRefusedError, match="prepayment is off"):
        controller.add_credit(KWH, "shop")


# --- relays ---------------------------------------------------------------------------------


def switchings(happened: tuple[Incident, ...]) -> list[tuple[str, int]]:
    relay = {"relay_on", "relay_off"}
    return [(i.name, i.at_utc_s - UTC_2026) for i in happened if i.name in relay]


def test_a_relay_follows_the_rate_and_the_clock() -> None:
    rules = ((RateIs(frozenset({2})),), (Window(12 * 3600, 13 * 3600),))
    controller = made(ControlPlan(relays=(RelayPlan("boiler", rules),)))
    happened = controller.advance(block(UTC_2026 - 0, 96, 900))
    expected = [("relay_on", 0), ("relay_off", 5 * 3600), ("relay_on", 11 * 3600)]
    expected += [("relay_off", 12 * 3600), ("relay_on", 21 * 3600)]
    assert switchings(happened) == expected


def test_a_relay_on_a_level_has_hysteresis_delay_and_dwell_times() -> None:
    level = Level(VOLTAGE, 250_000, 240_000, 120)
    plan = RelayPlan("fan", ((level,),), min_on_s=1800)
    controller = made(ControlPlan(relays=(plan,)))
    volts = [230_000] * 10 + [255_000] * 5 + [245_000] * 10 + [235_000] * 40
    happened = controller.advance(block(UTC_2026, 65, 60, volt_mv=volts))
    assert switchings(happened) == [("relay_on", 12 * 60), ("relay_off", 42 * 60)]


def test_a_relay_on_an_input_and_by_hand() -> None:
    plan = RelayPlan("pump", ((Input("tank_mk", 330_000, 320_000),),))
    controller = made(ControlPlan(relays=(plan,)))
    relay = controller.relays["pump"]
    for value, on in ((329_000, False), (330_000, True), (321_000, True), (320_000, False)):
        controller.set_inputs({"tank_mk": value})
        assert relay.on is on
    controller.override_relay("pump", True, "installer", for_s=600)
    assert relay.on
    happened = controller.advance(block(UTC_2026, 20, 60))
    assert switchings(happened)[-1] == ("relay_off", 600)
    with pytest.raises(ControlRefusedError, match="no relay"):
        controller.override_relay("lamp", True, "installer")


def test_a_relay_falls_back_to_its_safe_state_with_an_invalid_clock() -> None:
    plan = RelayPlan("heater", ((Window(0, DAY),),), fail_safe=False)
    controller = made(ControlPlan(relays=(plan,)))
    controller.advance(block(UTC_2026, 4, 900))
    assert controller.relays["heater"].on
    long_off = block(controller.ledger.now, 24 * 12, 3600, supply=[0] * (24 * 11) + [7] * 24)
    controller.advance(long_off)
    assert not controller.relays["heater"].on
    controller.ledger.set_clock(controller.ledger.now, "head-end")
    controller.advance(block(controller.ledger.now, 1, 900))
    assert controller.relays["heater"].on
