"""A meter's object model as it was read: what `blathy clone` writes and `blathy meter run` serves.

The file is JSON. Every value stands as A-XDR octets in hexadecimal, which alone count, beside a
text for people. Rights are the names of `cosem.objectlist.AccessRight`, joined by `+`. The file
holds no password and no key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from blathy.cosem.axdr import AxdrError, decode
from blathy.cosem.classes import class_name, interface_class
from blathy.cosem.names import obis_name
from blathy.cosem.objectlist import AccessRight, AttributeAccess, MethodAccess, ObjectEntry
from blathy.obis import Obis

FORMAT: Final = "blathy recorded meter 1"
ASSOCIATION_CLASS: Final = 15


class RecordingError(ValueError):
    """A file that holds no recorded meter; the sentence says where it is wrong."""


@dataclass(frozen=True, slots=True)
class RecordedAttribute:
    """One attribute: its right and selectors, and the value or the refusal that was read.

    `value` and `refused` (a data-access-result) are both None for what was not asked for.
    """

    index: int
    right: AccessRight
    selectors: tuple[int, ...] = ()
    value: bytes | None = None
    refused: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class RecordedObject:
    """One object of the association's list."""

    class_id: int
    version: int
    obis: Obis
    attributes: tuple[RecordedAttribute, ...]
    methods: tuple[MethodAccess, ...] = ()

    @property
    def entry(self) -> ObjectEntry:
        """Its element of the object list."""
        rows = tuple(AttributeAccess(a.index, a.right, a.selectors) for a in self.attributes)
        return ObjectEntry(self.class_id, self.version, self.obis, rows, self.methods)

    def value(self, index: int) -> bytes | None:
        """What was read of an attribute."""
        return next((a.value for a in self.attributes if a.index == index), None)


@dataclass(frozen=True, slots=True)
class RecordedMeter:
    """All that one client saw of a meter at one time.

    `read_at_utc_s` is our time when the clock was read (or when reading began, without a clock):
    how far the meter's clock was off goes on from there.
    """

    place: str
    client: int
    server: int
    authentication: str
    ciphered: bool
    system_title: bytes
    read_at_utc_s: int
    objects: tuple[RecordedObject, ...]

    @property
    def association_version(self) -> int:
        """The version of the association object, which says how rights are written."""
        for item in self.objects:
            if item.class_id == ASSOCIATION_CLASS:
                return item.version
        return 1

    def find(self, class_id: int, obis: Obis) -> RecordedObject | None:
        for item in self.objects:
            if item.class_id == class_id and item.obis == obis:
                return item
        return None


# --- to and from JSON -------------------------------------------------------------------------


def write_recording(meter: RecordedMeter) -> str:
    """The file's text."""
    return json.dumps(
        {
            "format": FORMAT,
            "place": meter.place,
            "client": meter.client,
            "server": meter.server,
            "authentication": meter.authentication,
            "ciphered": meter.ciphered,
            "system_title": meter.system_title.hex(),
            "read_at_utc_s": meter.read_at_utc_s,
            "objects": [_object_plain(item) for item in meter.objects],
        },
        indent=1,
        ensure_ascii=False,
    )


def _object_plain(item: RecordedObject) -> dict[str, Any]:
    return {
        "class": item.class_id,
        "class_name": class_name(item.class_id),
        "version": item.version,
        "obis": str(item.obis),
        "name": obis_name(item.obis),
        "attributes": [_attribute_plain(item, row) for row in item.attributes],
        "methods": [
            {"index": row.index, "right": _right_text(row.right)} for row in item.methods
        ],
    }  # fmt: skip


def _attribute_plain(item: RecordedObject, row: RecordedAttribute) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "index": row.index,
        "name": _attribute_name(item, row.index),
        "right": _right_text(row.right),
    }
    if row.selectors:
        plain["selectors"] = list(row.selectors)
    if row.value is not None:
        plain |= {"value": row.value.hex(), "text": row.text}
    if row.refused is not None:
        plain["refused"] = row.refused
    return plain


def _attribute_name(item: RecordedObject, index: int) -> str:
    try:
        return interface_class(item.class_id, item.version).attribute(index).name
    except KeyError:
        return f"attribute {index}"


def _right_text(right: AccessRight) -> str:
    names = [str(flag.name).lower() for flag in AccessRight if flag and flag in right]
    return "+".join(names) or "none"


def _right_of(text: str) -> AccessRight:
    right = AccessRight.NONE
    for name in text.split("+"):
        if name != "none":
            right |= AccessRight[name.upper()]
    return right


def read_recording(text: str) -> RecordedMeter:
    """The reverse of `write_recording`; RecordingError where the text is none."""
    try:
        plain = json.loads(text)
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            raise RecordingError(f'it does not begin with "format": "{FORMAT}"')
        return RecordedMeter(
            place=str(plain["place"]),
            client=_number(plain["client"], 0xFFFF),
            server=_number(plain["server"], 0xFFFF),
            authentication=str(plain["authentication"]),
            ciphered=bool(plain["ciphered"]),
            system_title=bytes.fromhex(plain["system_title"]),
            read_at_utc_s=_number(plain["read_at_utc_s"], 1 << 40),
            objects=tuple(_object_of(item) for item in plain["objects"]),
        )
    except json.JSONDecodeError as error:
        raise RecordingError(f"it is no JSON (line {error.lineno})") from error
    except KeyError as error:
        raise RecordingError(f"{error.args[0]!r} is missing or unknown") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordingError(str(error)) from error


def _object_of(plain: Mapping[str, Any]) -> RecordedObject:
    obis = Obis.parse(plain["obis"])
    try:
        return RecordedObject(
            _number(plain["class"], 0xFFFF),
            _number(plain["version"], 0xFF),
            obis,
            tuple(_attribute_of(row) for row in plain["attributes"]),
            tuple(
                MethodAccess(_number(row["index"], 0x7F), _right_of(row["right"]))
                for row in plain["methods"]
            ),
        )
    except KeyError as error:
        raise RecordingError(f"{obis}: {error.args[0]!r} is missing or unknown") from error
    except (AxdrError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"{obis}: {error}") from error


def _attribute_of(plain: Mapping[str, Any]) -> RecordedAttribute:
    raw = plain.get("value")
    value = None if raw is None else bytes.fromhex(raw)
    if value is not None:
        decode(value)  # a damaged file is noticed here, not by the first client
    refused = plain.get("refused")
    return RecordedAttribute(
        _number(plain["index"], 0x7F),
        _right_of(plain["right"]),
        tuple(_number(each, 0xFF) for each in plain.get("selectors", ())),
        value,
        None if refused is None else _number(refused, 0xFF),
        str(plain.get("text", "")),
    )


def _number(value: Any, largest: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= largest:
        raise RecordingError(f"{value!r} must be a number of 0 to {largest}")
    return value


__all__ = [
    "RecordedAttribute",
    "RecordedMeter",
    "RecordedObject",
    "RecordingError",
    "read_recording",
    "write_recording",
]
