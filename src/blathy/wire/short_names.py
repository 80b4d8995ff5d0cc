"""Short-name referencing (IEC 62056-5-3, IEC 62056-6-2): Read, Write, UnconfirmedWrite.

Attribute n of an object stands at base name + 8 (n - 1); methods follow at an offset that each
class fixes for itself. The mapping serves the server, and the client to address objects by the
names in the object list of the Association SN.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from blathy.cosem.classes import CLASSES, interface_class
from blathy.cosem.service import (
    AccessError,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    ObjectModel,
    Requester,
)
from blathy.obis import Obis
from blathy.wire import apdu
from blathy.wire.apdu import BlockNumber, Conformance, DataBlockResult, ReadResult
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.ln_services import PDU_TOO_LONG, SERVICE_NOT_SUPPORTED, SILENCE, Terms
from blathy.wire.octets import Reader

FIRST_METHOD_OFFSET: Final[dict[int, int]] = {
    3: 0x28, 4: 0x38, 5: 0x48, 6: 0x30, 7: 0x58, 8: 0x60, 9: 0x20, 10: 0x20, 11: 0x10, 12: 0x20,
    15: 0x60, 17: 0x20, 18: 0x40, 20: 0x50, 42: 0x60, 61: 0x28, 64: 0x30, 65: 0x40, 66: 0x48,
    67: 0x80, 70: 0x20, 72: 0x70, 112: 0x58, 113: 0x68,
}  # fmt: skip
"""Class -> offset of its method 1 in its newest version; the following methods stand 8 further.

