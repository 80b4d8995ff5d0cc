"""Gurux' own classes drive our objects: firmware, keys, certificates, every load profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef
from blathy.meter.certificates import SIGNATURE, issue, issue_for_request, read
from blathy.meter.classes.image_transfer import ImageStatus
from blathy.meter.identity import authority_private_key, maker_private_key
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.firmware import build_image
from blathy.models.model import Level, Mechanism
from blathy.wire.security import new_private_key, public_key_of
from tests.interop.peers import EVERY, Peer, job_of, meter_of
from tests.interop.ports import Served
from tests.interop.test_every_model import as_the_peer_writes
from tests.meter.running import START_S, entropy, made, who
from tests.meter.simple_load import ConstantLoad

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(600),
    pytest.mark.requirement("K-17"),
]


class Bench:
    """The peer and a loop that serves."""

    def __init__(self, peer: Peer, served: Served) -> None:
        self.peer = peer
        self.served = served

    def __call__(self, meter: Meter, work: list[Any], **extra: Any) -> dict[str, Any]:
        with self.served.tcp(meter) as at:
            result = self.peer(job_of(meter, 0, work, **extra) | at)
        assert "failed" not in result, result
        return result


@pytest.fixture(scope="module")
def gurux() -> Iterator[Bench]:
    served = Served()
    with Peer("gurux_client", "-O") as peer:
        yield Bench(peer, served)
    served.end()


def test_an_image_is_transferred_with_blocks_left_out_and_brought_later(gurux: Bench) -> None:
    meter = meter_of(Mechanism.HLS_GMAC, model="omnipower")
    maker = maker_private_key(MODELS["omnipower"], "test")
    image = build_image("omnipower", "50981137 F2", bytes(range(256)) * 20, maker)
    result = gurux(meter, [["image", "0.0.44.0.0.255", "fw", image.hex(), [1, 4]]], ciphered=True)
    found = result["image"]
    count = -(-len(image) // found["block"])
    assert found["first_missing"] == 1
    assert found["status"] == "".join("0" if n in {1, 4} else "1" for n in range(count))
    assert found["all_there"] == "1" * count
    assert (found["verify"], found["activate"]) == ("done", "done")
    assert found["state"] == ImageStatus.VERIFICATION_SUCCESSFUL
    assert found["to_activate"] == [[len(image), "x" + b"fw".hex()]]
    assert found["end"] == ImageStatus.ACTIVATION_SUCCESSFUL
    assert meter.text("firmware") == b"50981137 F2"


@pytest.mark.parametrize("suite", [0, 1])
def test_keys_wrapped_by_gurux_are_in_force_at_once(gurux: Bench, suite: int) -> None:
    meter = meter_of(Mechanism.HLS_GMAC, suite)
    octets = len(meter.key("unicast"))
    fresh = {"0": bytes(range(1, octets + 1)).hex(), "2": bytes(range(octets, 0, -1)).hex()}
    work = [["transfer_keys", meter.key("master").hex(), fresh], "clock"]
    assert gurux(meter, work, ciphered=True)["released"]
    assert meter.key("unicast").hex() == fresh["0"]
    assert meter.key("authentication").hex() == fresh["2"]
    assert gurux(meter, ["clock"], ciphered=True)["released"]


def test_gurux_wraps_no_keys_of_suite_2(gurux: Bench) -> None:
    meter = meter_of(Mechanism.HLS_GMAC, 2)
    work = [["transfer_keys", meter.key("master").hex(), {"0": bytes(32).hex()}]]
    with pytest.raises(AssertionError, match="Key Encrypting Key"):
        gurux(meter, work, ciphered=True)


@pytest.mark.parametrize("suite", [1, 2])
def test_certificates_are_listed_exported_requested_and_imported(gurux: Bench, suite: int) -> None:
    meter = meter_of(Mechanism.HLS_ECDSA, suite)
    title = meter.identity.system_title
    result = gurux(meter, [["certificates", title.hex()]], ciphered=True)["certificates"]
    assert [0, SIGNATURE] in result["listed"]
    exported = read(bytes.fromhex(result["exported"]), suite)
    assert exported.title == title
    assert exported.public == public_key_of(meter.key("signing"), suite)
    authority = authority_private_key(meter.model, "test", suite)
    request = bytes.fromhex(result["requested"])
    certificate = issue_for_request(request, SIGNATURE, authority, suite)
    own = issue(b"GRX00009", SIGNATURE, public_key_of(new_private_key(suite, entropy), suite),
                authority, suite)  # fmt: skip
    assert gurux(
        meter,
        [["import_certificate", certificate.hex()], ["clock"], ["import_certificate", own.hex()],
         ["remove_certificate", b"GRX00009".hex(), SIGNATURE]],
        ciphered=True,
    )["released"]  # fmt: skip
    assert public_key_of(meter.key("signing"), suite) == read(certificate, suite).public
    assert gurux(meter, ["clock"], ciphered=True)["released"]


def test_a_policy_activated_by_gurux_holds(gurux: Bench) -> None:
    meter = meter_of(Mechanism.HLS_GMAC)
    both_ways = 0x6C
    found = gurux(meter, [["activate_policy", both_ways]], ciphered=True)
    assert found["activate_policy"] == both_ways
    assert gurux(meter, ["clock"], ciphered=True)["released"]
    with pytest.raises(AssertionError, match="failed"):
        gurux(meter, ["clock"])


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("short_names", [False, True], ids=["names", "short-names"])
def test_every_profile_by_range_by_entry_and_by_column(
    gurux: Bench, key: str, short_names: bool
) -> None:
    """Also of event logs: what Gurux gets is what the meter holds."""
    mechanisms = tuple((level, Mechanism.LLS) for level in EVERY)
    options = MeterOptions(mechanisms=mechanisms, encryption=False, short_names=short_names)
    meter = made(key, options=options)
    meter.advance(ConstantLoad(1200, len(meter.model.phases)), START_S + 5 * 3600)
    profiles = [
        entry.object.obis
        for entry in meter.tree.view(Level.MANAGEMENT).entries.values()
        if entry.object.class_id == 7 and entry.may_get(2)
    ]
    assert profiles
    extra: dict[str, Any] = {}
    if short_names:
        extra["names"] = {i.obis.dotted(): base for base, i in meter.tree.short_names.items()}
    since, until = "2026-01-01T01:00:00+00:00", "2026-01-01T03:00:00+00:00"
    work = [["whole_profile", obis.dotted(), since, until] for obis in profiles]
    with gurux.served.tcp(meter) as at:
        result = gurux.peer(job_of(meter, 0, [], tries=work, **extra) | at)
    assert len(result["tries"]) == len(profiles), result
    for obis, found in zip(profiles, result["tries"], strict=True):
        assert "failed" not in found, (obis, found)
        ref = AttributeRef(7, obis, 2)
        rows = as_the_peer_writes(axdr.decode(meter.objects.get(ref, who(meter))))
        assert found["rows"] == rows
        assert found["in_use"] == len(rows)
        assert found["entries"] == rows[: min(3, len(rows))]
        if rows and found["columns"][0][0] == 8:
            first, last = "07ea0101040200", "07ea0101040400"
            wanted = [row for row in rows if first <= row[0][1:15] <= last]
            assert found["range"] == wanted
            assert found["column"] == [[row[-1]] for row in wanted]
