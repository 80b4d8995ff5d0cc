"""Values for people: types, names, units and times, as far as a conversation has told them.

`Knowledge` gathers what answers say of other answers: scalers and units of registers, the columns
of profiles, the object list behind short names. What breaks off is shown up to the break.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from blathy.client.items import SCALED
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.classes import class_name, interface_class
from blathy.cosem.classes.types import Enumerated
from blathy.cosem.columns import Column, decode_profile
from blathy.cosem.cosem_time import ClockStatus, CosemDate, CosemDateTime, CosemTime
from blathy.cosem.names import obis_name
from blathy.cosem.objectlist import ScalerUnit, parse_object_list, parse_short_names
from blathy.cosem.selective import (
    CaptureObject,
    parse_capture_objects,
    parse_selection,
    selected_columns,
)
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity
from blathy.wire.short_names import ShortNameMap

ELEMENTS_SHOWN: Final = 40  # of an array; the rest is counted
OCTETS_SHOWN: Final = 64
DEPTH_MAX: Final = 40
_PROFILE: Final = 7
_UNIT_ATTRIBUTE: Final = {3: 3, 4: 3, 5: 4}
_ASSOCIATION: Final = 15
_ASSOCIATION_SN: Final = 12
_SECRETS: Final = frozenset({(_ASSOCIATION, 7), (_ASSOCIATION_SN, 5)})
_ASSOCIATION_SN_BASE: Final = 0xFA00


@dataclass(slots=True)
class Node:
    """One line of the tree; `octets` of what it stands for, where it is a frame or an APDU."""

    text: str
    children: list[Node] = field(default_factory=list)
    octets: bytes = b""

    def add(self, text: str, octets: bytes = b"") -> Node:
        """A child with this text."""
        node = Node(text, [], octets)
        self.children.append(node)
        return node

    def lines(self, indent: str = "") -> list[str]:
        """The tree as indented text."""
        found = [indent + self.text]
        for child in self.children:
            found += child.lines(indent + "  ")
        return found


@dataclass(slots=True)
class Knowledge:
    """What a conversation has told of a meter."""

    units: dict[tuple[int, Obis], ScalerUnit] = field(default_factory=dict)
    captures: dict[Obis, tuple[CaptureObject, ...]] = field(default_factory=dict)
    periods_s: dict[Obis, int] = field(default_factory=dict)
    names: dict[int, tuple[int, Obis]] = field(
        default_factory=lambda: {_ASSOCIATION_SN_BASE: (_ASSOCIATION_SN, Obis(0, 0, 40, 0, 0))}
    )
    _map: ShortNameMap | None = None

    def learn(self, ref: AttributeRef, octets: bytes) -> None:
        """Keep what this value says of others; anything else is passed over."""
        try:
            if ref.attribute == _UNIT_ATTRIBUTE.get(ref.class_id):
                self.units[ref.class_id, ref.obis] = ScalerUnit.of(octets)
            elif ref.class_id == _PROFILE and ref.attribute == 3:
                self.captures[ref.obis] = parse_capture_objects(octets)
            elif ref.class_id == _PROFILE and ref.attribute == 4:
                self.periods_s[ref.obis] = int(axdr.decode(octets).value)
            elif ref.class_id == _ASSOCIATION_SN and ref.attribute == 2:
                for name in parse_short_names(octets):
                    self.names[name.base_name] = (name.class_id, name.obis)
                self._map = None
        except (AxdrError, TypeError, ValueError):
            return

    def unit(self, class_id: int, obis: Obis, attribute: int) -> ScalerUnit | None:
        """The scaler and unit of a value, where they were read."""
        if attribute not in SCALED.get(class_id, {}):
            return None
        return self.units.get((class_id, obis))

    def named(self, short_name: int) -> AttributeRef | MethodRef | None:
        """What stands at a short name, where the object list was read."""
        if self._map is None:
            self._map = ShortNameMap(self.names)
        return self._map.resolve(short_name)


# --- names --------------------------------------------------------------------------------------


def attribute_text(ref: AttributeRef) -> str:
    """Code, attribute, name and class."""
    if ref.attribute == 0:
        name = "all attributes"
    else:
        try:
            name = interface_class(ref.class_id).attribute(ref.attribute).name
        except KeyError:
            name = f"attribute {ref.attribute}"
    return (
        f"{ref.obis} {name} ({obis_name(ref.obis)}; {class_name(ref.class_id)} "
        f"{ref.class_id}.{ref.attribute})"
    )


def attribute_node(here: Node, label: str, ref: AttributeRef) -> None:
    """An attribute with the selection that goes with it."""
    node = here.add(f"{label}: {attribute_text(ref)}")
    if ref.selector is None:
        return
    kinds = {1: "by range", 2: "by entry"} if ref.class_id == _PROFILE else {}
    octets_node(node, f"selection {kinds.get(ref.selector, ref.selector)}", ref.parameters)


def method_text(ref: MethodRef) -> str:
    """Code, method, name and class."""
    try:
        name = interface_class(ref.class_id).method(ref.method).name
    except KeyError:
        name = f"method {ref.method}"
    return (
        f"{ref.obis} {name}() ({obis_name(ref.obis)}; {class_name(ref.class_id)} "
        f"{ref.class_id}.{ref.method})"
    )


def enum_text(kind: type[Enum], number: int) -> str:
    """A number with its name in words."""
    try:
        return f"{number} {kind(number).name.lower().replace('_', ' ')}"
    except ValueError:
        return str(number)


def words(name: str) -> str:
    """`GetRequestNormal` or `max_pdu_size` as words."""
    text = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip().replace("_", " ")
    return text[:1].upper() + text[1:]


def title_text(octets: bytes) -> str:
    """A system title with the maker's letters."""
    letters = octets[:3]
    flag = letters.decode("ascii") if letters.isalpha() and letters.isascii() else ""
    return f"{octets.hex()}{f' ({flag})' if flag else ''}"


