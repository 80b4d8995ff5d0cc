"""ACSE APDUs of COSEM (IEC 62056-5-3, ISO/IEC 15954): AARQ, AARE, RLRQ, RLRE, in BER.

Encoding is canonical. Decoding takes what the standard allows and what meters in the field really
send: fields in any order, unknown context tags, a release reason as INTEGER or bare, an AARE
without user-information, octets after the end. The association decides what of it is acceptable.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, octet_string, truncated

_DLMS_UA_ARC: Final = bytes.fromhex("6085740508")  # 2.16.756.5.8
_CONTEXT_ARC: Final = _DLMS_UA_ARC + b"\x01"
_MECHANISM_ARC: Final = _DLMS_UA_ARC + b"\x02"
_FIELDS_MAX: Final = 32  # an AARQ has at most 14 fields


class Context(IntEnum):
    """application-context-name 2.16.756.5.8.1.n."""

    LN = 1
    SN = 2
    LN_CIPHERED = 3
    SN_CIPHERED = 4

    # Plain attributes of the members: every request asks, and a property compares enumerations.
    logical_names: bool
    ciphered: bool

    def __init__(self, arc: int) -> None:
        self.logical_names = arc in (1, 3)
        self.ciphered = arc in (3, 4)

    @classmethod
    def of(cls, *, logical_names: bool, ciphered: bool) -> Context:
        if ciphered:
            return cls.LN_CIPHERED if logical_names else cls.SN_CIPHERED
        return cls.LN if logical_names else cls.SN


class Mechanism(IntEnum):
    """mechanism-name 2.16.756.5.8.2.n."""

    NONE = 0
    LLS = 1
    HLS = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7

    is_hls: bool

    def __init__(self, arc: int) -> None:
        self.is_hls = arc >= 2


class AssociationResult(IntEnum):
    """association-result of the AARE."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class UserDiagnostic(IntEnum):
    """acse-service-user diagnostics."""

    NULL = 0
    NO_REASON = 1
    CONTEXT_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNIZED = 3
    CALLING_AP_INVOCATION_ID_NOT_RECOGNIZED = 4
    CALLING_AE_QUALIFIER_NOT_RECOGNIZED = 5
    CALLING_AE_INVOCATION_ID_NOT_RECOGNIZED = 6
    CALLED_AP_TITLE_NOT_RECOGNIZED = 7
    CALLED_AP_INVOCATION_ID_NOT_RECOGNIZED = 8
    CALLED_AE_QUALIFIER_NOT_RECOGNIZED = 9
    CALLED_AE_INVOCATION_ID_NOT_RECOGNIZED = 10
    MECHANISM_NOT_RECOGNISED = 11
    MECHANISM_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


class ProviderDiagnostic(IntEnum):
    """acse-service-provider diagnostics."""

    NULL = 0
    NO_REASON = 1
    NO_COMMON_ACSE_VERSION = 2


class DiagnosticSource(IntEnum):
    """CHOICE of result-source-diagnostic."""

    USER = 1
    PROVIDER = 2


@dataclass(frozen=True, slots=True)
class Aarq:
    """`context` and `mechanism` are the last arc of their OID, -1 for an OID that is not COSEM's.

    `protocol_version` and `sender_requirements` are the octets of their bit strings (07 80), None
    where absent.
    """

    context: int
    user_information: bytes = b""
    mechanism: int | None = None
    authentication_value: bytes | None = None
    calling_ap_title: bytes | None = None
    calling_ae_qualifier: bytes | None = None
    calling_ae_invocation_id: int | None = None
    sender_requirements: bytes | None = None
    protocol_version: bytes | None = None

    def encode(self) -> bytes:
        parts = [
            _field(0x80, self.protocol_version),
            _nested(0xA1, 0x06, _CONTEXT_ARC + bytes((self.context,))),
            _nested(0xA6, 0x04, self.calling_ap_title),
            _nested(0xA7, 0x04, self.calling_ae_qualifier),
            _integer(0xA9, self.calling_ae_invocation_id),
            _field(0x8A, self.sender_requirements),
            _mechanism(0x8B, self.mechanism),
            _nested(0xAC, 0x80, self.authentication_value),
            _user_information(self.user_information),
        ]
        return b"\x60" + octet_string(b"".join(parts))

    def __repr__(self) -> str:
        title = self.calling_ap_title.hex() if self.calling_ap_title else None
        return f"Aarq(context={self.context}, mechanism={self.mechanism}, calling_ap_title={title})"


