"""Keys at rest: AES-256-GCM under the key file, bound to the meter and the purpose.

The key file is 32 random octets, readable by its owner only, kept apart from the store's backups.
Without it the keys in the store are worthless; there is no way to ask the head-end for a key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_OCTETS: Final = 12
_KEY_OCTETS: Final = 32


class SealError(Exception):
    """A sealed secret cannot be opened; the sentence says what to try."""


class Sealer:
    """Seals and opens secrets; never prints one."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_OCTETS:
            raise SealError(f"a key file holds {_KEY_OCTETS} octets, this one {len(key)}")
        self._gcm = AESGCM(key)
        self._mark = hmac.digest(key, b"fingerprint", hashlib.sha256)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key file; make it with mode 0600 when it is not there."""
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            key = secrets.token_bytes(_KEY_OCTETS)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            return cls(key)
        except OSError as error:
            raise SealError(f"cannot read the key file {path}: {error.strerror}") from error

    def seal(self, secret: bytes, bound_to: str) -> bytes:
        """The secret encrypted; opens only with the same `bound_to`."""
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return nonce + self._gcm.encrypt(nonce, secret, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        try:
            return self._gcm.decrypt(
                sealed[:_NONCE_OCTETS], sealed[_NONCE_OCTETS:], bound_to.encode()
            )
        except InvalidTag as error:
            raise SealError(
                f"the secret of {bound_to} does not open; was the key file replaced?"
            ) from error

    def fingerprint(self, secret: bytes) -> str:
        """Tells equal keys from different ones and reveals nothing else."""
        return hmac.new(self._mark, secret, hashlib.sha256).hexdigest()
