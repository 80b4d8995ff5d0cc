"""xDLMS APDUs (IEC 62056-5-3) as values: `decode(octets)` and `.encode()` for each of them.

Logical-name services (GET, SET, ACTION, ACCESS, EventNotification), short-name services (Read,
Write, UnconfirmedWrite, InformationReport), DataNotification, Initiate, the two error APDUs,
general block transfer, every ciphered envelope and the gateway prefix. Both sides share this
module: what one end encodes is what the other decodes.

A value of an attribute or parameter is its A-XDR octets. `decode` takes any octets and either
returns an APDU or raises RemoteProtocolError; it allocates nothing by a length that the APDU only
claims. The Data that ends a GET response, a DataNotification or an EventNotification is handed over
unparsed, because the decoder of columns walks over it anyway; all others are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, Protocol

from blathy.cosem.service import AttributeRef, MethodRef
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import (
    Reader,
    attribute_descriptor,
    length_octets,
    method_descriptor,
    octet_string,
)


class Tag(IntEnum):
    """First octet of an APDU."""

    INITIATE_REQUEST = 0x01
    READ_REQUEST = 0x05
    WRITE_REQUEST = 0x06
    INITIATE_RESPONSE = 0x08
    READ_RESPONSE = 0x0C
    WRITE_RESPONSE = 0x0D
    CONFIRMED_SERVICE_ERROR = 0x0E
    DATA_NOTIFICATION = 0x0F
    DATA_NOTIFICATION_CONFIRM = 0x10
    UNCONFIRMED_WRITE = 0x16
    INFORMATION_REPORT = 0x18
    AARQ = 0x60
    AARE = 0x61
    RLRQ = 0x62
    RLRE = 0x63
    GET_REQUEST = 0xC0
    SET_REQUEST = 0xC1
    EVENT_NOTIFICATION = 0xC2
    ACTION_REQUEST = 0xC3
    GET_RESPONSE = 0xC4
    SET_RESPONSE = 0xC5
    ACTION_RESPONSE = 0xC7
    EXCEPTION_RESPONSE = 0xD8
    ACCESS_REQUEST = 0xD9
    ACCESS_RESPONSE = 0xDA
    GENERAL_GLO = 0xDB
    GENERAL_DED = 0xDC
    GENERAL_CIPHERING = 0xDD
    GENERAL_SIGNING = 0xDF
    GENERAL_BLOCK_TRANSFER = 0xE0
    GATEWAY_REQUEST = 0xE6
    GATEWAY_RESPONSE = 0xE7


_OLD_FAMILY: Final = (0x01, 0x05, 0x06, 0x08, 0x0C, 0x0D, 0x0E, 0x16, 0x18)
_LN_FAMILY: Final = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC7)
GLO_OF: Final[dict[int, int]] = {t: t + 0x20 for t in _OLD_FAMILY} | {t: t + 8 for t in _LN_FAMILY}
"""Plain tag -> tag of the service under a global key."""
DED_OF: Final[dict[int, int]] = {t: t + 0x40 for t in _OLD_FAMILY} | {
    t: t + 0x10 for t in _LN_FAMILY
}
"""Plain tag -> tag of the service under the dedicated key."""
PLAIN_OF_GLO: Final[dict[int, int]] = {glo: plain for plain, glo in GLO_OF.items()}
PLAIN_OF_DED: Final[dict[int, int]] = {ded: plain for plain, ded in DED_OF.items()}
CIPHERED_TAGS: Final = frozenset(PLAIN_OF_GLO) | frozenset(PLAIN_OF_DED) | {0xDB, 0xDC, 0xDD, 0xDF}


class Conformance(IntFlag):
    """The conformance block: bit n of the standard is mask 800000 >> n."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_SET = 1 << 15
    PRIORITY = 1 << 14
    ATTRIBUTE_0_GET = 1 << 13
    BLOCK_TRANSFER_GET_OR_READ = 1 << 12
    BLOCK_TRANSFER_SET_OR_WRITE = 1 << 11
    BLOCK_TRANSFER_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


