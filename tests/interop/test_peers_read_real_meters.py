"""Foreign clients and what our meters refuse: they are told, never left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blathy.models.model import Level, Mechanism
from tests.interop.peers import Peer, job_of, meter_of
from tests.interop.ports import Served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
LISTED = ["clock", "objects"]
READ_WRITE_DENIED = 3


@pytest.fixture(scope="module")
def gurux() -> Iterator[Peer]:
    with Peer("gurux_client") as peer:
        yield peer


@pytest.fixture(scope="module")
def dlms_cosem() -> Iterator[Peer]:
    with Peer("dlms_cosem_client") as peer:
        yield peer


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.end()


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_the_public_client_sees_what_it_may(
    gurux: Peer, dlms_cosem: Peer, served: Served, framing: str
) -> None:
    meter = meter_of(Mechanism.HLS_GMAC)
    listed = len(meter.tree.view(Level.PUBLIC).list_entries)
    with served.tcp(meter) as at:
        job = job_of(meter, 0, LISTED, level=Level.PUBLIC, framing=framing) | at
        assert gurux(job)["objects"] == listed
        assert dlms_cosem(job)["objects"] == listed
        refused = gurux(job | {"work": ["register"]})
        assert f"error {READ_WRITE_DENIED}" in refused["failed"]


def test_a_wrong_password_is_told(gurux: Peer, dlms_cosem: Peer, served: Served) -> None:
    meter = meter_of(Mechanism.LLS)
    with served.tcp(meter) as at:
        job = job_of(meter, 0, LISTED) | at | {"secret": b"wrong".hex()}
        assert "uthentication" in gurux(job)["failed"]
        assert "AUTHENTICATION_FAILED" in dlms_cosem(job)["failed"]


def test_refusals_end_nothing(gurux: Peer, dlms_cosem: Peer, served: Served) -> None:
    """What is not there, no method of its class, an energy set to 0; then a clock."""
    meter = meter_of(Mechanism.HLS_GMAC)
    refused = [
        ["get", 1, "9.9.9.9.9.9", 2],
        ["get", 3, "1.0.1.8.0.255", 99],
        ["method", 70, "0.0.96.3.10.255", 9],
        ["reset", 3, "1.0.1.8.0.255"],
        ["clock"],
    ]
    with served.tcp(meter) as at:
        result = gurux(job_of(meter, 0, [], ciphered=True, tries=refused) | at)
        *failed, shown = result["tries"]
        assert ["error" in each["failed"] for each in failed] == [True] * 4
        assert shown.startswith("2026-01-02T01:00")
        tries = [["denied_write"], ["clock"]]
        result = dlms_cosem(job_of(meter, 0, [], ciphered=True, tries=tries) | at)
        assert result["tries"][0] == "READ_WRITE_DENIED"
        assert result["tries"][1].startswith("090c07ea")
        assert result["released"]


def test_a_repeated_invocation_counter_is_told(gurux: Peer, served: Served) -> None:
    meter = meter_of(Mechanism.HLS_GMAC)
    with served.tcp(meter) as at:
        job = job_of(meter, 0, ["clock"], ciphered=True) | at
        assert gurux(job)["released"]
        assert "nvocation counter" in gurux(job)["failed"]
