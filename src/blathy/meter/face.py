"""The meter's face: display and lights from the committed books, buttons back to the meter."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blathy.control.breaker import State
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.meter.classes.values import row_value
from blathy.models.model import Led, Model
from blathy.obis import Obis
from blathy.quantity import Kind, Phase
from blathy.registers.block import INSTANT_INDEX
from blathy.terminals.display import (
    BLANK,
    DisplayDriver,
    Frame,
    Reading,
    Situation,
    Symbol,
    symbols_of,
)
from blathy.terminals.led import LedState, breaker_led, energy_led

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

SUPPLY_INDICATOR_MV: Final = 50_000
OPENED: Final = frozenset({"terminal_cover_opened", "main_cover_opened", "magnet_start"})
CLOSED: Final = {
    "terminal_cover_closed": "terminal_cover_opened",
    "main_cover_closed": "main_cover_opened",
    "magnet_end": "magnet_start",
}


@lru_cache(maxsize=64)
def _sealed_buttons(keys: tuple[str, ...]) -> frozenset[str]:
    return frozenset(keys)


class Face:
    """Display driver and buttons of one meter."""

    __slots__ = ("driver", "sealed_buttons")

    def __init__(self, model: Model) -> None:
        self.driver = DisplayDriver(model.display) if model.display is not None else None
        self.sealed_buttons = _sealed_buttons(
            tuple(t.key for t in model.terminals if t.kind == "button" and "seal" in t.note)
        )

    def press(self, button: str, how: str, now_s: int, *, powered: bool = True) -> None:
        """A button was pressed, short or long."""
        if self.driver is not None:
            sealed = button in self.sealed_buttons
            self.driver.press(how, now_s, sealed=sealed, powered=powered)


def reading_of(meter: Meter, code: str) -> Reading:
    """What a display list's item stands for now."""
    if code in {"clock", "date"}:
        local = meter.zone.civil(meter.clock_utc_s())
        text = local.strftime("%H:%M:%S" if code == "clock" else "%d.%m.%y")
        return Reading("0.9.1" if code == "clock" else "0.9.2", text=text)
    if code == "test":
        return Reading("")
    if code == "errors":
        bits = _error_bits(meter)
        return Reading("F.F", text=f"{bits:08X}", hidden=not bits)
    obis = Obis.parse(code)
    row = next((row for row in meter.model.rows if row.obis == obis), None)
    if row is None:
        return Reading(code, text="--------")
    if row.source.kind is Kind.TEXT:
        return Reading(code, text=meter.text(row.source.name).decode("ascii", "replace"))
    value = row_value(row)(meter)
    if value is None:
        return Reading(code, text="--------")
    return Reading(code, value, row.scaler, row.shown_unit)


def _error_bits(meter: Meter) -> int:
    row = next((r for r in meter.model.rows if r.source.name == "error_register"), None)
    return 0 if row is None else row_value(row)(meter) or 0


def tampered(meter: Meter) -> bool:
    """Whether a cover is open or a magnet is there, by the logs."""
    newest: dict[str, int] = {}
    for entries in meter.books.logs.values():
        for entry in entries:
            if entry.name in OPENED or entry.name in CLOSED:
                newest[entry.name] = max(newest.get(entry.name, 0), entry.at_utc_s)
    closed = {opened: newest[name] for name, opened in CLOSED.items() if name in newest}
    return any(newest[name] > closed.get(name, -1) for name in OPENED if name in newest)


def _loaded(meter: Meter) -> frozenset[int]:
    instant = meter.books.instant[-1]
    threshold = max(meter.model.ratings.starting_ma, 1)
    return frozenset(
        int(phase)
        for phase in meter.model.phases
        if int(instant[INSTANT_INDEX["i_ma", phase]]) > threshold
    )


