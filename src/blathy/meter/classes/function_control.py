"""Function control (class 122): named functions of the meter, switched on and off.

A function is a list of objects. While it is off, methods of its objects answer object-unavailable,
also to scripts; schedules, single actions, monitors and sensors among them decide nothing, and push
setups send nothing. An object of several functions acts while all of them are on. Attributes are
read and written as ever; ports stay open.

Names of attributes and methods stand in two sources, their types in one, behaviour in none: what
switching off means, and these rules, are our choice. Who switches a function needs a right to set
or act upon each of its objects; what keeps a meter within reach (associations, security, the clock,
this object) is no part of any function. Removing a function puts its objects back to work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.objects import (
    BOOL,
    LN,
    OS,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    refused,
    require,
    structure_shape,
)
from blathy.models.model import Facility, Group, Model, Right
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 122
LIST: Final = 3
SWITCHED_OFF: Final = b"functions off"
"""Setting: the logical names of the objects that are off, six octets each."""
FUNCTIONS_MAX: Final = 16
OBJECTS_MAX: Final = 32
NAME_OCTETS_MAX: Final = 32
NEVER_OFF: Final = frozenset(
    {Group.ASSOCIATION, Group.SECURITY, Group.TIME, Group.COUNTER, Group.IDENTITY}
)
STATUSES: Final = array_shape(structure_shape(OS, BOOL))
FUNCTION: Final = structure_shape(OS, array_shape(structure_shape(U16, LN)))
DELIVERED: Final = {
    b"load control": {70, 10},
    b"firmware": {18},
    b"push": {40},
}
"""The functions that a meter comes with, by the classes of their objects."""


def names_in(off: bytes) -> frozenset[bytes]:
    """The logical names that a setting lists one after the other."""
    return frozenset(off[at : at + 6] for at in range(0, len(off), 6))


def _delivered(model: Model) -> Data:
    present = [(f.class_id, f.obis) for f in model.facilities]
    present += [(70, relay.obis) for relay in model.relays]
    return axdr.array_of(
        axdr.structure(
            axdr.octets(name),
            axdr.array_of(
                axdr.structure(axdr.u16(class_id), axdr.octets(obis))
                for class_id, obis in present
                if class_id in classes
            ),
        )
        for name, classes in DELIVERED.items()
    )


class _Functions:
    """The functions of one object; list and status are in the settings of the meter."""

    def __init__(self, obis: Obis, delivered: Data) -> None:
        self.obis = obis
        self._delivered = delivered
        self._list_key = bytes(obis) + bytes((LIST,))
        self._off_key = bytes(obis) + b"off"

    def functions(self, meter: Meter) -> dict[bytes, Data]:
        """Definitions by name."""
        raw = meter.settings.get(self._list_key)
        listed = self._delivered if raw is None else axdr.decode(raw)
        return {bytes(each.value[0].value): each.value[1] for each in listed.value}

    def off(self, meter: Meter) -> set[bytes]:
        raw = meter.settings.get(self._off_key)
        return set() if raw is None else {bytes(name.value) for name in axdr.decode(raw).value}

    def _keep(self, meter: Meter, functions: dict[bytes, Data], off: set[bytes]) -> None:
        listed = (axdr.structure(axdr.octets(n), objects) for n, objects in functions.items())
        meter.save_setting(self._list_key, axdr.encode(axdr.array_of(listed)))
        names = axdr.array_of(axdr.octets(name) for name in sorted(off))
        meter.save_setting(self._off_key, axdr.encode(names))
        silent = {bytes(each.value[1].value) for name in off for each in functions[name].value}
        meter.save_setting(SWITCHED_OFF, b"".join(sorted(silent)))

    def status_data(self, meter: Meter) -> bytes:
        off = self.off(meter)
        return axdr.encode(
            axdr.array_of(
                axdr.structure(axdr.octets(name), axdr.boolean(name not in off))
                for name in self.functions(meter)
            )
        )

    def list_data(self, meter: Meter) -> bytes:
        return meter.settings.get(self._list_key, axdr.encode(self._delivered))

    def set_status(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, STATUSES, "an array of names and booleans")
        functions, off = self.functions(meter), self.off(meter)
        for each in data.value:
            name, on = bytes(each.value[0].value), bool(each.value[1].value)
            if name not in functions:
                raise refused("there is no such function")
            self._require_rights(meter, functions[name], who)
            off = off - {name} if on else off | {name}
        self._keep(meter, functions, off)
        return b""

    def add(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, FUNCTION, "a name and the objects of the function")
        functions, name = self.functions(meter), bytes(data.value[0].value)
        if not 0 < len(name) <= NAME_OCTETS_MAX or name in functions:
            raise refused("a function has a name of 1 to 32 octets that no other one has")
        if len(functions) >= FUNCTIONS_MAX or len(data.value[1].value) > OBJECTS_MAX:
            raise refused("no room for another function")
        self._require_objects(meter, data.value[1])
        self._require_rights(meter, data.value[1], who)
        self._keep(meter, {**functions, name: data.value[1]}, self.off(meter))
        return b""

    def remove(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, OS, "the name is an octet-string")
        functions, name = self.functions(meter), bytes(data.value)
        if name not in functions:
            raise refused("there is no such function")
        self._require_rights(meter, functions.pop(name), who)
        self._keep(meter, functions, self.off(meter) - {name})
        return b""

    def _require_objects(self, meter: Meter, objects: Data) -> None:
        for each in objects.value:
            class_id, name = int(each.value[0].value), bytes(each.value[1].value)
            found = meter.tree.objects.get(name)
            if found is None or found.class_id != class_id:
                raise AccessError(ActionResult.OBJECT_UNDEFINED, f"{Obis.of(name)} is not there")
            if found.group in NEVER_OFF or found.obis == self.obis:
                raise refused(f"{found.obis} cannot be switched off")

    def _require_rights(self, meter: Meter, objects: Data, who: Requester) -> None:
        entries = meter.objects.view_of(who).entries
        for each in objects.value:
            if not entries[bytes(each.value[1].value)].right & (Right.SET | Right.ACTION):
                raise AccessError(ActionResult.READ_WRITE_DENIED, "a function beyond your rights")


def function_control_object(model: Model, facility: Facility) -> CosemObject:
    """Class 122, version 0."""
    one = _Functions(facility.obis, _delivered(model))
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (Attribute(one.status_data), Attribute(one.list_data)),
        (one.set_status, one.add, one.remove),
    )  # fmt: skip
