"""What can be asked of a meter: codes, attributes and methods by number or by name."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from blathy.clock import UtcS, utc_of
from blathy.cosem.axdr import AxdrError
from blathy.cosem.classes import Method, class_name, interface_class
from blathy.cosem.objectlist import ObjectEntry, ScalerUnit
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.transport.errors import Refused
from blathy.wire import apdu

SCALED: Final[dict[int, dict[int, int]]] = {3: {2: 3}, 4: {2: 3}, 5: {2: 4, 3: 4}}
"""Class -> attribute with a value -> the attribute that holds its scaler_unit."""

Moment = datetime | UtcS | int
Item = str | Obis | AttributeRef | tuple[str | Obis, int | str]
"""What can be read: `1-0:1.8.0`, `1-0:1.8.0/3`, `1-0:1.8.0/scaler_unit`, the same as a tuple, or a
whole reference. Attributes have numbers or the names of the standard; without one it is 2."""


def parse_obis(text: str) -> Obis:
    """An OBIS code from text; Refused with the form it should have."""
    try:
        return Obis.parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error


def parts_of(item: Item) -> tuple[Obis, int | str]:
    """The code of an item and its attribute; Refused where it is written otherwise."""
    attribute: int | str = 2
    if isinstance(item, AttributeRef):
        return item.obis, item.attribute
    if isinstance(item, tuple):
        item, attribute = item
    elif not isinstance(item, Obis):
        item, slash, name = item.partition("/")
        attribute = name if slash else attribute
    obis = item if isinstance(item, Obis) else parse_obis(item)
    text = str(attribute)
    if text.isascii() and text.isdigit():
        attribute = int(text)
    if not text or (isinstance(attribute, int) and not 0 <= attribute < 128):
        raise Refused(
            f"{text!r} is no attribute of {obis}", "write its number or name, 1-0:1.8.0/scaler_unit"
        )
    return obis, attribute


def attribute_number(entry: ObjectEntry, attribute: int | str) -> int:
    if isinstance(attribute, int):
        return attribute
    try:
        kind = interface_class(entry.class_id, entry.version)
    except KeyError:
        raise Refused(f"no table knows {class_name(entry.class_id)}", "write a number") from None
    try:
        return kind.attribute(attribute).index
    except KeyError:
        names = ", ".join(row.name for row in kind.attributes)
        raise Refused(
            f"{kind.name} {entry.obis} has no attribute {attribute!r}", f"it has {names}"
        ) from None


def described(ref: AttributeRef) -> str:
    try:
        name = interface_class(ref.class_id).attribute(ref.attribute).name
    except KeyError:
        name = f"attribute {ref.attribute}"
    return f"{ref.obis} {name} ({class_name(ref.class_id)})"


def scaler_ref(ref: AttributeRef) -> AttributeRef | None:
    scaler = SCALED.get(ref.class_id, {}).get(ref.attribute)
    return AttributeRef(ref.class_id, ref.obis, scaler) if scaler is not None else None


def unit_key(ref: AttributeRef) -> tuple[int, Obis, int]:
    return ref.class_id, ref.obis, ref.attribute


def scaler_unit_of(result: apdu.GetResult) -> ScalerUnit | None:
    if isinstance(result, int):
        return None
    try:
        return ScalerUnit.of(result)
    except AxdrError:
        return None


def class_methods(entry: ObjectEntry) -> tuple[Method, ...]:
    try:
        return interface_class(entry.class_id, entry.version).methods
    except KeyError:
        return ()


def method_number(entry: ObjectEntry, method: int | str) -> int:
    if isinstance(method, int):
        return method
    try:
        return interface_class(entry.class_id, entry.version).method(method).index
    except KeyError:
        able = "it has " + (", ".join(row.name for row in class_methods(entry)) or "none")
        raise Refused(f"{class_name(entry.class_id)} has no method {method!r}", able) from None


def utc_s_of(moment: Moment) -> int:
    if isinstance(moment, datetime):
        try:
            return utc_of(moment)
        except ValueError as error:
            raise Refused(str(error)) from error
    return int(moment)