_GENERAL = (
    Conformance.GENERAL_PROTECTION
    | Conformance.GENERAL_BLOCK_TRANSFER
    | Conformance.DELTA_VALUE_ENCODING
    | Conformance.BLOCK_TRANSFER_GET_OR_READ
    | Conformance.BLOCK_TRANSFER_SET_OR_WRITE
    | Conformance.MULTIPLE_REFERENCES
)
LN_CONFORMANCE: Final = (
    _GENERAL
    | Conformance.ATTRIBUTE_0_SET
    | Conformance.PRIORITY
    | Conformance.ATTRIBUTE_0_GET
    | Conformance.BLOCK_TRANSFER_ACTION
    | Conformance.DATA_NOTIFICATION
    | Conformance.ACCESS
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.EVENT_NOTIFICATION
    | Conformance.ACTION
)
"""What may be negotiated in a logical-name context."""
SN_CONFORMANCE: Final = (
    _GENERAL
    | Conformance.READ
    | Conformance.WRITE
    | Conformance.UNCONFIRMED_WRITE
    | Conformance.INFORMATION_REPORT
    | Conformance.DATA_NOTIFICATION
    | Conformance.PARAMETERIZED_ACCESS
)
"""What may be negotiated in a short-name context."""

DLMS_VERSION: Final = 6
VAA_NAME_LN: Final = 0x0007
VAA_NAME_SN: Final = 0xFA00
CONFIRMED: Final = 0x40  # service class in invoke-id-and-priority
HIGH_PRIORITY: Final = 0x80
LONG_CONFIRMED: Final = 0x4000_0000  # the same in long-invoke-id-and-priority
LONG_BREAK_ON_ERROR: Final = 0x2000_0000
LONG_SELF_DESCRIPTIVE: Final = 0x1000_0000
LONG_INVOKE_ID_MASK: Final = 0x00FF_FFFF

GetResult = bytes | int
"""A value as A-XDR octets, or the data-access-result that came instead of it."""
ReturnValue = bytes | int | None
"""What a method gave back: A-XDR octets, a data-access-result, or nothing."""


class Apdu(Protocol):
    """Anything that goes over the wire as one APDU."""

    def encode(self) -> bytes:
        """The octets, tag first."""


# --- Initiate and errors ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    conformance: int
    max_pdu_size: int
    dedicated_key: bytes = b""
    response_allowed: bool = True
    quality_of_service: int | None = None
    version: int = DLMS_VERSION

    def encode(self) -> bytes:
        key = b"\x01" + octet_string(self.dedicated_key) if self.dedicated_key else b"\x00"
        allowed = b"\x00" if self.response_allowed else b"\x01\x00"
        return b"".join((
            b"\x01", key, allowed, _optional_i8(self.quality_of_service), bytes((self.version,)),
            _CONFORMANCE_HEAD, self.conformance.to_bytes(3, "big"),
            self.max_pdu_size.to_bytes(2, "big"),
        ))  # fmt: skip

    def __repr__(self) -> str:
        key = ", with dedicated key" if self.dedicated_key else ""
        return (
            f"InitiateRequest(conformance={self.conformance:06x}, "
            f"max_pdu_size={self.max_pdu_size}{key})"
        )


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    conformance: int
    max_pdu_size: int
    vaa_name: int = VAA_NAME_LN
    quality_of_service: int | None = None
    version: int = DLMS_VERSION

    def encode(self) -> bytes:
        return b"".join((
            b"\x08", _optional_i8(self.quality_of_service), bytes((self.version,)),
            _CONFORMANCE_HEAD, self.conformance.to_bytes(3, "big"),
            self.max_pdu_size.to_bytes(2, "big"), self.vaa_name.to_bytes(2, "big"),
        ))  # fmt: skip


class StateError(IntEnum):
    """First octet of an exception-response."""

    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    """Second octet of an exception-response."""

    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """`lowest_counter` comes with an invocation-counter error: the lowest one accepted."""

    state: int
    service: int
    lowest_counter: int | None = None

    def encode(self) -> bytes:
        head = bytes((0xD8, self.state, self.service))
        if self.lowest_counter is None:
            return head
        return head + self.lowest_counter.to_bytes(4, "big")


class ConfirmedService(IntEnum):
    """Which service a confirmed-service-error answers."""

    INITIATE = 1
    READ = 5
    WRITE = 6