@dataclass(frozen=True, slots=True)
class Aare:
    context: int
    result: int
    source: int
    diagnostic: int
    user_information: bytes = b""
    responding_ap_title: bytes | None = None
    responding_ae_qualifier: bytes | None = None
    responder_requirements: bytes | None = None
    mechanism: int | None = None
    authentication_value: bytes | None = None
    protocol_version: bytes | None = None

    def encode(self) -> bytes:
        source = 0xA1 if self.source == DiagnosticSource.USER else 0xA2
        diagnostic = bytes((source, 3, 2, 1, self.diagnostic))
        parts = [
            _field(0x80, self.protocol_version),
            _nested(0xA1, 0x06, _CONTEXT_ARC + bytes((self.context,))),
            bytes((0xA2, 3, 2, 1, self.result)),
            _field(0xA3, diagnostic),
            _nested(0xA4, 0x04, self.responding_ap_title),
            _nested(0xA5, 0x04, self.responding_ae_qualifier),
            _field(0x88, self.responder_requirements),
            _mechanism(0x89, self.mechanism),
            _nested(0xAA, 0x80, self.authentication_value),
            _user_information(self.user_information),
        ]
        return b"\x61" + octet_string(b"".join(parts))


@dataclass(frozen=True, slots=True)
class Rlrq:
    """`reason`: 0 normal, 1 urgent, 30 user-defined."""

    reason: int | None = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        return b"\x62" + octet_string(_release(self.reason, self.user_information))


@dataclass(frozen=True, slots=True)
class Rlre:
    """`reason`: 0 normal, 1 not finished, 30 user-defined."""

    reason: int | None = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        return b"\x63" + octet_string(_release(self.reason, self.user_information))


AUTHENTICATION_FUNCTIONAL_UNIT: Final = b"\x07\x80"
"""The bit string with only its first bit set, as ACSE requirements and protocol version use it."""


def _field(tag: int, content: bytes | None) -> bytes:
    if content is None:
        return b""
    size = len(content)
    return bytes((tag, size)) + content if size < 0x80 else bytes((tag,)) + octet_string(content)


def _nested(tag: int, inner: int, content: bytes | None) -> bytes:
    return b"" if content is None else _field(tag, _field(inner, content))


def _integer(tag: int, number: int | None) -> bytes:
    if number is None:
        return b""
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return _nested(tag, 0x02, octets)


def _mechanism(tag: int, mechanism: int | None) -> bytes:
    return b"" if mechanism is None else _field(tag, _MECHANISM_ARC + bytes((mechanism,)))


def _user_information(apdu: bytes) -> bytes:
    return _nested(0xBE, 0x04, apdu) if apdu else b""


def _release(reason: int | None, user_information: bytes) -> bytes:
    head = b"" if reason is None else bytes((0x80, 1, reason))
    return head + _user_information(user_information)


# --- Decoding -----------------------------------------------------------------------------------


def decode(apdu: bytes) -> Aarq | Aare | Rlrq | Rlre:
    """An ACSE APDU; raise RemoteProtocolError where it is malformed or its tag is unknown."""
    tag = apdu[0] if apdu else -1
    if tag == 0x60:
        return decode_aarq(apdu)
    if tag == 0x61:
        return decode_aare(apdu)
    if tag == 0x62:
        return Rlrq(*_read_release(apdu))
    if tag == 0x63:
        return Rlre(*_read_release(apdu))
    raise RemoteProtocolError("not an ACSE APDU")