Push setup (40) is left out: what is known of it is for version 0, which has fewer attributes.
"""
SPAN_MAX: Final = 0x100  # no class has more than 32 attributes and methods together
ASSOCIATION_SN_BASE: Final = 0xFA00
REPLY_TO_HLS_NAME: Final = ASSOCIATION_SN_BASE + 0x58
_BLOCK_OVERHEAD: Final = 9  # 0C 01 02, last, block number, and a length of three octets


def attribute_name(base: int, attribute: int) -> int:
    """The short name of an attribute."""
    return base + 8 * (attribute - 1)


def method_name(base: int, class_id: int, method: int, version: int | None = None) -> int | None:
    """The short name of a method; None for a class whose offset is not known.

    `version` None: the newest.
    """
    first = FIRST_METHOD_OFFSET.get(class_id)
    if version is not None and class_id in CLASSES:
        known = interface_class(class_id, version)
        first = known.first_method_offset
        if first is not None and first < 8 * len(known.attributes):
            first = None  # that offset is of an older version
    return None if first is None else base + first + 8 * (method - 1)


def hls_method_name(request: apdu.ReadRequest) -> bytes | None:
    """The parameter where this Read calls reply_to_HLS_authentication, otherwise None."""
    if len(request.variables) != 1:
        return None
    variable = request.variables[0]
    if not isinstance(variable, apdu.ParameterizedAccess) or variable.name != REPLY_TO_HLS_NAME:
        return None
    return variable.parameters


class ShortNameMap:
    """Resolves short names against the base names of a meter."""

    __slots__ = ("_bases", "_objects")

    def __init__(self, objects: dict[int, tuple[int, Obis]]) -> None:
        self._objects = objects
        self._bases = sorted(objects)

    def resolve(self, name: int) -> AttributeRef | MethodRef | None:
        at = bisect_right(self._bases, name)
        if at == 0 or name % 8:
            return None
        base = self._bases[at - 1]
        class_id, obis = self._objects[base]
        offset = name - base
        if offset >= SPAN_MAX:
            return None
        first = FIRST_METHOD_OFFSET.get(class_id)
        if first is not None and offset >= first:
            return MethodRef(class_id, obis, (offset - first) // 8 + 1)
        return AttributeRef(class_id, obis, offset // 8 + 1)


class ShortNameServices:
    """Serves plain requests of one association by short name."""

    __slots__ = (
        "_answer", "_answer_block", "_map", "_objects", "_upload", "_upload_block", "_upload_tag",
        "octets_max",
    )  # fmt: skip

    def __init__(self, objects: ObjectModel, octets_max: int) -> None:
        self._objects = objects
        self._map: ShortNameMap | None = None
        self.octets_max = octets_max
        self._answer = b""
        self._answer_block = 0
        self._upload = bytearray()
        self._upload_block = 0
        self._upload_tag = 0

    def serve(self, request: apdu.Apdu, terms: Terms) -> bytes | None:
        """The answering APDU, empty for silence; None where this is no service by short name."""
        if isinstance(request, apdu.ReadRequest):
            return self._read(request, terms)
        if isinstance(request, apdu.WriteRequest):
            return self._write(request, terms)
        if isinstance(request, apdu.UnconfirmedWriteRequest):
            if terms.conformance & Conformance.UNCONFIRMED_WRITE:
                self._written(request.variables, request.values, terms)
            return SILENCE
        return None

    def _resolve(self, name: int, who: Requester) -> AttributeRef | MethodRef | None:
        if self._map is None:
            self._map = ShortNameMap(self._objects.short_names(who))
        return self._map.resolve(name)

    # Read

    def _read(self, request: apdu.ReadRequest, terms: Terms) -> bytes:
        if not terms.conformance & Conformance.READ:
            return SERVICE_NOT_SUPPORTED
        variables = request.variables
        if len(variables) == 1:
            only = variables[0]
            if isinstance(only, apdu.BlockNumberAccess):
                return self._next_block(only.block, terms)
            if isinstance(only, apdu.ReadDataBlockAccess):
                return self._read_upload(only, terms)
        elif not terms.conformance & Conformance.MULTIPLE_REFERENCES:
            return SERVICE_NOT_SUPPORTED
        self._answer = b""
        results = tuple([self._read_one(variable, terms) for variable in variables])
        answer = apdu.ReadResponse(results).encode()
        if len(answer) <= terms.room or terms.answers_in_blocks:
            return answer
        if terms.conformance & Conformance.BLOCK_TRANSFER_GET_OR_READ:
            self._answer, self._answer_block = answer[1:], 0
            return self._block(terms)
        blocks = terms.conformance & Conformance.GENERAL_BLOCK_TRANSFER
        return answer if blocks else PDU_TOO_LONG

    def _read_one(self, variable: apdu.VariableAccess, terms: Terms) -> ReadResult:
        undefined = int(DataAccessResult.OBJECT_UNDEFINED)
        if isinstance(variable, apdu.VariableName):
            ref = self._resolve(variable.name, terms.who)
            selector, parameters = None, b""
        elif isinstance(variable, apdu.ParameterizedAccess):
            if not terms.conformance & Conformance.PARAMETERIZED_ACCESS:
                return int(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
            ref = self._resolve(variable.name, terms.who)
            selector, parameters = variable.selector, variable.parameters
        else:
            return int(DataAccessResult.TYPE_UNMATCHED)
        if ref is None:
            return undefined
        try:
            if isinstance(ref, MethodRef):
                return self._objects.invoke(ref, parameters, terms.who) or b"\x00"
            chosen = AttributeRef(ref.class_id, ref.obis, ref.attribute, selector, parameters)
            return self._objects.get(chosen, terms.who)
        except AccessError as error:
            return int(error.result)

    def _next_block(self, acknowledged: int, terms: Terms) -> bytes:
        if not self._answer or acknowledged != self._answer_block:
            error = DataAccessResult.NO_LONG_GET_IN_PROGRESS
            if self._answer:
                error = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
            self._answer = b""
            return apdu.ReadResponse((int(error),)).encode()
        return self._block(terms)

    def _block(self, terms: Terms) -> bytes:
        size = max(terms.room - _BLOCK_OVERHEAD, 1)
        raw, self._answer = self._answer[:size], self._answer[size:]
        self._answer_block += 1
        block = DataBlockResult(not self._answer, self._answer_block, raw)
        return apdu.ReadResponse((block,)).encode()

    def _read_upload(self, part: apdu.ReadDataBlockAccess, terms: Terms) -> bytes:
        if not terms.conformance & Conformance.BLOCK_TRANSFER_GET_OR_READ:
            return SERVICE_NOT_SUPPORTED
        if not self._take(apdu.Tag.READ_REQUEST, part.block, part.raw):
            error = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
            return apdu.ReadResponse((int(error),)).encode()
        if not part.last:
            return apdu.ReadResponse((BlockNumber(part.block),)).encode()
        request = self._uploaded()
        if not isinstance(request, apdu.ReadRequest) or _nested(request.variables):
            return apdu.ReadResponse((int(DataAccessResult.TYPE_UNMATCHED),)).encode()
        return self._read(request, terms)

    # Write

    def _write(self, request: apdu.WriteRequest, terms: Terms) -> bytes:
        if not terms.conformance & Conformance.WRITE:
            return SERVICE_NOT_SUPPORTED
        variables = request.variables
        if len(variables) == 1 and isinstance(variables[0], apdu.WriteDataBlockAccess):
            return self._write_upload(variables[0], request.values[0], terms)
        if len(variables) > 1 and not terms.conformance & Conformance.MULTIPLE_REFERENCES:
            return SERVICE_NOT_SUPPORTED
        results = self._written(variables, request.values, terms)
        return apdu.WriteResponse(results).encode()

    def _written(
        self,
        variables: tuple[apdu.VariableAccess, ...],
        values: tuple[bytes, ...],
        terms: Terms,
    ) -> tuple[int, ...]:
        pairs = zip(variables, values, strict=True)
        return tuple([self._write_one(variable, value, terms) for variable, value in pairs])

    def _write_one(self, variable: apdu.VariableAccess, value: bytes, terms: Terms) -> int:
        selector, parameters = None, b""
        if isinstance(variable, apdu.ParameterizedAccess):
            selector, parameters = variable.selector, variable.parameters
            if not terms.conformance & Conformance.PARAMETERIZED_ACCESS:
                return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
        elif not isinstance(variable, apdu.VariableName):
            return DataAccessResult.TYPE_UNMATCHED
        ref = self._resolve(variable.name, terms.who)
        if ref is None:
            return DataAccessResult.OBJECT_UNDEFINED
        try:
            if isinstance(ref, MethodRef):
                self._objects.invoke(ref, value, terms.who)
            else:
                chosen = AttributeRef(ref.class_id, ref.obis, ref.attribute, selector, parameters)
                self._objects.set(chosen, value, terms.who)
        except AccessError as error:
            return int(error.result)
        return DataAccessResult.SUCCESS

    def _write_upload(self, part: apdu.WriteDataBlockAccess, value: bytes, terms: Terms) -> bytes:
        if not terms.conformance & Conformance.BLOCK_TRANSFER_SET_OR_WRITE:
            return SERVICE_NOT_SUPPORTED
        raw = _octets(value)
        if raw is None or not self._take(apdu.Tag.WRITE_REQUEST, part.block, raw):
            error = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
            return apdu.WriteResponse((int(error),)).encode()
        if not part.last:
            return apdu.WriteResponse((BlockNumber(part.block),)).encode()
        request = self._uploaded()
        if not isinstance(request, apdu.WriteRequest) or _nested(request.variables):
            return apdu.WriteResponse((int(DataAccessResult.TYPE_UNMATCHED),)).encode()
        return self._write(request, terms)

    # Requests in blocks

    def _take(self, tag: int, block: int, raw: bytes) -> bool:
        """Append one block of a request; False where it does not follow or is too much."""
        if block == 1:
            self._upload, self._upload_block, self._upload_tag = bytearray(), 0, tag
        too_long = len(self._upload) + len(raw) > self.octets_max
        if block != self._upload_block + 1 or tag != self._upload_tag or too_long:
            self._upload, self._upload_block = bytearray(), 0
            return False
        self._upload += raw
        self._upload_block = block
        return True

    def _uploaded(self) -> apdu.Apdu | None:
        octets = bytes((self._upload_tag,)) + bytes(self._upload)
        self._upload, self._upload_block = bytearray(), 0
        try:
            return apdu.decode(octets)
        except RemoteProtocolError:
            return None


def _nested(variables: tuple[apdu.VariableAccess, ...]) -> bool:
    """A request that came in blocks must not itself speak of blocks."""
    blocks = (apdu.ReadDataBlockAccess, apdu.WriteDataBlockAccess, apdu.BlockNumberAccess)
    return any(isinstance(variable, blocks) for variable in variables)


def _octets(value: bytes) -> bytes | None:
    if value[:1] != b"\x09":
        return None
    reader = Reader(value, 1)
    octets = reader.octets()
    reader.done()
    return octets
