"""Values as the LCD writes them, and the LCD itself for meters that do not tell how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blathy.headend.collection.conversation import DisplayState, Light, RegisterValue, Sign
from blathy.models import Model
from blathy.quantity import SYMBOL, Unit, decimal_text, rescale

KILO: Final = frozenset((Unit.W, Unit.VA, Unit.VAR, Unit.WH, Unit.VAH, Unit.VARH))
_ENERGIES: Final = frozenset((Unit.WH, Unit.VAH, Unit.VARH))


def lcd_text(model: Model | None, mantissa: int, scaler: int, unit: Unit) -> tuple[str, str, int]:
    """Text, unit and number of digits: energies and powers in k units, digits of the display."""
    symbol = SYMBOL.get(unit, "")
    if unit not in KILO:
        return decimal_text(mantissa, scaler), symbol, len(str(abs(mantissa)))
    before, after = _format(model, unit, scaler)
    shown = rescale(mantissa, scaler - 3, -after)
    shown = abs(shown) % 10 ** (before + after) * (-1 if shown < 0 else 1)
    text = decimal_text(shown, -after)
    if model is None or model.display is None or model.display.leading_zeros:
        sign = "-" if text.startswith("-") else ""
        width = before + (after + 1 if after else 0)
        text = sign + text.lstrip("-").rjust(width, "0")
    return text, "k" + symbol, before + after


def _format(model: Model | None, unit: Unit, scaler: int) -> tuple[int, int]:
    if model is None or model.display is None:
        return 7, max(0, min(6, 3 - scaler))
    if unit in _ENERGIES:
        before, after = model.display.formats[0]
    else:
        before, after = model.display.power_format
    return before, after


def constant_of(model: Model | None, key: str) -> int:
    """Pulses per kWh of a light that follows active energy; 0 for any other."""
    leds = model.leds if model is not None else ()
    led = next((led for led in leds if led.key == key), None)
    return led.imp_per_kwh if led is not None and led.follows == "energy" else 0


def render_display(
    model: Model | None, registers: Sequence[RegisterValue], now_s: int
) -> DisplayState:
    """The LCD of a meter that has no display object: its registers in turn."""
    scroll_s = model.display.scroll_s if model is not None and model.display is not None else 8
    index = now_s // max(1, scroll_s) % len(registers) + 1 if registers else 0
    shown = registers[index - 1] if registers else None
    signs = model.display.annunciators if model is not None and model.display is not None else ()
    text = shown.text if shown is not None else ""
    return DisplayState(
        mode="rendered",
        code=shown.obis.split(":", 1)[-1] if shown is not None else "",
        value=text,
        unit=shown.text_unit if shown is not None else "",
        digits=shown.digits if shown is not None else 0,
        decimals=len(text.partition(".")[2]),
        annunciators=[Sign(name, name, on=False) for name in signs],
        leds=[
            Light(led.key, led.label, "unknown", constant_of(model, led.key))
            for led in (model.leds if model else ())
        ],
        buttons=(),
        list_name="registers",
        list_index=index,
        list_length=len(registers),
    )
