"""COSEM objects of a meter: what each attribute and method does, without any state of its own.

A tree of objects is built once for a model and its options and shared by every meter of that kind;
the state is passed in. Static attributes are bytes that were encoded when the tree was built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import CosemTimeError, date_of, date_time_of, time_of
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    Requester,
)
from blathy.models.model import Group
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.deciding import Decider
    from blathy.meter.meter import Meter

Getter = Callable[["Meter"], bytes]
Setter = Callable[["Meter", Data], None]
Selector = Callable[["Meter", int, bytes], bytes]
Method = Callable[["Meter", Data, Requester], bytes]
ForRequester = Callable[["Meter", Requester], bytes]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: bytes when it never changes, else a function of the meter.

    `get` None: not readable (a password). `set` None: not writable by anybody. `personal` answers
    what differs from one association to the next, `personal_set` takes what depends on who writes.
    """

    get: bytes | Getter | None
    set: Setter | None = None
    select: Selector | None = None
    selectors: tuple[int, ...] = ()
    personal: ForRequester | None = None
    personal_select: Callable[[Meter, int, bytes, Requester], bytes] | None = None
    personal_set: Callable[[Meter, Data, Requester], None] | None = None

    @property
    def readable(self) -> bool:
        return self.get is not None or self.personal is not None

    @property
    def writable(self) -> bool:
        return self.set is not None or self.personal_set is not None

    def write(self, meter: Meter, data: Data, who: Requester) -> None:
        """Set it; only where it is writable."""
        if self.personal_set is not None:
            self.personal_set(meter, data, who)
            return
        assert self.set is not None
        self.set(meter, data)


@dataclass(frozen=True, slots=True)
class CosemObject:
    """One object of the tree. `attributes[0]` is attribute 2; `methods[0]` is method 1 (None: the
    method exists in the class, and nobody may call it here). `decider`: what it does by itself."""

    class_id: int
    version: int
    obis: Obis
    group: Group
    title: str
    attributes: tuple[Attribute, ...]
    methods: tuple[Method | None, ...] = ()
    decider: Decider | None = None

    def attribute(self, number: int) -> Attribute | None:
        index = number - 2
        return self.attributes[index] if 0 <= index < len(self.attributes) else None

    def method(self, number: int) -> Method | None:
        index = number - 1
        return self.methods[index] if 0 <= index < len(self.methods) else None


@dataclass(frozen=True, slots=True)
class ValueReference:
    """What a `value_definition` names: an attribute of an object."""

    class_id: int
    obis: Obis
    attribute: int

    @classmethod
    def of(cls, data: Data) -> Self:
        """Read a structure that fits VALUE_DEFINITION."""
        class_id, name, attribute = (field.value for field in data.value)
        return cls(int(class_id), Obis.of(name), int(attribute))

    def data(self) -> Data:
        return axdr.structure(
            axdr.u16(self.class_id), axdr.octets(self.obis), axdr.i8(self.attribute)
        )


# --- shapes of what is written ----------------------------------------------------------------

Shape = DataType | tuple["str | int | Shape", ...]
"""A data type, ("array", element), ("structure", element ...), ("octets", n), ("any",),
("either", shape, shape), or a moment: ("date-time",), ("date",) or ("time",)."""

U8: Final = DataType.UNSIGNED
U16: Final = DataType.LONG_UNSIGNED
U32: Final = DataType.DOUBLE_LONG_UNSIGNED
I8: Final = DataType.INTEGER
I16: Final = DataType.LONG
I32: Final = DataType.DOUBLE_LONG
ENUM: Final = DataType.ENUM
OS: Final = DataType.OCTET_STRING
VS: Final = DataType.VISIBLE_STRING
BOOL: Final = DataType.BOOLEAN
BITS: Final = DataType.BIT_STRING
LN: Final[Shape] = ("octets", 6)
OS_DT: Final[Shape] = ("date-time",)
"""Twelve octets that are a date-time, with or without wildcards."""
DATE: Final[Shape] = ("date",)
TIME: Final[Shape] = ("time",)
"""A date, and a time of day: as octet-string or as a type of its own."""
ANY: Final[Shape] = ("any",)


MOMENTS: Final[Mapping[str, tuple[DataType | None, int, Callable[[Data], object]]]] = {
    "date-time": (None, 12, date_time_of),
    "date": (DataType.DATE, 5, date_of),
    "time": (DataType.TIME, 4, time_of),
}
"""The type of its own that is taken for each, the octets of the other form, and what reads it."""


