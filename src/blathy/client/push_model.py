"""Pushes that name or scale nothing, read with the object model of their meter.

Many meters push integers alone: the codes stand in the push setup's list, scaler and unit in the
registers. A recording of `blathy clone` has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from blathy.client.items import SCALED
from blathy.client.push import Push, PushedValue, named_values
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.captured_items import parse_items
from blathy.cosem.objectlist import ScalerUnit
from blathy.cosem.selective import CaptureObject
from blathy.models.recorded import RecordedMeter
from blathy.obis import Obis
from blathy.quantity import Quantity

_PUSH_SETUP: Final = 40
_REGISTER: Final = 3


class PushModel:
    """What the recording of a meter says of its pushes."""

    def __init__(self, recorded: RecordedMeter) -> None:
        self.system_title = recorded.system_title
        self._lists = _lists(recorded)
        self._units = _units(recorded)

    def read(self, push: Push) -> Push:
        """The same push with codes where a list of this length fits, and with units."""
        values = push.values
        if not any(value.obis for value in values):
            fitting = [each for each in self._lists if len(each) == len(values)]
            if len(fitting) == 1:
                values = named_values(push.body, fitting[0])
        return replace(push, values=tuple(map(self._scaled, values)))

    def _scaled(self, value: PushedValue) -> PushedValue:
        number = value.value
        if value.obis is None or isinstance(number, bool) or not isinstance(number, int):
            return value
        at = (value.class_id or _REGISTER, value.obis, value.attribute or 2)
        unit = self._units.get(at)
        if unit is None:
            return value
        return replace(value, value=Quantity(number, unit.scaler, unit.unit))


def _lists(recorded: RecordedMeter) -> list[Sequence[CaptureObject]]:
    found: list[Sequence[CaptureObject]] = []
    for item in recorded.objects:
        raw = item.value(2) if item.class_id == _PUSH_SETUP else None
        if raw is None:
            continue
        try:
            found.append(tuple(each.capture for each in parse_items(axdr.decode(raw))))
        except AxdrError:
            continue
    return found


def _units(recorded: RecordedMeter) -> dict[tuple[int, Obis, int], ScalerUnit]:
    found = {}
    for item in recorded.objects:
        for attribute, scaler in SCALED.get(item.class_id, {}).items():
            raw = item.value(scaler)
            try:
                if raw is not None:
                    found[item.class_id, item.obis, attribute] = ScalerUnit.of(raw)
            except AxdrError:
                continue
    return found


def model_of(push: Push, models: Sequence[PushModel]) -> PushModel | None:
    """The model of the meter that sent this; a single one is taken for every meter that does not
    tell its system title."""
    for model in models:
        if push.originator and model.system_title == push.originator:
            return model
    return models[0] if len(models) == 1 and not push.originator else None