class ErrorClass(IntEnum):
    """The CHOICE inside a ServiceError."""

    APPLICATION_REFERENCE = 0
    HARDWARE_RESOURCE = 1
    VDE_STATE = 2
    SERVICE = 3
    DEFINITION = 4
    ACCESS = 5
    INITIATE = 6


class InitiateError(IntEnum):
    """Values of error class INITIATE."""

    OTHER = 0
    DLMS_VERSION_TOO_LOW = 1
    INCOMPATIBLE_CONFORMANCE = 2
    PDU_SIZE_TOO_SHORT = 3
    REFUSED_BY_VDE_HANDLER = 4


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    service: int
    error_class: int
    code: int

    def encode(self) -> bytes:
        return bytes((0x0E, self.service, self.error_class, self.code))


# --- GET ----------------------------------------------------------------------------------------


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


# --- SET ----------------------------------------------------------------------------------------


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


# --- ACTION -------------------------------------------------------------------------------------


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


# --- ACCESS -------------------------------------------------------------------------------------


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


# --- Notifications ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataNotification:
    """`tagged_time`: the date-time came with a Data tag 09 in front, as some meters send it."""

    long_invoke: int
    time: bytes
    body: bytes
    tagged_time: bool = False

    def encode(self) -> bytes:
        tag = b"\x09" if self.tagged_time else b""
        head = b"\x0f" + self.long_invoke.to_bytes(4, "big")
        return b"".join((head, tag, octet_string(self.time), self.body))


@dataclass(frozen=True, slots=True)
class DataNotificationConfirm:
    long_invoke: int
    time: bytes = b""

    def encode(self) -> bytes:
        return b"\x10" + self.long_invoke.to_bytes(4, "big") + octet_string(self.time)


@dataclass(frozen=True, slots=True)
class EventNotification:
    """`bare_time`: the time stands without length octet, as older editions write it."""

    attribute: AttributeRef
    value: bytes
    time: bytes | None = None
    bare_time: bool = False

    def encode(self) -> bytes:
        time = b"\x00"
        if self.time is not None:
            time = b"\x01" + (self.time if self.bare_time else octet_string(self.time))
        ref = self.attribute
        head = ref.class_id.to_bytes(2, "big") + ref.obis + bytes((ref.attribute & 0xFF,))
        return b"".join((b"\xc2", time, head, self.value))


# --- Short names --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VariableName:
    name: int

    def encode(self) -> bytes:
        return b"\x02" + self.name.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ParameterizedAccess:
    name: int
    selector: int
    parameters: bytes

    def encode(self) -> bytes:
        return b"\x04" + self.name.to_bytes(2, "big") + bytes((self.selector,)) + self.parameters


@dataclass(frozen=True, slots=True)
class BlockNumberAccess:
    """Read: asks for the block after this one."""

    block: int

    def encode(self) -> bytes:
        return b"\x05" + self.block.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ReadDataBlockAccess:
    """Read: a part of a request that is too long for one APDU."""

    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return bytes((6, self.last)) + self.block.to_bytes(2, "big") + octet_string(self.raw)


@dataclass(frozen=True, slots=True)
class WriteDataBlockAccess:
    """Write: the data of the request are a part of a request that is too long for one APDU."""

    last: bool
    block: int

    def encode(self) -> bytes:
        return bytes((7, self.last)) + self.block.to_bytes(2, "big")


VariableAccess = (
    VariableName
    | ParameterizedAccess
    | BlockNumberAccess
    | ReadDataBlockAccess
    | WriteDataBlockAccess
)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    variables: tuple[VariableAccess, ...]

    def encode(self) -> bytes:
        return b"\x05" + _variables(self.variables)


@dataclass(frozen=True, slots=True)
class DataBlockResult:
    """Read: one block of an answer that is too long for one APDU."""

    last: bool
    block: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class BlockNumber:
    """Acknowledges a block of a request."""

    block: int


ReadResult = bytes | int | DataBlockResult | BlockNumber


@dataclass(frozen=True, slots=True)
class ReadResponse:
    results: tuple[ReadResult, ...]

    def encode(self) -> bytes:
        parts = [b"\x0c", length_octets(len(self.results))]
        for result in self.results:
            if isinstance(result, bytes):
                parts += (b"\x00", result)
            elif isinstance(result, int):
                parts.append(bytes((1, result)))
            elif isinstance(result, DataBlockResult):
                parts.append(bytes((2, result.last)) + result.block.to_bytes(2, "big"))
                parts.append(octet_string(result.raw))
            else:
                parts.append(b"\x03" + result.block.to_bytes(2, "big"))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class WriteRequest:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"\x06" + _variables(self.variables) + data_list(self.values)


