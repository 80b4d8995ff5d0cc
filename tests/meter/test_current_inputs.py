"""The MPTA's current inputs: loads of one and three phases from 1 kW to 1 MW, and transformers that
are not perfect. Everything is set and read at the port; expected values are closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from blathy.client.cache import ObjectCache
from blathy.client.meter import Meter as Client
from blathy.client.sync import SyncMeter
from blathy.cosem import axdr
from blathy.meter.loads import LoadDevices
from blathy.metrology.connection import Wiring
from blathy.metrology.sensors import Curve, Sensor, calibrate
from blathy.models import MODELS
from blathy.models.current_inputs import pack_curve
from blathy.models.model import Level, Mechanism
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.errors import MeterError
from blathy.wire.security import VolatileCounterStore
from tests.loop_thread import listening
from tests.meter.running import START_S, made
from tests.meter.test_promises_over_the_port import number
from tests.meter.waves import Wave, Waves

FULL_SCALE_A = 0.033
MODELS_OF = {1: MODELS["mpta-1"], 3: MODELS["mpta-3"]}
ANGLES = (0.0, -120.0, -240.0)


@contextmanager
def served(devices: LoadDevices) -> Iterator[int]:
    """All logical devices on a free port of the loopback device."""
    own = devices.meter.logical_device()

    async def begin() -> Any:
        return await serve_dlms(
            lambda _endpoint, server, _hdlc: own if server == 1 else devices.devices.get(server),
            "127.0.0.1", 0,
        )  # fmt: skip

    with listening(begin) as port:
        yield port


@contextmanager
def client(
    devices: LoadDevices, port: int, load: int = 1, patience_s: int = 120
) -> Iterator[SyncMeter]:
    meter = devices.meters.get(load, devices.meter)
    association = next(a for a in meter.model.associations if a.level is Level.MANAGEMENT)
    assert meter.mechanism_of(association) is Mechanism.HLS_GMAC
    keys = f"ek={meter.key('unicast').hex()}&ak={meter.key('authentication').hex()}"
    url = f"dlms://127.0.0.1:{port}?client=1&server={load}&auth=hls5&timeout={patience_s}&{keys}"
    talk = Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())
    with SyncMeter(talk) as open_meter:
        yield open_meter


def devices_of(key: str, feed: Waves) -> LoadDevices:
    return LoadDevices(made(key), feed, MODELS_OF, "test")


def secondary(primary_a: float, nominal_a: float) -> float:
    """What a perfect transformer of that primary current hands to an input."""
    return primary_a * FULL_SCALE_A / nominal_a


# --- channel configuration ------------------------------------------------------------------------


@pytest.mark.requirement("MPTA-15", "MPTA-01")
def test_six_inputs_as_one_three_phase_and_three_single_phase_loads() -> None:
    """Mod. 6: CT 1-3 are a motor, 4-6 one load each, on L1, L2 and L3."""
    voltages = tuple(Wave(230.0, a) for a in ANGLES)
    motor = tuple(Wave(secondary(80, 100), a - 36.87) for a in ANGLES)  # cos φ 0.8
    singles = (
        Wave(secondary(10, 50), ANGLES[0]),
        Wave(secondary(20, 100), ANGLES[1] - 60.0),
        Wave(secondary(5, 10), ANGLES[2] + 180.0),  # feeds back
    )
    devices = devices_of("mpta-3", Waves((*voltages, *motor, *singles)))
    with served(devices) as port:
        with client(devices, port) as device:
            for channel, value in ((4, 21), (5, 32), (6, 43)):
                device.set(f"1-0:0.4.{136 + channel}", axdr.u8(value))
            for channel, amperes in ((4, 50), (6, 10)):
                device.set(f"1-0:0.4.{128 + channel}", axdr.u16(amperes))
            devices.advance(START_S + 36)
            names = list(device.read("0-0:41.0.0"))
            whole = {c: number(device.read(f"1-0:{c}.8.0")) for c in (1, 2, 3)}
            factor = number(device.read("1-0:13.7.0"))
            values = [number(device.read(f"1-0:{c}.7.0")) for c in (32, 52, 72, 31, 51, 71)]
            shown = device.read("0-0:1.0.0")
        found = {}
        for load in (2, 3, 4):
            with client(devices, port, load) as one:
                codes = ("1-0:1.8.0", "1-0:2.8.0", "1-0:16.7.0", "1-0:31.7.0")
                found[load] = [number(one.read(c)) for c in codes]
    assert [row[0] for row in names] == [1, 2, 3, 4]
    assert len({row[1] for row in names}) == 4
    # 3 x 230 V x 80 A for 36 s is a hundredth of an hour's 55.2 kVAh
    assert whole[1] == pytest.approx(552 * 0.8, abs=1)
    assert whole[2] == 0
    assert whole[3] == pytest.approx(552 * 0.6, abs=1)
    assert values == pytest.approx([230.0] * 3 + [80.0] * 3, rel=1e-3)
    assert int(shown.utc()) == START_S + 36
    assert factor == pytest.approx(0.8, abs=0.001)
    assert found[2] == pytest.approx([23, 0, 2300, 10.0], abs=1)
    assert found[3] == pytest.approx([23, 0, 2300, 20.0], abs=1)
    assert found[4] == pytest.approx([0, 11.5, -1150, 5.0], abs=1)


@pytest.mark.requirement("MPTA-15")
@pytest.mark.parametrize(
    ("key", "watts", "nominal_a"),
    [("mpta-1", 1_000, 10), ("mpta-1", 23_000, 150), ("mpta-3", 1_000, 10),
     ("mpta-3", 1_000_000, 1500)],
)  # fmt: skip
def test_loads_from_one_kilowatt_to_one_megawatt(key: str, watts: int, nominal_a: int) -> None:
    phases = len(MODELS[key].phases)
    amperes = watts / phases / 230
    assert amperes <= nominal_a
    voltages = tuple(Wave(230.0, a) for a in ANGLES[:phases])
    currents = tuple(Wave(secondary(amperes, nominal_a), a) for a in ANGLES[:phases])
    spare = tuple(Wave(0.0) for _ in range(phases))
    wiring = Wiring.THREE_PHASE_4_WIRE if phases == 3 else Wiring.ONE_PHASE
    devices = devices_of(key, Waves((*voltages, *currents, *spare), wiring))
    with served(devices) as port, client(devices, port) as device:
        for channel in range(1, phases + 1):
            device.set(f"1-0:0.4.{128 + channel}", axdr.u16(nominal_a))
        devices.advance(START_S + 36)
        assert number(device.read("1-0:1.8.0")) == pytest.approx(watts / 100, abs=1)
        assert number(device.read("1-0:16.7.0")) == pytest.approx(watts, rel=1e-3)
        assert number(device.read("1-0:31.7.0")) == pytest.approx(amperes, rel=1e-3)


@pytest.mark.requirement("MPTA-15")
def test_two_inputs_of_the_single_phase_device_are_two_loads() -> None:
    """Mod. 2, then mod. 1 again: a load that is taken away answers no more."""
    currents = (Wave(secondary(10, 100)), Wave(secondary(40, 100)))
    devices = devices_of("mpta-1", Waves((Wave(230.0), *currents), Wiring.ONE_PHASE))
    with served(devices) as port, ExitStack() as stack:
        device = stack.enter_context(client(devices, port))
        device.set("1-0:0.4.138", axdr.u8(21))
        devices.advance(START_S + 36)
        with client(devices, port, 2) as second:
            assert number(second.read("1-0:1.8.0")) == pytest.approx(92, abs=1)
        assert number(device.read("1-0:1.8.0")) == pytest.approx(23, abs=1)
        keys_of = devices.meters[2]
        device.set("1-0:0.4.138", axdr.u8(0))
        devices.advance(START_S + 40)
        devices.meters[2] = keys_of  # only for its keys: the device does not serve it
        with pytest.raises(MeterError), client(devices, port, 2, patience_s=1):
            pass


# --- transformers that are not perfect ------------------------------------------------------------


def poor(ratio_percent: float, minutes: float) -> Sensor:
    """A transformer of 33 mA with a ratio error and a lead."""
    curve = ((0.05, 1.4 * ratio_percent), (1.0, ratio_percent))
    lead = ((0.05, 1.5 * minutes), (1.0, minutes))
    return Sensor("CT", FULL_SCALE_A, Curve(curve), Curve(lead))


def constants_of(serial: str, sensor: Sensor, nominal_a: float) -> bytes:
    """What production measures of a transformer, as the meter keeps it."""
    t = np.arange(1280) / 6_400
    runs = []
    for share in (0.05, 0.1, 0.2, 0.5, 1.0):
        true = np.sqrt(2) * share * FULL_SCALE_A * np.sin(2 * np.pi * 50 * t)
        seen = sensor.apply(true, 6_400)
        scale = nominal_a / FULL_SCALE_A
        runs.append((true * scale, seen * scale))
    found = calibrate(serial, nominal_a, runs, 6_400)
    return pack_curve((p.share, p.ratio, p.phase_min) for p in found.points)


@pytest.mark.parametrize("lag", [0.0, 60.0])
@pytest.mark.parametrize("share", [0.1, 0.8])
def test_constants_undo_the_errors_of_the_transformers(lag: float, share: float) -> None:
    sensors = (poor(-3.0, 120.0), poor(2.0, 90.0), poor(-1.5, 240.0))
    amperes = 100 * share
    voltages = tuple(Wave(230.0, a) for a in ANGLES)
    currents = tuple(Wave(secondary(amperes, 100), a - lag) for a in ANGLES)
    spare = tuple(Wave(0.0) for _ in range(3))
    feed = Waves((*voltages, *currents, *spare), sensors=(*sensors, None, None, None))
    devices = devices_of("mpta-3", feed)
    full_scale_w = 3 * 230.0 * 100
    true_w = full_scale_w * share * np.cos(np.radians(lag))
    with served(devices) as port, client(devices, port) as device:
        devices.advance(START_S + 20)
        before = number(device.read("1-0:16.7.0"))
        for channel, sensor in enumerate(sensors, 1):
            serial = f"CT-{channel:04d}"
            device.set(f"1-0:0.4.{144 + channel}", axdr.octets(serial.encode()))
            octets = constants_of(serial, sensor, 100)
            device.set(f"1-0:0.4.{152 + channel}", axdr.octets(octets))
        devices.advance(START_S + 40)
        after = number(device.read("1-0:16.7.0"))
        angle = [number(device.read(f"1-0:{c}.7.0")) for c in (33, 53, 73)]
    if share > 0.5:
        assert abs(before - true_w) > 0.005 * full_scale_w  # worse than the sheet promises
    assert abs(after - true_w) < 0.0005 * full_scale_w  # a tenth of it
    assert angle == pytest.approx([np.cos(np.radians(lag))] * 3, abs=0.001)
