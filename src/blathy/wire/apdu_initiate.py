"""Initiate and the two error APDUs (IEC 62056-5-3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from blathy.wire.apdu_tags import DLMS_VERSION, VAA_NAME_LN, Decoder, Tag
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, octet_string


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


_CONFORMANCE_HEAD: Final = bytes.fromhex("5f1f0400")


def _optional_i8(number: int | None) -> bytes:
    return b"\x00" if number is None else bytes((1, number & 0xFF))


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


DECODERS: Final[dict[int, Decoder]] = {
    Tag.INITIATE_REQUEST: decode_initiate_request,
    Tag.INITIATE_RESPONSE: decode_initiate_response,
    Tag.CONFIRMED_SERVICE_ERROR: _confirmed_service_error,
    Tag.EXCEPTION_RESPONSE: _exception_response,
}
