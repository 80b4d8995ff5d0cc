"""Security setup (class 64) of meters of suites 0 to 2, from our client over a real port."""

from __future__ import annotations

import os
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, Refused, VolatileCounterStore
from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.cosem import axdr
from blathy.meter.certificates import (
    AGREEMENT,
    CLIENT,
    SERVER,
    SIGNATURE,
    issue,
    issue_for_request,
    read,
)
from blathy.meter.identity import HEAD_END_TITLE, authority_private_key, head_end_keys
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.model import Level, Mechanism, ModelError
from blathy.store.store import StorageError, Store
from blathy.transport.errors import MeterError, Untrusted
from blathy.wire.security import (
    agree_ephemeral,
    ephemeral_offer,
    new_private_key,
    public_key_of,
    wrap_key,
)
from tests.meter.running import call, get, made, served
from tests.waiting import run

SECURITY = "0-0:43.0.0"
EVERY = tuple(Level)
ENVELOPES = ("", "&dedicated=1", "&general=1", "&key=identified", "&key=wrapped")
WITH_CURVES = ("&protect=signed", "&protect=signed-inside", "&key=one-pass", "&key=static")


def meter_of(suite: int, mechanism: Mechanism, **named: Any) -> Meter:
    options = MeterOptions(suite=suite, mechanisms=tuple((level, mechanism) for level in EVERY))
    return made("omnipower", options=options, **named)


def url_of(meter: Meter, port: int, level: str = "management") -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test")
    return next(line.split()[1] for line in lines if line.startswith(level))


def connected(url: str) -> Client:
    return Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("mechanism", [m for m in Mechanism if m is not Mechanism.NONE])
def test_meters_are_read_in_every_suite_by_every_way_to_authenticate(
    suite: int, mechanism: Mechanism
) -> None:
    if mechanism is Mechanism.HLS_ECDSA and not suite:
        with pytest.raises(ModelError, match="suite 1 or 2"):
            meter_of(suite, mechanism)
        return
    meter = meter_of(suite, mechanism)

    async def test() -> None:
        with served(meter) as port:
            async with connected(url_of(meter, port)) as client:
                assert await client.read(("0-0:43.0.0", 3)) == suite
                assert len(await client.objects()) > 100

    run(test)


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_every_envelope_and_way_to_name_the_key_reads_a_meter(suite: int) -> None:
    meter = meter_of(suite, Mechanism.HLS_GMAC)

    async def test() -> None:
        with served(meter) as port:
            url = url_of(meter, port) + f"&kek={meter.key('master').hex()}"
            for extra in ENVELOPES + (WITH_CURVES if suite else ()):
                async with connected(url + extra) as client:
                    assert await client.read(("0-0:43.0.0", 3)) == suite, extra

    run(test)


def test_a_policy_that_asks_for_signatures_holds_from_the_next_association_on() -> None:
    meter = meter_of(2, Mechanism.HLS_ECDSA)

    async def test() -> None:
        with served(meter) as port:
            url = url_of(meter, port)
            async with connected(url) as client:
                await client.action(SECURITY, "security_activate", axdr.enum(0xFC))
            async with connected(url + "&protect=signed") as client:
                assert await client.read((SECURITY, 2)) == 0xFC
            with pytest.raises(MeterError):
                async with connected(url) as client:
                    await client.read((SECURITY, 2))

    run(test)


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_a_transferred_key_is_in_force_after_its_own_answer(suite: int) -> None:
    meter = meter_of(suite, Mechanism.HLS_GMAC)
    fresh = os.urandom(len(meter.key("unicast")))

    async def test() -> None:
        with served(meter) as port:
            url = url_of(meter, port)
            wrapped = wrap_key(meter.key("master"), fresh)
            items = axdr.array(axdr.structure(axdr.enum(0), axdr.octets(wrapped)))
            old = meter.key("unicast").hex()
            async with connected(url) as client:
                await client.action(SECURITY, "key_transfer", items)
            with pytest.raises(Untrusted):
                await connected(url).open()
            async with connected(url.replace(old, fresh.hex())) as client:
                assert await client.read((SECURITY, 3)) == suite

    run(test)


