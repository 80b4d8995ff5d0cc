"""Register monitor (class 21): scripts run when a value crosses a threshold, up or down.

A value is above a threshold while it is greater. A crossing runs the script of its direction once;
staying beyond runs nothing, and there is no hysteresis: two thresholds make one. The first look
after thresholds or the monitored value were written only takes note of the side; a crossing that
an outage hid is found at the first interval after it. While the value is null-data nothing is
decided. Thresholds are compared with the raw count of the attribute, whatever integer types both
are of (the standard asks for the same one).

No crossing depends on how the meter's blocks are cut: where it can be told ahead what the register
will show (instantaneous values, energies, demands, counters of the books), a block is cut at the
next crossing or where nothing more is known, else after every interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.classes.scripts import require_script
from blathy.meter.deciding import Decider, Span, act
from blathy.meter.objects import (
    ACTION_ITEM,
    VALUE_DEFINITION,
    Attribute,
    CosemObject,
    Getter,
    ValueReference,
    array_shape,
    require,
    require_readable,
    structure_shape,
)
from blathy.meter.values_ahead import Flags, counts_ahead
from blathy.models.model import Facility
from blathy.obis import Obis
from blathy.registers.block import Block
from blathy.registers.cells import Cells

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 21
THRESHOLDS: Final = 2
MONITORED: Final = 3
ACTIONS: Final = 4
THRESHOLDS_MAX: Final = 16
GREATEST: Final = (1 << 63) - 1
"""No value is above it."""
NOTHING: Final = ValueReference(0, Obis(0, 0, 0, 0, 0, 0), 0)
EMPTY: Final = axdr.encode(axdr.array())
UP_DOWN: Final = array_shape(structure_shape(ACTION_ITEM, ACTION_ITEM))
NUMBERS: Final = frozenset({
    DataType.INTEGER, DataType.LONG, DataType.DOUBLE_LONG, DataType.LONG64, DataType.UNSIGNED,
    DataType.LONG_UNSIGNED, DataType.DOUBLE_LONG_UNSIGNED, DataType.LONG64_UNSIGNED, DataType.ENUM,
    DataType.BCD, DataType.BOOLEAN,
})  # fmt: skip


def number_in(data: Data) -> int | None:
    """The whole number that a value is; None for null-data and everything else."""
    return int(data.value) if data.type in NUMBERS else None


def number_of(meter: Meter, reference: ValueReference) -> int | None:
    """The whole number that an attribute holds now; None where it holds none."""
    try:
        return number_in(meter.tree.own_value(meter, reference))
    except AccessError:
        return None


class Thresholds:
    """Thresholds with their actions in two attributes of an object, and on which side of each the
    value was last seen."""

    def __init__(self, obis: Obis, thresholds: int, actions: int) -> None:
        self._thresholds_key = bytes(obis) + bytes((thresholds,))
        self._actions_key = bytes(obis) + bytes((actions,))
        self._sides_key = self._thresholds_key + b"sides"

    @property
    def attributes(self) -> tuple[Attribute, Attribute]:
        """The thresholds and the actions."""
        return (
            Attribute(self._getter(self._thresholds_key), self._write_thresholds),
            Attribute(self._getter(self._actions_key), personal_set=self._write_actions),
        )

    def _getter(self, key: bytes) -> Getter:
        return lambda meter: meter.settings.get(key, EMPTY)

    def _write_thresholds(self, meter: Meter, data: Data) -> None:
        require(data, array_shape(("any",)))
        if any(each.type not in NUMBERS for each in data.value):
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, "thresholds are whole numbers")
        if len({each.type for each in data.value}) > 1:
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, "thresholds are of one type")
        self._keep(meter, self._thresholds_key, data)
        self.forget(meter)

    def _write_actions(self, meter: Meter, data: Data, who: Requester) -> None:
        require(data, UP_DOWN)
        for pair in data.value:
            for item in pair.value:
                require_script(meter, item, who)
        self._keep(meter, self._actions_key, data)

    def _keep(self, meter: Meter, key: bytes, data: Data) -> None:
        if len(data.value) > THRESHOLDS_MAX:
            raise AccessError(DataAccessResult.OTHER_REASON, "too many thresholds")
        meter.save_setting(key, axdr.encode(data))

    def forget(self, meter: Meter) -> None:
        """The next look only takes note of the side."""
        meter.drop_settings(self._sides_key)

    def watched(self, meter: Meter) -> bool:
        return (
            meter.settings.get(self._thresholds_key, EMPTY) != EMPTY
            and meter.settings.get(self._actions_key, EMPTY) != EMPTY
        )

    def first_crossing(self, meter: Meter, values: Cells, known: Flags | bool = True) -> int:
        """After how many intervals with these values the first crossing comes; all, where none
        does. `known`: where the value is a number."""
        before = meter.settings.get(self._sides_key)
        if before is None:
            return 1
        limits = [
            min(int(limit.value), GREATEST)
            for limit in axdr.decode(meter.settings.get(self._thresholds_key, EMPTY)).value
        ]
        sides = values[:, np.newaxis] > np.array(limits, dtype=np.int64)
        crossed = (sides != np.frombuffer(before, dtype=np.bool_)).any(axis=1) & known
        found = np.flatnonzero(crossed)
        return int(found[0]) + 1 if len(found) else len(values)

    def compare(self, meter: Meter, value: int | None) -> None:
        """Run what the crossings since the last look ask for, in order of the thresholds."""
        if value is None:
            return
        limits = axdr.decode(meter.settings.get(self._thresholds_key, EMPTY)).value
        actions = axdr.decode(meter.settings.get(self._actions_key, EMPTY)).value
        sides = bytes(value > int(limit.value) for limit in limits)
        before = meter.settings.get(self._sides_key)
        if sides == before:
            return
        meter.save_setting(self._sides_key, sides)
        for was, now, pair in zip(before or sides, sides, actions, strict=False):
            if was != now:
                act(meter, pair.value[0] if now else pair.value[1])
        meter.parameters_set()


class Monitored:
    """The attribute that names what is monitored; all zero names nothing."""

    def __init__(
        self, obis: Obis, number: int, thresholds: Thresholds, default: ValueReference = NOTHING
    ) -> None:
        self._key = bytes(obis) + bytes((number,))
        self._default = axdr.encode(default.data())
        self._thresholds = thresholds

    @property
    def attribute(self) -> Attribute:
        return Attribute(self._get, personal_set=self._write)

    def _get(self, meter: Meter) -> bytes:
        return meter.settings.get(self._key, self._default)

    def reference(self, meter: Meter) -> ValueReference:
        return ValueReference.of(axdr.decode(self._get(meter)))

    def _write(self, meter: Meter, data: Data, who: Requester) -> None:
        reference = ValueReference.of(require(data, VALUE_DEFINITION))
        if reference != NOTHING:
            require_readable(meter, reference, who)
            value = meter.tree.own_value(meter, reference)
            if value.type not in NUMBERS and value.type is not DataType.NULL_DATA:
                raise AccessError(DataAccessResult.TYPE_UNMATCHED, "it is no whole number")
        meter.save_setting(self._key, axdr.encode(data))
        self._thresholds.forget(meter)


def look_ahead(meter: Meter, block: Block, monitored: Monitored, thresholds: Thresholds) -> int:
    """After how many intervals the value is to be compared; 1 where nothing is known ahead."""
    ahead = counts_ahead(meter, monitored.reference(meter), block)
    return 1 if ahead is None else thresholds.first_crossing(meter, *ahead)


class _RegisterMonitor(Decider):
    def __init__(self, obis: Obis) -> None:
        self.thresholds = Thresholds(obis, THRESHOLDS, ACTIONS)
        self.monitored = Monitored(obis, MONITORED, self.thresholds)

    def watching(self, meter: Meter) -> bool:
        return self.thresholds.watched(meter)

    def look(self, meter: Meter, block: Block) -> int:
        if not self.watching(meter):
            return len(block)
        return look_ahead(meter, block, self.monitored, self.thresholds)

    def decide(self, meter: Meter, span: Span) -> None:
        del span
        if self.thresholds.watched(meter):
            value = number_of(meter, self.monitored.reference(meter))
            self.thresholds.compare(meter, value)


def register_monitor_object(facility: Facility) -> CosemObject:
    """Class 21, version 0; as delivered it monitors nothing."""
    one = _RegisterMonitor(facility.obis)
    thresholds, actions = one.thresholds.attributes
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (thresholds, one.monitored.attribute, actions),
        decider=one,
    )  # fmt: skip
