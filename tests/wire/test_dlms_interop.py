"""Independent clients, each in a process of its own, against our server core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from blathy.wire.acse import Mechanism
from blathy.wire.association import (
    AssociationProfile,
    ClientConfig,
    Conformance,
    KeySet,
    SecurityPolicy,
)
from tests.processes import start
from tests.wire.association_pair import (
    CLIENT_TITLE,
    DISCONNECT,
    ENERGY_VALUE,
    LONG_VALUE,
    NOW,
    WRITABLE,
    Pair,
    key_pair,
    make_pair,
)

SECRET = b"12345678ABCDEFGH"
ONLY_GENERAL_BLOCKS = 0xFFFFFF & ~int(Conformance.BLOCK_TRANSFER_GET_OR_READ)

pytestmark = pytest.mark.interop


def keys_of(suite: int) -> KeySet:
    size = 32 if suite == 2 else 16
    return KeySet(suite, bytes(range(size)), bytes(range(0xC0, 0xC0 + size)))


def meter(mechanism: Mechanism, *, ciphered: bool, suite: int = 0) -> Pair:
    keyed = ciphered or mechanism is Mechanism.HLS_GMAC
    policy = SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED if ciphered else SecurityPolicy.NONE
    profile = AssociationProfile(
        16,
        mechanism,
        SECRET,
        keys_of(suite) if keyed else None,
        policy,
        conformance=0xFFFFFF,
        bare_release=True,
    )
    return make_pair(ClientConfig(), profile)


def job_of(
    mechanism: Mechanism, *, ciphered: bool, suite: int = 0, **extra: object
) -> dict[str, Any]:
    job: dict[str, Any] = {"client": 16, "mechanism": int(mechanism), "secret": ""}
    if mechanism not in (Mechanism.NONE, Mechanism.HLS_GMAC):
        job["secret"] = SECRET.hex()
    if ciphered or mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_SHA256):
        keys = keys_of(suite)
        job |= {"title": CLIENT_TITLE.hex(), "suite": suite}
        job |= {"ek": keys.unicast.hex(), "ak": keys.authentication.hex()}
    if ciphered:
        job["security"] = 0x30
    return job | extra


class Peer:
    """A peer's process. Every APDU that it writes goes through a server core."""

    def __init__(self, script: str) -> None:
        self.process = start(program=f"tests.wire.{script}", stdin=True)

    def __call__(self, job: dict[str, Any], pair: Pair) -> dict[str, Any]:
        """Let it do a job against the pair's server and return its result."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(job), file=stdin, flush=True)
        for line in stdout:
            if line.startswith("RESULT "):
                result: dict[str, Any] = json.loads(line[7:])
                return result
            if line.startswith("APDU "):
                request = bytes.fromhex(line[5:])
                pair.wire.append((">", request))
                answers = pair.server.receive_apdu(request, NOW)
                pair.wire += [("<", answer) for answer in answers]
                print(json.dumps([a.hex() for a in answers]), file=stdin, flush=True)
        raise AssertionError("the peer ended without a result")


@pytest.fixture(scope="module")
def gurux() -> Iterator[Peer]:
    peer = Peer("peer_gurux")
    with peer.process:
        yield peer


@pytest.fixture(scope="module")
def dlms_cosem() -> Iterator[Peer]:
    peer = Peer("peer_dlms_cosem")
    with peer.process:
        yield peer


WORK = {
    "get": [["register", 2], ["clock", 2], ["profile", 2]],
    "set": "aabbcc",
    "action": True,
    "list": True,
}


def check_gurux(result: dict[str, Any], pair: Pair) -> None:
    assert "failed" not in result, (result, [(w, o.hex()) for w, o in pair.wire[-4:]])
    assert result["register"] == "1337"
    assert result["profile"] == 96
    assert "\\x07\\xea\\x0b\\x15" in result["clock"]
    assert result["set"]
    assert result["action"]
    assert result["list"] == 2
    assert result["released"]
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == bytes.fromhex("0903aabbcc")
    assert pair.meter.calls[-1][0] == DISCONNECT


@pytest.mark.parametrize(
    "mechanism",
    [
        Mechanism.NONE,
        Mechanism.LLS,
        Mechanism.HLS,
        Mechanism.HLS_MD5,
        Mechanism.HLS_SHA1,
        Mechanism.HLS_GMAC,
        Mechanism.HLS_SHA256,
    ],
)
def test_gurux_client_in_a_plain_context(gurux: Peer, mechanism: Mechanism) -> None:
    pair = meter(mechanism, ciphered=False)
    job = job_of(mechanism, ciphered=False, **WORK)
    check_gurux(gurux(job, pair), pair)


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("mechanism", [Mechanism.LLS, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256])
def test_gurux_client_ciphered(gurux: Peer, mechanism: Mechanism, suite: int) -> None:
    pair = meter(mechanism, ciphered=True, suite=suite)
    job = job_of(mechanism, ciphered=True, suite=suite, **WORK)
    check_gurux(gurux(job, pair), pair)


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("ciphered", [False, True])
def test_gurux_client_with_block_transfer(gurux: Peer, size: int, ciphered: bool) -> None:
    mechanism = Mechanism.HLS_GMAC if ciphered else Mechanism.NONE
    pair = meter(mechanism, ciphered=ciphered)
    job = job_of(mechanism, ciphered=ciphered, pdu_size=size, **WORK)
    check_gurux(gurux(job, pair), pair)


@pytest.mark.parametrize("window", [1, 4])
def test_gurux_client_with_general_block_transfer(gurux: Peer, window: int) -> None:
    profile = AssociationProfile(16, conformance=ONLY_GENERAL_BLOCKS)
    pair = make_pair(ClientConfig(), profile)
    job = job_of(Mechanism.NONE, ciphered=False, pdu_size=300, gbt_window=window)
    # Gurux counts the bits of the conformance block from the other end.
    bits = sum(1 << bit for bit in (2, 9, 14, 19, 20, 21, 23))
    job |= {"get": [["profile", 2]], "conformance": bits}
    result = gurux(job, pair)
    assert result.get("profile") == 96, (result, [(w, o.hex()) for w, o in pair.wire])
    streamed = [octets for way, octets in pair.wire if way == "<" and octets[0] == 0xE0]
    assert len(streamed) == 8
    assert any(octets[1] & 0x40 for octets in streamed) is (window > 1)


def test_gurux_client_proves_itself_with_ecdsa(gurux: Peer) -> None:
    """Its signature opens the association; its own check of a signature raises (gurux 1.0.203)."""
    client_keys, server_keys = key_pair(1)
    profile = AssociationProfile(
        16, Mechanism.HLS_ECDSA, b"", server_keys, conformance=0xFFFFFF, bare_release=True
    )
    pair = make_pair(ClientConfig(), profile)
    job = job_of(Mechanism.HLS_ECDSA, ciphered=False, suite=1) | {"secret": ""}
    job |= {"title": CLIENT_TITLE.hex(), "suite": 1}
    job |= {"ek": client_keys.unicast.hex(), "ak": client_keys.authentication.hex()}
    job |= {"signing": client_keys.signing.hex(), "peer_signing": client_keys.peer_signing.hex()}
    gurux(job, pair)
    assert pair.server.associated


@pytest.mark.parametrize("mechanism", [Mechanism.NONE, Mechanism.LLS])
def test_gurux_client_with_short_names(gurux: Peer, mechanism: Mechanism) -> None:
    profile = AssociationProfile(16, mechanism, SECRET, conformance=0xFFFFFF, short_names=True)
    pair = make_pair(ClientConfig(), profile)
    names = {"register": 0x100, "clock": 0x200, "profile": 0x300, "data": 0x400}
    job = job_of(mechanism, ciphered=False, short_names=names, **WORK) | {"action": False}
    result = gurux(job, pair)
    assert (result["register"], result["profile"], result["list"]) == ("1337", 96, 2), result
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == bytes.fromhex("0903aabbcc")


def test_gurux_client_with_a_wrong_password_is_told_so(gurux: Peer) -> None:
    pair = meter(Mechanism.LLS, ciphered=False)
    job = job_of(Mechanism.LLS, ciphered=False) | {"secret": b"wrong".hex()}
    result = gurux(job, pair)
    assert "failed" in result
    assert "uthentication" in result["failed"]
    assert not pair.server.associated


@pytest.mark.parametrize("pdu_size", [65535, 256])
@pytest.mark.parametrize(
    ("mechanism", "ciphered"),
    [(Mechanism.NONE, False), (Mechanism.LLS, False), (Mechanism.HLS_GMAC, True)],
)
def test_dlms_cosem_client(
    dlms_cosem: Peer, mechanism: Mechanism, ciphered: bool, pdu_size: int
) -> None:
    pair = meter(mechanism, ciphered=ciphered)
    job = job_of(mechanism, ciphered=ciphered, pdu_size=pdu_size)
    result = dlms_cosem(job, pair)
    assert "failed" not in result, (result, [(w, o.hex()) for w, o in pair.wire[-4:]])
    assert result["register"] == ENERGY_VALUE.hex()
    assert result["profile"] == LONG_VALUE.hex()
    assert result["set"] == 0
    assert result["released"]
    assert pair.meter.calls[-1][0] == DISCONNECT