@pytest.mark.parametrize("suite", [1, 2])
def test_an_agreed_key_is_known_to_both_and_was_never_sent(suite: int) -> None:
    meter = meter_of(suite, Mechanism.HLS_ECDSA)
    signing, _ = head_end_keys("test", suite)
    private = new_private_key(suite, os.urandom)
    meter.entropy = os.urandom

    async def test() -> None:
        with served(meter) as port:
            url = url_of(meter, port)
            old = meter.key("unicast")
            offer = ephemeral_offer(0, private, signing, suite)
            items = axdr.array(axdr.structure(axdr.enum(0), axdr.octets(offer)))
            async with connected(url) as client:
                answer = await client.action(SECURITY, "key_agreement", items)
            assert answer is not None
            number, theirs = (field.value for field in answer.value[0].value)
            assert number == 0
            fresh = agree_ephemeral(
                0, private, bytes(theirs), public_key_of(meter.key("signing"), suite), suite,
                client_title=HEAD_END_TITLE, server_title=meter.identity.system_title,
            )  # fmt: skip
            assert fresh != old
            assert meter.key("unicast") == fresh
            async with connected(url.replace(old.hex(), fresh.hex())) as client:
                assert await client.read((SECURITY, 3)) == suite
                forged = offer[:-1] + bytes((offer[-1] ^ 1,))
                items = axdr.array(axdr.structure(axdr.enum(0), axdr.octets(forged)))
                with pytest.raises(Refused):
                    await client.action(SECURITY, "key_agreement", items)
            assert meter.key("unicast") == fresh

    run(test)


def test_an_interrupted_change_leaves_exactly_one_key() -> None:
    """Neither at once nor after the next commit does a key hold that was not confirmed."""
    store = Store.in_memory()
    meter = meter_of(0, Mechanism.HLS_GMAC, keeper=StoreKeeper(store, "m"))
    old, fresh = meter.key("unicast"), bytes(range(16))
    wrapped = axdr.octets(wrap_key(meter.key("master"), fresh))
    items = axdr.array(axdr.structure(axdr.enum(0), wrapped))

    def failing() -> None:
        raise StorageError("no space")

    working = meter.keeper.commit
    meter.keeper.commit = failing  # type: ignore[method-assign]
    with pytest.raises(Exception, match="no space"):
        call(meter, 64, SECURITY, 2, items)
    meter.keeper.commit = working  # type: ignore[method-assign]
    assert meter.key("unicast") == old
    meter.commit()
    again = meter_of(0, Mechanism.HLS_GMAC, keeper=StoreKeeper(store, "m"))
    assert again.key("unicast") == old
    call(again, 64, SECURITY, 2, items)
    third = meter_of(0, Mechanism.HLS_GMAC, keeper=StoreKeeper(store, "m"))
    assert third.key("unicast") == fresh
    assert third.logical_device().profiles[1].keys == again.logical_device().profiles[1].keys


# --- certificates -------------------------------------------------------------------------------


def by_entity(entity: int, kind: int, title: bytes) -> axdr.Data:
    place = axdr.structure(axdr.enum(entity), axdr.enum(kind), axdr.octets(title))
    return axdr.structure(axdr.enum(0), place)


@pytest.mark.parametrize("suite", [1, 2])
def test_a_meter_is_delivered_with_four_certificates(suite: int) -> None:
    meter = meter_of(suite, Mechanism.HLS_GMAC)
    title = meter.identity.system_title
    listed = get(meter, 64, SECURITY, 6)
    assert {(row[0], row[1]) for row in listed} == {
        (entity, kind) for entity in (SERVER, CLIENT) for kind in (SIGNATURE, AGREEMENT)
    }
    one = read(bytes(call(meter, 64, SECURITY, 7, by_entity(SERVER, SIGNATURE, title))), suite)
    assert one.public == public_key_of(meter.key("signing"), suite)
    by_serial = axdr.structure(axdr.octets(one.serial), axdr.octets(one.issuer))
    assert bytes(call(meter, 64, SECURITY, 7, axdr.structure(axdr.enum(1), by_serial))) == one.der


