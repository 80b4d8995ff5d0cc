"""User keys of M-Bus devices, as they come to a meter for its M-Bus client (class 72,
transfer_key), and what they encrypt (EN 13757-7, security mode 5).

SMR 5: key change counter, then AES-GCM under the device's master key of {key id, key size, key},
with the first eight octets of the tag; the nonce is the device's address and the counter. DSMR 4:
one AES block, which has no integrity: whatever comes is some key.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

COUNTER_OCTETS: Final = 4
MAC_OCTETS: Final = 8
DEVICE_OCTETS: Final = 8
"""Manufacturer, identification, version and medium, as the device's frames carry them."""


class UserKey(NamedTuple):
    """A transferred key: `counter` is the key change counter, which only ever rises."""

    counter: int
    key_id: int
    key: bytes


def _nonce(device: bytes, counter: int) -> bytes:
    if len(device) != DEVICE_OCTETS:
        raise LocalProtocolError(f"the address of an M-Bus device has 8 octets, not {len(device)}")
    return device + counter.to_bytes(COUNTER_OCTETS, "big")


def wrap_user_key(master: bytes, device: bytes, new: UserKey) -> bytes:
    """The key_data of a transfer (SMR 5)."""
    plain = bytes((new.key_id, len(new.key))) + new.key
    sealed = AESGCM(master).encrypt(_nonce(device, new.counter), plain, None)
    return new.counter.to_bytes(COUNTER_OCTETS, "big") + sealed[: len(plain) + MAC_OCTETS]


def unwrap_user_key(master: bytes, device: bytes, data: bytes, lowest: int = 0) -> UserKey:
    """The reverse; raise RemoteProtocolError for a wrong tag or a counter below `lowest`."""
    counter = int.from_bytes(data[:COUNTER_OCTETS], "big")
    body, mac = data[COUNTER_OCTETS:-MAC_OCTETS], data[-MAC_OCTETS:]
    if len(data) < COUNTER_OCTETS + 2 + MAC_OCTETS:
        raise RemoteProtocolError("the transferred user key is too short")
    if counter < lowest:
        raise RemoteProtocolError(f"the key change counter {counter} was used before")
    # GCM is a stream cipher: encrypting the ciphertext gives the plaintext, and encrypting that
    # gives the tag, of which only eight octets are sent.
    gcm, nonce = AESGCM(master), _nonce(device, counter)
    plain = gcm.encrypt(nonce, body, None)[:-16]
    if not compare_digest(gcm.encrypt(nonce, plain, None)[-16:][:MAC_OCTETS], mac):
        raise RemoteProtocolError("the tag of the transferred user key does not verify")
    if plain[1] != len(plain) - 2:
        raise RemoteProtocolError("the transferred user key has another length than it says")
    return UserKey(counter, plain[0], plain[2:])


def wrap_user_key_dsmr4(master: bytes, key: bytes) -> bytes:
    """The key under the device's master key as one AES block (DSMR 4)."""
    if len(key) != 16:
        raise LocalProtocolError(f"a user key of DSMR 4 has 16 octets, not {len(key)}")
    # ECB of one random block is what DSMR 4 asks for.
    encryptor = Cipher(algorithms.AES(master), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(key) + encryptor.finalize()


def unwrap_user_key_dsmr4(master: bytes, data: bytes) -> bytes:
    """The reverse; raise RemoteProtocolError where it is no single block."""
    if len(data) != 16:
        raise RemoteProtocolError("a user key of DSMR 4 comes as 16 octets")
    decryptor = Cipher(algorithms.AES(master), modes.ECB()).decryptor()  # noqa: S305
    return decryptor.update(data) + decryptor.finalize()


# --- security mode 5 ------------------------------------------------------------------------------

MODE_5: Final = 5
"""AES-128-CBC; the initialisation vector is the device's address and the access number."""
BLOCK_OCTETS: Final = 16
_CHECK: Final = b"\x2f\x2f"
_FILLER: Final = b"\x2f"


def _mode_5(key: bytes, device: bytes, access: int) -> Cipher[modes.CBC]:
    """`device`: the eight octets of a long header, which has the identification first."""
    vector = device[4:6] + device[:4] + device[6:8] + bytes((access,)) * 8
    return Cipher(algorithms.AES(key), modes.CBC(vector))


def seal_mode_5(key: bytes, device: bytes, access: int, records: bytes, end: bytes = b"") -> bytes:
    """The records and their end mark in whole encrypted blocks."""
    filler = _FILLER * (-(len(_CHECK) + len(records) + len(end)) % BLOCK_OCTETS)
    encryptor = _mode_5(key, device, access).encryptor()
    return encryptor.update(_CHECK + records + filler + end) + encryptor.finalize()


def open_mode_5(key: bytes, device: bytes, access: int, data: bytes, blocks: int) -> bytes | None:
    """The reverse, with what follows the encrypted blocks; None where the key is another one.
    Raise RemoteProtocolError where blocks are missing."""
    size = blocks * BLOCK_OCTETS
    if len(data) < size:
        raise RemoteProtocolError(f"{blocks} encrypted blocks do not fit {len(data)} octets")
    if len(key) != BLOCK_OCTETS:
        return None
    decryptor = _mode_5(key, device, access).decryptor()
    plain = decryptor.update(data[:size]) + decryptor.finalize()
    return plain + data[size:] if plain.startswith(_CHECK) else None
