"""Compact data (class 62, version 1): values captured without tags, told by a template.

The first capture object is the template_id of the object itself, so that a buffer that comes alone
says which layout it has. Captures are made with the authority of the management, whoever reads or
calls; who lists an attribute needs the right to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.captured_items import CapturedItem, parse_items
from blathy.cosem.classes.enumerations import CaptureMethod
from blathy.cosem.compact_data import build_template, encode_buffer
from blathy.cosem.selective import CaptureObject, element_of
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    Requester,
)
from blathy.meter.classes.scripts import own_authority
from blathy.meter.objects import ENUM, U8, Attribute, CosemObject, setting
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 62
VERSION: Final = 1
BUFFER: Final = 2
CAPTURE_OBJECTS: Final = 3
TEMPLATE_ID: Final = 4
DESCRIPTION: Final = 5
METHOD: Final = 6
ITEMS_MAX: Final = 64
EMPTY: Final = axdr.encode_octets(b"")


def captured_value(meter: Meter, item: CapturedItem, who: Requester) -> Data:
    """What an item names, as `who` may read it; AccessError where that is nothing."""
    ref = AttributeRef(item.capture.class_id, item.capture.obis, item.capture.attribute)
    try:
        selection = item.selection(meter.model.clock.obis)
        if selection is not None:
            ref = AttributeRef(ref.class_id, ref.obis, ref.attribute, *selection)
        value = axdr.decode(meter.objects.get(ref, who))
        return element_of(value, item.capture.data_index)
    except AxdrError as error:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error


def require_listed(meter: Meter, capture: CaptureObject, who: Requester) -> None:
    """AccessError for what an object of the meter would capture and `who` may not read."""
    entry = meter.objects.view_of(who).entries.get(bytes(capture.obis))
    if entry is not None and not entry.may_get(capture.attribute or 1):
        raise AccessError(DataAccessResult.READ_WRITE_DENIED, "an attribute beyond your rights")


class _CompactData:
    """What one object does; its state is in the settings of the meter."""

    def __init__(self, obis: Obis) -> None:
        self.key = bytes(obis)
        self.own = CapturedItem(CaptureObject(CLASS_ID, obis, TEMPLATE_ID))
        self.template_id = setting(obis, TEMPLATE_ID, axdr.u8(0), U8)
        self.method = setting(
            obis, METHOD, axdr.enum(0), ENUM, check=lambda data: data.value in set(CaptureMethod)
        )

    def _setting(self, number: int) -> bytes:
        return self.key + bytes((number,))

    def listed(self, meter: Meter) -> Data:
        raw = meter.settings.get(self._setting(CAPTURE_OBJECTS))
        return self._delivered(meter) if raw is None else axdr.decode(raw)

    def _delivered(self, meter: Meter) -> Data:
        items = [self.own, CapturedItem(CaptureObject(8, meter.model.clock.obis))]
        energy = next((r for r in meter.model.rows if bytes(r.obis)[2:5] == b"\x01\x08\0"), None)
        if energy is not None:
            items.append(CapturedItem(CaptureObject(energy.class_id, energy.obis)))
        return axdr.array(*(item.data(6) for item in items))

    def clear(self, meter: Meter) -> None:
        for number in (BUFFER, DESCRIPTION):
            meter.drop_settings(self._setting(number))

    def configure(self, meter: Meter, data: Data, who: Requester) -> None:
        try:
            items = parse_items(data)
        except AxdrError as error:
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
        if items and items[0].capture != self.own.capture:
            raise AccessError(
                DataAccessResult.OTHER_REASON, "the first capture object is our template_id"
            )
        if len(items) > ITEMS_MAX:
            raise AccessError(DataAccessResult.OTHER_REASON, "too many capture objects")
        if any(i.capture.class_id == CLASS_ID and i.capture.attribute == BUFFER for i in items):
            raise AccessError(DataAccessResult.OTHER_REASON, "compact data in compact data")
        for item in items:
            require_listed(meter, item.capture, who)
        kept = axdr.array(*(item.data(6) for item in items))  # also of who wrote them as version 0
        meter.save_setting(self._setting(CAPTURE_OBJECTS), axdr.encode(kept))
        self.clear(meter)

    def captured(self, meter: Meter) -> tuple[bytes, bytes]:
        """Buffer and description of this moment, both as octet-strings."""
        who = own_authority(meter)
        values = [captured_value(meter, item, who) for item in parse_items(self.listed(meter))]
        if not values:
            return EMPTY, EMPTY
        try:
            buffer, description = encode_buffer(values), build_template(values)
        except AxdrError as error:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error
        return axdr.encode_octets(buffer), axdr.encode_octets(description)

    def implicit(self, meter: Meter) -> bool:
        raw = meter.settings.get(self._setting(METHOD))
        return raw is not None and axdr.decode(raw).value == CaptureMethod.IMPLICIT

    def shown(self, number: int) -> Attribute:
        """The buffer or its description, as captured or of this moment."""

        def get(meter: Meter) -> bytes:
            if self.implicit(meter):
                return self.captured(meter)[number == DESCRIPTION]
            return meter.settings.get(self._setting(number), EMPTY)

        return Attribute(get)

    def clearing(self, attribute: Attribute) -> Attribute:
        """The same attribute; what was captured is of another layout once it is written."""

        def write(meter: Meter, data: Data) -> None:
            assert attribute.set is not None
            attribute.set(meter, data)
            self.clear(meter)

        return Attribute(attribute.get, write)

    def reset(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        self.clear(meter)
        return b""

    def capture(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        if self.implicit(meter):
            raise AccessError(ActionResult.OTHER_REASON, "it is captured whenever it is read")
        buffer, description = self.captured(meter)
        meter.save_setting(self._setting(BUFFER), buffer)
        meter.save_setting(self._setting(DESCRIPTION), description)
        return b""


def compact_data_object(facility: Facility) -> CosemObject:
    """The object; as delivered it captures clock and active energy when it is told to."""
    one = _CompactData(facility.obis)
    return CosemObject(
        CLASS_ID, VERSION, facility.obis, facility.group, facility.title,
        (
            one.shown(BUFFER),
            Attribute(lambda meter: axdr.encode(one.listed(meter)), personal_set=one.configure),
            one.clearing(one.template_id),
            one.shown(DESCRIPTION),
            one.clearing(one.method),
        ),
        (one.reset, one.capture),
    )  # fmt: skip
