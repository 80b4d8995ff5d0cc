"""Data protection (class 30): attributes and methods under protection of their own.

Between the meter and whoever's keys it knows, independent of the association that carries the
service: a data collector may pass on what it cannot read. Everything is done with the rights of the
client that asks; protection never gives a right, it only takes away who can read along.

The buffer is one octet-string for all of protection_object_list: what is read of it was protected
as protection_parameters_get say, what is written to it must be protected as
protection_parameters_set say. An octet-string has no place for what is different each time (the
transaction-id, a wrapped or an ephemeral key), so protection_parameters_get, once the buffer has
been read, show what it was protected with, until they are written again: our choice, where the
standard could not be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.captured_items import CapturedItem, parse_items
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    Requester,
)
from blathy.meter.classes.compact_data import captured_value
from blathy.meter.objects import ENUM, Attribute, CosemObject, Method, denied, setting
from blathy.models.model import Facility
from blathy.obis import Obis
from blathy.wire.data_protection import (
    ProtectionElement,
    check_suite,
    elements_data,
    parse_elements,
    protect_data,
    protection_of,
    unprotect_data,
)
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import SecurityContext, SecurityPolicy

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 30
OBJECT_LIST: Final = 3
PARAMETERS_GET: Final = 4
PARAMETERS_SET: Final = 5
REQUIRED: Final = 6
ITEMS_MAX: Final = 64
TITLE_OCTETS: Final = 8


def _context(meter: Meter, peer: bytes) -> SecurityContext:
    return SecurityContext(
        meter.identity.system_title, meter.key_set(), meter.counters, meter.entropy,
        peer_title=peer,
    )  # fmt: skip


def _parts(data: Data, count: int) -> tuple[Data, ...]:
    if data.type is not DataType.STRUCTURE or len(data.value) != count:
        raise AccessError(ActionResult.TYPE_UNMATCHED, f"{count} elements were expected")
    return tuple(data.value)


def _octets(data: Data) -> bytes:
    if data.type is not DataType.OCTET_STRING:
        raise AccessError(ActionResult.TYPE_UNMATCHED, "protected data are an octet-string")
    return bytes(data.value)


def _values(meter: Meter, items: Sequence[CapturedItem], who: Requester) -> bytes:
    return axdr.encode(axdr.structure(*(captured_value(meter, item, who) for item in items)))


def _write_values(
    meter: Meter, items: Sequence[CapturedItem], plain: bytes, who: Requester
) -> None:
    """All of them or none."""
    try:
        data = axdr.decode(plain)
    except AxdrError as error:
        raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error
    if data.type is not DataType.STRUCTURE or len(data.value) != len(items):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "a value for each attribute is needed")
    if any(item.capture.data_index or item.restriction or item.columns for item in items):
        raise denied("only whole attributes can be written")
    captures = (item.capture for item in items)
    refs = (AttributeRef(each.class_id, each.obis, each.attribute) for each in captures)
    meter.objects.set_all(list(zip(refs, map(axdr.encode, data.value), strict=True)), who)


def _elements_of(data: Data) -> tuple[ProtectionElement, ...]:
    try:
        return parse_elements(data)
    except AxdrError as error:
        raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error


def _object_list(data: Data) -> Data:
    items = parse_items(data)
    if any(item.columns for item in items):
        raise AxdrError("protected are whole rows; this class chooses no columns")
    return axdr.array(*(item.data(5) for item in items))


def _parameters(data: Data) -> Data:
    parse_elements(data)
    return data


class _DataProtection:
    """What one object does; its state is in the settings of the meter."""

    def __init__(self, obis: Obis) -> None:
        delivered = axdr.enum(int(SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED))
        self.obis = obis
        self.used = b"protected with:" + bytes(obis)
        self.required = setting(
            obis, REQUIRED, delivered, ENUM, check=lambda data: not int(data.value) & 0x03
        )

    def asked(self, meter: Meter) -> SecurityPolicy:
        assert callable(self.required.get)
        return SecurityPolicy(int(axdr.decode(self.required.get(meter)).value))

    def stored(self, meter: Meter, number: int) -> Data:
        raw = meter.settings.get(bytes(self.obis) + bytes((number,)))
        return axdr.array() if raw is None else axdr.decode(raw)

    def kept(self, number: int, checked: Callable[[Data], Data]) -> Attribute:
        """`checked`: what is kept of what is written; AxdrError where that is of another type."""

        def get(meter: Meter) -> bytes:
            return axdr.encode(self.stored(meter, number))

        def write(meter: Meter, data: Data) -> None:
            try:
                kept = checked(data)
            except AxdrError as error:
                raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
            if len(kept.value) > ITEMS_MAX:
                raise AccessError(DataAccessResult.OTHER_REASON, "too many elements")
            meter.save_setting(bytes(self.obis) + bytes((number,)), axdr.encode(kept))

        return Attribute(get, write)

    def protected(
        self, meter: Meter, plain: bytes, elements: Sequence[ProtectionElement], peer: bytes
    ) -> tuple[Data, bytes]:
        missing = self.asked(meter).response & ~protection_of(elements)
        if missing:
            raise denied("the answer would have less protection than this object requires")
        if len(peer) != TITLE_OCTETS:
            raise denied("nobody is named whom the answer is protected for")
        try:
            check_suite(elements, meter.identity.suite)
            used, octets = protect_data(_context(meter, peer), plain, elements)
        except LocalProtocolError as error:
            raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error
        return elements_data(used), octets

    def opened(
        self, meter: Meter, octets: bytes, elements: Sequence[ProtectionElement]
    ) -> tuple[bytes, bytes]:
        """The plain data, and the system title that they come from."""
        if self.asked(meter).request & ~protection_of(elements):
            raise denied("less protection than this object requires")
        originators = {element.originator for element in elements}
        if len(originators) != 1:
            raise denied("protected data come from one originator")
        peer = originators.pop()
        if len(peer) != TITLE_OCTETS or peer == meter.identity.system_title:
            raise denied("protected data name the system title of their originator")
        try:
            check_suite(elements, meter.identity.suite)
            return unprotect_data(_context(meter, peer), octets, elements), peer
        except (LocalProtocolError, RemoteProtocolError) as error:
            meter.record("decryption_failed")
            raise denied(str(error)) from error

    def readable(self, data: Data) -> tuple[CapturedItem, ...]:
        try:
            items = parse_items(data)
        except AxdrError as error:
            raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error
        if not 0 < len(items) <= ITEMS_MAX or any(i.capture.obis == self.obis for i in items):
            raise denied(f"1 to {ITEMS_MAX} attributes of other objects")
        return items

    def buffer(self, meter: Meter, who: Requester) -> bytes:
        listed = self.stored(meter, OBJECT_LIST)
        if not listed.value:
            return axdr.encode_octets(b"")
        elements = _elements_of(self.stored(meter, PARAMETERS_GET))
        peer = next((e.recipient for e in elements if e.recipient), who.client_title)
        plain = _values(meter, self.readable(listed), who)
        used, octets = self.protected(meter, plain, elements, peer)
        meter.save_setting(self.used, axdr.encode(used))
        return axdr.encode_octets(octets)

    def write_buffer(self, meter: Meter, data: Data, who: Requester) -> None:
        listed, octets = self.stored(meter, OBJECT_LIST), _octets(data)
        if not listed.value and not octets:
            return
        elements = _elements_of(self.stored(meter, PARAMETERS_SET))
        items = self.readable(listed)
        plain, _ = self.opened(meter, octets, elements)
        _write_values(meter, items, plain, who)

    def parameters_get(self) -> Attribute:
        """What the buffer will be protected with, or was when it was last read."""
        kept = self.kept(PARAMETERS_GET, _parameters)

        def get(meter: Meter) -> bytes:
            used = meter.settings.get(self.used)
            return axdr.encode(self.stored(meter, PARAMETERS_GET)) if used is None else used

        def write(meter: Meter, data: Data) -> None:
            assert kept.set is not None
            kept.set(meter, data)
            meter.drop_settings(self.used)

        return Attribute(get, write)

    def get_protected(self, meter: Meter, data: Data, who: Requester) -> bytes:
        listed, parameters = _parts(data, 2)
        elements = _elements_of(parameters)
        peer = next((e.recipient for e in elements if e.recipient), who.client_title)
        plain = _values(meter, self.readable(listed), who)
        used, octets = self.protected(meter, plain, elements, peer)
        return axdr.encode(axdr.structure(used, axdr.octets(octets)))

    def set_protected(self, meter: Meter, data: Data, who: Requester) -> bytes:
        listed, parameters, content = _parts(data, 3)
        items = self.readable(listed)
        plain, _ = self.opened(meter, _octets(content), _elements_of(parameters))
        _write_values(meter, items, plain, who)
        return b""

    def invoke_protected(self, meter: Meter, data: Data, who: Requester) -> bytes:
        target, parameters, content = _parts(data, 3)
        class_id, name, number = (field.value for field in _parts(target, 3))
        if not (isinstance(class_id, int) and isinstance(number, int)):
            raise AccessError(ActionResult.TYPE_UNMATCHED, "a method has a class and a number")
        if not isinstance(name, bytes) or len(name) != 6 or name == bytes(self.obis):
            raise denied("a method of another object is named by its logical name")
        elements = _elements_of(parameters)
        plain, peer = self.opened(meter, _octets(content), elements)
        ref = MethodRef(class_id, Obis.of(name), number)
        returned = meter.objects.invoke(ref, plain, who) or axdr.encode_null()
        used, octets = self.protected(meter, returned, elements, peer)
        return axdr.encode(axdr.structure(used, axdr.octets(octets)))


def data_protection_object(facility: Facility) -> CosemObject:
    """The object; as delivered it asks for authentication and encryption both ways."""
    one = _DataProtection(facility.obis)
    methods: tuple[Method, ...] = (one.get_protected, one.set_protected, one.invoke_protected)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(None, personal=one.buffer, personal_set=one.write_buffer),
            one.kept(OBJECT_LIST, _object_list),
            one.parameters_get(),
            one.kept(PARAMETERS_SET, _parameters),
            Attribute(one.required.get, one.required.set),
        ),
        methods,
    )  # fmt: skip