def octets_text(data: bytes) -> str:
    """Hex, cut where it gets long."""
    if len(data) <= OCTETS_SHOWN:
        return data.hex(" ")
    return f"{data[:OCTETS_SHOWN].hex(' ')} … {len(data)} octets"


def unit_text(unit: ScalerUnit) -> str:
    """`scaler 10^-1, unit V`."""
    return f"scaler 10^{unit.scaler}, unit {SYMBOL[unit.unit] or unit.unit.name.lower()}"


# --- one value ----------------------------------------------------------------------------------


def simple_text(data: Data) -> str:
    """A simple value for people: octet-strings as time, OBIS code, text or hex, whatever fits."""
    value = data.value
    if value is None:
        return ""
    if data.type is DataType.BOOLEAN:
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _string_text(data.type, value)
    return (
        repr(value)
        if isinstance(value, str) and data.type is not DataType.BIT_STRING
        else str(value)
    )


def _string_text(kind: DataType, value: bytes) -> str:
    if kind is DataType.DATE or kind is DataType.TIME:
        moment = CosemDate if kind is DataType.DATE else CosemTime
        try:
            return f"{value.hex(' ')} ({moment.of(value)})"
        except ValueError:
            return value.hex(" ")
    if value and all(32 <= octet < 127 for octet in value):
        return f"{value.hex(' ')} ({value.decode('ascii')!r})"
    if len(value) == 12 and (time := time_text(value)):
        return f"{value.hex(' ')} ({time})"
    if len(value) == 6 and kind is DataType.OCTET_STRING:
        obis = Obis.of(value)
        return f"{obis} ({obis_name(obis)})"
    return octets_text(value)


def time_text(raw: bytes) -> str:
    """A date-time with what its status says; empty for octets that are none."""
    try:
        moment = CosemDateTime.of(raw)
    except ValueError:
        return ""
    names = [
        flag.name.lower().replace("_", " ")
        for flag in ClockStatus
        if moment.status is not None and moment.status & flag and flag.name
    ]
    return f"{moment}{', ' if names else ''}{', '.join(names)}"