@pytest.mark.parametrize("suite", [1, 2])
def test_a_new_key_pair_is_in_force_once_its_certificate_is_there(suite: int) -> None:
    store = Store.in_memory()
    meter = meter_of(suite, Mechanism.HLS_ECDSA, keeper=StoreKeeper(store, "m"))
    meter.entropy = os.urandom
    authority = authority_private_key(MODELS["omnipower"], "test", suite)
    old = meter.key("signing")
    call(meter, 64, SECURITY, 4, axdr.enum(SIGNATURE))
    assert meter.key("signing") == old
    asked = bytes(call(meter, 64, SECURITY, 5, axdr.enum(SIGNATURE)))
    stranger = issue_for_request(asked, SIGNATURE, new_private_key(suite, os.urandom), suite)
    with pytest.raises(Exception, match="authority"):
        call(meter, 64, SECURITY, 6, axdr.octets(stranger))
    assert meter.key("signing") == old
    made_for_it = issue_for_request(asked, SIGNATURE, authority, suite)
    call(meter, 64, SECURITY, 6, axdr.octets(made_for_it))
    fresh = meter.key("signing")
    assert fresh != old
    assert public_key_of(fresh, suite) == read(made_for_it, suite).public
    again = meter_of(suite, Mechanism.HLS_ECDSA, keeper=StoreKeeper(store, "m"))
    assert again.key("signing") == fresh

    async def test() -> None:
        with served(again) as port:
            async with connected(url_of(again, port)) as client:
                assert await client.read((SECURITY, 3)) == suite

    run(test)


def test_another_client_is_let_in_by_its_certificate_and_shut_out_without() -> None:
    meter = meter_of(1, Mechanism.HLS_ECDSA)
    title, private = b"BLY\0\0\0\0\2", new_private_key(1, os.urandom)
    authority = authority_private_key(MODELS["omnipower"], "test", 1)

    async def test() -> None:
        with served(meter) as port:
            url = url_of(meter, port)
            signing = head_end_keys("test", 1)[0].hex()
            other = url.replace(f"&signing_key={signing}", f"&signing_key={private.hex()}")
            other += f"&title={title.hex()}"
            with pytest.raises(MeterError):
                await connected(other).open()
            one = issue(title, SIGNATURE, public_key_of(private, 1), authority, 1)
            async with connected(url) as client:
                await client.action(SECURITY, "import_certificate", axdr.octets(one))
            async with connected(other) as client:
                assert await client.read((SECURITY, 4)) == title
                await client.action(
                    SECURITY, "remove_certificate", by_entity(CLIENT, SIGNATURE, title)
                )
            with pytest.raises(MeterError):
                await connected(other).open()
            async with connected(url) as client:
                assert await client.read((SECURITY, 3)) == 1

    run(test)


@pytest.mark.parametrize("method", [3, 4, 5, 6])
def test_suite_0_has_no_curves_and_says_so(method: int) -> None:
    parameter = {
        3: axdr.array(axdr.structure(axdr.enum(0), axdr.octets(bytes(128)))),
        4: axdr.enum(0), 5: axdr.enum(0), 6: axdr.octets(b"0"),
    }[method]  # fmt: skip
    with pytest.raises(Exception, match="suite 0"):
        call(meter_of(0, Mechanism.HLS_GMAC), 64, SECURITY, method, parameter)


# --- guessing -----------------------------------------------------------------------------------


def test_guessed_passwords_are_slowed_down_over_a_restart_and_all_logged() -> None:
    store = Store.in_memory()
    options = MeterOptions(mechanisms=tuple((level, Mechanism.LLS) for level in EVERY))
    meter = made("esox", options=options, keeper=StoreKeeper(store, "m"))

    async def guess(port: int, wrong: str) -> str:
        url = url_of(meter, port)
        right = meter.secret_of(next(a for a in meter.model.associations if a.client_sap == 1))
        try:
            async with connected(url.replace(right.decode(), wrong) if wrong else url):
                return ""
        except MeterError as error:
            return str(error)

    async def test() -> None:
        with served(meter) as port:
            for number in range(12):
                assert await guess(port, f"wrong{number:03d}")
            assert await guess(port, "")  # even the right one has to wait now

    run(test)
    meter.flush()
    entries = [e for log in meter.books.logs.values() for e in log]
    assert sum(e.name == "authentication_failed" for e in entries) >= 10
    again = made("esox", options=options, keeper=StoreKeeper(store, "m"))
    guard = again.logical_device().guard
    assert guard is not None
    assert guard.locked(1, Instant(0))
    assert not guard.locked(2, Instant(0))
    assert not guard.locked(1, Instant(NANOSECONDS_PER_S * 86_400))


@pytest.mark.parametrize("key", sorted(MODELS))
def test_every_model_logs_failed_attempts(key: str) -> None:
    for name in ("authentication_failed", "decryption_failed", "replay_detected"):
        assert any(name in log.codes for log in MODELS[key].logs), name
