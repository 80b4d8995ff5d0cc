"""GET, SET, ACTION and ACCESS: the services by logical name (IEC 62056-5-3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from blathy.cosem.service import AttributeRef, MethodRef
from blathy.wire.apdu_tags import Decoder, GetResult, ReturnValue, Tag
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import (
    Reader,
    attribute_descriptor,
    length_octets,
    method_descriptor,
    octet_string,
)

# --- GET ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetRequestNormal:
    invoke: int
    attribute: AttributeRef

    def encode(self) -> bytes:
        return bytes((0xC0, 1, self.invoke)) + attribute_descriptor(self.attribute)


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((0xC0, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class GetRequestList:
    invoke: int
    attributes: tuple[AttributeRef, ...]

    def encode(self) -> bytes:
        return bytes((0xC0, 3, self.invoke)) + _attribute_list(self.attributes)


@dataclass(frozen=True, slots=True)
class GetResponseNormal:
    invoke: int
    result: GetResult

    def encode(self) -> bytes:
        return bytes((0xC4, 1, self.invoke)) + get_result(self.result)


@dataclass(frozen=True, slots=True)
class GetResponseBlock:
    """`raw` is the block, or the data-access-result that ends the transfer."""

    invoke: int
    last: bool
    block: int
    raw: GetResult

    def encode(self) -> bytes:
        head = bytes((0xC4, 2, self.invoke, self.last)) + self.block.to_bytes(4, "big")
        if isinstance(self.raw, int):
            return head + bytes((1, self.raw))
        return head + b"\x00" + octet_string(self.raw)


@dataclass(frozen=True, slots=True)
class GetResponseList:
    invoke: int
    results: tuple[GetResult, ...]

    def encode(self) -> bytes:
        return bytes((0xC4, 3, self.invoke)) + get_result_list(self.results)


# --- SET ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetRequestNormal:
    invoke: int
    attribute: AttributeRef
    value: bytes

    def encode(self) -> bytes:
        return bytes((0xC1, 1, self.invoke)) + attribute_descriptor(self.attribute) + self.value


@dataclass(frozen=True, slots=True)
class SetRequestFirstBlock:
    invoke: int
    attribute: AttributeRef
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC1, 2, self.invoke)), attribute_descriptor(self.attribute),
            _block(last=self.last, number=self.block, raw=self.raw),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetRequestBlock:
    invoke: int
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        head = bytes((0xC1, 3, self.invoke))
        return head + _block(last=self.last, number=self.block, raw=self.raw)


@dataclass(frozen=True, slots=True)
class SetRequestList:
    invoke: int
    attributes: tuple[AttributeRef, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC1, 4, self.invoke)), _attribute_list(self.attributes), data_list(self.values),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetRequestListFirstBlock:
    invoke: int
    attributes: tuple[AttributeRef, ...]
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC1, 5, self.invoke)), _attribute_list(self.attributes),
            _block(last=self.last, number=self.block, raw=self.raw),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetResponseNormal:
    invoke: int
    result: int

    def encode(self) -> bytes:
        return bytes((0xC5, 1, self.invoke, self.result))


@dataclass(frozen=True, slots=True)
class SetResponseBlock:
    """Acknowledges a block that is not the last."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((0xC5, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastBlock:
    invoke: int
    result: int
    block: int

    def encode(self) -> bytes:
        return bytes((0xC5, 3, self.invoke, self.result)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastBlockList:
    invoke: int
    results: tuple[int, ...]
    block: int

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC5, 4, self.invoke)), octet_string(bytes(self.results)),
            self.block.to_bytes(4, "big"),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class SetResponseList:
    invoke: int
    results: tuple[int, ...]

    def encode(self) -> bytes:
        return bytes((0xC5, 5, self.invoke)) + octet_string(bytes(self.results))


