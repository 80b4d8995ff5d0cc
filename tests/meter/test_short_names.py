"""A meter that was ordered with short names, read over its port by two clients."""

from __future__ import annotations

import asyncio

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Mechanism
from blathy.obis import Obis
from blathy.quantity import Quantity
from blathy.transport.errors import MeterError
from blathy.wire.short_names import ShortNameMap, attribute_name
from tests.meter.running import DAY_S, START_S, fed, served

EVERY = tuple(Level)
ENERGY_WH = 3 * 1200 * 24


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
@pytest.mark.parametrize(
    "mechanism", [Mechanism.LLS, Mechanism.HLS_SHA1, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256]
)
def test_our_client_reads_writes_and_acts_by_short_names(scheme: str, mechanism: Mechanism) -> None:
    options = MeterOptions(
        short_names=True, mechanisms=tuple((level, mechanism) for level in EVERY)
    )
    meter = fed("mt372", 1, options=options)

    async def test() -> None:
        with served(meter) as port:
            line = next(
                each
                for each in connection_lines(meter, [("127.0.0.1", port)])
                if each.startswith("management")
            )
            url = line.split()[1].replace("dlms://", f"{scheme}://")
            async with Client.connect(
                url, counters=VolatileCounterStore(), cache=ObjectCache()
            ) as client:
                objects = await client.objects()
                assert len(objects) > 100
                assert {entry.class_id for entry in objects} >= {3, 7, 8, 12, 20, 64, 70}
                energy = await client.read("1-0:1.8.0")
                assert isinstance(energy, Quantity)
                assert float(energy) == ENERGY_WH
                profile = await client.profile("1-0:99.1.0", since=START_S, until=START_S + 3600)
                assert len(profile) == 4
                period = AttributeRef(7, Obis.parse("1-0:99.1.0"), 4)
                await client.set(period, axdr.u32(1800))
                assert (await client.get_data(period)).value == 1800
                await client.set_clock(START_S + DAY_S + 60)
                assert abs((await client.clock()).utc() - (START_S + DAY_S + 60)) <= 1
                await client.action("0-0:96.3.10", "remote_disconnect")
            logical = url.replace("&sn=1", "")
            with pytest.raises(MeterError, match="sn=1"):
                await Client.connect(
                    logical, counters=VolatileCounterStore(), cache=ObjectCache()
                ).open()

    asyncio.run(asyncio.wait_for(test(), 240))


def test_no_two_objects_overlap_and_every_attribute_resolves_to_itself() -> None:
    for model in ("mt372", "esox", "omnipower", "reference"):
        meter = fed(model, 0, options=MeterOptions(short_names=True))
        names = meter.tree.short_names
        assert len(names) == len(meter.tree.objects)
        found = ShortNameMap({base: (i.class_id, i.obis) for base, i in names.items()})
        for base, item in names.items():
            for number in range(1, len(item.attributes) + 2):
                ref = found.resolve(attribute_name(base, number))
                assert ref == AttributeRef(item.class_id, item.obis, number), (model, item)
