"""Clients that this project did not write, over real ports against meters of the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from blathy.meter.meter import Meter
from blathy.models.model import Level, Mechanism
from blathy.wire.association_events import ClientAssociated
from tests.interop.peers import Peer, job_of, meter_of
from tests.meter.running import served

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(90),
    pytest.mark.requirement("K-17"),
]
ENERGY_WH = 3 * 1200 * 24
ALL = ["clock", "register", "objects", "range", "entry", "set", "action", "list"]
FOR_DLMS_COSEM = ["clock", "register", "objects", "range", "set", "action"]
DIGESTS = (Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256)


@pytest.fixture(scope="module")
def gurux() -> Iterator[Peer]:
    with Peer("gurux_client.py") as peer:
        yield peer


@pytest.fixture(scope="module")
def dlms_cosem() -> Iterator[Peer]:
    with Peer("dlms_cosem_client.py") as peer:
        yield peer


def check(result: dict[str, Any], meter: Meter, level: Level = Level.MANAGEMENT) -> None:
    assert "failed" not in result, result
    assert result["released"]
    for work in result.keys() & set(ALL):
        found = result[work]
        if work == "register":
            assert found == [ENERGY_WH, 30]
        elif work == "objects":
            assert found == len(meter.tree.view(level).list_entries)
        elif work == "set":
            assert found == 1
        elif work == "list":
            assert found in {2, 3}
    if isinstance(result.get("range"), list):
        rows, first, last = result["range"]
        assert (rows, first) == (5, "2026-01-01T03:00:00+01:00")
        assert last == 3 * 1200 * 3
        assert result["entry"] == [7, "2026-01-01T01:45:00+01:00"]
        assert result["clock"].startswith("2026-01-02T01:00:0")
    elif "range" in result:
        assert result["range"] == 5
    if "action" in result:
        assert not meter.control_view.connected


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("mechanism", [Mechanism.LLS, Mechanism.HLS_GMAC, *DIGESTS])
def test_gurux_in_a_plain_context(gurux: Peer, mechanism: Mechanism, framing: str) -> None:
    meter = meter_of(mechanism)
    with served(meter) as port:
        check(gurux(job_of(meter, port, ALL, framing=framing)), meter)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("mechanism", [Mechanism.LLS, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256])
def test_gurux_ciphered(gurux: Peer, mechanism: Mechanism, suite: int, framing: str) -> None:
    meter = meter_of(mechanism, suite)
    with served(meter) as port:
        check(gurux(job_of(meter, port, ALL, ciphered=True, framing=framing)), meter)


@pytest.mark.parametrize("size", [128, 512])
@pytest.mark.parametrize("ciphered", [False, True])
def test_gurux_in_blocks(gurux: Peer, size: int, ciphered: bool) -> None:
    meter = meter_of(Mechanism.HLS_GMAC)
    with served(meter) as port:
        check(gurux(job_of(meter, port, ALL, ciphered=ciphered, pdu_size=size)), meter)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_gurux_as_the_public_client(gurux: Peer, framing: str) -> None:
    meter = meter_of(Mechanism.HLS_GMAC)
    with served(meter) as port:
        job = job_of(meter, port, ["clock", "objects"], level=Level.PUBLIC, framing=framing)
        check(gurux(job), meter, Level.PUBLIC)
        refused = gurux(job_of(meter, port, ["register"], level=Level.PUBLIC, framing=framing))
        assert "3" in refused["failed"]  # read-write-denied, told and not a silent close


def test_gurux_opens_with_a_signature(gurux: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of suite 1 (it cannot load the keys of suite 2); its check of our signature raises in its
    own code (gurux 1.0.203), after the meter has accepted its own."""
    meter = meter_of(Mechanism.HLS_ECDSA, 1)
    events: list[object] = []
    monkeypatch.setattr(Meter, "associations_event", lambda _meter, event: events.append(event))
    with served(meter) as port:
        result = gurux(job_of(meter, port, ["clock"]))
    assert any(isinstance(event, ClientAssociated) for event in events), (events, result)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_gurux_by_short_names(gurux: Peer, framing: str) -> None:
    """Its HLS by short names is a Write, which has no answer for the fourth pass."""
    meter = meter_of(Mechanism.LLS, short_names=True)
    names = {item.obis.dotted(): base for base, item in meter.tree.short_names.items()}
    work = [each for each in ALL if each not in {"action", "objects"}]
    with served(meter) as port:
        check(gurux(job_of(meter, port, work, names=names, framing=framing)), meter)


def test_gurux_with_a_wrong_password_is_told_so(gurux: Peer) -> None:
    meter = meter_of(Mechanism.LLS)
    with served(meter) as port:
        result = gurux(job_of(meter, port, ALL) | {"secret": b"wrong".hex()})
    assert "uthentication" in result["failed"]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    ("mechanism", "ciphered"), [(Mechanism.LLS, False), (Mechanism.HLS_GMAC, True)]
)
@pytest.mark.parametrize("size", [65_535, 400])
def test_dlms_cosem(
    dlms_cosem: Peer, mechanism: Mechanism, ciphered: bool, framing: str, size: int
) -> None:
    meter = meter_of(mechanism)
    with served(meter) as port:
        job = job_of(meter, port, FOR_DLMS_COSEM, ciphered=ciphered, framing=framing, pdu_size=size)
        check(dlms_cosem(job), meter)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("suite", [1, 2])
def test_dlms_cosem_in_other_suites(dlms_cosem: Peer, suite: int, framing: str) -> None:
    meter = meter_of(Mechanism.HLS_GMAC, suite)
    with served(meter) as port:
        job = job_of(meter, port, FOR_DLMS_COSEM, ciphered=True, framing=framing)
        check(dlms_cosem(job), meter)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_dlms_cosem_as_the_public_client(dlms_cosem: Peer, framing: str) -> None:
    meter = meter_of(Mechanism.LLS)
    with served(meter) as port:
        job = job_of(meter, port, ["clock", "objects"], level=Level.PUBLIC, framing=framing)
        check(dlms_cosem(job), meter, Level.PUBLIC)
