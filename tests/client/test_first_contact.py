"""The first contact with a key: the client goes on above the counter that the meter shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blathy.client import FileCounterStore, Meter, ObjectCache, Untrusted, VolatileCounterStore
from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef, Requester
from blathy.obis import Obis
from blathy.transport.dlms_session import serve_dlms
from blathy.wire.server import LogicalDevice
from tests.client.small_meter import SECURE, SmallMeter, device, lookup
from tests.waiting import run

COUNTER = Obis.parse("0-0:43.1.0")


@dataclass
class Counting(SmallMeter):
    """A meter that shows its public client how far the clients' counter has come."""

    counter: int = 7000
    shown: int = 0
    device: LogicalDevice | None = None

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if ref.obis == COUNTER and who.client_sap == 16:
            self.shown += 1
            return axdr.encode_u32(self.counter)
        return super().get(ref, who)


def sent(store: VolatileCounterStore) -> int:
    """The first number that is still free."""
    return max(number for name, number in store._next.items() if name.startswith("send"))


async def read(model: Counting, store: Any, more: str = "") -> None:
    model.device = model.device or device(model)
    listener, port = await serve_dlms(lookup(model.device), port=0)
    try:
        url = f"dlms://127.0.0.1:{port}?{SECURE}{more}"
        async with Meter.connect(url, counters=store, cache=ObjectCache()) as one:
            await one.read("1-0:1.8.0")
    finally:
        await listener.stop()


def test_a_new_key_begins_above_the_counter_that_the_public_client_sees() -> None:
    async def test() -> None:
        model, store = Counting(), VolatileCounterStore()
        await read(model, store)
        assert 7000 < sent(store) < 7500
        assert model.shown == 1
        await read(model, store)
        assert model.shown == 1  # known by now: nobody is asked again

    run(test)


def test_a_report_never_lowers_and_ic_off_asks_nobody() -> None:
    async def test() -> None:
        model, store = Counting(counter=3), VolatileCounterStore()
        await read(model, store, "&ic=9000")
        assert sent(store) > 9000
        other, quiet = Counting(), VolatileCounterStore()
        await read(other, quiet, "&ic=off")
        assert other.shown == 0
        assert sent(quiet) < 1000

    run(test)


def test_a_jump_too_far_is_not_followed_unasked() -> None:
    async def test() -> None:
        model, store = Counting(counter=0x7F00_0000), VolatileCounterStore()
        with pytest.raises(Untrusted, match="ic=2130706433"):
            await read(model, store)
        assert sent(store) < 1000
        await read(model, store, "&ic=2130706433")
        assert sent(store) > 0x7F00_0000

    run(test)


def test_a_file_knows_after_a_restart_whom_it_has_met(tmp_path: Path) -> None:
    async def test() -> None:
        model = Counting()
        for _ in range(2):
            store = FileCounterStore(tmp_path / "counters")
            await read(model, store)
            assert store.highest_received() > 0
            store.close()
        assert model.shown == 1

    run(test)
