"""What a pushed APDU is wrapped in: a cipher, a signature, or both, the one or the other outside.

A listener takes off what it can and says what it has proved. A signature that nobody can check
(there is no public key of the meter) hides nothing; one that does not hold proves a forgery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from blathy.wire import apdu
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.invocation_counters import (
    InvocationCounters,
    VolatileCounterStore,
    key_fingerprint,
)
from blathy.wire.octets import Reader
from blathy.wire.security import TITLE_OCTETS, KeySet, Protection, SecurityContext
from blathy.wire.suites import COORDINATE_OCTETS, verify

_SIGNED: Final = int(apdu.Tag.GENERAL_SIGNING)
_CIPHERED: Final = frozenset({int(apdu.Tag.GENERAL_GLO), int(apdu.Tag.GENERAL_CIPHERING)})
_WRAPPED: Final = _CIPHERED | {_SIGNED}
_LISTENER: Final = b"listener"
_SUITE_OF: Final = {2 * octets: suite for suite, octets in COORDINATE_OCTETS.items()}


@dataclass(frozen=True, slots=True)
class Bared:
    """An APDU without what it was wrapped in.

    `authenticated`: a tag or a signature was checked. `signed`: it bears a signature, which
    `signature_checked` says to hold; it never does not. `counter` is the invocation counter; of a
    signed APDU in clear the transaction-id, which takes its place; -1 where there is neither.
    """

    plain: bytes
    originator: bytes = b""
    ciphered: bool = False
    authenticated: bool = False
    signed: bool = False
    signature_checked: bool = False
    counter: int = -1
    key_id: str = ""


def is_wrapped(whole: bytes) -> bool:
    """Whether this APDU is ciphered or signed and carries the title of its originator."""
    return whole[:1] != b"" and whole[0] in _WRAPPED


def originator_of(whole: bytes) -> bytes | None:
    """The system title that a ciphered or signed APDU carries; None for any other."""
    if not is_wrapped(whole):
        return None
    reader = Reader(whole, 1)
    try:
        if whole[0] != apdu.Tag.GENERAL_GLO:
            reader.octets()  # the transaction id
        return reader.octets()
    except RemoteProtocolError:
        return None


def bared(whole: bytes, keys: KeySet | None) -> Bared:
    """Take off cipher and signature, one of each at most; without `keys` a signature alone.

    RemoteProtocolError says why that fails: wrong keys, a wrong signature, a third layer.
    """
    found = Bared(whole)
    while is_wrapped(found.plain):
        before = found.originator
        signature = found.plain[0] == _SIGNED
        if found.signed if signature else found.ciphered:
            raise RemoteProtocolError(f"one {'signature' if signature else 'cipher'} in another")
        found = _without_signature(found, keys) if signature else _deciphered(found, keys)
        if before and found.originator != before:
            raise RemoteProtocolError("it is signed by another than who ciphered it")
    return found


def _without_signature(of: Bared, keys: KeySet | None) -> Bared:
    message = apdu.decode(of.plain)
    assert isinstance(message, apdu.GeneralSigning)
    public = b"" if keys is None else keys.peer_signing
    if public:
        signed = message.header.encode() + message.content
        if not verify(signed, message.signature, public, _SUITE_OF.get(len(public), 0)):
            raise RemoteProtocolError("the signature does not hold: wrong key or altered APDU")
    return replace(
        of,
        plain=message.content,
        originator=message.header.originator or of.originator,
        authenticated=of.authenticated or bool(public),
        signed=True,
        signature_checked=bool(public),
        counter=of.counter if of.ciphered else _number(message.header.transaction_id),
    )


def _number(transaction_id: bytes) -> int:
    return int.from_bytes(transaction_id, "big") if len(transaction_id) <= 8 else -1


def _deciphered(of: Bared, keys: KeySet | None) -> Bared:
    if keys is None or not (keys.unicast or keys.broadcast or keys.master or keys.agreement):
        raise RemoteProtocolError("there are no keys for this meter")
    message = apdu.decode(of.plain)
    recipient = message.header.recipient if isinstance(message, apdu.GeneralCiphering) else b""
    context = SecurityContext(
        recipient if len(recipient) == TITLE_OCTETS else _LISTENER, keys,
        InvocationCounters(VolatileCounterStore()), _no_entropy,
        peer_title=originator_of(of.plain) or of.originator,
        verify_tags=bool(keys.authentication),
    )  # fmt: skip
    context.outer_only = True
    opened = context.unprotect(of.plain)
    if opened.broadcast:
        # Every meter of the group holds this key: it says nothing of who speaks.
        raise RemoteProtocolError("it came under the broadcast key")
    return replace(
        of,
        plain=opened.plain,
        originator=opened.originator,
        ciphered=True,
        authenticated=of.authenticated or bool(opened.protection & Protection.AUTHENTICATED),
        counter=opened.counter,
        key_id=key_fingerprint(keys.unicast),
    )


def _no_entropy(_count: int) -> bytes:
    raise LocalProtocolError("a listener encrypts nothing")
