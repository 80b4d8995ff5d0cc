"""SNTP version 4 (RFC 4330; the packets of NTP, RFC 5905): a client's question and its answer.

Times are whole nanoseconds since 1970 UTC. The question tells nothing of the asking clock: where
its time would stand it carries a nonce, which a true answer brings back.

With a key that both sides share, question and answer end in its number and the MD5 digest of key
and packet (RFC 5905).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from blathy.clock import NANOSECONDS_PER_S
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

PORT: Final = 123
NONCE_OCTETS: Final = 8
PACKET_OCTETS: Final = 48
DIGEST_OCTETS: Final = 16
KEY_OCTETS_MAX: Final = 255
UNIX_EPOCH_S: Final = 2_208_988_800
"""1970 in seconds since 1900, where the first era of NTP begins."""
ERA_S: Final = 1 << 32
_CLIENT, _SERVER, _VERSION = 3, 4, 4
_VERSIONS: Final = {3, 4}
_NOT_SYNCHRONISED: Final = 3  # leap indicator
_STRATUM_MAX: Final = 15
_HEADER: Final = struct.Struct(">BBbb12s")
_SECOND_ERA: Final = 1 << 31
"""Seconds below this are of the era that begins in 2036 (RFC 4330)."""


class ServerTime(NamedTuple):
    """When the server got the question and when it answered, in ns since 1970."""

    received_ns: int
    answered_ns: int

    def offset_ns(self, sent_ns: int, arrived_ns: int) -> int:
        """How far the server is ahead of the clock that has read these times of the question and
        of the answer; the way is taken to be as long there as back."""
        return (self.received_ns - sent_ns + self.answered_ns - arrived_ns) // 2


class SharedKey(NamedTuple):
    """A key, and the number by which both sides know it."""

    number: int
    octets: bytes

    def proof(self, packet: bytes) -> bytes:
        """What stands behind a packet that was made by a holder of the key."""
        digest = hashlib.md5(self.octets + packet, usedforsecurity=False).digest()
        return self.number.to_bytes(4, "big") + digest


def question(nonce: bytes, key: SharedKey | None = None) -> bytes:
    """The packet that asks for the time, with the proof of a key where one is given."""
    if len(nonce) != NONCE_OCTETS:
        raise LocalProtocolError(f"a nonce of SNTP has {NONCE_OCTETS} octets, not {len(nonce)}")
    first = _VERSION << 3 | _CLIENT
    packet = bytes((first,)).ljust(PACKET_OCTETS - NONCE_OCTETS, b"\0") + nonce
    return packet if key is None else packet + key.proof(packet)


def answer(octets: bytes, nonce: bytes, key: SharedKey | None = None) -> ServerTime:
    """What the server says; RemoteProtocolError where it is no answer to this question, or the
    server does not know the time, or does not prove the key."""
    if len(octets) < PACKET_OCTETS:
        raise RemoteProtocolError(f"an answer has {PACKET_OCTETS} octets, not {len(octets)}")
    first, stratum, _poll, _precision, rest = _HEADER.unpack_from(octets)
    if first & 7 != _SERVER or first >> 3 & 7 not in _VERSIONS:
        raise RemoteProtocolError("this is no answer of a time server")
    if octets[24:32] != nonce:
        raise RemoteProtocolError("this answers another question")
    if key is not None and not _is_proved(octets, key):
        raise RemoteProtocolError("the time server does not prove that it has our key")
    if stratum == 0:
        code = rest[8:12].decode("ascii", "replace").rstrip("\0")
        raise RemoteProtocolError(f"the time server sends us away ({code})")
    if first >> 6 == _NOT_SYNCHRONISED or stratum > _STRATUM_MAX:
        raise RemoteProtocolError("the time server does not know the time")
    if octets[40:48] == bytes(8):
        raise RemoteProtocolError("the time server gives no time")
    return ServerTime(_ns(octets[32:40]), _ns(octets[40:48]))


def _is_proved(octets: bytes, key: SharedKey) -> bool:
    split = len(octets) - DIGEST_OCTETS - 4
    return split >= PACKET_OCTETS and hmac.compare_digest(key.proof(octets[:split]), octets[split:])


def timestamp(unix_ns: int) -> bytes:
    """A time as packets carry it."""
    seconds, ns = divmod(unix_ns, NANOSECONDS_PER_S)
    fraction = (ns << 32) // NANOSECONDS_PER_S
    return struct.pack(">II", (seconds + UNIX_EPOCH_S) % ERA_S, fraction)


def _ns(octets: bytes) -> int:
    seconds, fraction = (int.from_bytes(half, "big") for half in (octets[:4], octets[4:]))
    if seconds < _SECOND_ERA:
        seconds += ERA_S
    return (seconds - UNIX_EPOCH_S) * NANOSECONDS_PER_S + (fraction * NANOSECONDS_PER_S >> 32)
