"""Compact data (class 62): captured values without tags, told by a template.

The buffer of attribute 2 is the values one after the other; attribute 5 describes their types, one
description per capture object. By rule the first value is the template_id, so that a receiver
that has seen the description once can decode a buffer that comes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType, TypeDescription

MAX_TEMPLATES: Final = 4096
"""Descriptions that a `TemplateCache` keeps; the oldest is forgotten first."""


def parse_template(template_description: bytes) -> tuple[TypeDescription, ...]:
    """Attribute 5: the types of the values, in order."""
    elements = []
    offset = 0
    while offset < len(template_description):
        element, offset = axdr.decode_description(template_description, offset)
        elements.append(element)
    if not elements:
        raise AxdrError("a template description describes at least one value")
    return tuple(elements)


def build_template(values: Sequence[Data]) -> bytes:
    """The description of these values; an array must hold elements of one shape."""
    return b"".join(axdr.encode_description(describe(value)) for value in values)


def describe(data: Data) -> TypeDescription:
    """The type description of one value. An empty array is one of no null-data."""
    if data.type is DataType.STRUCTURE:
        return TypeDescription(data.type, tuple(describe(each) for each in data.value))
    if data.type is not DataType.ARRAY:
        return TypeDescription(data.type)
    shapes = {describe(each) for each in data.value} or {TypeDescription(DataType.NULL_DATA)}
    if len(shapes) != 1:
        raise AxdrError("an array in compact data holds elements of one type")
    return TypeDescription(data.type, (shapes.pop(),), len(data.value))


def decode_buffer(template_description: bytes, buffer: bytes) -> tuple[Data, ...]:
    """Attribute 2 as values; raise AxdrError where it does not fit its description."""
    row = TypeDescription(DataType.STRUCTURE, parse_template(template_description))
    rows = axdr.decode_described(row, buffer)
    if len(rows) != 1:
        msg = f"a compact buffer holds one set of values, not {len(rows)}"
        raise AxdrError(msg)
    return tuple(rows[0].value)


def encode_buffer(values: Sequence[Data]) -> bytes:
    """Attribute 2 of these values."""
    row = axdr.structure(*values)
    encoded = axdr.encode(axdr.compact_array(describe(row), [row]))
    _, offset = axdr.decode_description(encoded, 1)
    _, offset = axdr.decode_length(encoded, offset)
    return encoded[offset:]


class TemplateCache:
    """Descriptions by sender and template_id, for pushes that carry only the buffer."""

    def __init__(self) -> None:
        self._templates: dict[tuple[str, int], bytes] = {}

    def learn(self, sender: str, template_id: int, template_description: bytes) -> None:
        """Keep a description; raise AxdrError where it is none."""
        parse_template(template_description)
        self._templates.pop((sender, template_id), None)
        self._templates[sender, template_id] = template_description
        if len(self._templates) > MAX_TEMPLATES:
            del self._templates[next(iter(self._templates))]

    def decode(self, sender: str, buffer: bytes) -> tuple[Data, ...]:
        """Values of a buffer that came alone; raise AxdrError where its template is not known."""
        template = self._templates.get((sender, buffer[0])) if buffer else None
        if template is None:
            msg = f"the template of this compact data is not known; read attribute 5 of {sender}"
            raise AxdrError(msg)
        return decode_buffer(template, buffer)
