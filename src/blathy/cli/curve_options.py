"""Public and private keys by system title, as `explain` takes them: hex, files, certificates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blathy.cli.app import CommandError
from blathy.cli.title_keys import system_title
from blathy.client.curve_keys import CurveKeys

PublicKeyOption = Annotated[
    list[str],
    typer.Option(
        "--public-key",
        metavar="TITLE=KEY",
        help="Public key for signatures or key agreement; hex of x and y, @FILE or"
        " env:NAME. @FILE alone is a certificate, which names its title. May be repeated.",
    ),
]
PrivateKeyOption = Annotated[
    list[str],
    typer.Option(
        "--private-key",
        metavar="TITLE=KEY",
        help="Private key for key agreement; hex, @FILE or env:NAME. May be repeated.",
    ),
]
_BEGIN = b"-----BEGIN"


class _UnusableKeyError(ValueError):
    """A key that we can't take, and why; what libraries say of one is not shown."""


def curve_keys(public: list[str], private: list[str]) -> CurveKeys:
    """The keys of these options; CommandError names what is wrong, never a key."""
    keys = CurveKeys()
    for text in public:
        title, octets = _parted("--public-key", text)
        try:
            named, key = _public(octets)
            if not title and len(named) != 8:
                raise _UnusableKeyError("it names no system title; write TITLE= in front")
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _wrong("--public-key", title, error) from error
        if not keys.add_public(title or named, key):
            raise CommandError(f"--public-key of {title.hex()}: no point of P-256 or P-384")
    for text in private:
        title, octets = _parted("--private-key", text)
        try:
            key = _private(octets)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _wrong("--private-key", title, error) from error
        if not keys.add_private(title, key):
            raise CommandError(f"--private-key of {title.hex()}: no key of P-256 or P-384")
    return keys


def _wrong(option: str, title: bytes, error: Exception) -> CommandError:
    reason = str(error) if isinstance(error, _UnusableKeyError) else "it can't be read"
    return CommandError(f"{option} of {title.hex() or 'no title'}: {reason}")


def _parted(option: str, text: str) -> tuple[bytes, bytes]:
    """The title (empty where a file alone was given) and the octets of key or file."""
    name, equals, key = text.partition("=")
    if not equals and text.startswith("@") and option == "--public-key":
        name, key = "", text
    elif not equals:
        raise CommandError(f"a {option} names no holder; write TITLE=KEY in hex digits")
    if key.startswith("env:") and key[4:] not in os.environ:
        raise CommandError(f"{option}: there is no environment variable {key[4:]}")
    try:
        if key.startswith("@"):
            octets = Path(key[1:]).read_bytes()
        else:
            octets = (os.environ[key[4:]] if key.startswith("env:") else key).encode()
    except OSError as error:
        raise CommandError(f"{option}: the file {key[1:]} can't be read") from error
    return (system_title(name) if name else b""), octets


def _hex(octets: bytes) -> bytes:
    try:
        return bytes.fromhex(octets.decode().replace(":", " "))
    except ValueError:
        raise _UnusableKeyError("this is neither hex nor PEM") from None


def _public(octets: bytes) -> tuple[bytes, bytes]:
    """Title (of a certificate) and x and y."""
    if octets[:2] in (b"\x30\x81", b"\x30\x82"):  # DER; hex may begin with the same digit
        return _certified(x509.load_der_x509_certificate(octets))
    if _BEGIN + b" CERTIFICATE" in octets:
        return _certified(x509.load_pem_x509_certificate(octets))
    if _BEGIN in octets:
        return b"", _point(serialization.load_pem_public_key(octets))
    raw = _hex(octets)
    return b"", raw[1:] if len(raw) % 2 and raw[:1] == b"\x04" else raw


def _certified(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        title = bytes.fromhex(str(names[0].value)) if names else b""
    except ValueError:
        title = b""
    return title, _point(certificate.public_key())


def _point(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _UnusableKeyError("this is no key of an elliptic curve")
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )[1:]


def _private(octets: bytes) -> bytes:
    if _BEGIN not in octets:
        return _hex(octets)
    key = serialization.load_pem_private_key(octets, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _UnusableKeyError("this is no key of an elliptic curve")
    return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