def data_node(here: Node, label: str, data: Data, depth: int = 0) -> None:
    """A value with its type, its elements below it."""
    if data.type is DataType.COMPACT_ARRAY:
        elements: Sequence[Data] = data.value.elements
    elif data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        elements = data.value
    else:
        here.add(f"{label}: {data.type.text} {simple_text(data)}".rstrip())
        return
    branch = here.add(f"{label}: {data.type.text} of {len(elements)}")
    if depth > DEPTH_MAX:
        branch.add("deeper than is shown")
        return
    for index, element in enumerate(elements[:ELEMENTS_SHOWN]):
        data_node(branch, str(index + 1), element, depth + 1)
    if len(elements) > ELEMENTS_SHOWN:
        branch.add(f"… {len(elements) - ELEMENTS_SHOWN} more")


def octets_node(here: Node, label: str, octets: bytes) -> None:
    """A value from its octets; where they break off, as far as they go."""
    try:
        data_node(here, label, axdr.decode(octets))
    except AxdrError as error:
        part = _Part(octets)
        part.read(here, label)
        if part.at < len(octets) and not part.broken:
            here.add(f"left over: {octets_text(octets[part.at :])}")
        else:
            here.add(f"it breaks off: {error}")


class _Part:
    """Reads a damaged value element by element until it breaks."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0
        self.broken = False

    def read(self, here: Node, label: str, depth: int = 0) -> None:
        octets = self._octets
        if self.at >= len(octets):
            self.broken = True
            return
        try:
            data, self.at = axdr.decode_prefix(octets, self.at)
        except AxdrError:
            pass
        else:
            data_node(here, label, data, depth)
            return
        tag = octets[self.at]
        try:
            count, inside = axdr.decode_length(octets, self.at + 1)
        except AxdrError:
            count, inside = 0, 0
        if tag not in {DataType.ARRAY, DataType.STRUCTURE} or not inside or depth > DEPTH_MAX:
            here.add(f"{label}: {_type_text(tag)} {octets_text(octets[self.at + 1 :])}".rstrip())
            self.broken = True
            return
        branch = here.add(f"{label}: {DataType(tag).text} of {count}")
        self.at = inside
        for index in range(count):
            self.read(branch, str(index + 1), depth + 1)
            if self.broken:
                return


def _type_text(tag: int) -> str:
    try:
        return DataType(tag).text
    except ValueError:
        return f"unknown type {tag:02x}"


# --- the value of an attribute ------------------------------------------------------------------


def value_node(here: Node, label: str, ref: AttributeRef, octets: bytes, known: Knowledge) -> None:
    """A value of this attribute: with its unit, as a table, or whatever else it is."""
    if (ref.class_id, ref.attribute) in _SECRETS:
        here.add(f"{label}: (secret, hidden)")
        return
    known.learn(ref, octets)
    try:
        data = axdr.decode(octets)
        if _special(here, label, ref, data, octets, known):
            return
    except AxdrError:
        octets_node(here, label, octets)
        return
    data_node(here, label, data)


def _special(
    here: Node, label: str, ref: AttributeRef, data: Data, octets: bytes, known: Knowledge
) -> bool:
    """Attributes that are shown in a way of their own."""
    if ref.attribute == _UNIT_ATTRIBUTE.get(ref.class_id) and data.type is DataType.STRUCTURE:
        here.add(f"{label}: {unit_text(ScalerUnit.of(data))}")
        return True
    unit = known.unit(ref.class_id, ref.obis, ref.attribute)
    if unit is not None and data.type in axdr.NUMERIC_FORMATS:
        number = f"{data.type.text} {data.value}"
        here.add(f"{label}: {number} = {unit.quantity(data)}")
        return True
    if ref.class_id == _PROFILE and ref.attribute == 2 and _is_table(data):
        _table(here, label, ref, data, octets, known)
        return True
    if ref.class_id == _PROFILE and ref.attribute == 3:
        columns = parse_capture_objects(data)
        branch = here.add(f"{label}: {len(columns)} columns")
        for column in columns:
            part = f", element {column.data_index}" if column.data_index else ""
            branch.add(attribute_text(AttributeRef(*column[:3])) + part)
        return True
    if ref.class_id == _ASSOCIATION and ref.attribute == 2:
        return _object_list(here, label, data)
    if data.type is DataType.ENUM and (name := _enumerated(ref, data.value)):
        here.add(f"{label}: enum {data.value} ({name})")
        return True
    return False


def _enumerated(ref: AttributeRef, number: int) -> str:
    try:
        kind = interface_class(ref.class_id).attribute(ref.attribute).type
    except KeyError:
        return ""
    if not isinstance(kind, Enumerated):
        return ""
    _, _, name = enum_text(kind.members, number).partition(" ")
    return name


def _object_list(here: Node, label: str, data: Data) -> bool:
    entries = parse_object_list(data)
    branch = here.add(f"{label}: {len(entries)} objects")
    for entry in entries[:ELEMENTS_SHOWN]:
        rights = ", ".join(
            f"{row.index} {row.right.name.lower().replace('|', '+').replace('_', ' ')}"
            for row in entry.attributes
            if row.right.name
        )
        branch.add(
            f"{entry.obis} {class_name(entry.class_id)} {entry.class_id}, version {entry.version} "
            f"({obis_name(entry.obis)}){': ' if rights else ''}{rights}"
        )
    if len(entries) > ELEMENTS_SHOWN:
        branch.add(f"… {len(entries) - ELEMENTS_SHOWN} more")
    return True


# --- profiles -----------------------------------------------------------------------------------


def _is_table(data: Data) -> bool:
    if data.type is DataType.COMPACT_ARRAY:
        return True
    return data.type is DataType.ARRAY and all(row.type is DataType.STRUCTURE for row in data.value)


def _table(
    here: Node, label: str, ref: AttributeRef, data: Data, octets: bytes, known: Knowledge
) -> None:
    """The rows of a profile, with the columns' names and units where they were read."""
    captures = _columns_of(ref, known)
    rows = data.value.elements if data.type is DataType.COMPACT_ARRAY else data.value
    branch = here.add(f"{label}: {len(rows)} rows")
    try:
        profile = decode_profile(octets, captures) if captures else None
    except AxdrError:
        profile = None
    if profile is None:
        for row in rows[:ELEMENTS_SHOWN]:
            branch.add(" | ".join(map(_cell_text, _cells(row))))
    else:
        units = [known.unit(*column.capture[:3]) for column in profile.columns]
        branch.add(" | ".join(map(_heading, profile.columns, units)))
        shown = zip(*(column.to_list() for column in profile.columns), strict=True)
        for number, row in enumerate(shown):
            if number == ELEMENTS_SHOWN:
                break
            branch.add(" | ".join(map(_shown, row, units)))
    if len(rows) > ELEMENTS_SHOWN:
        branch.add(f"… {len(rows) - ELEMENTS_SHOWN} more rows")


