"""The server's side of GET, SET, ACTION and ACCESS by logical name (IEC 62056-5-3).

Objects answer with values; this module puts them into APDUs and cuts what is too long into the
blocks of each service. A long answer is frozen when its first block is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    ObjectModel,
    Requester,
)
from blathy.wire import apdu
from blathy.wire.apdu import Conformance, GetResult, ReturnValue, ServiceError, StateError
from blathy.wire.octets import length_octets, octet_string

SERVICE_NOT_SUPPORTED: Final = apdu.ExceptionResponse(
    StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED
).encode()
PDU_TOO_LONG: Final = apdu.ExceptionResponse(
    StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG
).encode()
SILENCE: Final = b""
_BLOCK_HEAD: Final = 8  # tag, choice, invoke id, last block, block number
NULL_DATA: Final = b"\x00"
# Plain integers: an IntFlag costs a microsecond per operation, and every request passes here.
_ATTRIBUTE_0_GET: Final = int(Conformance.ATTRIBUTE_0_GET)
_ATTRIBUTE_0_SET: Final = int(Conformance.ATTRIBUTE_0_SET)
_SELECTIVE_ACCESS: Final = int(Conformance.SELECTIVE_ACCESS)
_GENERAL_BLOCKS: Final = int(Conformance.GENERAL_BLOCK_TRANSFER)
_GET_IN_BLOCKS: Final = int(Conformance.BLOCK_TRANSFER_GET_OR_READ)
_ACTION_IN_BLOCKS: Final = int(Conformance.BLOCK_TRANSFER_ACTION)
_GET_RESPONSE: Final = int(apdu.Tag.GET_RESPONSE)


@dataclass(slots=True)
class LongAnswer:
    """An answer on its way in blocks: the service's tag, and what is left of it."""

    tag: int
    invoke: int
    octets: bytes
    position: int = 0
    block: int = 1


