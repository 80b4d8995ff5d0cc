"""What an interface class is: a table of attributes and methods, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.cosem.classes.types import Type, parse

ACCESS: Final = ("-", "R", "W", "RW")


class TableError(ValueError):
    """A class table that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: `access` is the usual right of a management client, `-`, `R`, `W` or `RW`."""

    index: int
    name: str
    type: Type
    dynamic: bool
    access: str = "R"
    since: int = 0
    until: int = 0xFF

    def __post_init__(self) -> None:
        if not 1 <= self.index <= 127 or not self.name.isidentifier():
            msg = f"attribute {self.index} {self.name!r}: indices are 1 to 127, names identifiers"
            raise TableError(msg)
        if self.access not in ACCESS:
            msg = f"attribute {self.name}: access is one of {', '.join(ACCESS)}"
            raise TableError(msg)


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `optional_parameter`: it carries no information (`integer(0)`)."""

    index: int
    name: str
    parameter: Type
    returns: Type | None = None
    since: int = 0
    until: int = 0xFF

    def __post_init__(self) -> None:
        if not 1 <= self.index <= 127 or not self.name.isidentifier():
            msg = f"method {self.index} {self.name!r}: indices are 1 to 127, names identifiers"
            raise TableError(msg)

    @property
    def is_dataless(self) -> bool:
        """Whether clients send `integer(0)` or nothing."""
        return self.parameter.text == "nothing"


@dataclass(frozen=True, slots=True)
class InterfaceClass:
    """One version of an interface class (IEC 62056-6-2)."""

    class_id: int
    name: str
    version: int
    attributes: tuple[Attribute, ...]
    methods: tuple[Method, ...] = ()
    first_method_offset: int | None = None
    """Short-name referencing: where method 1 stands after the base name, if it is known."""

    def __post_init__(self) -> None:
        for rows in (self.attributes, self.methods):
            indices = [row.index for row in rows]
            names = [row.name for row in rows]
            if len(set(indices)) != len(indices) or len(set(names)) != len(names):
                msg = f"class {self.class_id} version {self.version} names a row twice"
                raise TableError(msg)
            if indices != sorted(indices):
                msg = f"class {self.class_id} version {self.version} is not in order"
                raise TableError(msg)
        if [row.index for row in self.attributes] != list(range(1, len(self.attributes) + 1)):
            msg = f"class {self.class_id} version {self.version} leaves attributes out"
            raise TableError(msg)

    def attribute(self, key: int | str) -> Attribute:
        """By index or by name; raise KeyError if there is none."""
        for row in self.attributes:
            if key in (row.index, row.name):
                return row
        raise KeyError(key)

    def method(self, key: int | str) -> Method:
        """By index or by name; raise KeyError if there is none."""
        for row in self.methods:
            if key in (row.index, row.name):
                return row
        raise KeyError(key)

    def attribute_offset(self, index: int) -> int:
        """Short-name referencing: octets from the base name to an attribute."""
        return 8 * (index - 1)

    def method_offset(self, index: int) -> int | None:
        """Short-name referencing: octets from the base name to a method, None if not known."""
        if self.first_method_offset is None:
            return None
        return self.first_method_offset + 8 * (index - 1)


@dataclass(frozen=True, slots=True)
class Family:
    """All versions of a class in one table: rows say since and until which version they hold."""

    class_id: int
    name: str
    versions: tuple[int, ...]
    attributes: tuple[Attribute, ...]
    methods: tuple[Method, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    """(version, offset of the first method); a version without entry takes the last below it."""

    def at(self, version: int) -> InterfaceClass:
        """The class as of one version."""
        offset = None
        for since, value in self.offsets:
            if since <= version:
                offset = value
        return InterfaceClass(
            self.class_id,
            self.name,
            version,
            (LOGICAL_NAME, *(row for row in self.attributes if row.since <= version <= row.until)),
            tuple(row for row in self.methods if row.since <= version <= row.until),
            offset,
        )


def static(
    index: int, name: str, type_text: str, access: str = "R", since: int = 0, until: int = 0xFF
) -> Attribute:
    """A row of configuration."""
    return Attribute(index, name, parse(type_text), False, access, since, until)


def dynamic(
    index: int, name: str, type_text: str, access: str = "R", since: int = 0, until: int = 0xFF
) -> Attribute:
    """A row that the process changes."""
    return Attribute(index, name, parse(type_text), True, access, since, until)


def method(
    index: int,
    name: str,
    parameter: str = "nothing",
    returns: str = "",
    since: int = 0,
    until: int = 0xFF,
) -> Method:
    """A row of a method."""
    answer = parse(returns) if returns else None
    return Method(index, name, parse(parameter), answer, since, until)


LOGICAL_NAME: Final = static(1, "logical_name", "LN")
