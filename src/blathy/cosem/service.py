"""What client and server say of an object: references, results, and the port of an object model.

Services carry attribute values as A-XDR bytes in both directions: the server encodes straight from
its registers and the client decodes straight to columns; nothing in between builds an object per
value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from blathy.obis import Obis


class DataAccessResult(IntEnum):
    """Data-Access-Result (IEC 62056-5-3)."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


class ActionResult(IntEnum):
    """Action-Result (IEC 62056-5-3)."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_ACTION_ABORTED = 15
    NO_LONG_ACTION_IN_PROGRESS = 16
    OTHER_REASON = 250


class AccessError(Exception):
    """An object refuses: carries the result code that goes on the wire."""

    def __init__(self, result: DataAccessResult | ActionResult, reason: str = "") -> None:
        super().__init__(reason or result.name.lower().replace("_", " "))
        self.result = result


@dataclass(frozen=True, slots=True)
class AttributeRef:
    """cosem-attribute-descriptor with its optional selective access (parameters as A-XDR bytes)."""

    class_id: int
    obis: Obis
    attribute: int
    selector: int | None = None
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class MethodRef:
    """cosem-method-descriptor."""

    class_id: int
    obis: Obis
    method: int


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: what an object model needs to know of the association to decide on access.

    `protected` lists how this very request came: of {"authenticated", "encrypted", "signed"}.
    `max_pdu_size` is the largest APDU the client takes, for models that page their answers.
    `client_title`: the system title that the client gave, empty where it gave none.
    """

    client_sap: int
    server_sap: int
    association: Obis
    protected: frozenset[str] = frozenset()
    max_pdu_size: int = 0xFFFF
    client_title: bytes = b""


class ObjectModel(Protocol):
    """A meter as its protocol servers see it. Every call may raise AccessError and nothing else."""

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        """The attribute's value as A-XDR bytes, from the last committed snapshot."""

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        """Write the attribute; returns after the change is durable."""

    def invoke(self, ref: MethodRef, parameters: bytes, who: Requester) -> bytes:
        """Run the method; `parameters` and the return value are A-XDR bytes, empty for none."""

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        """Base name -> (class id, logical name) for short-name referencing; may be empty."""
