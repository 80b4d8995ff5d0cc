"""Meters for tests: made, fed and served in the test's own process."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AttributeRef, MethodRef, Requester
from blathy.meter.keeping import Keeper
from blathy.meter.meter import Meter, new_meter
from blathy.meter.plan import MeterOptions
from blathy.meter.readout import sign_on_server
from blathy.models import model as model_named
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.transport.dlms_session import serve_dlms
from tests import processes
from tests.loop_thread import listening
from tests.meter.simple_load import ConstantLoad

START_S = 1_767_225_600  # 2026-01-01T00:00:00Z
DAY_S = 86_400
SERIAL = 12_345_678


_drawn = itertools.count()


def entropy(count: int) -> bytes:
    """As unpredictable as a test needs: never the same twice, as keys are drawn from it."""
    return hashlib.shake_128(next(_drawn).to_bytes(8, "big")).digest(count)


def made(
    model: str,
    *,
    options: MeterOptions | None = None,
    keeper: Keeper | None = None,
    start_s: int = START_S,
    serial: int = SERIAL,
) -> Meter:
    return new_meter(
        model_named(model), serial, "test", start_utc_s=start_s, entropy=entropy, options=options,
        keeper=keeper, drift_ppb=0,
    )  # fmt: skip


def fed(model: str, days: int = 2, power_w: int = 1200, **named: Any) -> Meter:
    meter = made(model, **named)
    meter.advance(ConstantLoad(power_w, len(meter.model.phases)), START_S + days * DAY_S)
    return meter


def who(meter: Meter, level: Level = Level.MANAGEMENT) -> Requester:
    association = next(a for a in meter.model.associations if a.level is level)
    return Requester(association.client_sap, 1, association.obis)


@contextmanager
def served(meter: Meter, ports: tuple[Obis, ...] = ()) -> Iterator[int]:
    """The meter on a free port of the loopback device, which is the one that these set-up objects
    describe; its number."""
    device = meter.logical_device(ports=ports)

    async def begin() -> Any:
        return await serve_dlms(
            lambda _endpoint, _server, _physical: device, "127.0.0.1", 0,
            sign_on=lambda _endpoint: sign_on_server(meter),
            on_event=lambda _endpoint, _device, event: meter.associations_event(event),
        )  # fmt: skip

    with listening(begin) as port:
        yield port


def gurux(job: dict[str, Any]) -> dict[str, Any]:
    """What an independent client reads."""
    done = processes.run(program="tests.meter.gurux_peer", given=json.dumps(job))
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def get(
    meter: Meter, class_id: int, obis: str, attribute: int, level: Level = Level.MANAGEMENT
) -> Any:
    """The decoded attribute as a Python value tree."""
    raw = meter.objects.get(AttributeRef(class_id, Obis.parse(obis), attribute), who(meter, level))
    return plain(axdr.decode(raw))


def put(
    meter: Meter, class_id: int, obis: str, attribute: int, data: Data,
    level: Level = Level.MANAGEMENT,
) -> None:  # fmt: skip
    ref = AttributeRef(class_id, Obis.parse(obis), attribute)
    meter.objects.set(ref, axdr.encode(data), who(meter, level))


def call(
    meter: Meter, class_id: int, obis: str, method: int, data: Data | None = None,
    level: Level = Level.MANAGEMENT,
) -> Any:  # fmt: skip
    ref = MethodRef(class_id, Obis.parse(obis), method)
    parameters = axdr.encode(axdr.i8(0) if data is None else data)
    raw = meter.objects.invoke(ref, parameters, who(meter, level))
    return plain(axdr.decode(raw)) if raw else None


def plain(data: Data) -> Any:
    if data.type in {axdr.DataType.ARRAY, axdr.DataType.STRUCTURE}:
        return [plain(item) for item in data.value]
    return data.value