def decode_aarq(apdu: bytes) -> Aarq:
    """Strict about the end of the APDU: a server refuses what a client must not send."""
    fields = _fields(apdu, strict=True)
    if 0xA1 not in fields:
        raise RemoteProtocolError("an AARQ without application-context-name")
    return Aarq(
        _context(fields[0xA1]),
        _octets_of(fields.get(0xBE), 0x04) or b"",
        _last_arc(fields[0x8B], _MECHANISM_ARC) if 0x8B in fields else None,
        _authentication_value(fields.get(0xAC)),
        _octets_of(fields.get(0xA6), 0x04),
        _octets_of(fields.get(0xA7), 0x04),
        _integer_of(fields.get(0xA9)),
        fields.get(0x8A),
        fields.get(0x80),
    )


def decode_aare(apdu: bytes) -> Aare:
    fields = _fields(apdu, strict=False)
    if 0xA2 not in fields:
        raise RemoteProtocolError("an AARE without its result")
    result = _integer_of(fields[0xA2])
    if result is None or result > AssociationResult.REJECTED_TRANSIENT:
        raise RemoteProtocolError(f"an AARE whose result is {result}")
    diagnostic = fields.get(0xA3, b"\xa1\x03\x02\x01\x00")
    if len(diagnostic) < 2 or diagnostic[0] not in (0xA1, 0xA2):
        raise RemoteProtocolError(
            "an AARE whose diagnostic is neither of the user nor the provider"
        )
    inner = Reader(diagnostic, 1).octets()
    return Aare(
        _context(fields[0xA1]) if 0xA1 in fields else -1,
        result,
        diagnostic[0] - 0xA0,
        _integer_of(inner) or 0,
        _octets_of(fields.get(0xBE), 0x04) or b"",
        _octets_of(fields.get(0xA4), 0x04),
        _octets_of(fields.get(0xA5), 0x04),
        fields.get(0x88),
        _last_arc(fields[0x89], _MECHANISM_ARC) if 0x89 in fields else None,
        _authentication_value(fields.get(0xAA)),
        fields.get(0x80),
    )


def _fields(apdu: bytes, *, strict: bool) -> dict[int, bytes]:
    """Tag -> content of every field; a field that comes twice is refused."""
    reader = Reader(apdu, 1)
    content = reader.octets()
    if strict:
        reader.done()
    inner = Reader(content)
    fields: dict[int, bytes] = {}
    while inner.position < inner.end:
        tag = inner.u8()
        if tag in fields or len(fields) >= _FIELDS_MAX:
            raise RemoteProtocolError(f"the ACSE field {tag:02X} comes twice")
        fields[tag] = inner.octets()
    return fields


def _read_release(apdu: bytes) -> tuple[int | None, bytes]:
    fields = _fields(apdu, strict=False)
    reason = fields.get(0x80)
    number = None
    if reason is not None:
        if not reason:
            raise truncated(2)
        number = reason[-1]  # bare, or as INTEGER 02 01 nn
    return number, _octets_of(fields.get(0xBE), 0x04) or b""


def _octets_of(content: bytes | None, tag: int) -> bytes | None:
    """The octet string inside an explicitly tagged field."""
    if content is None:
        return None
    size = len(content) - 2
    if 0 <= size < 0x80 and content[0] == tag and content[1] == size:
        return content[2:]  # as nearly all are: a third of the time of the general way below
    reader = Reader(content)
    if reader.u8() != tag:
        raise RemoteProtocolError(f"an ACSE field that does not hold a {tag:02X}")
    octets = reader.octets()
    reader.done()
    return octets


def _authentication_value(content: bytes | None) -> bytes | None:
    """CHOICE charstring [0]; bitstring [1] and external [2] are not used in COSEM."""
    return _octets_of(content, 0x80)


def _integer_of(content: bytes | None) -> int | None:
    octets = _octets_of(content, 0x02)
    if octets is None:
        return None
    if not 0 < len(octets) <= 5:
        raise RemoteProtocolError(f"an ACSE integer of {len(octets)} octets")
    return int.from_bytes(octets, "big")


def _context(content: bytes) -> int:
    name = _octets_of(content, 0x06)
    return _last_arc(name or b"", _CONTEXT_ARC)


def _last_arc(oid: bytes, arc: bytes) -> int:
    if len(oid) != len(arc) + 1 or not oid.startswith(arc):
        return -1
    return oid[-1]
