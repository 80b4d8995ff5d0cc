"""Protection independent of the association: of data (class 30), of pushed APDUs (class 40).

An APDU gets the envelopes of the Green Book: general-signing for a signature, general-ciphering for
authentication and encryption with the fields that its element names, general-glo-ciphering where it
names a global key and nothing else.

Data are A-XDR octets. Each element of the protection parameters puts one layer around what it gets,
in the order of the array, the last outermost. Authentication and encryption make the ciphered
content of general-ciphering (security control, invocation counter, ciphertext, tag) with the
element's transaction-id, titles and other-information as additional authenticated data; a signature
makes content and signature, each with its length, signed as in general-signing.

A key that comes along in the parameters leaves no floor of its own: as in general-ciphering, its
transaction-id must rise, whatever the keys; where the layer only encrypts, another must prove
what is inside.

How exactly the standard lays out a layer could not be compared with a second source; what is read
and written here is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.wire.apdu import (
    AgreedKey,
    GeneralCiphering,
    GeneralHeader,
    GeneralSigning,
    IdentifiedKey,
    KeyInfo,
    WrappedKey,
)
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.invocation_counters import COUNTER_LAST, ONE_TIME
from blathy.wire.octets import Reader, octet_string
from blathy.wire.security import (
    UNPROVEN_JUMP_MAX,
    Envelope,
    GcmKey,
    KeyChoice,
    Protection,
    SecurityContext,
    sign,
    transaction_number,
    verify,
)

AUTHENTICATION: Final = 0
ENCRYPTION: Final = 1
BOTH: Final = 2
SIGNATURE: Final = 3
LAYERS_MAX: Final = 8
_KINDS: Final = {
    AUTHENTICATION: int(Protection.AUTHENTICATED),
    ENCRYPTION: int(Protection.ENCRYPTED),
    BOTH: int(Protection.BOTH),
    SIGNATURE: int(Protection.SIGNED),
}
_STATIC: Final = b"\x02"
SCHEMES: Final = frozenset({b"\x01", _STATIC})
"""How keys are agreed: with an ephemeral key of the sender, or of the static keys alone."""
_DATA: Final = "/data"
"""Counters of protected data are followed apart: they arrive inside an APDU of a later number."""
_BROADCAST: Final = 0x40  # of the security control octet


@dataclass(frozen=True, slots=True)
class ProtectionElement:
    """One protection_parameters_element; key_info as in general-ciphering."""

    kind: int
    transaction_id: bytes = b""
    originator: bytes = b""
    recipient: bytes = b""
    other_information: bytes = b""
    key_info: KeyInfo = IdentifiedKey(0)  # noqa: RUF009 - frozen

    @classmethod
    def of(cls, data: Data) -> Self:
        """From its structure; AxdrError where it is none."""
        kind, options = _fields(data, 2)
        transaction, originator, recipient, other, key = _fields(options, 5)
        if kind.type is not DataType.ENUM or kind.value not in _KINDS:
            raise AxdrError("a protection type is authentication, encryption, both or signature")
        texts = (transaction, originator, recipient, other)
        if any(text.type is not DataType.OCTET_STRING for text in texts):
            raise AxdrError("protection options are octet-strings and the key information")
        return cls(
            kind.value, transaction.value, originator.value, recipient.value, other.value,
            _key_info(key),
        )  # fmt: skip

    def data(self) -> Data:
        names = (self.transaction_id, self.originator, self.recipient, self.other_information)
        options = axdr.structure(*map(axdr.octets, names), _key_data(self.key_info))
        return axdr.structure(axdr.enum(self.kind), options)

    @property
    def header(self) -> GeneralHeader:
        return GeneralHeader(
            self.transaction_id, self.originator, self.recipient,
            other_information=self.other_information,
        )  # fmt: skip


def _fields(data: Data, count: int) -> tuple[Data, ...]:
    if data.type is not DataType.STRUCTURE or len(data.value) != count:
        raise AxdrError(f"protection parameters: a structure of {count} elements was expected")
    return tuple(data.value)


def _key_info(data: Data) -> KeyInfo:
    kind, options = _fields(data, 2)
    if kind.value == 0:  # a bare enumeration, or a structure of one
        if options.type is DataType.STRUCTURE and len(options.value) == 1:
            options = options.value[0]
        if options.type is DataType.ENUM and options.value in {0, 1}:
            return IdentifiedKey(options.value)
    elif options.type is DataType.STRUCTURE and len(options.value) == 2:
        first, second = options.value
        if second.type is DataType.OCTET_STRING:
            if kind.value == 1 and first.type is DataType.ENUM:
                return WrappedKey(first.value, second.value)
            if kind.value == 2 and first.type is DataType.OCTET_STRING:
                return AgreedKey(first.value, second.value)
    raise AxdrError("key information names an identified, a wrapped or an agreed key")


def _key_data(info: KeyInfo) -> Data:
    if isinstance(info, IdentifiedKey):
        return axdr.structure(axdr.enum(0), axdr.enum(info.key_id))
    if isinstance(info, WrappedKey):
        options = axdr.structure(axdr.enum(info.kek_id), axdr.octets(info.wrapped))
        return axdr.structure(axdr.enum(1), options)
    options = axdr.structure(axdr.octets(info.scheme), axdr.octets(info.key_data))
    return axdr.structure(axdr.enum(2), options)


def parse_elements(data: Data) -> tuple[ProtectionElement, ...]:
    """The array of protection parameters; AxdrError where it is none."""
    if data.type is not DataType.ARRAY or len(data.value) > LAYERS_MAX:
        raise AxdrError(f"protection parameters are an array of at most {LAYERS_MAX} elements")
    return tuple(ProtectionElement.of(each) for each in data.value)


def elements_data(elements: Sequence[ProtectionElement]) -> Data:
    """The reverse."""
    return axdr.array(*(element.data() for element in elements))


def protection_of(elements: Sequence[ProtectionElement]) -> int:
    """What these layers give together, as `Protection` bits."""
    given = 0
    for element in elements:
        given |= _KINDS[element.kind]
    return given


def protect_data(
    context: SecurityContext, data: bytes, wanted: Sequence[ProtectionElement]
) -> tuple[tuple[ProtectionElement, ...], bytes]:
    """The data in the wanted layers, and the elements as they were used: our title as originator,
    a transaction-id where none was given or the key comes along, the key that was transported.

    Raise LocalProtocolError where a key is missing.
    """
    used = []
    for element in wanted:
        element = _from_us(context, element)
        if element.kind == SIGNATURE:
            data = octet_string(data) + octet_string(_signature(context, element, data))
        else:
            element, data = _sealed(context, element, data)
        used.append(element)
    return tuple(used), data


def protect_apdu(
    context: SecurityContext, apdu: bytes, wanted: Sequence[ProtectionElement]
) -> bytes:
    """The APDU in the wanted envelopes, the last outermost; keys and transaction-ids are chosen as
    for data. Raise LocalProtocolError where a key is missing."""
    for element in wanted:
        if _is_anonymous(element):
            kind, choice = _KINDS[element.kind], _choice(element.key_info)
            apdu = context.protect(apdu, kind, Envelope.GENERAL_GLO, choice)
            continue
        element = _from_us(context, element)
        if element.kind == SIGNATURE:
            signature = _signature(context, element, apdu)
            apdu = GeneralSigning(element.header, apdu, signature).encode()
        else:
            element, content = _sealed(context, element, apdu)
            apdu = GeneralCiphering(element.header, element.key_info, content).encode()
    return apdu


def _is_anonymous(element: ProtectionElement) -> bool:
    """Whether general-glo-ciphering, which every receiver opens, says all that the element does."""
    named = element.transaction_id or element.recipient or element.other_information
    identified = element.kind != SIGNATURE and isinstance(element.key_info, IdentifiedKey)
    return identified and not named


def _from_us(context: SecurityContext, element: ProtectionElement) -> ProtectionElement:
    transaction = element.transaction_id
    if not transaction or _is_one_time(element):
        transaction = context.new_transaction()
    return replace(
        element, transaction_id=transaction, originator=context.title, recipient=context.peer_title
    )


def _signature(context: SecurityContext, element: ProtectionElement, data: bytes) -> bytes:
    keys = context.keys
    return sign(element.header.encode() + data, keys.signing, keys.suite)


def _sealed(
    context: SecurityContext, element: ProtectionElement, data: bytes
) -> tuple[ProtectionElement, bytes]:
    """The element with the key that was used, and the ciphered content."""
    choice = _choice(element.key_info)
    key, info = context.named_key(choice, element.header)
    sequence = ONE_TIME if _is_one_time(element) else key.key_id
    counter = context.counters.next(context.title, sequence)
    control = _KINDS[element.kind] | context.keys.suite
    control |= _BROADCAST if choice is KeyChoice.BROADCAST else 0
    nonce = context.title + counter.to_bytes(4, "big")
    content = key.seal(control, nonce, data, element.header.encode())
    return replace(element, key_info=info), content


def _is_one_time(element: ProtectionElement) -> bool:
    return element.kind != SIGNATURE and not isinstance(element.key_info, IdentifiedKey)


def _choice(info: KeyInfo) -> KeyChoice:
    if isinstance(info, IdentifiedKey):
        return KeyChoice.BROADCAST if info.key_id == 1 else KeyChoice.IDENTIFIED
    if isinstance(info, WrappedKey):
        return KeyChoice.WRAPPED
    return KeyChoice.STATIC if info.scheme == _STATIC else KeyChoice.ONE_PASS


def unprotect_data(
    context: SecurityContext, octets: bytes, elements: Sequence[ProtectionElement]
) -> bytes:
    """The data without its layers. Raise RemoteProtocolError where one of them does not verify, or
    was used before; then no counter has moved.

    A signature has no invocation counter: where nothing else protects, its transaction-id takes the
    place, as in general-signing.
    """
    spent: list[tuple[str, int]] = []
    proven = any(element.kind != ENCRYPTION for element in elements)
    for element in reversed(elements):
        if element.originator != context.peer_title or element.recipient != context.title:
            raise RemoteProtocolError("the protected data are between other system titles")
        if element.kind == SIGNATURE:
            octets = _signed(context, octets, element)
        else:
            octets = _opened(context, octets, element, spent, proven=proven)
    if not spent:
        spent = [_signed_transaction(context, elements)]
    for key_id, counter in spent:
        context.counters.accept(context.peer_title, key_id + _DATA, counter)
    return octets


def _signed_transaction(
    context: SecurityContext, elements: Sequence[ProtectionElement]
) -> tuple[str, int]:
    for element in reversed(elements):
        if element.kind == SIGNATURE:
            return _transaction_of(context, element, context.signature_floor)
    raise RemoteProtocolError("nothing proves that these protected data were not sent before")


def _transaction_of(
    context: SecurityContext, element: ProtectionElement, name: str
) -> tuple[str, int]:
    number = transaction_number(element.transaction_id)
    if number < context.counters.lowest(context.peer_title, name + _DATA):
        raise RemoteProtocolError("the transaction-id of protected data was used before")
    return name, number


def _signed(context: SecurityContext, octets: bytes, element: ProtectionElement) -> bytes:
    reader = Reader(octets)
    content, signature = reader.octets(), reader.octets()
    reader.done()
    keys = context.keys
    signed = element.header.encode() + content
    if not verify(signed, signature, keys.peer_signing, keys.suite):
        raise RemoteProtocolError("the signature of the protected data does not verify")
    return content


def _opened(
    context: SecurityContext, octets: bytes, element: ProtectionElement,
    spent: list[tuple[str, int]], *, proven: bool,
) -> bytes:  # fmt: skip
    kind = _KINDS[element.kind]
    control = kind | context.keys.suite
    control |= _BROADCAST if _choice(element.key_info) is KeyChoice.BROADCAST else 0
    if len(octets) < 6 or octets[0] != control:
        raise RemoteProtocolError("the protected data are not protected as their parameters say")
    key = _incoming_key(context, element)
    counter = int.from_bytes(octets[1:5], "big")
    plain = key.open(octets, context.peer_title + octets[1:5], element.header.encode())
    if plain is None or (kind & 0x10 and not key.can_verify):
        raise RemoteProtocolError("the tag of the protected data does not verify")
    if _is_one_time(element):
        if kind & 0x10:
            floor = context.one_time_floor(_choice(element.key_info))
            spent.append(_transaction_of(context, element, floor))
        return plain
    lowest = context.counters.lowest(context.peer_title, key.key_id + _DATA)
    if not lowest <= counter <= COUNTER_LAST:
        raise RemoteProtocolError("these protected data were sent before")
    if not proven and lowest and counter - lowest > UNPROVEN_JUMP_MAX:
        raise RemoteProtocolError("the counter of unauthenticated data jumps too far")
    spent.append((key.key_id, counter))
    return plain


def _incoming_key(context: SecurityContext, element: ProtectionElement) -> GcmKey:
    key, _ = context.incoming_key(element.key_info, element.header)
    return key


def empty_key(info: KeyInfo) -> KeyInfo:
    """The same way to name a key, without a key: what a request says of the protection of its
    answer."""
    if isinstance(info, WrappedKey):
        return WrappedKey(info.kek_id, b"")
    return AgreedKey(info.scheme, b"") if isinstance(info, AgreedKey) else info


def check_suite(elements: Sequence[ProtectionElement], suite: int) -> None:
    """Raise LocalProtocolError where the layers need more than the suite has."""
    for element in elements:
        agreed = isinstance(element.key_info, AgreedKey) and element.kind != SIGNATURE
        if not suite and (element.kind == SIGNATURE or agreed):
            raise LocalProtocolError("signatures and agreed keys need security suite 1 or 2")
