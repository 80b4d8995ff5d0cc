"""The object list of an association, its access rights, and values with their units.

Access rights are kept in one form for all editions: `AccessRight`, the bits of Association LN
version 3. Older associations write enumerations; which one is decided by the version of the
*association* object, never by the value (mode 4 is "authenticated read" in version 1, and
"request authenticated, no access" in version 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import IntFlag
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.obis import Obis
from blathy.quantity import Quantity, Unit

NEWEST_ASSOCIATION: Final = 3
_SINGLE: Final = struct.Struct(">f")


class ObjectListError(AxdrError):
    """Data that is no object list or no scaler_unit."""


class AccessRight(IntFlag):
    """What may be done with an attribute (READ, WRITE) or a method (READ means access)."""

    NONE = 0
    READ = 0x01
    WRITE = 0x02
    REQUEST_AUTHENTICATED = 0x04
    REQUEST_ENCRYPTED = 0x08
    REQUEST_SIGNED = 0x10
    RESPONSE_AUTHENTICATED = 0x20
    RESPONSE_ENCRYPTED = 0x40
    RESPONSE_SIGNED = 0x80


_READ_WRITE: Final = AccessRight.READ | AccessRight.WRITE
_PROTECTED: Final = (
    AccessRight.REQUEST_AUTHENTICATED | AccessRight.REQUEST_ENCRYPTED | AccessRight.REQUEST_SIGNED
)


def attribute_right(mode: int, association_version: int) -> AccessRight:
    """The right that an access_mode means; unknown modes of old versions give no access."""
    if association_version >= 3:
        return AccessRight(mode & 0xFF)
    if 0 <= mode <= 3:
        return AccessRight(mode)
    if mode <= 6 and association_version >= 1:
        return AccessRight(mode - 3) | AccessRight.REQUEST_AUTHENTICATED
    return AccessRight.NONE


def attribute_mode(right: AccessRight, association_version: int) -> int:
    """The access_mode of a right; what an old version cannot say becomes "authenticated"."""
    if association_version >= 3:
        return int(right)
    mode = int(right & _READ_WRITE)
    protected = bool(right & _PROTECTED) and mode and association_version >= 1
    return mode + 3 if protected else mode


def method_right(mode: int, association_version: int) -> AccessRight:
    """The right that a method's access_mode means (boolean in version 0)."""
    if association_version >= 3:
        return AccessRight(mode & 0xFF & ~AccessRight.WRITE)
    if mode == 2 and association_version >= 1:
        return AccessRight.READ | AccessRight.REQUEST_AUTHENTICATED
    return AccessRight.READ if mode else AccessRight.NONE


def method_mode(right: AccessRight, association_version: int) -> int:
    if association_version >= 3:
        return int(right & ~AccessRight.WRITE)
    if not right & AccessRight.READ:
        return 0
    return 2 if right & _PROTECTED and association_version >= 1 else 1