@dataclass(slots=True)
class Upload:
    """A request on its way in blocks."""

    invoke: int
    attributes: tuple[AttributeRef, ...] = ()
    methods: tuple[MethodRef, ...] = ()
    is_list: bool = False
    block: int = 1
    octets: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one request: who asks, what was negotiated, how long an answer may be."""

    who: Requester
    conformance: int
    room: int
    answers_in_blocks: bool = False  # the request came in general block transfer
    in_access: bool = False  # as an element of ACCESS, where attribute 0 needs no negotiation


class LogicalNameServices:
    """Serves plain requests of one association. `octets_max` bounds what a client may upload."""

    __slots__ = ("_answer", "_objects", "_upload", "octets_max")

    def __init__(self, objects: ObjectModel, octets_max: int) -> None:
        self._objects = objects
        self._answer: LongAnswer | None = None
        self._upload: Upload | None = None
        self.octets_max = octets_max

    def serve(self, request: apdu.Apdu, terms: Terms) -> bytes | None:
        """The answering APDU, empty for silence; None where this is no service by logical name."""
        entry = _SERVICES.get(type(request))
        if entry is None:
            return None
        needed, continues, serve = entry
        answer = SERVICE_NOT_SUPPORTED
        if not needed & ~terms.conformance:
            if not continues:
                # A new request ends whatever transfer was running.
                self._answer = self._upload = None
            answer = serve(self, request, terms)
        invoke = getattr(request, "invoke", apdu.CONFIRMED)
        return answer if invoke & apdu.CONFIRMED else SILENCE

    # GET

    def _value(self, ref: AttributeRef, terms: Terms) -> GetResult:
        refusal = _unnegotiated(ref, terms, _ATTRIBUTE_0_GET)
        if refusal is not None:
            return refusal
        try:
            return self._objects.get(ref, terms.who)
        except AccessError as error:
            return int(error.result)

    def _get_normal(self, request: apdu.GetRequestNormal, terms: Terms) -> bytes:
        if not request.invoke & apdu.CONFIRMED:
            return SILENCE
        value = self._value(request.attribute, terms)
        if isinstance(value, int):
            return bytes((0xC4, 1, request.invoke, 1, value))
        return self._fitted(bytes((0xC4, 1, request.invoke, 0)), value, _GET_IN_BLOCKS, terms)

    def _get_list(self, request: apdu.GetRequestList, terms: Terms) -> bytes:
        if not request.invoke & apdu.CONFIRMED:
            return SILENCE
        results = apdu.get_result_list([self._value(ref, terms) for ref in request.attributes])
        head = bytes((0xC4, 3, request.invoke))
        return self._fitted(head, results, _GET_IN_BLOCKS, terms)

    def _fitted(self, head: bytes, content: bytes, blocks: int, terms: Terms) -> bytes:
        """The answer in one APDU, or the first of its blocks, or the error that it is too long."""
        if len(head) + len(content) <= terms.room or terms.answers_in_blocks:
            return head + content
        if blocks & terms.conformance:
            self._answer = LongAnswer(head[0], head[2], content)
            return self._next_block(terms)
        if terms.conformance & _GENERAL_BLOCKS:
            return head + content
        return PDU_TOO_LONG

    def _next_block(self, terms: Terms) -> bytes:
        answer = self._answer
        assert answer is not None
        choice = b"\x00" if answer.tag == _GET_RESPONSE else b""
        room = terms.room - _BLOCK_HEAD - len(choice)
        size = _octets_that_fit(room)
        raw = answer.octets[answer.position : answer.position + size]
        answer.position += len(raw)
        last = answer.position >= len(answer.octets)
        head = bytes((answer.tag, 2, answer.invoke, last)) + answer.block.to_bytes(4, "big")
        if last:
            self._answer = None
        answer.block += 1
        return b"".join((head, choice, octet_string(raw)))

    def _get_next(self, request: apdu.GetRequestNext, terms: Terms) -> bytes:
        answer = self._answer
        error = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        if answer is None or answer.tag != _GET_RESPONSE:
            error = DataAccessResult.NO_LONG_GET_IN_PROGRESS
        elif answer.block - 1 == request.block and answer.invoke == request.invoke:
            return self._next_block(terms)
        number = request.block if answer is None else answer.block
        self._answer = None
        return apdu.GetResponseBlock(request.invoke, True, number, error).encode()

    # SET

    def _write(self, ref: AttributeRef, value: bytes, terms: Terms) -> int:
        refusal = _unnegotiated(ref, terms, _ATTRIBUTE_0_SET)
        if refusal is not None:
            return refusal
        try:
            self._objects.set(ref, value, terms.who)
        except AccessError as error:
            return int(error.result)
        return DataAccessResult.SUCCESS

    def _set_normal(self, request: apdu.SetRequestNormal, terms: Terms) -> bytes:
        return bytes(
            (0xC5, 1, request.invoke, self._write(request.attribute, request.value, terms))
        )

    def _set_list(self, request: apdu.SetRequestList, terms: Terms) -> bytes:
        results = [
            self._write(ref, value, terms)
            for ref, value in zip(request.attributes, request.values, strict=True)
        ]
        return apdu.SetResponseList(request.invoke, tuple(results)).encode()

    def _set_first(self, request: apdu.SetRequestFirstBlock, terms: Terms) -> bytes:
        upload = Upload(request.invoke, attributes=(request.attribute,))
        return self._set_part(upload, request, terms)

    def _set_list_first(self, request: apdu.SetRequestListFirstBlock, terms: Terms) -> bytes:
        upload = Upload(request.invoke, attributes=request.attributes, is_list=True)
        return self._set_part(upload, request, terms)

    def _set_block(self, request: apdu.SetRequestBlock, terms: Terms) -> bytes:
        upload = self._upload
        if upload is None or not upload.attributes:
            error = DataAccessResult.NO_LONG_SET_IN_PROGRESS
            return apdu.SetResponseLastBlock(request.invoke, error, request.block).encode()
        return self._set_part(upload, request, terms)

    def _set_part(
        self,
        upload: Upload,
        request: apdu.SetRequestFirstBlock | apdu.SetRequestListFirstBlock | apdu.SetRequestBlock,
        terms: Terms,
    ) -> bytes:
        self._upload = None
        error = None
        if request.block != upload.block or request.invoke != upload.invoke:
            error = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        elif len(upload.octets) + len(request.raw) > self.octets_max:
            error = DataAccessResult.LONG_SET_ABORTED
        if error is not None:
            return self._set_result(upload, request, (error,) * len(upload.attributes))
        upload.octets += request.raw
        upload.block += 1
        if not request.last:
            self._upload = upload
            return apdu.SetResponseBlock(request.invoke, request.block).encode()
        values = _uploaded_values(upload, len(upload.attributes))
        if values is None:
            results = (int(DataAccessResult.TYPE_UNMATCHED),) * len(upload.attributes)
        else:
            results = tuple(
                self._write(ref, value, terms)
                for ref, value in zip(upload.attributes, values, strict=True)
            )
        return self._set_result(upload, request, results)

    @staticmethod
    def _set_result(
        upload: Upload,
        request: apdu.SetRequestFirstBlock | apdu.SetRequestListFirstBlock | apdu.SetRequestBlock,
        results: tuple[int, ...],
    ) -> bytes:
        if upload.is_list:
            response = apdu.SetResponseLastBlockList(request.invoke, results, request.block)
            return response.encode()
        return apdu.SetResponseLastBlock(request.invoke, results[0], request.block).encode()

    # ACTION

    def _invoke(self, ref: MethodRef, parameters: bytes, terms: Terms) -> tuple[int, ReturnValue]:
        try:
            returned = self._objects.invoke(ref, parameters, terms.who)
        except AccessError as error:
            return int(error.result), None
        return ActionResult.SUCCESS, returned or None

    def _action_normal(self, request: apdu.ActionRequestNormal, terms: Terms) -> bytes:
        outcome = self._invoke(request.method, request.parameters, terms)
        return self._action_answer(request.invoke, outcome, terms)

    def _action_answer(self, invoke: int, outcome: tuple[int, ReturnValue], terms: Terms) -> bytes:
        content = apdu.action_result(*outcome)
        head = bytes((0xC7, 1, invoke))
        return self._fitted(head, content, _ACTION_IN_BLOCKS, terms)

    def _action_list(self, request: apdu.ActionRequestList, terms: Terms) -> bytes:
        outcomes = [
            self._invoke(ref, b"" if parameters == NULL_DATA else parameters, terms)
            for ref, parameters in zip(request.methods, request.parameters, strict=True)
        ]
        return self._action_list_answer(request.invoke, outcomes, terms)

    def _action_list_answer(
        self, invoke: int, outcomes: list[tuple[int, ReturnValue]], terms: Terms
    ) -> bytes:
        content = apdu.action_result_list(outcomes)
        head = bytes((0xC7, 3, invoke))
        return self._fitted(head, content, _ACTION_IN_BLOCKS, terms)

    def _action_next(self, request: apdu.ActionRequestNext, terms: Terms) -> bytes:
        answer = self._answer
        error = ActionResult.LONG_ACTION_ABORTED
        if answer is None or answer.tag != apdu.Tag.ACTION_RESPONSE:
            error = ActionResult.NO_LONG_ACTION_IN_PROGRESS
        elif answer.block - 1 == request.block and answer.invoke == request.invoke:
            return self._next_block(terms)
        self._answer = None
        return apdu.ActionResponseNormal(request.invoke, error).encode()

    def _action_first(self, request: apdu.ActionRequestFirstBlock, terms: Terms) -> bytes:
        upload = Upload(request.invoke, methods=(request.method,))
        return self._action_part(upload, request, terms)

    def _action_list_first(self, request: apdu.ActionRequestListFirstBlock, terms: Terms) -> bytes:
        upload = Upload(request.invoke, methods=request.methods, is_list=True)
        return self._action_part(upload, request, terms)

    def _action_block(self, request: apdu.ActionRequestBlock, terms: Terms) -> bytes:
        upload = self._upload
        if upload is None or not upload.methods:
            error = ActionResult.NO_LONG_ACTION_IN_PROGRESS
            return apdu.ActionResponseNormal(request.invoke, error).encode()
        return self._action_part(upload, request, terms)

    def _action_part(
        self,
        upload: Upload,
        request: apdu.ActionRequestFirstBlock
        | apdu.ActionRequestListFirstBlock
        | apdu.ActionRequestBlock,
        terms: Terms,
    ) -> bytes:
        self._upload = None
        fits = len(upload.octets) + len(request.raw) <= self.octets_max
        if request.block != upload.block or request.invoke != upload.invoke or not fits:
            error = ActionResult.LONG_ACTION_ABORTED
            return apdu.ActionResponseNormal(request.invoke, error).encode()
        upload.octets += request.raw
        upload.block += 1
        if not request.last:
            self._upload = upload
            return apdu.ActionResponseNext(request.invoke, request.block).encode()
        values = _uploaded_values(upload, len(upload.methods))
        if values is None:
            outcomes: list[tuple[int, ReturnValue]] = [
                (int(ActionResult.TYPE_UNMATCHED), None) for _ in upload.methods
            ]
        else:
            outcomes = [
                self._invoke(ref, b"" if value == NULL_DATA else value, terms)
                for ref, value in zip(upload.methods, values, strict=True)
            ]
        if upload.is_list:
            return self._action_list_answer(request.invoke, outcomes, terms)
        return self._action_answer(request.invoke, outcomes[0], terms)

    # ACCESS

    def _access(self, request: apdu.AccessRequest, terms: Terms) -> bytes:
        terms = replace(terms, in_access=True)
        data: list[bytes] = []
        results: list[tuple[apdu.AccessKind, int]] = []
        stopped = False
        breaks = request.long_invoke & apdu.LONG_BREAK_ON_ERROR != 0
        for (kind, ref), given in zip(request.specifications, request.data, strict=True):
            value, result = b"", int(DataAccessResult.OTHER_REASON)
            if not stopped:
                value, result = self._access_one(kind, ref, given, terms)
            stopped = stopped or (breaks and result != 0)
            data.append(value)
            results.append((kind, result))
        if not request.long_invoke & apdu.LONG_CONFIRMED:
            return SILENCE
        described = request.long_invoke & apdu.LONG_SELF_DESCRIPTIVE != 0
        answer = apdu.AccessResponse(
            request.long_invoke,
            b"",
            request.specifications if described else None,
            tuple(data),
            tuple(results),
        ).encode()
        blocks = terms.answers_in_blocks or terms.conformance & _GENERAL_BLOCKS
        return answer if len(answer) <= terms.room or blocks else PDU_TOO_LONG

    def _access_one(
        self, kind: apdu.AccessKind, ref: AttributeRef | MethodRef, given: bytes, terms: Terms
    ) -> tuple[bytes, int]:
        if isinstance(ref, MethodRef):
            result, returned = self._invoke(ref, b"" if given == NULL_DATA else given, terms)
            return (returned if isinstance(returned, bytes) else b""), result
        if kind is apdu.AccessKind.SET:
            return b"", self._write(ref, given, terms)
        value = self._value(ref, terms)
        return (value, 0) if isinstance(value, bytes) else (b"", value)


def _unnegotiated(ref: AttributeRef, terms: Terms, attribute_0: int) -> int | None:
    """The refusal of what the conformance block does not allow to ask for, or None."""
    if ref.selector is not None and not terms.conformance & _SELECTIVE_ACCESS:
        return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
    if ref.attribute == 0 and not terms.conformance & attribute_0 and not terms.in_access:
        return DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
    return None


_LENGTHS: Final = ((1, 0x7F), (2, 0xFF), (3, 0xFFFF))
"""Length octets, and the longest octet string that they can tell of."""


def _octets_that_fit(room: int) -> int:
    """How many octets an octet string may have whose length octets also stand in `room`."""
    for shorter, longest in _LENGTHS:
        if room - shorter <= longest:
            return max(room - shorter, 1)
    return room - 5


def _uploaded_values(upload: Upload, count: int) -> list[bytes] | None:
    """The Data of an upload, None where it is not exactly `count` of them, well-formed."""
    octets = bytes(upload.octets)
    position = 0
    if upload.is_list:
        head = length_octets(count)
        if not octets.startswith(head):
            return None
        position = len(head)
    values = []
    for _ in range(count):
        try:
            end = axdr.skip(octets, position)
        except ValueError:
            return None
        values.append(octets[position:end])
        position = end
    return values if position == len(octets) else None


_Serve = Callable[..., bytes]
_LIST: Final = Conformance.MULTIPLE_REFERENCES
_GET: Final = Conformance.GET
_SET: Final = Conformance.SET
_SET_BLOCKS: Final = Conformance.SET | Conformance.BLOCK_TRANSFER_SET_OR_WRITE
_ACTION: Final = Conformance.ACTION
_ACTION_BLOCKS: Final = Conformance.ACTION | Conformance.BLOCK_TRANSFER_ACTION
_TABLE: Final[tuple[tuple[type, Conformance, bool, _Serve], ...]] = (
    # request, conformance that it needs, whether it goes on with a transfer, handler
    (apdu.GetRequestNormal, _GET, False, LogicalNameServices._get_normal),
    (apdu.GetRequestNext, _GET, True, LogicalNameServices._get_next),
    (apdu.GetRequestList, _GET | _LIST, False, LogicalNameServices._get_list),
    (apdu.SetRequestNormal, _SET, False, LogicalNameServices._set_normal),
    (apdu.SetRequestFirstBlock, _SET_BLOCKS, False, LogicalNameServices._set_first),
    (apdu.SetRequestBlock, _SET_BLOCKS, True, LogicalNameServices._set_block),
    (apdu.SetRequestList, _SET | _LIST, False, LogicalNameServices._set_list),
    (
        apdu.SetRequestListFirstBlock,
        _SET_BLOCKS | _LIST,
        False,
        LogicalNameServices._set_list_first,
    ),
    (apdu.ActionRequestNormal, _ACTION, False, LogicalNameServices._action_normal),
    (apdu.ActionRequestNext, _ACTION, True, LogicalNameServices._action_next),
    (apdu.ActionRequestList, _ACTION | _LIST, False, LogicalNameServices._action_list),
    (apdu.ActionRequestFirstBlock, _ACTION_BLOCKS, False, LogicalNameServices._action_first),
    (
        apdu.ActionRequestListFirstBlock,
        _ACTION_BLOCKS | _LIST,
        False,
        LogicalNameServices._action_list_first,
    ),
    (apdu.ActionRequestBlock, _ACTION_BLOCKS, True, LogicalNameServices._action_block),
    (apdu.AccessRequest, Conformance.ACCESS, False, LogicalNameServices._access),
)
_SERVICES: Final = {row[0]: (int(row[1]), row[2], row[3]) for row in _TABLE}