# --- ACTION ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActionRequestNormal:
    """`parameters` empty: the optional field is absent."""

    invoke: int
    method: MethodRef
    parameters: bytes = b""

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC3, 1, self.invoke)), method_descriptor(self.method),
            b"\x01" + self.parameters if self.parameters else b"\x00",
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ActionRequestNext:
    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((0xC3, 2, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ActionRequestList:
    invoke: int
    methods: tuple[MethodRef, ...]
    parameters: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC3, 3, self.invoke)), _method_list(self.methods), data_list(self.parameters),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ActionRequestFirstBlock:
    invoke: int
    method: MethodRef
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC3, 4, self.invoke)), method_descriptor(self.method),
            _block(last=self.last, number=self.block, raw=self.raw),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ActionRequestListFirstBlock:
    invoke: int
    methods: tuple[MethodRef, ...]
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return b"".join((
            bytes((0xC3, 5, self.invoke)), _method_list(self.methods),
            _block(last=self.last, number=self.block, raw=self.raw),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ActionRequestBlock:
    invoke: int
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        head = bytes((0xC3, 6, self.invoke))
        return head + _block(last=self.last, number=self.block, raw=self.raw)


@dataclass(frozen=True, slots=True)
class ActionResponseNormal:
    invoke: int
    result: int
    returned: ReturnValue = None

    def encode(self) -> bytes:
        return bytes((0xC7, 1, self.invoke)) + action_result(self.result, self.returned)


@dataclass(frozen=True, slots=True)
class ActionResponseBlock:
    invoke: int
    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        head = bytes((0xC7, 2, self.invoke))
        return head + _block(last=self.last, number=self.block, raw=self.raw)


@dataclass(frozen=True, slots=True)
class ActionResponseList:
    invoke: int
    results: tuple[tuple[int, ReturnValue], ...]

    def encode(self) -> bytes:
        return bytes((0xC7, 3, self.invoke)) + action_result_list(self.results)


@dataclass(frozen=True, slots=True)
class ActionResponseNext:
    """Acknowledges a block of the request and asks for the next one."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((0xC7, 4, self.invoke)) + self.block.to_bytes(4, "big")


# --- ACCESS ---------------------------------------------------------------------------------------


class AccessKind(IntEnum):
    """What one element of an ACCESS asks for."""

    GET = 1
    SET = 2
    ACTION = 3


AccessSpecification = tuple[AccessKind, AttributeRef | MethodRef]
"""A selection in the AttributeRef turns GET and SET into their forms 4 and 5 on the wire."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    long_invoke: int
    time: bytes
    specifications: tuple[AccessSpecification, ...]
    data: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"".join((
            b"\xd9", self.long_invoke.to_bytes(4, "big"), octet_string(self.time),
            _access_specifications(self.specifications), data_list(self.data),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccessResponse:
    """`specifications` is None where the client did not ask for a self-descriptive answer."""

    long_invoke: int
    time: bytes
    specifications: tuple[AccessSpecification, ...] | None
    data: tuple[bytes, ...]
    results: tuple[tuple[AccessKind, int], ...]

    def encode(self) -> bytes:
        given = self.specifications
        return b"".join((
            b"\xda", self.long_invoke.to_bytes(4, "big"), octet_string(self.time),
            b"\x00" if given is None else b"\x01" + _access_specifications(given),
            data_list(self.data), length_octets(len(self.results)),
            b"".join([bytes(result) for result in self.results]),
        ))  # fmt: skip


# --- encoding -------------------------------------------------------------------------------------


def _block(*, last: bool, number: int, raw: bytes) -> bytes:
    return bytes((last,)) + number.to_bytes(4, "big") + octet_string(raw)


def _attribute_list(attributes: tuple[AttributeRef, ...]) -> bytes:
    return length_octets(len(attributes)) + b"".join(map(attribute_descriptor, attributes))


def _method_list(methods: tuple[MethodRef, ...]) -> bytes:
    return length_octets(len(methods)) + b"".join(map(method_descriptor, methods))


def _access_specification_octets(specification: AccessSpecification) -> bytes:
    kind, ref = specification
    place = ref.class_id.to_bytes(2, "big") + ref.obis
    if isinstance(ref, MethodRef):
        return bytes((kind,)) + place + bytes((ref.method & 0xFF,))
    index = ref.attribute & 0xFF
    if ref.selector is None:
        return bytes((kind,)) + place + bytes((index,))
    return bytes((kind + 3,)) + place + bytes((index, ref.selector)) + ref.parameters


def _access_specifications(specifications: tuple[AccessSpecification, ...]) -> bytes:
    parts = map(_access_specification_octets, specifications)
    return length_octets(len(specifications)) + b"".join(parts)


def get_result(result: GetResult) -> bytes:
    """Get-Data-Result: 00 and the Data, or 01 and the data-access-result."""
    return bytes((1, result)) if isinstance(result, int) else b"\x00" + result


def get_result_list(results: Iterable[GetResult]) -> bytes:
    """What is cut into blocks when the answer to a GET with-list is long."""
    parts = [get_result(result) for result in results]
    return length_octets(len(parts)) + b"".join(parts)


def data_list(values: Iterable[bytes]) -> bytes:
    """SEQUENCE OF Data; an absent value stands as null-data."""
    parts = [value or b"\x00" for value in values]
    return length_octets(len(parts)) + b"".join(parts)


def action_result(result: int, returned: ReturnValue) -> bytes:
    """Action-Result with its optional return parameters."""
    if returned is None:
        return bytes((result, 0))
    return bytes((result, 1)) + get_result(returned)


def action_result_list(results: Iterable[tuple[int, ReturnValue]]) -> bytes:
    parts = [action_result(*result) for result in results]
    return length_octets(len(parts)) + b"".join(parts)


# --- decoding -------------------------------------------------------------------------------------


def _get_request_normal(r: Reader) -> GetRequestNormal:
    request = GetRequestNormal(r.u8(), r.attribute())
    r.done()
    return request


def _get_request_next(r: Reader) -> GetRequestNext:
    request = GetRequestNext(r.u8(), r.u32())
    r.done()
    return request


def _attributes(r: Reader) -> tuple[AttributeRef, ...]:
    return tuple([r.attribute() for _ in range(r.length())])


def _methods(r: Reader) -> tuple[MethodRef, ...]:
    return tuple([r.method() for _ in range(r.length())])


def read_data_list(r: Reader) -> tuple[bytes, ...]:
    return tuple([r.data_value() for _ in range(r.length())])


def _get_request_list(r: Reader) -> GetRequestList:
    request = GetRequestList(r.u8(), _attributes(r))
    r.done()
    return request


def _get_response_normal(r: Reader) -> GetResponseNormal:
    invoke = r.u8()
    if r.u8() == 0:
        value = r.rest()
        if not value:
            raise RemoteProtocolError("a GET response without its Data")
        return GetResponseNormal(invoke, value)
    response = GetResponseNormal(invoke, r.u8())
    r.done()
    return response


def _get_response_block(r: Reader) -> GetResponseBlock:
    invoke, last, block = r.u8(), r.flag(), r.u32()
    raw: GetResult = r.octets() if r.u8() == 0 else r.u8()
    r.done()
    return GetResponseBlock(invoke, last, block, raw)


def read_get_result(r: Reader) -> GetResult:
    return r.data_value() if r.u8() == 0 else r.u8()


def read_get_results(r: Reader) -> tuple[GetResult, ...]:
    results = tuple([read_get_result(r) for _ in range(r.length())])
    r.done()
    return results


def _get_response_list(r: Reader) -> GetResponseList:
    return GetResponseList(r.u8(), read_get_results(r))


def _set_request_normal(r: Reader) -> SetRequestNormal:
    return SetRequestNormal(r.u8(), r.attribute(), r.last_data())


def _read_block(r: Reader) -> tuple[bool, int, bytes]:
    block = (r.flag(), r.u32(), r.octets())
    r.done()
    return block


def _set_request_first_block(r: Reader) -> SetRequestFirstBlock:
    return SetRequestFirstBlock(r.u8(), r.attribute(), *_read_block(r))


def _set_request_block(r: Reader) -> SetRequestBlock:
    return SetRequestBlock(r.u8(), *_read_block(r))


def _set_request_list(r: Reader) -> SetRequestList:
    request = SetRequestList(r.u8(), _attributes(r), read_data_list(r))
    r.done()
    if len(request.attributes) != len(request.values):
        raise RemoteProtocolError("a SET with-list whose attributes and values differ in number")
    return request


def _set_request_list_first_block(r: Reader) -> SetRequestListFirstBlock:
    return SetRequestListFirstBlock(r.u8(), _attributes(r), *_read_block(r))


def _set_response_normal(r: Reader) -> SetResponseNormal:
    response = SetResponseNormal(r.u8(), r.u8())
    r.done()
    return response


def _set_response_block(r: Reader) -> SetResponseBlock:
    response = SetResponseBlock(r.u8(), r.u32())
    r.done()
    return response


def _set_response_last_block(r: Reader) -> SetResponseLastBlock:
    response = SetResponseLastBlock(r.u8(), r.u8(), r.u32())
    r.done()
    return response


def _set_response_last_block_list(r: Reader) -> SetResponseLastBlockList:
    response = SetResponseLastBlockList(r.u8(), tuple(r.octets()), r.u32())
    r.done()
    return response


def _set_response_list(r: Reader) -> SetResponseList:
    response = SetResponseList(r.u8(), tuple(r.octets()))
    r.done()
    return response


def _action_request_normal(r: Reader) -> ActionRequestNormal:
    invoke, method = r.u8(), r.method()
    parameters = r.data_value() if r.flag() else b""
    r.done()
    return ActionRequestNormal(invoke, method, parameters)


def _action_request_next(r: Reader) -> ActionRequestNext:
    request = ActionRequestNext(r.u8(), r.u32())
    r.done()
    return request


def _action_request_list(r: Reader) -> ActionRequestList:
    request = ActionRequestList(r.u8(), _methods(r), read_data_list(r))
    r.done()
    if len(request.methods) != len(request.parameters):
        raise RemoteProtocolError("an ACTION with-list whose methods and data differ in number")
    return request


def _action_request_first_block(r: Reader) -> ActionRequestFirstBlock:
    return ActionRequestFirstBlock(r.u8(), r.method(), *_read_block(r))


def _action_request_list_first_block(r: Reader) -> ActionRequestListFirstBlock:
    return ActionRequestListFirstBlock(r.u8(), _methods(r), *_read_block(r))


def _action_request_block(r: Reader) -> ActionRequestBlock:
    return ActionRequestBlock(r.u8(), *_read_block(r))


def read_action_result(r: Reader) -> tuple[int, ReturnValue]:
    result = r.u8()
    return result, read_get_result(r) if r.flag() else None


def _action_response_normal(r: Reader) -> ActionResponseNormal:
    invoke = r.u8()
    result, returned = read_action_result(r)
    r.done()
    return ActionResponseNormal(invoke, result, returned)


def _action_response_block(r: Reader) -> ActionResponseBlock:
    return ActionResponseBlock(r.u8(), *_read_block(r))


def read_action_results(r: Reader) -> tuple[tuple[int, ReturnValue], ...]:
    results = tuple([read_action_result(r) for _ in range(r.length())])
    r.done()
    return results


def _action_response_list(r: Reader) -> ActionResponseList:
    return ActionResponseList(r.u8(), read_action_results(r))


def _action_response_next(r: Reader) -> ActionResponseNext:
    response = ActionResponseNext(r.u8(), r.u32())
    r.done()
    return response


def _access_specification(r: Reader) -> AccessSpecification:
    choice = r.u8()
    if choice == AccessKind.ACTION:
        return AccessKind.ACTION, r.method()
    if choice not in (1, 2, 4, 5):
        raise RemoteProtocolError(f"an ACCESS element of unknown kind {choice}")
    class_id, obis, index = r.descriptor()
    kind = AccessKind.GET if choice in (1, 4) else AccessKind.SET
    if choice > 3:
        return kind, AttributeRef(class_id, obis, index, r.u8(), r.data_value())
    return kind, AttributeRef(class_id, obis, index)


def _read_access_specifications(r: Reader) -> tuple[AccessSpecification, ...]:
    return tuple([_access_specification(r) for _ in range(r.length())])


def _access_request(r: Reader) -> AccessRequest:
    request = AccessRequest(r.u32(), r.octets(), _read_access_specifications(r), read_data_list(r))
    r.done()
    if len(request.specifications) != len(request.data):
        raise RemoteProtocolError("an ACCESS whose specifications and data differ in number")
    return request


def _access_response(r: Reader) -> AccessResponse:
    invoke, time = r.u32(), r.octets()
    specifications = _read_access_specifications(r) if r.flag() else None
    data = read_data_list(r)
    results = tuple([_access_result(r) for _ in range(r.length())])
    r.done()
    return AccessResponse(invoke, time, specifications, data, results)


def _access_result(r: Reader) -> tuple[AccessKind, int]:
    kind = r.u8()
    if kind not in (1, 2, 3):
        raise RemoteProtocolError(f"an ACCESS result of unknown kind {kind}")
    return AccessKind(kind), r.u8()


DECODERS: Final[dict[int, Decoder]] = {
    Tag.ACCESS_REQUEST: _access_request,
    Tag.ACCESS_RESPONSE: _access_response,
}
CHOICES: Final[dict[int, dict[int, Decoder]]] = {
    Tag.GET_REQUEST: {1: _get_request_normal, 2: _get_request_next, 3: _get_request_list},
    Tag.GET_RESPONSE: {1: _get_response_normal, 2: _get_response_block, 3: _get_response_list},
    Tag.SET_REQUEST: {
        1: _set_request_normal,
        2: _set_request_first_block,
        3: _set_request_block,
        4: _set_request_list,
        5: _set_request_list_first_block,
    },
    Tag.SET_RESPONSE: {
        1: _set_response_normal,
        2: _set_response_block,
        3: _set_response_last_block,
        4: _set_response_last_block_list,
        5: _set_response_list,
    },
    Tag.ACTION_REQUEST: {
        1: _action_request_normal,
        2: _action_request_next,
        3: _action_request_list,
        4: _action_request_first_block,
        5: _action_request_list_first_block,
        6: _action_request_block,
    },
    Tag.ACTION_RESPONSE: {
        1: _action_response_normal,
        2: _action_response_block,
        3: _action_response_list,
        4: _action_response_next,
    },
}
