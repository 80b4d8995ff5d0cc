"""X.509 certificates of meters (suites 1 and 2): issued by a maker, held and checked by a meter.

As the Green Book asks: ECDSA on the suite's curve, subject common name = the system title in
hexadecimal, one certificate for signatures and another for key agreement; of TLS what the extended
key usage says. Authorities below the one that a meter trusts have certificates of their own, and a
certificate counts where a chain of them leads to that one. What marks each kind could not be
compared with a second source. There are no revocation lists: class 64 knows the removal of a
certificate, and with an authority's goes what it issued.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

SIGNATURE: Final = 0
AGREEMENT: Final = 1
TLS: Final = 2
OTHER: Final = 3
SERVER: Final = 0
CLIENT: Final = 1
AUTHORITY: Final = 2
_CURVES: Final[dict[int, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_HASHES: Final[dict[int, hashes.SHA256 | hashes.SHA384]] = {1: hashes.SHA256(), 2: hashes.SHA384()}
_FROM: Final = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_UNTIL: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
_TLS_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_UNDERSTOOD: Final = frozenset({
    ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
})  # fmt: skip
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_CACHED: Final = 256  # certificates that were taken apart or verified, the most recently used


class CertificateError(ValueError):
    """Octets that are no certificate of ours, and why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a meter needs of a certificate. `public` is x and y as in `wire.security.KeySet`.

    Of an authority the kind is OTHER, the title may be empty, and `authorities_below` is how many
    may stand between it and a holder; None: any number.
    """

    title: bytes
    kind: int
    public: bytes
    serial: bytes
    issuer: bytes
    subject: bytes
    valid_from_s: int
    valid_until_s: int
    der: bytes
    is_authority: bool = False
    authorities_below: int | None = None

    def is_valid_at(self, utc_s: int) -> bool:
        return self.valid_from_s <= utc_s <= self.valid_until_s


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _private(scalar: bytes, suite: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), _CURVES[suite])


def _usage(kind: int) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=kind in (SIGNATURE, TLS), content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=kind in (AGREEMENT, TLS),
        key_cert_sign=False,
        crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def issue(title: bytes, kind: int, public: bytes, authority: bytes, suite: int) -> bytes:
    """A certificate as DER, the same for the same arguments; `authority`: the issuer's private
    scalar."""
    point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[suite], b"\x04" + public)
    serial = hashlib.sha256(title + bytes((kind,)) + public).digest()[:8]
    builder = x509.CertificateBuilder(
        issuer_name=_name("blathy CA"),
        subject_name=_name(title.hex().upper()),
        public_key=point,
        serial_number=int.from_bytes(serial, "big") >> 1 or 1,
        not_valid_before=_FROM,
        not_valid_after=_UNTIL,
    ).add_extension(_usage(kind), critical=True)
    if kind == TLS:
        builder = builder.add_extension(x509.ExtendedKeyUsage(_TLS_USES), critical=False)
    made = builder.sign(_private(authority, suite), _HASHES[suite], ecdsa_deterministic=True)
    return made.public_bytes(serialization.Encoding.DER)


def request(title: bytes, private: bytes, suite: int) -> bytes:
    """A PKCS#10 request for the key pair of a meter, as DER."""
    builder = x509.CertificateSigningRequestBuilder(_name(title.hex().upper()))
    made = builder.sign(_private(private, suite), _HASHES[suite], ecdsa_deterministic=True)
    return made.public_bytes(serialization.Encoding.DER)


def issue_for_request(der: bytes, kind: int, authority: bytes, suite: int) -> bytes:
    """What an authority answers to a request; raise CertificateError for a bad one."""
    try:
        asked = x509.load_der_x509_csr(der)
        if not asked.is_signature_valid:
            raise CertificateError("the request is not signed by its own key")
        return issue(
            _title(asked.subject), kind, _point(asked.public_key(), suite), authority, suite
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(str(error)) from error


def _title(name: x509.Name) -> bytes:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(found[0].value) if found else ""
    try:
        title = bytes.fromhex(text)
    except ValueError:
        title = b""
    if len(title) != 8:
        raise CertificateError("the subject is no system title in hexadecimal")
    return title


def _point(key: object, suite: int) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVES[suite].name:
        raise CertificateError("the key is not of the curve of this security suite")
    encoded = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return encoded[1:]


@lru_cache(maxsize=_CACHED)
def read(der: bytes, suite: int) -> Certificate:
    """Take a certificate apart; raise CertificateError. Nothing is said of who issued it."""
    try:
        found = x509.load_der_x509_certificate(der)
        extensions = found.extensions
        for each in extensions:
            if each.critical and each.oid not in _UNDERSTOOD:
                raise CertificateError("it has a critical extension that is not understood here")
        limits = _extension(extensions, x509.BasicConstraints)
        is_authority = limits is not None and limits.ca
        kind = _kind(extensions, is_authority=is_authority)
        serial = found.serial_number
        return Certificate(
            _authority_title(found.subject) if is_authority else _title(found.subject),
            kind,
            _point(found.public_key(), suite),
            serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big"),
            found.issuer.public_bytes(),
            found.subject.public_bytes(),
            int(found.not_valid_before_utc.timestamp()),
            int(found.not_valid_after_utc.timestamp()),
            der,
            is_authority,
            limits.path_length if limits is not None else None,
        )
    except (ValueError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise CertificateError(f"this is no certificate for a meter: {error}") from error


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _kind(extensions: x509.Extensions, *, is_authority: bool) -> int:
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    if usage.key_cert_sign != is_authority:
        raise CertificateError("only an authority signs certificates")
    if is_authority:
        return OTHER
    extended = _extension(extensions, x509.ExtendedKeyUsage)
    if extended is not None and any(use in extended for use in _TLS_USES):
        if not usage.digital_signature:
            raise CertificateError("a TLS certificate is for signatures, too")
        return TLS
    if usage.digital_signature == usage.key_agreement:
        raise CertificateError("a certificate is for signatures or for key agreement")
    return SIGNATURE if usage.digital_signature else AGREEMENT


def _authority_title(name: x509.Name) -> bytes:
    """Authorities need no system title."""
    try:
        return _title(name)
    except CertificateError:
        return b""


@lru_cache(maxsize=_CACHED)
def is_issued_by(der: bytes, authority: bytes, suite: int) -> bool:
    """Whether the holder of this public key (x and y) signed the certificate."""
    found = x509.load_der_x509_certificate(der)
    key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[suite], b"\x04" + authority)
    try:
        key.verify(found.signature, found.tbs_certificate_bytes, ec.ECDSA(_HASHES[suite]))
    except InvalidSignature:
        return False
    return True


def leads_to(
    one: Certificate, trusted: bytes, known: Iterable[Certificate], suite: int, utc_s: int
) -> bool:
    """Whether a chain of authorities, all valid at this time, leads from a certificate to the
    holder of the trusted public key. Each authority is tried once at most."""
    unused = [each for each in known if each.is_authority and each.is_valid_at(utc_s)]
    ends = [(one, int(one.is_authority))]
    while ends:
        end, below = ends.pop()
        if is_issued_by(end.der, trusted, suite):
            return True
        for issuer in tuple(unused):
            limit = issuer.authorities_below
            if issuer.subject != end.issuer or (limit is not None and below > limit):
                continue
            if is_issued_by(end.der, issuer.public, suite):
                unused.remove(issuer)
                ends.append((issuer, below + 1))
    return False
