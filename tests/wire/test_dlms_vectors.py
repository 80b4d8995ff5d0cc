"""Recorded and published DLMS vectors decode as expected and encode to the same octets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.wire import acse, apdu
from blathy.wire.association import (
    ClientAssociation,
    ClientConfig,
    Discarded,
    InvocationCounters,
    KeySet,
    Notification,
    Protection,
    VolatileCounterStore,
)
from blathy.wire.octets import Reader
from blathy.wire.security import SecurityContext

NOW = Instant(0)
_CONTEXTS = {"LN": 1, "SN": 2, "LN-ciphered": 3, "SN-ciphered": 4}
_MECHANISMS = {"lls": 1, "hls-gmac": 5}


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((shared_data / "dlms-vectors.json").read_text())
    return entries


def _decode(octets: bytes) -> Any:
    return acse.decode(octets) if 0x60 <= octets[0] <= 0x63 else apdu.decode(octets)


def _apdus(entry: dict[str, Any]) -> list[bytes]:
    """The APDUs inside a vector whose framing is not our subject."""
    kind, expected = entry["kind"], entry["expected"]
    if kind.startswith("apdu:") or kind == "ciphered-apdu":
        return [bytes.fromhex(entry["hex"])]
    if kind.startswith("llc+apdu"):
        return [bytes.fromhex(entry["hex"])[3:]]
    if kind.startswith("wrapper+"):
        return [bytes.fromhex(entry["hex"])[8:]]
    if kind == "hdlc-frame" and "llc" in expected and not expected["segmented"]:
        return [bytes.fromhex(expected["info"])[3:]]
    return []


def _check_initiate(information: bytes, expected: dict[str, Any]) -> None:
    if expected["xdlms"].startswith("glo"):
        envelope = apdu.decode(information)
        assert isinstance(envelope, apdu.ServiceCiphered)
        assert envelope.content[0] == int(expected["sc"], 16)
        assert int.from_bytes(envelope.content[1:5], "big") == expected["ic"]
        return
    initiate = apdu.decode(information)
    assert isinstance(initiate, apdu.InitiateRequest | apdu.InitiateResponse)
    assert initiate.conformance == int(expected["conformance"], 16)
    assert initiate.max_pdu_size == expected["max_pdu"]
    assert initiate.version == expected["dlms_version"]
    if isinstance(initiate, apdu.InitiateRequest):
        assert initiate.response_allowed is expected["response_allowed"]
        assert initiate.dedicated_key == bytes.fromhex(expected.get("dedicated_key", ""))
    elif len(expected["vaa_name"]) == 4:
        assert initiate.vaa_name == int(expected["vaa_name"], 16)


def _check_acse(decoded: Any, expected: dict[str, Any]) -> None:
    if "application_context" in expected:
        assert decoded.context == _CONTEXTS[expected["application_context"]]
    if "mechanism" in expected:
        assert decoded.mechanism == _MECHANISMS[expected["mechanism"]]
        assert decoded.authentication_value.hex() == expected["authentication_value"]
        assert decoded.sender_requirements.hex() == expected["acse_requirements"]
    if "calling_ap_title" in expected:
        assert decoded.calling_ap_title.hex() == expected["calling_ap_title"]
    if "result" in expected:
        assert decoded.result == expected["result"]
        assert decoded.diagnostic == expected["diagnostic"]
        assert decoded.source == acse.DiagnosticSource.USER
    if "reason" in expected:
        assert decoded.reason == expected["reason"]
    _check_initiate(decoded.user_information, expected["user_information"])


def _check_xdlms(decoded: Any, expected: dict[str, Any]) -> None:
    if "invoke_id" in expected:
        assert decoded.invoke & 0x0F == expected["invoke_id"]
        assert bool(decoded.invoke & 0x40) is expected["confirmed"]
        assert bool(decoded.invoke & 0x80) is expected["high_priority"]
    if "attribute" in expected:
        _check_place(decoded.attribute, decoded.attribute.attribute, expected["attribute"])
    if "method" in expected:
        _check_place(decoded.method, decoded.method.method, expected["method"])
    if "selector" in expected:
        assert decoded.attribute.selector == expected["selector"]
    if "block" in expected:
        assert decoded.block == expected["block"]
    if "error" in expected or ("result" in expected and "data" not in expected):
        assert decoded.result == expected.get("error", expected.get("result"))
    if "long_invoke_id" in expected:
        assert decoded.long_invoke & apdu.LONG_INVOKE_ID_MASK == expected["long_invoke_id"]
        when = expected["datetime"]
        assert decoded.time.hex() == ("" if when is None else when["raw"])
        assert decoded.tagged_time is ("quirk" in expected)
    if "data" in expected:
        body = decoded.body if isinstance(decoded, apdu.DataNotification) else decoded.result
        assert axdr.skip(body, 0) == len(body)


def _check_place(ref: Any, index: int, expected: dict[str, Any]) -> None:
    assert ref.class_id == expected["class"]
    assert ref.obis.dotted() == expected["obis"]
    assert index == expected["index"]


def test_apdus_decode_as_expected_and_encode_to_the_same_octets(
    vectors: list[dict[str, Any]],
) -> None:
    seen = 0
    for entry in vectors:
        for octets in _apdus(entry):
            seen += 1
            expected = entry["expected"]
            decoded = _decode(octets)
            if entry["kind"] == "hdlc-frame":
                expected = expected["apdu"]
            if octets[0] in apdu.CIPHERED_TAGS:
                content = decoded.content
                assert content[0] == int(expected["sc"], 16), entry["name"]
                assert int.from_bytes(content[1:5], "big") == expected["ic"]
            elif 0x60 <= octets[0] <= 0x63:
                _check_acse(decoded, expected)
            elif "xdlms" in expected:
                _check_initiate(octets, expected)
            else:
                _check_xdlms(decoded, expected)
            if entry["name"] != "hdlc-i-aare-short-name":  # that meter's lengths are one too short
                assert decoded.encode() == octets, entry["name"]
    assert seen >= 36


def test_an_aare_whose_lengths_are_one_short_is_still_read(vectors: list[dict[str, Any]]) -> None:
    entry = next(e for e in vectors if e["name"] == "hdlc-i-aare-short-name")
    aare = acse.decode_aare(bytes.fromhex(entry["expected"]["info"])[3:])
    response = apdu.decode(aare.user_information)
    assert isinstance(response, apdu.InitiateResponse)
    assert (aare.context, aare.result) == (2, 0)
    assert (response.conformance, response.max_pdu_size) == (0x180220, 2400)
    assert response.vaa_name == apdu.VAA_NAME_SN


def _context(entry: dict[str, Any], title: bytes) -> SecurityContext:
    params = entry["params"]
    keys = KeySet(
        params.get("suite", 0),
        unicast=bytes.fromhex(params["ek"]),
        authentication=bytes.fromhex(params.get("ak", "")),
    )
    counters = InvocationCounters(VolatileCounterStore())
    return SecurityContext(
        b"LISTENER", keys, counters, bytes, peer_title=title, verify_tags="ak" in params
    )


def test_ciphered_apdus_open_and_seal_to_the_same_octets(vectors: list[dict[str, Any]]) -> None:
    seen = 0
    for entry in vectors:
        if "params" not in entry or "ek" not in entry["params"] or "sc" not in entry["expected"]:
            continue
        seen += 1
        octets, expected = _apdus(entry)[0], entry["expected"]
        title = bytes.fromhex(entry["params"].get("system_title", ""))
        opened = _context(entry, title).unprotect(octets)
        assert opened.plain.hex() == expected["plaintext"], entry["name"]
        assert opened.counter == expected["ic"]
        assert opened.protection == int(expected["sc"], 16) & 0x30
        sender = _context(entry, b"")
        sender.title = title or bytes.fromhex(expected.get("system_title", octets[2:10].hex()))
        key_id = sender.unicast_key_id
        sender.counters.follow_report(sender.title, key_id, opened.counter, jump_max=1 << 32)
        envelope = opened.envelope
        assert sender.protect(opened.plain, opened.protection, envelope) == octets, entry["name"]
    assert seen >= 5


def _listener(entry: dict[str, Any]) -> ClientAssociation:
    params = entry.get("params", {})
    keys = None
    if "ek" in params:
        keys = KeySet(
            unicast=bytes.fromhex(params["ek"]), authentication=bytes.fromhex(params.get("ak", ""))
        )
    config = ClientConfig(
        title=b"LISTENER", keys=keys, protection=Protection.NONE, verify_tags="ak" in params
    )
    return ClientAssociation(config, bytes, InvocationCounters(VolatileCounterStore()))


def _information_fields(stream: bytes) -> list[bytes]:
    """Information fields of UI frames back to back, without their LLC."""
    fields = []
    position = 0
    while position < len(stream):
        assert stream[position] == 0x7E
        length = (stream[position + 1] << 8 | stream[position + 2]) & 0x7FF
        frame = stream[position + 1 : position + 1 + length]
        start = 2
        for _ in range(2):  # two addresses, each ends with an octet whose low bit is set
            while not frame[start] & 1:
                start += 1
            start += 1
        field = frame[start + 3 : -2]
        fields.append(field[3:] if field.startswith(b"\xe6\xe7\x00") else field)
        position += length + 1
        assert stream[position] == 0x7E
        position += stream[position + 1 : position + 2] in (b"\x7e", b"")
    return fields


def test_pushes_of_real_meters_in_block_transfer_and_ciphered_are_read(
    vectors: list[dict[str, Any]],
) -> None:
    seen = 0
    for entry in vectors:
        if entry["kind"] != "hdlc-stream":
            continue
        expected = entry["expected"]
        message = expected["messages"][0] if "messages" in expected else expected
        frames = expected["frames"]
        if isinstance(frames, list) and any(frame["segmented"] for frame in frames):
            continue
        listener = _listener(entry)
        events = []
        for octets in _information_fields(bytes.fromhex(entry["hex"])):
            events += listener.receive_apdu(octets, NOW)
        assert len(events) == 1, entry["name"]
        push = events[0]
        if "ciphered" in message and "plaintext" not in message:
            assert isinstance(push, Discarded)  # nobody published the key
            continue
        assert isinstance(push, Notification)
        assert push.long_invoke & 0xFFFFFF == message["apdu"]["long_invoke_id"]
        assert axdr.skip(push.body, 0) == len(push.body)
        if "ciphered" in message:
            assert push.ciphered
            assert push.authenticated is message["authenticated"], entry["name"]
            assert push.originator.hex() == message["ciphered"]["system_title"]
            plain = bytes.fromhex(message["plaintext"])
            assert plain.endswith(push.body)
        seen += 1
    assert seen >= 4


def test_ciphered_push_without_keys_is_an_event_and_no_crash(vectors: list[dict[str, Any]]) -> None:
    entry = next(e for e in vectors if e["name"] == "push-encrypted-lg-e450-gh501-1")
    entry = {k: v for k, v in entry.items() if k != "params"}
    (octets,) = _information_fields(bytes.fromhex(entry["hex"]))
    (event,) = _listener(entry).receive_apdu(octets, NOW)
    assert not isinstance(event, Notification)


def test_data_values_of_vectors_end_where_they_should(vectors: list[dict[str, Any]]) -> None:
    entry = next(e for e in vectors if e["name"] == "axdr-structure-mixed")
    octets = bytes.fromhex(entry["hex"])
    assert len(Reader(octets).data_value()) == entry["expected"]["consumed"]
