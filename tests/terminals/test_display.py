"""The LCD's logic and the lights: formats, lists, times, symbols, pulses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.models.model import Display, DisplayList, Led
from blathy.models.mt372 import MT372
from blathy.models.omnipower import OMNIPOWER
from blathy.quantity import Unit
from blathy.terminals.display import (
    DisplayDriver,
    Reading,
    Situation,
    format_number,
    format_reading,
    symbols_of,
)
from blathy.terminals.led import (
    LedState,
    breaker_led,
    energy_led,
    pulse_period_ms,
    pulses_between,
)

assert OMNIPOWER.display is not None
assert MT372.display is not None
LCD: Display = OMNIPOWER.display
READINGS = {
    "errors": Reading("F.F", text="00000000", hidden=True),
    "clock": Reading("0.9.1", text="12:00:00"),
    "test": Reading(""),
}


def reading(code: str) -> Reading:
    return READINGS.get(code, Reading(code, 123_456, 1, Unit.WH))


def formatted(display: Display, before: int, after: int) -> Display:
    return Display(
        display.value_digits, display.code_digits, ((before, after),), display.lists,
        display.scroll_s, display.back_to_automatic_s, display.annunciators,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(7, 0, "0001234"), (6, 1, "001234.5"), (7, 2, "0001234.56"), (6, 3, "001234.560")],
)
def test_the_formats_of_the_order_code(before: int, after: int, text: str) -> None:
    """123 456 steps of 10 Wh are 1 234.56 kWh; nothing is ever rounded up."""
    value, unit, decimals = format_reading(
        formatted(LCD, before, after), Reading("1-1:1.8.0", 123_456, 1, Unit.WH)
    )
    assert (value, unit, decimals) == (text, "kWh", after)


def test_a_counter_wraps_at_its_digits() -> None:
    assert format_number(10_000_007, 0, 7, 0, leading_zeros=True) == "0000007"


def test_leading_zeros_can_be_left_out() -> None:
    assert format_number(5, 0, 7, 1, leading_zeros=False) == "5.0"
    assert format_number(0, 0, 7, 0, leading_zeros=False) == "0"


@given(st.integers(0, 10**12), st.integers(-6, 2), st.integers(1, 8), st.integers(0, 3))
def test_a_display_never_shows_more_than_was_counted(
    mantissa: int, scaler: int, before: int, after: int
) -> None:
    shown = format_number(mantissa, scaler, before, after, leading_zeros=True)
    digits = shown.replace(".", "")
    assert len(digits) == before + after
    true = mantissa * 10 ** (scaler + 6 + after) // 10**6
    assert int(digits) == true % 10 ** (before + after)


def test_voltages_keep_their_own_decimals() -> None:
    value, unit, decimals = format_reading(LCD, Reading("1-1:32.7.0", 2304, -1, Unit.V))
    assert (value, unit, decimals) == ("230.4", "V", 1)


# --- lists ----------------------------------------------------------------------------------------


def test_the_automatic_list_goes_on_every_ten_seconds_and_begins_again() -> None:
    driver = DisplayDriver(LCD)
    items = LCD.lists[0].items
    codes = [driver.frame(10 * n, reading).index for n in range(2 * len(items))]
    assert codes == [n % len(items) + 1 for n in range(2 * len(items))]
    assert driver.frame(9, reading).index == 1


def test_a_reading_that_has_nothing_to_say_is_left_out_of_the_automatic_list() -> None:
    display = formatted(LCD, 7, 0)
    lists = (DisplayList("automatic", ("errors", "clock")),)
    only = Display(
        8, 7, display.formats, lists, 8, 60, (),
    )  # fmt: skip
    frame = DisplayDriver(only).frame(0, reading)
    assert (frame.length, frame.value) == (1, "12:00:00")


def test_a_press_goes_to_the_manual_list_and_the_next_ones_through_it() -> None:
    driver = DisplayDriver(LCD)
    driver.press("short", 5)
    first = driver.frame(5, reading)
    driver.press("short", 6)
    second = driver.frame(6, reading)
    assert (first.mode, first.index, second.index) == ("manual", 1, 2)
    assert driver.frame(6 + 60, reading).index == 2


def test_two_minutes_after_the_last_press_the_display_scrolls_again() -> None:
    driver = DisplayDriver(LCD)
    driver.press("short", 0)
    driver.press("short", 100)
    assert driver.frame(219, reading).mode == "manual"
    assert driver.frame(220, reading).mode == "automatic"
    assert driver.frame(220, reading).index == 1


def test_a_long_press_goes_through_the_lists_and_the_sealed_button_to_its_own() -> None:
    driver = DisplayDriver(LCD)
    driver.press("long", 0)
    assert driver.mode == "manual"
    driver.press("long", 1)
    assert driver.mode == "utility"
    driver.press("short", 2, sealed=True)
    assert driver.frame(2, reading).mode == "utility"


def test_the_manual_list_wraps() -> None:
    driver = DisplayDriver(LCD)
    length = len(LCD.lists[1].items)
    for n in range(length + 1):
        driver.press("short", n)
    assert driver.frame(length, reading).index == 1


def test_without_supply_only_the_battery_list_is_shown_for_a_minute() -> None:
    driver = DisplayDriver(LCD)
    assert driver.frame(0, reading, powered=False).value == ""
    driver.press("short", 10, powered=False)
    frame = driver.frame(10, reading, powered=False)
    assert (frame.mode, frame.length) == ("battery", 4)
    assert driver.frame(70, reading, powered=False).value == ""
    plain = DisplayDriver(MT372.display) if MT372.display else driver
    plain.press("short", 10, powered=False)
    assert plain.frame(10, reading, powered=False).value == ""


def test_the_test_reading_lights_every_segment() -> None:
    driver = DisplayDriver(MT372.display) if MT372.display else DisplayDriver(LCD)
    driver.press("short", 0)
    frame = driver.frame(0, reading)
    assert frame.value == "8" * 8
    assert frame.code == "8" * 7


# --- symbols and lights --------------------------------------------------------------------------


def situation(**changes: object) -> Situation:
    values: dict[str, object] = {
        "powered": True, "phases_present": frozenset({1}), "phases_loaded": frozenset({1}),
        "reversed_current": False, "p_mw": 1000, "q_mvar": -500, "rate": 2,
        "breaker_closed": True, "tampered": False, "error": False, "registered": True,
        "communicating": False, "prepayment": False, "clock_valid": True, "setting": False,
    }  # fmt: skip
    return Situation(**(values | changes))  # type: ignore[arg-type]


def lit(display: Display, now: Situation) -> set[str]:
    return {symbol.id for symbol in symbols_of(display, now) if symbol.on}


def test_symbols_say_what_is_there() -> None:
    assert lit(LCD, situation()) == {"l1", "i1", "p+", "q-", "t2", "breaker", "radio"}
    exporting = situation(p_mw=-1, q_mvar=1, rate=1, tampered=True, prepayment=True)
    assert {"p-", "q+", "t1", "tamper", "prepayment"} <= lit(LCD, exporting)


def test_without_load_the_quadrant_is_dark_and_without_supply_everything() -> None:
    assert not {"p+", "p-", "q+", "q-"} & lit(LCD, situation(phases_loaded=frozenset()))
    assert lit(LCD, situation(powered=False)) == set()


@pytest.mark.parametrize(
    ("powered", "loaded", "state"),
    [
        (False, True, LedState.DARK),
        (True, False, LedState.LIT),
        (True, True, LedState.PULSING),
    ],
)
def test_the_light_of_the_mt372(powered: bool, loaded: bool, state: LedState) -> None:
    assert energy_led(MT372.leds[0], powered=powered, loaded=loaded) is state


def test_a_light_may_be_dark_without_load() -> None:
    led = Led("a", "a", "red", "energy")
    assert energy_led(led, powered=True, loaded=False) is LedState.DARK


def test_the_breaker_light_flashes_when_the_button_may_close() -> None:
    assert breaker_led(powered=True, closed=False, released=False) is LedState.LIT
    assert breaker_led(powered=True, closed=False, released=True) is LedState.FLASHING
    assert breaker_led(powered=True, closed=True, released=False) is LedState.DARK


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50), st.sampled_from([1000, 20_000]))
def test_pulses_are_those_of_the_register_however_it_is_cut(
    parts: list[int], constant: int
) -> None:
    at = pulses = 0
    for part in parts:
        pulses += pulses_between(at, at + part, constant)
        at += part
    assert pulses == at * constant // 10**9


def test_the_time_between_pulses_follows_from_the_power() -> None:
    assert pulse_period_ms(3_600_000, 1000) == 1000
    assert pulse_period_ms(0, 1000) == 0