def _columns_of(ref: AttributeRef, known: Knowledge) -> tuple[CaptureObject, ...]:
    captures = known.captures.get(ref.obis, ())
    try:
        selection = None
        if ref.selector is not None:
            selection = parse_selection(ref.selector, ref.parameters)
            if not captures and (named := getattr(selection, "selected", ())):
                return tuple(named)
        return tuple(captures[index] for index in selected_columns(captures, selection))
    except AxdrError:
        return ()


def _heading(column: Column, unit: ScalerUnit | None) -> str:
    capture = column.capture
    symbol = SYMBOL[unit.unit] if unit is not None else ""
    return f"{capture.obis} {obis_name(capture.obis)}{f' [{symbol}]' if symbol else ''}"


def _cells(row: Data) -> Sequence[Data]:
    return row.value if row.type is DataType.STRUCTURE else (row,)


def _cell_text(cell: Data) -> str:
    if isinstance(cell.value, bytes):
        return _shown(cell.value, None)
    if cell.type in {DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY}:
        return axdr.encode(cell).hex()
    return "–" if cell.value is None else str(cell.value)


def _shown(value: Any, unit: ScalerUnit | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, bytes):
        return (time_text(value) if len(value) == 12 else "") or octets_text(value)
    if isinstance(value, Data):
        return _cell_text(value)
    if unit is not None and isinstance(value, int) and not isinstance(value, bool):
        return str(Quantity(value, unit.scaler, unit.unit))
    return str(value)