def array_shape(element: Shape) -> Shape:
    return ("array", element)


def structure_shape(*elements: Shape) -> Shape:
    return ("structure", *elements)


WINDOWS: Final = array_shape(structure_shape(OS_DT, OS_DT))
ACTION_ITEM: Final = structure_shape(LN, U16)
VALUE_DEFINITION: Final = structure_shape(U16, LN, I8)


def fits(data: Data, shape: Shape) -> bool:
    """Whether the data is of that type, with as many elements where the shape counts them."""
    if isinstance(shape, DataType):
        return data.type is shape
    kind, *parts = shape
    if kind == "any":
        return True
    if kind == "octets":
        return data.type is OS and len(data.value) == parts[0]
    if kind in MOMENTS:
        return _is_moment(data, str(kind))
    if kind == "either":
        return any(fits(data, _shape(part)) for part in parts)
    if kind == "array":
        element = _shape(parts[0])
        return data.type is DataType.ARRAY and all(fits(item, element) for item in data.value)
    assert kind == "structure"
    return (
        data.type is DataType.STRUCTURE
        and len(data.value) == len(parts)
        and all(fits(item, _shape(part)) for item, part in zip(data.value, parts, strict=True))
    )


def _is_moment(data: Data, kind: str) -> bool:
    """A date-time is an octet-string of twelve here; dates and times come in both forms, and are
    kept in the one that came: a date-time, of which they are a part, is none of them."""
    own_type, size, read = MOMENTS[kind]
    if data.type is not own_type and not fits(data, ("octets", size)):
        return False
    try:
        read(data)
    except CosemTimeError:
        return False
    return True


def _shape(part: str | int | Shape) -> Shape:
    assert isinstance(part, DataType | tuple)
    return part


def require(data: Data, shape: Shape, wanted: str = "the value has another type") -> Data:
    """What was written or passed to a method, or AccessError type-unmatched; `wanted` says what it
    should have been."""
    if not fits(data, shape):
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, wanted)
    return data


def require_readable(meter: Meter, reference: ValueReference, who: Requester) -> None:
    """AccessError where there is nothing of that name, or nothing that the requester may read."""
    ref = AttributeRef(reference.class_id, reference.obis, reference.attribute)
    meter.objects.get(ref, who)


def decoded(raw: bytes) -> Data:
    """Service parameters as data; AccessError where they are no A-XDR."""
    if not raw:
        return axdr.null()
    try:
        return axdr.decode(raw)
    except AxdrError as error:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error


def denied(reason: str = "") -> AccessError:
    return AccessError(DataAccessResult.READ_WRITE_DENIED, reason)


def refused(reason: str) -> AccessError:
    return AccessError(ActionResult.OTHER_REASON, reason)


# --- attributes that several classes use ------------------------------------------------------


def constant(data: Data) -> Attribute:
    return Attribute(axdr.encode(data))


def setting(
    obis: Obis,
    number: int,
    default: Data,
    shape: Shape,
    *,
    writable: bool = True,
    readable: bool = True,
    check: Callable[[Data], bool] | None = None,
    after: Callable[[Meter, Data], None] | None = None,
    otherwise: Callable[[Meter], Data] | None = None,
) -> Attribute:
    """A stored value: the default until somebody sets it, or `otherwise` where it is not the same
    for all meters. `check` refuses values out of range; `after` acts on the new value once it is
    durable."""
    key = bytes(obis) + bytes((number,))
    fallback = axdr.encode(default)

    def get(meter: Meter) -> bytes:
        if otherwise is not None and key not in meter.settings:
            return axdr.encode(otherwise(meter))
        return meter.settings.get(key, fallback)

    def write(meter: Meter, data: Data) -> None:
        require(data, shape)
        if check is not None and not check(data):
            raise AccessError(DataAccessResult.OTHER_REASON, "the value is out of range")
        meter.save_setting(key, axdr.encode(data))
        if after is not None:
            after(meter, data)

    return Attribute(get if readable else None, write if writable else None)


def setting_of(meter: Meter, obis: Obis, number: int) -> Data | None:
    """What was set, decoded; None while the default holds."""
    raw = meter.settings.get(bytes(obis) + bytes((number,)))
    return None if raw is None else axdr.decode(raw)


def scaler_unit(scaler: int, unit: int) -> bytes:
    return axdr.encode(axdr.structure(axdr.i8(scaler), axdr.enum(unit)))
