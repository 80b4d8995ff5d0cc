"""The types of attributes and method parameters, written as the Blue Book writes them.

`parse("array {class_id u16, logical_name LN, attribute_index i8, data_index u16}")` is a type that
checks values (`accepts`) and turns them into names and plain Python (`plain`).

Words: null bool bits i8 i16 i32 i64 u8 u16 u32 u64 os vs utf8 bcd f32 f64 dt date time any; `LN` an
octet-string with a logical name; `os_dt`, `os_d`, `os_t` a date-time, date or time in an
octet-string (the tagged form is accepted too, as meters send both); `os(8)` octets of that length;
`enum(Name)` an enumeration of `enumerations`; `nothing` a method without data (`integer(0)`).
`array T`, `{name T, name T}`, `T | T` and parentheses combine them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.classes import enumerations
from blathy.cosem.cosem_time import CosemDate, CosemDateTime, CosemTime
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Unit


class TypeTextError(ValueError):
    """A type that is not written as this module's grammar says: an error in a table."""


@dataclass(frozen=True, slots=True)
class Type(ABC):
    """A COSEM type. `text` is what it was parsed from."""

    text: str

    @abstractmethod
    def accepts(self, data: Data) -> bool:
        """Whether `data` may be written where this type stands."""

    def plain(self, data: Data) -> Any:
        """Names, numbers and texts for people: None, int, float, str, list or dict."""
        return plain(data)


@dataclass(frozen=True, slots=True)
class Anything(Type):
    """Any type at all: `any`, and the parameter of methods without data."""

    def accepts(self, data: Data) -> bool:  # noqa: ARG002 - every value is fine
        return True


@dataclass(frozen=True, slots=True)
class Simple(Type):
    """One of a few tags; `size` is the length of an octet-string or bit-string, if it is fixed."""

    kinds: frozenset[DataType]
    size: int | None = None

    def accepts(self, data: Data) -> bool:
        if data.type not in self.kinds:
            return False
        return self.size is None or len(data.value) == self.size


@dataclass(frozen=True, slots=True)
class LogicalName(Type):
    """Six octets that name an object."""

    def accepts(self, data: Data) -> bool:
        return data.type is DataType.OCTET_STRING and len(data.value) == 6

    def plain(self, data: Data) -> Any:
        return str(Obis.of(data.value)) if self.accepts(data) else plain(data)


@dataclass(frozen=True, slots=True)
class Moment(Type):
    """A date-time, date or time, tagged or in an octet-string."""

    kind: DataType
    size: int
    reader: Any = field(compare=False)

    def accepts(self, data: Data) -> bool:
        if data.type is self.kind:
            return True
        return data.type is DataType.OCTET_STRING and len(data.value) == self.size

    def plain(self, data: Data) -> Any:
        if not self.accepts(data):
            return plain(data)
        try:
            return str(self.reader.of(data.value))
        except AxdrError:
            return data.value.hex()


@dataclass(frozen=True, slots=True)
class Enumerated(Type):
    """An enumeration. Unknown numbers are legal: editions and makers add values."""

    members: type[IntEnum]

    def accepts(self, data: Data) -> bool:
        return data.type is DataType.ENUM

    def plain(self, data: Data) -> Any:
        if not self.accepts(data):
            return plain(data)
        try:
            member = self.members(data.value)
        except ValueError:
            return plain(data)
        if isinstance(member, Unit) and SYMBOL[member]:
            return SYMBOL[member]
        name: str | None = member.name  # None for flags with bits that are not assigned
        return plain(data) if name is None else name.lower()


@dataclass(frozen=True, slots=True)
class ArrayOf(Type):
    """Any number of elements of one type; a compact-array is as good."""

    element: Type

    def accepts(self, data: Data) -> bool:
        elements = _elements(data)
        return elements is not None and all(self.element.accepts(each) for each in elements)

    def plain(self, data: Data) -> Any:
        elements = _elements(data)
        if elements is None:
            return plain(data)
        return [self.element.plain(each) for each in elements]