@dataclass(frozen=True, slots=True)
class AttributeAccess:
    """Right and supported selectors of one attribute."""

    index: int
    right: AccessRight
    selectors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MethodAccess:
    """Right of one method."""

    index: int
    right: AccessRight


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One element of an object list. Rights are empty where the list was read without them."""

    class_id: int
    version: int
    obis: Obis
    attributes: tuple[AttributeAccess, ...] = ()
    methods: tuple[MethodAccess, ...] = ()

    def attribute_right(self, index: int) -> AccessRight:
        """NONE for attributes that the list leaves out."""
        return next((row.right for row in self.attributes if row.index == index), AccessRight.NONE)

    def method_right(self, index: int) -> AccessRight:
        return next((row.right for row in self.methods if row.index == index), AccessRight.NONE)

    def without_rights(self) -> ObjectEntry:
        return ObjectEntry(self.class_id, self.version, self.obis)


@dataclass(frozen=True, slots=True)
class ShortName:
    """One element of the object list of an Association SN."""

    base_name: int
    class_id: int
    version: int
    obis: Obis


# --- Association LN ---------------------------------------------------------------------------


def _data(value: Data | bytes) -> Data:
    return axdr.decode(value) if isinstance(value, bytes) else value


def _array(data: Data, name: str) -> tuple[Data, ...]:
    if data.type is DataType.ARRAY:
        return tuple(data.value)
    if data.type is DataType.COMPACT_ARRAY:
        return tuple(data.value.elements)
    msg = f"{name} is an array, not {data.type.text}"
    raise ObjectListError(msg)


def _fields(data: Data, name: str, least: int) -> tuple[Data, ...]:
    if data.type is not DataType.STRUCTURE or len(data.value) < least:
        msg = f"{name} is a structure of at least {least} elements"
        raise ObjectListError(msg)
    return tuple(data.value)


def _integer(data: Data, name: str) -> int:
    if data.type not in axdr.INTEGER_TYPES and data.type is not DataType.BOOLEAN:
        msg = f"{name} is an integer, not {data.type.text}"
        raise ObjectListError(msg)
    return int(data.value)


def _name(data: Data) -> Obis:
    if data.type is not DataType.OCTET_STRING or len(data.value) != 6:
        raise ObjectListError("a logical name is an octet-string of 6 octets")
    return Obis.of(data.value)


def parse_object_list(
    value: Data | bytes, association_version: int = NEWEST_ASSOCIATION
) -> tuple[ObjectEntry, ...]:
    """Attribute 2 of an Association LN; surplus elements of structures are passed over."""
    elements = _array(_data(value), "an object list")
    return tuple(_entry(element, association_version) for element in elements)


def parse_object(value: Data | bytes, association_version: int) -> ObjectEntry:
    """One object_list_element (selector 4, add_object)."""
    return _entry(_data(value), association_version)


def _entry(data: Data, association_version: int) -> ObjectEntry:
    fields = _fields(data, "an element of an object list", 3)
    class_id, version = _integer(fields[0], "class_id"), _integer(fields[1], "version")
    obis = _name(fields[2])
    if len(fields) == 3 or fields[3].type is DataType.NULL_DATA:
        return ObjectEntry(class_id, version, obis)
    attributes, methods = _fields(fields[3], "access_rights", 2)[:2]
    return ObjectEntry(
        class_id,
        version,
        obis,
        tuple(
            _attribute_access(each, association_version)
            for each in _array(attributes, "attribute_access")
        ),
        tuple(
            _method_access(each, association_version) for each in _array(methods, "method_access")
        ),
    )


def _attribute_access(data: Data, association_version: int) -> AttributeAccess:
    fields = _fields(data, "an attribute access", 2)
    index = _integer(fields[0], "attribute_id")
    right = attribute_right(_integer(fields[1], "access_mode"), association_version)
    if len(fields) == 2 or fields[2].type is DataType.NULL_DATA:
        return AttributeAccess(index, right)
    selectors = _array(fields[2], "access_selectors")
    numbers = tuple(_integer(each, "an access selector") for each in selectors)
    return AttributeAccess(index, right, numbers)


def _method_access(data: Data, association_version: int) -> MethodAccess:
    fields = _fields(data, "a method access", 2)
    mode = _integer(fields[1], "access_mode")
    return MethodAccess(_integer(fields[0], "method_id"), method_right(mode, association_version))


def object_data(entry: ObjectEntry, association_version: int = NEWEST_ASSOCIATION) -> Data:
    """One object_list_element."""
    attributes = axdr.array_of(
        axdr.structure(
            axdr.i8(row.index),
            axdr.enum(attribute_mode(row.right, association_version)),
            axdr.array_of(map(axdr.i8, row.selectors)) if row.selectors else axdr.null(),
        )
        for row in entry.attributes
    )
    methods = axdr.array_of(
        axdr.structure(axdr.i8(row.index), _method_data(row.right, association_version))
        for row in entry.methods
    )
    return axdr.structure(
        axdr.u16(entry.class_id),
        axdr.u8(entry.version),
        axdr.octets(entry.obis),
        axdr.structure(attributes, methods),
    )


def _method_data(right: AccessRight, association_version: int) -> Data:
    mode = method_mode(right, association_version)
    return axdr.boolean(bool(mode)) if association_version == 0 else axdr.enum(mode)


def build_object_list(
    entries: Iterable[ObjectEntry], association_version: int = NEWEST_ASSOCIATION
) -> bytes:
    """Attribute 2 of an Association LN as A-XDR bytes."""
    return axdr.encode(axdr.array_of(object_data(each, association_version) for each in entries))


def select_objects(
    entries: Iterable[ObjectEntry],
    selector: int,
    parameters: bytes,
    association_version: int = NEWEST_ASSOCIATION,
) -> bytes:
    """Attribute 2 under selective access (class 15): selectors 1 to 4.

    1: all objects, 2: those of some classes (both with empty rights), 3: a list of objects,
    4: one object (its element alone). Raise AxdrError for other selectors or parameters.
    """
    data = axdr.decode(parameters) if parameters else axdr.null()
    entries = tuple(entries)
    if selector == 1:
        return build_object_list((each.without_rights() for each in entries), association_version)
    if selector == 2:
        classes = {_integer(each, "class_id") for each in _array(data, "a class list")}
        chosen = (each.without_rights() for each in entries if each.class_id in classes)
        return build_object_list(chosen, association_version)
    if selector == 3:
        wanted = {_object_id(each) for each in _array(data, "an object id list")}
        found = (each for each in entries if (each.class_id, each.obis) in wanted)
        return build_object_list(found, association_version)
    if selector == 4:
        key = _object_id(data)
        for each in entries:
            if (each.class_id, each.obis) == key:
                return axdr.encode(object_data(each, association_version))
        msg = f"{key[1]} of class {key[0]} is not in the object list"
        raise ObjectListError(msg)
    msg = f"an object list knows the selectors 1 to 4, not {selector}"
    raise ObjectListError(msg)


def _object_id(data: Data) -> tuple[int, Obis]:
    fields = _fields(data, "an object id", 2)
    return _integer(fields[0], "class_id"), _name(fields[1])


# --- Association SN ---------------------------------------------------------------------------


def parse_short_names(value: Data | bytes) -> tuple[ShortName, ...]:
    """Attribute 2 of an Association SN. The base name is signed on the wire; here it is not."""
    names = []
    for element in _array(_data(value), "an object list"):
        fields = _fields(element, "an element of an object list", 4)
        base = _integer(fields[0], "base_name") & 0xFFFF
        class_id, version = _integer(fields[1], "class_id"), _integer(fields[2], "version")
        names.append(ShortName(base, class_id, version, _name(fields[3])))
    return tuple(names)


def build_short_names(names: Iterable[ShortName]) -> bytes:
    return axdr.encode(
        axdr.array_of(
            axdr.structure(
                axdr.i16((row.base_name ^ 0x8000) - 0x8000),
                axdr.u16(row.class_id),
                axdr.u8(row.version),
                axdr.octets(row.obis),
            )
            for row in names
        )
    )


# --- values with units ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """scaler_unit of a register: the value is the integer x 10^`scaler` in `unit`."""

    scaler: int = 0
    unit: Unit = Unit.COUNT

    @classmethod
    def of(cls, value: Data | bytes) -> ScalerUnit:
        """Read {scaler, unit}. Unit 0 (unused by some meters) is no unit, unknown ones OTHER."""
        fields = _fields(_data(value), "a scaler_unit", 2)
        scaler, code = _integer(fields[0], "scaler"), _integer(fields[1], "unit")
        if not -128 <= scaler <= 127:
            msg = f"a scaler is -128 to 127, not {scaler}"
            raise ObjectListError(msg)
        if code == 0:
            return cls(scaler, Unit.COUNT)
        try:
            return cls(scaler, Unit(code))
        except ValueError:
            return cls(scaler, Unit.OTHER)

    def data(self) -> Data:
        return axdr.structure(axdr.i8(self.scaler), axdr.enum(self.unit))

    def encode(self) -> bytes:
        return axdr.encode(self.data())

    def quantity(self, value: Data) -> Quantity | None:
        """The value with its unit, exactly; None for null-data and for floats that are no number.

        Raise ObjectListError for texts, bit-strings and structures.
        """
        if value.type is DataType.NULL_DATA:
            return None
        if value.type in axdr.FLOAT_TYPES:
            number = Decimal(_shortest(value))
            if not number.is_finite():
                return None
            sign, digits, exponent = number.as_tuple()
            assert isinstance(exponent, int)
            mantissa = int("".join(map(str, digits)))
            return Quantity(-mantissa if sign else mantissa, self.scaler + exponent, self.unit)
        return Quantity(_integer(value, "a register value"), self.scaler, self.unit)


def _shortest(value: Data) -> str:
    """The shortest decimal text that gives the same float of its width."""
    if value.type is DataType.FLOAT64:
        return repr(float(value.value))
    for digits in range(6, 9):
        text = f"{value.value:.{digits}g}"
        if _SINGLE.unpack(_SINGLE.pack(float(text)))[0] == value.value:
            return text
    return f"{value.value:.9g}"
