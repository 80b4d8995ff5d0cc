"""Firmware images of our meters: who they are for, what they hold, who signed them.

Layout: `BLFW1`, length of the header (u16), header as JSON (`model`, `version`), program octets,
Ed25519 signature (64 octets) over everything before it. A meter takes an image only when the
signature is that of its maker and the model is its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAGIC: Final = b"BLFW1"
SIGNATURE_BYTES: Final = 64
HEADER_BYTES_MAX: Final = 1024
IMAGE_BYTES_MAX: Final = 4 * 1024 * 1024


class ImageError(ValueError):
    """The image cannot be used; the sentence says why."""


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """What a verified image says of itself."""

    model: str
    version: str
    program: bytes
    signature: bytes


def build_image(model: str, version: str, program: bytes, key: Ed25519PrivateKey) -> bytes:
    """A signed image."""
    header = json.dumps({"model": model, "version": version}).encode()
    body = MAGIC + len(header).to_bytes(2, "big") + header + program
    return body + key.sign(body)


def read_image(raw: bytes, maker: Ed25519PublicKey) -> FirmwareImage:
    """The parts of an image; raise ImageError where it is damaged or not the maker's."""
    prefix = len(MAGIC) + 2
    if len(raw) < prefix + SIGNATURE_BYTES or not raw.startswith(MAGIC):
        raise ImageError("this is no firmware image")
    length = int.from_bytes(raw[len(MAGIC) : prefix], "big")
    body, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
    if length > HEADER_BYTES_MAX or prefix + length > len(body):
        raise ImageError("the header of the image is damaged")
    try:
        maker.verify(signature, body)
    except InvalidSignature as error:
        raise ImageError("the signature is not that of the maker") from error
    try:
        header = json.loads(body[prefix : prefix + length])
        model, version = str(header["model"]), str(header["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError("the header of the image is damaged") from error
    return FirmwareImage(model, version, bytes(body[prefix + length :]), signature)