@dataclass(frozen=True, slots=True)
class Structure(Type):
    """Named elements in order."""

    fields: tuple[tuple[str, Type], ...]

    def accepts(self, data: Data) -> bool:
        if data.type is not DataType.STRUCTURE or len(data.value) != len(self.fields):
            return False
        pairs = zip(self.fields, data.value, strict=True)
        return all(kind.accepts(value) for (_, kind), value in pairs)

    def plain(self, data: Data) -> Any:
        """Elements that the type does not know keep their place as `element_N` (from 1)."""
        if data.type is not DataType.STRUCTURE:
            return plain(data)
        named = {}
        for index, value in enumerate(data.value):
            if index < len(self.fields):
                name, kind = self.fields[index]
                named[name] = kind.plain(value)
            else:
                named[f"element_{index + 1}"] = plain(value)
        return named


@dataclass(frozen=True, slots=True)
class Choice(Type):
    """One of several types."""

    options: tuple[Type, ...]

    def accepts(self, data: Data) -> bool:
        return any(option.accepts(data) for option in self.options)

    def plain(self, data: Data) -> Any:
        for option in self.options:
            if option.accepts(data):
                return option.plain(data)
        return plain(data)


def _elements(data: Data) -> tuple[Data, ...] | None:
    if data.type is DataType.ARRAY:
        return tuple(data.value)
    if data.type is DataType.COMPACT_ARRAY:
        return tuple(data.value.elements)
    return None


def plain(data: Data) -> Any:
    """A value without its type's names: octet-strings in hex, structures and arrays as lists."""
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        return [plain(each) for each in data.value]
    if data.type is DataType.COMPACT_ARRAY:
        return [plain(each) for each in data.value.elements]
    return data.value.hex() if isinstance(data.value, bytes) else data.value


_D = DataType
_WORDS: Final[dict[str, frozenset[DataType]]] = {
    "null": frozenset({_D.NULL_DATA}),
    "bool": frozenset({_D.BOOLEAN}),
    "bits": frozenset({_D.BIT_STRING}),
    "i8": frozenset({_D.INTEGER}),
    "i16": frozenset({_D.LONG}),
    "i32": frozenset({_D.DOUBLE_LONG}),
    "i64": frozenset({_D.LONG64}),
    "u8": frozenset({_D.UNSIGNED}),
    "u16": frozenset({_D.LONG_UNSIGNED}),
    "u32": frozenset({_D.DOUBLE_LONG_UNSIGNED}),
    "u64": frozenset({_D.LONG64_UNSIGNED}),
    "os": frozenset({_D.OCTET_STRING}),
    "vs": frozenset({_D.VISIBLE_STRING}),
    "utf8": frozenset({_D.UTF8_STRING}),
    "bcd": frozenset({_D.BCD}),
    "f32": frozenset({_D.FLOAT32}),
    "f64": frozenset({_D.FLOAT64}),
    "enum": frozenset({_D.ENUM}),
    "simple": frozenset(DataType) - {_D.ARRAY, _D.STRUCTURE, _D.COMPACT_ARRAY, _D.DONT_CARE},
}
_MOMENTS: Final[dict[str, tuple[DataType, int, Any]]] = {
    "dt": (_D.DATE_TIME, 12, CosemDateTime),
    "date": (_D.DATE, 5, CosemDate),
    "time": (_D.TIME, 4, CosemTime),
    "os_dt": (_D.DATE_TIME, 12, CosemDateTime),
    "os_d": (_D.DATE, 5, CosemDate),
    "os_t": (_D.TIME, 4, CosemTime),
}
_VALUE = "null | bits | i8 | i16 | i32 | i64 | u8 | u16 | u32 | u64 | os | vs | utf8 | enum"
SHARED: Final[dict[str, str]] = {
    "measured": f"{_VALUE} | f32 | f64",
    "status": "null | bits | u8 | u16 | u32 | u64 | os | vs | utf8",
    "scal_unit": "{scaler i8, unit enum(Unit)}",
    "capture_object": "{class_id u16, logical_name LN, attribute_index i8, data_index u16}",
    "value_definition": "{class_id u16, logical_name LN, attribute_index i8}",
    "object_id": "{class_id u16, logical_name LN}",
    "action_item": "{script_logical_name LN, script_selector u16}",
    "up_down": "{action_up action_item, action_down action_item}",
    "window": "{start_time os_dt, end_time os_dt}",
    "restriction": "{restriction_type enum(RestrictionType), restriction_value "
    "null | {from os_d, to os_d} | {from u32, to u32} | {from u16, to u16}}",
    "key_info_options": "enum(IdentifiedKey) | {key_id enum(IdentifiedKey)} | "
    "{kek_id enum(KekId), key_ciphered_data os} | {key_parameters os, key_ciphered_data os}",
    "protection_parameters": "{protection_type enum(ProtectionType), protection_options "
    "{transaction_id os, originator_system_title os, recipient_system_title os, "
    "other_information os, key_info {key_info_type enum(KeyInfoType), "
    "key_info_options key_info_options}}}",
    "user": "{user_id u8, user_name vs}",
    "object_list_element": "{class_id u16, version u8, logical_name LN, access_rights "
    "{attribute_access array {attribute_id i8, access_mode enum, access_selectors "
    "null | array i8}, method_access array {method_id i8, access_mode enum | bool}}}",
    "speed": "enum(CommSpeed)",
}
_TOKEN = re.compile(r"\s*([{}(),|]|\w+)")