@dataclass(frozen=True, slots=True)
class UnconfirmedWriteRequest:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"\x16" + _variables(self.variables) + data_list(self.values)


@dataclass(frozen=True, slots=True)
class WriteResponse:
    """Per variable: 0 for success, a data-access-result, or the number of a block received."""

    results: tuple[int | BlockNumber, ...]

    def encode(self) -> bytes:
        parts = [b"\x0d", length_octets(len(self.results))]
        for result in self.results:
            if isinstance(result, BlockNumber):
                parts.append(b"\x02" + result.block.to_bytes(2, "big"))
            else:
                parts.append(bytes((1, result)) if result else b"\x00")
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class InformationReport:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]
    time: bytes | None = None

    def encode(self) -> bytes:
        time = b"\x00" if self.time is None else b"\x01" + octet_string(self.time)
        return b"".join((b"\x18", time, _variables(self.variables), data_list(self.values)))


# --- Envelopes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GeneralBlockTransfer:
    """`window`: how many blocks the sender of this APDU can take. `acknowledged`: without gap."""

    last: bool
    streaming: bool
    window: int
    block: int
    acknowledged: int
    data: bytes

    def encode(self) -> bytes:
        control = self.last << 7 | self.streaming << 6 | self.window
        return b"".join((
            bytes((0xE0, control)), self.block.to_bytes(2, "big"),
            self.acknowledged.to_bytes(2, "big"), octet_string(self.data),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServiceCiphered:
    """glo-… and ded-…: `content` is security control, invocation counter, ciphertext and tag."""

    tag: int
    content: bytes

    def encode(self) -> bytes:
        return bytes((self.tag,)) + octet_string(self.content)


@dataclass(frozen=True, slots=True)
class GeneralCiphered:
    """general-glo-ciphering and general-ded-ciphering; the title may be empty where it is known."""

    dedicated: bool
    system_title: bytes
    content: bytes

    def encode(self) -> bytes:
        tag = b"\xdc" if self.dedicated else b"\xdb"
        return b"".join((tag, octet_string(self.system_title), octet_string(self.content)))


@dataclass(frozen=True, slots=True)
class GeneralHeader:
    """The five fields in front of general-ciphering and general-signing."""

    transaction_id: bytes
    originator: bytes
    recipient: bytes
    time: bytes = b""
    other_information: bytes = b""

    def encode(self) -> bytes:
        """The fields with their length octets: part of the authenticated data and the signature."""
        return b"".join(map(octet_string, (
            self.transaction_id, self.originator, self.recipient, self.time, self.other_information,
        )))  # fmt: skip


@dataclass(frozen=True, slots=True)
class IdentifiedKey:
    """0: global unicast encryption key, 1: global broadcast encryption key."""

    key_id: int

    def encode(self) -> bytes:
        return bytes((1, 0, self.key_id))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key transported under the master key (kek-id 0), RFC 3394."""

    kek_id: int
    wrapped: bytes

    def encode(self) -> bytes:
        return bytes((1, 1, self.kek_id)) + octet_string(self.wrapped)


@dataclass(frozen=True, slots=True)
class AgreedKey:
    """Key agreement: scheme octets and, for one-pass, ephemeral public key and signature."""

    scheme: bytes
    key_data: bytes

    def encode(self) -> bytes:
        return b"\x01\x02" + octet_string(self.scheme) + octet_string(self.key_data)


KeyInfo = IdentifiedKey | WrappedKey | AgreedKey


@dataclass(frozen=True, slots=True)
class GeneralCiphering:
    header: GeneralHeader
    key_info: KeyInfo | None
    content: bytes

    def encode(self) -> bytes:
        key = b"\x00" if self.key_info is None else self.key_info.encode()
        return b"".join((b"\xdd", self.header.encode(), key, octet_string(self.content)))


@dataclass(frozen=True, slots=True)
class GeneralSigning:
    header: GeneralHeader
    content: bytes
    signature: bytes

    def encode(self) -> bytes:
        content, signature = octet_string(self.content), octet_string(self.signature)
        return b"".join((b"\xdf", self.header.encode(), content, signature))


@dataclass(frozen=True, slots=True)
class Gateway:
    """The prefix that a gateway strips off: network, physical address, and the APDU behind."""

    response: bool
    network: int
    address: bytes
    apdu: bytes

    def encode(self) -> bytes:
        head = bytes((0xE7 if self.response else 0xE6, self.network))
        return head + octet_string(self.address) + self.apdu


# --- Encoding -----------------------------------------------------------------------------------

_CONFORMANCE_HEAD: Final = bytes.fromhex("5f1f0400")


def _optional_i8(number: int | None) -> bytes:
    return b"\x00" if number is None else bytes((1, number & 0xFF))


def _block(*, last: bool, number: int, raw: bytes) -> bytes:
    return bytes((last,)) + number.to_bytes(4, "big") + octet_string(raw)


def _attribute_list(attributes: tuple[AttributeRef, ...]) -> bytes:
    return length_octets(len(attributes)) + b"".join(map(attribute_descriptor, attributes))


def _method_list(methods: tuple[MethodRef, ...]) -> bytes:
    return length_octets(len(methods)) + b"".join(map(method_descriptor, methods))


def _variables(variables: tuple[VariableAccess, ...]) -> bytes:
    return length_octets(len(variables)) + b"".join([v.encode() for v in variables])


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


# --- Decoding -----------------------------------------------------------------------------------


def decode(apdu: bytes) -> Apdu:
    """Any xDLMS APDU; raise RemoteProtocolError where it is malformed or its tag is unknown."""
    if not apdu:
        raise RemoteProtocolError("an empty APDU")
    return read(Reader(apdu, 1))


def read(reader: Reader) -> Apdu:
    """The APDU whose tag the reader has just passed; for callers that watch the reader."""
    tag = reader.data[0]
    decoder = _DECODERS.get(tag)
    if decoder is not None:
        return decoder(reader)
    choices = _CHOICES.get(tag)
    if choices is not None:
        choice = reader.u8()
        decoder = choices.get(choice)
        if decoder is None:
            raise RemoteProtocolError(f"APDU {tag:02X} has no choice {choice}")
        return decoder(reader)
    if tag in PLAIN_OF_GLO or tag in PLAIN_OF_DED:
        return decode_service_ciphered(reader)
    raise RemoteProtocolError(f"{tag:02X} is not the tag of an xDLMS APDU")


def decode_initiate_request(r: Reader) -> InitiateRequest:
    key = b""
    if r.flag():
        key = r.octets()
        if not key:
            raise RemoteProtocolError("a dedicated key of no octets")
    allowed = not r.flag() or r.flag()  # DEFAULT TRUE
    quality = r.i8() if r.flag() else None
    version = r.u8()
    conformance = _conformance(r)
    request = InitiateRequest(conformance, r.u16(), key, allowed, quality, version)
    r.done()
    return request


def decode_initiate_response(r: Reader) -> InitiateResponse:
    """The VAA name may be cut short or wrong: some meters send it so, and it says nothing."""
    quality = r.i8() if r.flag() else None
    version = r.u8()
    conformance, size = _conformance(r), r.u16()
    vaa = r.rest()
    name = int.from_bytes(vaa[:2].ljust(2, b"\x00"), "big") if vaa else VAA_NAME_LN
    return InitiateResponse(conformance, size, name, quality, version)


def _conformance(r: Reader) -> int:
    """BER inside A-XDR: [APPLICATION 31] as 5F 1F, or 5F alone from old devices."""
    if r.u8() != 0x5F:
        raise RemoteProtocolError("the conformance block does not begin with 5F 1F")
    length = r.u8()
    if length == 0x1F:
        length = r.u8()
    if length != 4 or r.u8() != 0:
        raise RemoteProtocolError("the conformance block is not a bit string of 24 bits")
    return int.from_bytes(r.take(3), "big")


def _exception_response(r: Reader) -> ExceptionResponse:
    state, service = r.u8(), r.u8()
    lowest = None
    if service == ServiceError.INVOCATION_COUNTER_ERROR and r.position < r.end:
        lowest = r.u32()
    r.done()
    return ExceptionResponse(state, service, lowest)


def _confirmed_service_error(r: Reader) -> ConfirmedServiceError:
    error = ConfirmedServiceError(r.u8(), r.u8(), r.u8())
    r.done()
    return error


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


def _values(r: Reader) -> tuple[bytes, ...]:
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
    request = SetRequestList(r.u8(), _attributes(r), _values(r))
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
    request = ActionRequestList(r.u8(), _methods(r), _values(r))
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
    request = AccessRequest(r.u32(), r.octets(), _read_access_specifications(r), _values(r))
    r.done()
    if len(request.specifications) != len(request.data):
        raise RemoteProtocolError("an ACCESS whose specifications and data differ in number")
    return request


def _access_response(r: Reader) -> AccessResponse:
    invoke, time = r.u32(), r.octets()
    specifications = _read_access_specifications(r) if r.flag() else None
    data = _values(r)
    results = tuple([_access_result(r) for _ in range(r.length())])
    r.done()
    return AccessResponse(invoke, time, specifications, data, results)


def _access_result(r: Reader) -> tuple[AccessKind, int]:
    kind = r.u8()
    if kind not in (1, 2, 3):
        raise RemoteProtocolError(f"an ACCESS result of unknown kind {kind}")
    return AccessKind(kind), r.u8()


def _data_notification(r: Reader) -> DataNotification:
    invoke = r.u32()
    length = r.u8()
    tagged = length == 0x09 and r.position < r.end and r.data[r.position] == 0x0C
    if tagged:
        length = r.u8()
    if length > 12:
        raise RemoteProtocolError(f"a notification whose date-time has {length} octets")
    time = r.take(length)
    return DataNotification(invoke, time, r.rest(), tagged)


def _data_notification_confirm(r: Reader) -> DataNotificationConfirm:
    confirm = DataNotificationConfirm(r.u32(), r.octets())
    r.done()
    return confirm


def _event_notification(r: Reader) -> EventNotification:
    time: bytes | None = None
    bare = False
    if r.flag():
        # A year above 3071 would be needed for a bare date-time to begin with 0C.
        bare = r.position < r.end and r.data[r.position] != 0x0C
        time = r.take(12) if bare else r.octets()
    class_id, obis, index = r.descriptor()
    value = r.rest()
    if not value:
        raise RemoteProtocolError("an EventNotification without its value")
    return EventNotification(AttributeRef(class_id, obis, index), value, time, bare)


def _variable(r: Reader) -> VariableAccess:
    choice = r.u8()
    if choice == 2:
        return VariableName(r.u16())
    if choice == 4:
        return ParameterizedAccess(r.u16(), r.u8(), r.data_value())
    if choice == 5:
        return BlockNumberAccess(r.u16())
    if choice == 6:
        return ReadDataBlockAccess(r.flag(), r.u16(), r.octets())
    if choice == 7:
        return WriteDataBlockAccess(r.flag(), r.u16())
    raise RemoteProtocolError(f"a variable access specification of unknown kind {choice}")


def _read_variables(r: Reader) -> tuple[VariableAccess, ...]:
    return tuple([_variable(r) for _ in range(r.length())])


def _read_request(r: Reader) -> ReadRequest:
    request = ReadRequest(_read_variables(r))
    r.done()
    return request


def _read_result(r: Reader) -> ReadResult:
    choice = r.u8()
    if choice == 0:
        return r.data_value()
    if choice == 1:
        return r.u8()
    if choice == 2:
        return DataBlockResult(r.flag(), r.u16(), r.octets())
    if choice == 3:
        return BlockNumber(r.u16())
    raise RemoteProtocolError(f"a read result of unknown kind {choice}")


def read_read_results(r: Reader) -> tuple[ReadResult, ...]:
    results = tuple([_read_result(r) for _ in range(r.length())])
    r.done()
    return results


def _read_response(r: Reader) -> ReadResponse:
    return ReadResponse(read_read_results(r))


def _write_parts(r: Reader) -> tuple[tuple[VariableAccess, ...], tuple[bytes, ...]]:
    variables, values = _read_variables(r), _values(r)
    r.done()
    if len(variables) != len(values):
        raise RemoteProtocolError("a write whose variables and values differ in number")
    return variables, values


def _write_request(r: Reader) -> WriteRequest:
    return WriteRequest(*_write_parts(r))


def _unconfirmed_write(r: Reader) -> UnconfirmedWriteRequest:
    return UnconfirmedWriteRequest(*_write_parts(r))


def _write_result(r: Reader) -> int | BlockNumber:
    choice = r.u8()
    if choice == 0:
        return 0
    if choice == 1:
        return r.u8()
    if choice == 2:
        return BlockNumber(r.u16())
    raise RemoteProtocolError(f"a write result of unknown kind {choice}")


def _write_response(r: Reader) -> WriteResponse:
    response = WriteResponse(tuple([_write_result(r) for _ in range(r.length())]))
    r.done()
    return response


def _information_report(r: Reader) -> InformationReport:
    time = r.octets() if r.flag() else None
    return InformationReport(*_write_parts(r), time)


def decode_block_transfer(r: Reader) -> GeneralBlockTransfer:
    control = r.u8()
    block = GeneralBlockTransfer(
        control & 0x80 != 0, control & 0x40 != 0, control & 0x3F, r.u16(), r.u16(), r.octets()
    )
    r.done()
    return block


def decode_service_ciphered(r: Reader) -> ServiceCiphered:
    envelope = ServiceCiphered(r.data[0], r.octets())
    r.done()
    return envelope


def _general_ciphered(r: Reader) -> GeneralCiphered:
    envelope = GeneralCiphered(r.data[0] == Tag.GENERAL_DED, r.octets(), r.octets())
    r.done()
    return envelope


def _header(r: Reader) -> GeneralHeader:
    return GeneralHeader(r.octets(), r.octets(), r.octets(), r.octets(), r.octets())


def _key_info(r: Reader) -> KeyInfo | None:
    if not r.flag():
        return None
    choice = r.u8()
    if choice == 0:
        return IdentifiedKey(r.u8())
    if choice == 1:
        return WrappedKey(r.u8(), r.octets())
    if choice == 2:
        return AgreedKey(r.octets(), r.octets())
    raise RemoteProtocolError(f"a key-info of unknown kind {choice}")


def _general_ciphering(r: Reader) -> GeneralCiphering:
    envelope = GeneralCiphering(_header(r), _key_info(r), r.octets())
    r.done()
    return envelope


def _general_signing(r: Reader) -> GeneralSigning:
    envelope = GeneralSigning(_header(r), r.octets(), r.octets())
    r.done()
    return envelope


def _gateway(r: Reader) -> Gateway:
    return Gateway(r.data[0] == Tag.GATEWAY_RESPONSE, r.u8(), r.octets(), r.rest())


_Decoder = Callable[[Reader], Apdu]
_DECODERS: Final[dict[int, _Decoder]] = {
    Tag.INITIATE_REQUEST: decode_initiate_request,
    Tag.READ_REQUEST: _read_request,
    Tag.WRITE_REQUEST: _write_request,
    Tag.INITIATE_RESPONSE: decode_initiate_response,
    Tag.READ_RESPONSE: _read_response,
    Tag.WRITE_RESPONSE: _write_response,
    Tag.CONFIRMED_SERVICE_ERROR: _confirmed_service_error,
    Tag.DATA_NOTIFICATION: _data_notification,
    Tag.DATA_NOTIFICATION_CONFIRM: _data_notification_confirm,
    Tag.UNCONFIRMED_WRITE: _unconfirmed_write,
    Tag.INFORMATION_REPORT: _information_report,
    Tag.EVENT_NOTIFICATION: _event_notification,
    Tag.EXCEPTION_RESPONSE: _exception_response,
    Tag.ACCESS_REQUEST: _access_request,
    Tag.ACCESS_RESPONSE: _access_response,
    Tag.GENERAL_GLO: _general_ciphered,
    Tag.GENERAL_DED: _general_ciphered,
    Tag.GENERAL_CIPHERING: _general_ciphering,
    Tag.GENERAL_SIGNING: _general_signing,
    Tag.GENERAL_BLOCK_TRANSFER: decode_block_transfer,
    Tag.GATEWAY_REQUEST: _gateway,
    Tag.GATEWAY_RESPONSE: _gateway,
}
_CHOICES: Final[dict[int, dict[int, _Decoder]]] = {
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