def situation_of(meter: Meter) -> Situation:
    """What the symbols depend on, from the committed books."""
    books, model = meter.books, meter.model
    instant = books.instant[-1]
    threshold_mv = (model.ratings.supply_indicator_v or 0) * 1000 or SUPPLY_INDICATOR_MV
    present = frozenset(
        int(phase)
        for phase in model.phases
        if int(instant[INSTANT_INDEX["u_mv", phase]]) >= threshold_mv
    )
    reverse = any(int(instant[INSTANT_INDEX["p_mw", phase]]) < -1000 for phase in model.phases)
    return Situation(
        powered=bool(books.supply),
        phases_present=present,
        phases_loaded=_loaded(meter),
        reversed_current=reverse,
        p_mw=int(instant[INSTANT_INDEX["p_mw", Phase.TOTAL]]),
        q_mvar=int(instant[INSTANT_INDEX["q_mvar", Phase.TOTAL]]),
        rate=books.rate,
        breaker_closed=model.breaker is not None and meter.control_view.connected,
        tampered=tampered(meter),
        error=bool(_error_bits(meter)),
        registered=meter.modem.registration in {1, 5},
        communicating=meter.modem.in_call,
        prepayment=meter.control_view.prepaid,
        clock_valid=books.clock.valid,
        setting=meter.seal_open,
    )


def frame_of(meter: Meter) -> Frame:
    """The digits of the LCD now."""
    driver = meter.face.driver
    if driver is None:
        return BLANK
    books = meter.books
    return driver.frame(
        books.clock.true_s, lambda code: reading_of(meter, code), powered=bool(books.supply)
    )


def led_state(meter: Meter, led: Led) -> LedState:
    """What a light does now."""
    books = meter.books
    powered = bool(books.supply)
    if led.follows in {"energy", "reactive"}:
        return energy_led(led, powered=powered, loaded=bool(_loaded(meter)))
    if led.follows == "breaker":
        state = int(State.CONNECTED)
        if meter.model.breaker is not None:
            state = meter.control_view.switches[meter.model.breaker.obis].state
        closed, released = state == State.CONNECTED, state == State.READY
        return breaker_led(powered=powered, closed=closed, released=released)
    if led.follows == "relay":
        relay = next((r for r in meter.model.relays if r.key == led.key), None)
        lit = relay is not None and meter.control_view.switches[relay.obis].closed
    elif led.follows == "alarm":
        lit = bool(_error_bits(meter))
    elif led.follows == "link":
        lit = meter.modem.registration in {1, 5}
    else:
        lit = True
    return LedState.LIT if powered and lit else LedState.DARK


def symbols(meter: Meter) -> tuple[Symbol, ...]:
    if meter.model.display is None:
        return ()
    return symbols_of(meter.model.display, situation_of(meter))


def face_data(meter: Meter) -> Data:
    """The mirror object: structure of mode, index, length, code, value, unit, decimals, symbols,
    lights, buttons. Texts are visible-strings; symbols are {id, label, on}, lights {id, label,
    state}, buttons {id, label, number of the short press in the button scripts}."""
    frame = frame_of(meter)
    model = meter.model
    buttons = [t for t in model.terminals if t.kind == "button"]
    return axdr.structure(
        axdr.visible(frame.mode),
        axdr.u8(frame.index),
        axdr.u8(frame.length),
        axdr.visible(frame.code),
        axdr.visible(_ascii(frame.value)),
        axdr.utf8(frame.unit),
        axdr.u8(frame.decimals),
        axdr.array_of(
            axdr.structure(axdr.visible(s.id), axdr.visible(s.label), axdr.boolean(s.on))
            for s in symbols(meter)
        ),
        axdr.array_of(
            axdr.structure(
                axdr.visible(led.key),
                axdr.visible(led.label),
                axdr.visible(led_state(meter, led).value),
            )
            for led in model.leds
        ),
        axdr.array_of(
            axdr.structure(axdr.visible(b.key), axdr.visible(b.label), axdr.u16(2 * n + 1))
            for n, b in enumerate(buttons)
        ),
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