def parse(text: str) -> Type:
    """The type that `text` writes; raise TypeTextError where it is none."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s+", "", text):
        msg = f"{text!r} holds characters that no type is written with"
        raise TypeTextError(msg)
    kind, rest = _parse_choice(tokens)
    if rest:
        msg = f"{' '.join(rest)!r} is left over in the type {text!r}"
        raise TypeTextError(msg)
    return kind


def _parse_choice(tokens: list[str]) -> tuple[Type, list[str]]:
    first, tokens = _parse_one(tokens)
    options = [first]
    while tokens and tokens[0] == "|":
        option, tokens = _parse_one(tokens[1:])
        options.append(option)
    if len(options) == 1:
        return first, tokens
    return Choice(" | ".join(option.text for option in options), tuple(options)), tokens


def _parse_one(tokens: list[str]) -> tuple[Type, list[str]]:
    if not tokens:
        raise TypeTextError("a type is missing")
    word, tokens = tokens[0], tokens[1:]
    if word == "{":
        return _parse_structure(tokens)
    if word == "(":
        inner, tokens = _parse_choice(tokens)
        return inner, _expect(tokens, ")")
    if word == "array":
        element, tokens = _parse_one(tokens)
        return ArrayOf(f"array of {element.text}", element), tokens
    argument = ""
    if tokens and tokens[0] == "(" and word in {"os", "bits", "enum"}:
        argument = tokens[1]
        tokens = _expect(tokens[2:], ")")
    return _word(word, argument), tokens


def _expect(tokens: list[str], wanted: str) -> list[str]:
    if not tokens or tokens[0] != wanted:
        msg = f"{wanted!r} is missing before {' '.join(tokens)!r}"
        raise TypeTextError(msg)
    return tokens[1:]


def _parse_structure(tokens: list[str]) -> tuple[Type, list[str]]:
    fields: list[tuple[str, Type]] = []
    while True:
        name, tokens = tokens[0], tokens[1:]
        kind, tokens = _parse_choice(tokens)
        fields.append((name, kind))
        if tokens and tokens[0] == ",":
            tokens = tokens[1:]
            continue
        tokens = _expect(tokens, "}")
        break
    names = [name for name, _ in fields]
    if len(set(names)) != len(names):
        msg = f"a structure names an element twice: {', '.join(names)}"
        raise TypeTextError(msg)
    text = ", ".join(f"{name} {kind.text}" for name, kind in fields)
    return Structure(f"{{{text}}}", tuple(fields)), tokens


def _word(word: str, argument: str) -> Type:
    if word in {"any", "nothing"}:
        return Anything(word)
    if word == "LN":
        return LogicalName(word)
    if word in _MOMENTS:
        return Moment(word, *_MOMENTS[word])
    if word in SHARED:
        return parse(SHARED[word])
    if word == "enum" and argument:
        members = Unit if argument == "Unit" else getattr(enumerations, argument, None)
        if members is None:
            msg = f"there is no enumeration {argument}"
            raise TypeTextError(msg)
        return Enumerated(f"enum {argument}", members)
    if word not in _WORDS:
        msg = f"{word!r} is no type"
        raise TypeTextError(msg)
    size = int(argument) if argument else None
    return Simple(f"{word}({argument})" if argument else word, _WORDS[word], size)
