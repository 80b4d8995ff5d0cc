"""The same meter without `await`, for scripts and notebooks: one event loop per meter.

Every coroutine of `Meter` has its twin here; `run` takes the operations that are functions:
`meter.run(transfer_image, image, "new")`, `meter.run(disconnect)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from blathy.client.items import Item, Moment
from blathy.client.meter import Meter
from blathy.client.values import ObjectRefused, ProfileReading, Reading, Value
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import ObjectEntry
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.quantity import Quantity
from blathy.transport.errors import Refused
from blathy.wire.apdu import AccessResponse, AccessSpecification
from blathy.wire.association_events import EventReport, Notification

T = TypeVar("T")
P = ParamSpec("P")


class SyncMeter:
    """`with SyncMeter(Meter.connect(url)) as meter: meter.read("1-0:1.8.0")`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._runner: asyncio.Runner | None = None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            work.close()
            raise Refused(f"{self._meter.address.place} is not connected", "open it first")
        return self._runner.run(work)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect and associate."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            self._run(self._meter.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release and disconnect; never raises."""
        if self._runner is not None:
            self._run(self._meter.close())
            self._runner.close()
            self._runner = None

    def run(
        self,
        operation: Callable[Concatenate[Meter, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """An operation that takes the meter first, such as `disconnect` or `transfer_image`."""
        return self._run(operation(self._meter, *args, **kwargs))

    @property
    def meter(self) -> Meter:
        """The meter itself: its address, system title and what is known of its type."""
        return self._meter

    def objects(self, *, fresh: bool = False) -> tuple[ObjectEntry, ...]:
        """The object list of this association."""
        return self._run(self._meter.objects(fresh=fresh))

    def find(self, obis: Obis, class_id: int | None = None) -> ObjectEntry:
        """The object of a code."""
        return self._run(self._meter.find(obis, class_id))

    def reference(self, item: Item) -> AttributeRef:
        """What an item means."""
        return self._run(self._meter.reference(item))

    def get(self, ref: AttributeRef) -> bytes:
        """An attribute as its A-XDR octets."""
        return self._run(self._meter.get(ref))

    def get_data(self, ref: AttributeRef) -> Data:
        """An attribute as a typed value."""
        return self._run(self._meter.get_data(ref))

    def read_octets(self, refs: Sequence[AttributeRef]) -> list[bytes | int]:
        """Attributes as octets, or the data-access-result of each refusal."""
        return self._run(self._meter.read_octets(refs))

    def read(self, item: Item) -> Value:
        """One value, with its unit where it has one."""
        return self._run(self._meter.read(item))

    def quantity(self, item: Item) -> Quantity:
        """One value that has a unit."""
        return self._run(self._meter.quantity(item))

    def read_many(self, items: Iterable[Item]) -> list[Reading]:
        """Values in the order asked."""
        return self._run(self._meter.read_many(items))

    def write(self, item: Item, value: Any) -> None:
        """Write a plain value."""
        self._run(self._meter.write(item, value))

    def data_for(self, item: Item, value: Any) -> Data:
        """A plain value as an attribute takes it."""
        return self._run(self._meter.data_for(item, value))

    def set(self, item: Item, value: Data | bytes | int | str | bool) -> None:
        """Write an attribute."""
        self._run(self._meter.set(item, value))

    def set_many(self, writes: Sequence[tuple[Item, Data]]) -> list[ObjectRefused | None]:
        """Write several attributes; None for each that was taken."""
        return self._run(self._meter.set_many(writes))

    def reading_of(self, ref: AttributeRef, raw: bytes) -> Reading:
        """What octets would be as the value of an attribute, with its unit."""
        return self._run(self._meter.reading_of(ref, raw))

    def methods(self, obis: Obis | str) -> dict[int, str]:
        """Number and name of the methods that an object has for us."""
        return self._run(self._meter.methods(obis))

    def call(self, obis: Obis | str, method: int | str, value: Any = None) -> Any:
        """Run a method with a plain parameter."""
        return self._run(self._meter.call(obis, method, value))

    def action(
        self, obis: Obis | str, method: int | str, parameters: Data | None = None
    ) -> Data | None:
        """Run a method."""
        return self._run(self._meter.action(obis, method, parameters))

    def access(self, requests: Sequence[tuple[AccessSpecification, bytes]]) -> AccessResponse:
        """Reads, writes and calls in one ACCESS request."""
        return self._run(self._meter.access(requests))

    def clock(self) -> CosemDateTime:
        """The meter's clock."""
        return self._run(self._meter.clock())

    def clock_offset_s(self) -> int:
        """Seconds that the meter's clock is ahead of ours."""
        return self._run(self._meter.clock_offset_s())

    def set_clock(self, moment: Moment | None = None) -> None:
        """Set the clock to `moment`, else to ours."""
        self._run(self._meter.set_clock(moment))

    def capture_objects(self, obis: Obis | str) -> tuple[CaptureObject, ...]:
        """The columns of a profile."""
        return self._run(self._meter.capture_objects(obis))

    def profile(
        self,
        obis: Obis | str,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        entries: tuple[int, int] | None = None,
        columns: Sequence[CaptureObject | Obis | str] = (),
    ) -> ProfileReading:
        """The rows of a profile between two moments, or its entries counted from 1."""
        return self._run(self._meter.profile(obis, since, until, entries=entries, columns=columns))

    def next_push(self, timeout_s: float = 60.0) -> Notification | EventReport:
        """The next notification that the meter sends on this connection."""
        return self._run(self._meter.next_push(timeout_s))
