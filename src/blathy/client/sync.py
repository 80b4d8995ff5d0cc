"""The same meter without `await`, for scripts and notebooks: one event loop per meter."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from blathy.client.meter import Item, Meter, Moment
from blathy.client.values import ProfileReading, Reading, Value
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import ObjectEntry
from blathy.obis import Obis

T = TypeVar("T")


class SyncMeter:
    """`with SyncMeter(Meter.connect(url)) as meter: meter.read("1-0:1.8.0")`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._runner = asyncio.Runner()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def __enter__(self) -> Self:
        try:
            self._runner.run(_opened(self._meter))
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._meter.close())
        self._runner.close()

    def objects(self) -> tuple[ObjectEntry, ...]:
        """The object list of this association."""
        return self._run(self._meter.objects())

    def read(self, item: Item) -> Value:
        """One value, with its unit where it has one."""
        return self._run(self._meter.read(item))

    def read_many(self, items: Iterable[Item]) -> list[Reading]:
        """Values in the order asked."""
        return self._run(self._meter.read_many(items))

    def set(self, item: Item, value: Data | bytes | int | str | bool) -> None:
        """Write an attribute."""
        self._run(self._meter.set(item, value))

    def action(
        self, obis: Obis | str, method: int | str, parameters: Data | None = None
    ) -> Data | None:
        """Run a method."""
        return self._run(self._meter.action(obis, method, parameters))

    def clock(self) -> CosemDateTime:
        """The meter's clock."""
        return self._run(self._meter.clock())

    def set_clock(self, moment: Moment | None = None) -> None:
        """Set the clock to `moment`, else to ours."""
        self._run(self._meter.set_clock(moment))

    def profile(
        self, obis: Obis | str, since: Moment | None = None, until: Moment | None = None
    ) -> ProfileReading:
        """The rows of a profile between two moments."""
        return self._run(self._meter.profile(obis, since, until))


async def _opened(meter: Meter) -> None:
    await meter.open()
