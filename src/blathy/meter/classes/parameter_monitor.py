"""Parameter monitor (class 65, version 1): which of the listed parameters was changed last.

A change is another value than before, whoever set it and by whichever way: a SET, a method, a
script. It is noticed in the commit that holds the changed parameter, so that after a power cut
either both are there or neither. Where one step changes several, the last in the list is shown.
Parameters are read with the meter's own authority; who adds one needs the right to read it.

Our choice where our sources say nothing: hash_algorithm_id 0 means no digest, 1 SHA-256, 2
SHA-384; the digest is over the values of the list in A-XDR, in order, without the structure's own
head. To add a parameter again changes nothing; to delete one that is not listed is refused.
"""

from __future__ import annotations

from hashlib import sha256, sha384
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import UNSET
from blathy.cosem.service import (
    AccessError,
    DataAccessResult,
    Requester,
)
from blathy.meter.deciding import Decider
from blathy.meter.objects import (
    ENUM,
    OS,
    VALUE_DEFINITION,
    Attribute,
    CosemObject,
    ValueReference,
    array_shape,
    refused,
    require,
    require_readable,
    setting,
    setting_of,
)
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 65
VERSION: Final = 1
CHANGED: Final = 2
CAPTURE_TIME: Final = 3
LIST: Final = 4
LIST_NAME: Final = 5
HASH: Final = 6
PARAMETERS_MAX: Final = 32
VALUE_OCTETS_MAX: Final = 1024
"""Longer ones (a load profile's buffer) are no parameters."""
NO_CHANGE: Final = axdr.encode(
    axdr.structure(axdr.u16(0), axdr.octets(bytes(6)), axdr.i8(0), axdr.null())
)
NEVER: Final = axdr.encode_octets(UNSET.raw())
EMPTY: Final = axdr.encode(axdr.array())
HASHES: Final = {1: sha256, 2: sha384}


class _ParameterMonitor(Decider):
    """What one object does; list and last values are in the settings of the meter."""

    def __init__(self, obis: Obis) -> None:
        self._obis = obis
        self._values_key = self._key(LIST) + b"values"

    def _key(self, number: int) -> bytes:
        return bytes(self._obis) + bytes((number,))

    def kept(self, number: int, default: bytes) -> Attribute:
        """What was captured at the last change."""
        key = self._key(number)
        return Attribute(lambda meter: meter.settings.get(key, default))

    # --- noticing -------------------------------------------------------------------------------

    def parameters_set(self, meter: Meter) -> None:
        if self._key(LIST) not in meter.settings:
            return
        before = [bytes(v.value) for v in axdr.decode(meter.settings[self._values_key]).value]
        now = self.values(meter)
        if now == before:
            return
        for reference, old, new in zip(self.references(meter), before, now, strict=True):
            if new != old:
                self._notice(meter, reference, new)
        self._remember(meter, now)

    def _notice(self, meter: Meter, reference: ValueReference, value: bytes) -> None:
        fields = (*reference.data().value, axdr.decode(value))
        meter.save_setting(self._key(CHANGED), axdr.encode(axdr.structure(*fields)))
        with meter.as_written():
            moment = meter.clock_raw()
        meter.save_setting(self._key(CAPTURE_TIME), axdr.encode_octets(moment))

    def _remember(self, meter: Meter, values: list[bytes]) -> None:
        kept = axdr.array_of(axdr.octets(value) for value in values)
        meter.save_setting(self._values_key, axdr.encode(kept))

    # --- the list -------------------------------------------------------------------------------

    def references(self, meter: Meter) -> list[ValueReference]:
        listed = setting_of(meter, self._obis, LIST)
        return [] if listed is None else [ValueReference.of(each) for each in listed.value]

    def values(self, meter: Meter) -> list[bytes]:
        """Values in order of the list, null-data for one that cannot be read any more."""
        return [self._value(meter, reference) for reference in self.references(meter)]

    def _value(self, meter: Meter, reference: ValueReference) -> bytes:
        try:
            return axdr.encode(meter.tree.own_value(meter, reference))
        except AccessError:
            return axdr.encode_null()

    def list_data(self, meter: Meter) -> bytes:
        return meter.settings.get(self._key(LIST), EMPTY)

    def write_list(self, meter: Meter, data: Data, who: Requester) -> None:
        require(data, array_shape(VALUE_DEFINITION))
        references = [ValueReference.of(each) for each in data.value]
        for reference in references:
            require_readable(meter, reference, who)
        self._keep(meter, references)

    def _keep(self, meter: Meter, references: list[ValueReference]) -> None:
        if len(references) > PARAMETERS_MAX or len(set(references)) != len(references):
            raise AccessError(DataAccessResult.OTHER_REASON, "32 different parameters at most")
        for reference in references:
            own = reference.obis == self._obis and reference.attribute not in {LIST_NAME, HASH}
            if own or len(axdr.encode(meter.tree.own_value(meter, reference))) > VALUE_OCTETS_MAX:
                raise AccessError(DataAccessResult.OTHER_REASON, "this is no parameter")
        listed = axdr.array_of(reference.data() for reference in references)
        meter.save_setting(self._key(LIST), axdr.encode(listed))
        self._remember(meter, self.values(meter))

    def add(self, meter: Meter, data: Data, who: Requester) -> bytes:
        reference = _reference(data)
        require_readable(meter, reference, who)
        references = self.references(meter)
        if reference not in references:
            self._keep(meter, [*references, reference])
        return b""

    def delete(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        reference, references = _reference(data), self.references(meter)
        if reference not in references:
            raise refused("this parameter is not in the list")
        self._keep(meter, [each for each in references if each != reference])
        return b""

    # --- version 1 ------------------------------------------------------------------------------

    def digest(self, meter: Meter) -> bytes:
        chosen = setting_of(meter, self._obis, HASH)
        number = 0 if chosen is None else int(chosen.value)
        if number not in HASHES:
            return axdr.encode_octets(b"")
        return axdr.encode_octets(HASHES[number](b"".join(self.values(meter))).digest())

    def values_data(self, meter: Meter) -> bytes:
        return axdr.encode_structure(*self.values(meter))


def _reference(data: Data) -> ValueReference:
    require(data, VALUE_DEFINITION, "a parameter is class, name and attribute")
    return ValueReference.of(data)


def parameter_monitor_object(facility: Facility) -> CosemObject:
    """Class 65, version 1; as delivered the list is empty."""
    obis = facility.obis
    one = _ParameterMonitor(obis)
    return CosemObject(
        CLASS_ID, VERSION, obis, facility.group, facility.title,
        (
            one.kept(CHANGED, NO_CHANGE),
            one.kept(CAPTURE_TIME, NEVER),
            Attribute(one.list_data, personal_set=one.write_list),
            setting(obis, LIST_NAME, axdr.octets(b""), OS, check=lambda d: len(d.value) <= 64),
            setting(
                obis, HASH, axdr.enum(0), ENUM, check=lambda d: d.value == 0 or d.value in HASHES
            ),
            Attribute(one.digest),
            Attribute(one.values_data),
        ),
        (one.add, one.delete),
        one,
    )  # fmt: skip
