"""`blathy meter run --load FILE`: a recording drives a meter through metrology; light and S0 pulse
at a port of their own."""

from __future__ import annotations

import socket
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from blathy.client.cache import ObjectCache
from blathy.client.meter import Meter as Client
from blathy.client.sync import SyncMeter
from blathy.metrology.connection import Wiring
from blathy.models import MODELS
from blathy.sources.recorded_feed import recorded_feed, recorded_source
from blathy.sources.recorded_point import Declared, point_of
from blathy.sources.recording_stream import open_recording
from blathy.sources.recordings import Layout
from blathy.wire.security import VolatileCounterStore
from tests.cli.in_process import blathy
from tests.meter.running import START_S, made
from tests.meter.test_promises_over_the_port import client, number
from tests.processes import start

RATE = 8_000
U_V, I_A = 0.02, 0.004
APPLIANCE = Layout(("i1", "u1"), (1 / 41.4738, 1 / 21.3872), 6_400)


def recording(folder: Path, amperes: float, lag: float, phases: int = 1) -> Path:
    """A WAV of so many phases, 1.37 s long: no whole number of seconds, nor of cycles."""
    t = np.arange(int(1.37 * RATE)) / RATE
    turns = [50 * t - p / 3 for p in range(phases)]
    volts = [np.sqrt(2) * 230 * np.sin(2 * np.pi * x) / U_V for x in turns]
    amps = [np.sqrt(2) * amperes * np.sin(2 * np.pi * x - np.radians(lag)) / I_A for x in turns]
    counts = np.rint(np.stack([*volts, *amps], axis=1)).astype("<i2")
    path = folder / "load.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2 * phases, 2, RATE, 0, "NONE", ""))
        file.writeframes(counts.tobytes())
    return path


LOAD_ENGINE = "blathy.town.compilation:load_engine"


class Running:
    """`blathy meter run` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = start("meter", "run", *arguments, with_errors=True, first=[LOAD_ENGINE])
        self.lines = [line.strip() for line in self.process.until("Ctrl-C")]

    def url(self, level: str) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith(f"{level} "))

    def pulses(self) -> tuple[str, int]:
        place = next(line.split()[-1] for line in self.lines if line.startswith("Pulses at"))
        host, _, port = place.rpartition(":")
        return host, int(port)


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    one = Running("--port", "dlms-tcp:127.0.0.1:0", "--days", "0", *arguments)
    try:
        yield one
    finally:
        one.process.close()


def connected(url: str) -> SyncMeter:
    talk = Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())
    return SyncMeter(talk)


def edges_of(place: tuple[str, int], enough: int) -> list[tuple[int, str, str]]:
    """Edges as the port tells them, until every output has given so many."""
    found: list[tuple[int, str, str]] = []
    with socket.create_connection(place, 240) as line:
        line.settimeout(240)
        rest = b""
        while True:
            rest += line.recv(4096)
            *lines, rest = rest.split(b"\n")
            for text in lines:
                at, output, state = text.decode().split()
                found.append((int(at), output, state))
            counts = [sum(o == name for _, o, _ in found) for name in {o for _, o, _ in found}]
            if counts and min(counts) >= enough:
                return found


@pytest.mark.requirement("OMNI-11", "K-16")
@pytest.mark.parametrize("key", ["omnipower", "k162m"])
def test_light_and_s0_pulse_at_their_port_in_step_with_the_registers(
    key: str, tmp_path: Path
) -> None:
    """57.6 A at 53.13° lag: 7 949 W and 10 598 var, 2.2 pulses of kWh and 2.9 of kvarh a second."""
    path = recording(tmp_path, 57.6, 53.13)
    watts, var = 230 * 57.6 * 0.6, 230 * 57.6 * 0.8
    with running(
        key, "--load", str(path), "--channels", "u1,i1", "--scale", f"{U_V},{I_A}",
        "--pulses", "127.0.0.1:0",
    ) as one:  # fmt: skip
        edges = edges_of(one.pulses(), 20)
        with connected(one.url("management")) as port:
            registers = [number(port.read(f"1-1:{c}.8.0")) for c in (1, 3)]
    outputs = {o.key: o for o in MODELS[key].pulses}
    assert outputs.keys() >= {"led", "s0"}
    for name, output in outputs.items():
        assert output.imp_per_kwh == 1000
        power = var if name.endswith("kvarh") else watts
        rises = [at for at, o, state in edges if o == name and state == "on"]
        falls = [at for at, o, state in edges if o == name and state == "off" and at > rises[0]]
        lasted = [fall - rise for rise, fall in zip(rises, falls, strict=False)]
        assert all(27 <= each <= 33 for each in lasted), name  # 30 ms ± 10 %
        period_ms = 3_600_000 / power
        gaps = np.diff(rises)
        assert abs(gaps - period_ms).max() <= 5, name  # evenly, as the power is
        counted = (rises[-1] - rises[0]) / 3_600_000 * power
        assert len(rises) - 1 == pytest.approx(counted, abs=0.02 * counted + 0.5)
    if key == "omnipower":  # its sheet names kvarh beside kWh
        assert outputs.keys() >= {"led_kvarh", "s0_kvarh"}
    # in step: what both registers have counted since the start is what the lights have given
    first = min(at for at, _, _ in edges) / 1000
    for value, power in zip(registers, (watts, var), strict=True):
        assert 0 <= value <= (time.time() - first + 120) * power / 3600


@pytest.mark.parametrize(
    ("key", "phases"),
    [
        ("mt372", 3),
        pytest.param("esox", 3, marks=pytest.mark.thorough),
        ("omnipower", 1),
    ],
)
def test_a_recording_drives_a_meter_through_metrology(
    key: str, phases: int, tmp_path: Path
) -> None:
    path = recording(tmp_path, 10.0, 60.0, phases)
    names = ",".join([*(f"u{p + 1}" for p in range(phases)), *(f"i{p + 1}" for p in range(phases))])
    scale = ",".join([str(U_V)] * phases + [str(I_A)] * phases)
    with running(
        key, "--load", str(path), "--channels", names, "--scale", scale, "--days", "2"
    ) as one, connected(one.url("management")) as port:  # fmt: skip
        b = 1 if key == "omnipower" else 0
        power = 0.0
        deadline = time.monotonic() + 240
        while not power and time.monotonic() < deadline:
            power = number(port.read(f"1-{b}:1.7.0"))
        energy = number(port.read(f"1-{b}:1.8.0"))
    assert power == pytest.approx(1150 * phases, rel=2e-3)
    # two days of history at the recording's mean power, and what it has measured since
    assert energy == pytest.approx(1150 * phases * 48, rel=5e-3)


def test_a_recording_of_more_phases_than_the_meter_has_is_one_sentence(tmp_path: Path) -> None:
    path = recording(tmp_path, 1.0, 0.0, 3)
    done = blathy("meter", "run", "omnipower", "--load", path, "--channels", "u1,u2,u3,i1,i2,i3")
    assert done.status == 2
    assert "holds 3 phases, the meter has 1" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("name", "i_a", "p_w", "q_var", "thd_i"),
    [
        ("air-conditioner", 4.281, 744.7, -114.5, 4.2),
        ("desktop-computer", 0.098, 6.3, -11.1, 51.6),
        ("induction-cooker", 4.352, 561.5, -97.4, 3.2),
        ("kettle", 6.089, 1035.3, 1.6, 1.8),
        ("laptop", 0.234, 33.6, -15.7, 40.8),
        ("range-hood", 0.433, 76.5, 4.0, 6.6),
        ("refrigerator", 0.459, 53.5, 57.0, 11.4),
        ("rice-cooker", 2.650, 482.3, 0.4, 1.5),
        ("television", 0.577, 101.4, -13.4, 3.7),
        ("washing-machine", 0.762, 128.9, 18.4, 8.6),
        ("water-dispenser", 1.415, 241.5, 0.3, 3.1),
        ("water-heater", 7.107, 1218.5, 0.7, 2.5),
    ],
)
def test_the_recorded_appliances_drive_a_meter(
    name: str, i_a: float, p_w: float, q_var: float, thd_i: float, shared_data: Path
) -> None:
    """What `blathy measure` says of a recording, a meter behind it says at its port."""
    path = shared_data / "appliance-waveforms" / f"{name}.npy"
    source = recorded_source(point_of(open_recording(path, APPLIANCE), Declared()))
    meter = made("omnipower")
    seconds = 24
    meter.advance(source, START_S + seconds, 1)
    with client(meter) as port:
        # single seconds of a cooker that switches differ: the books hold all of them
        books = meter.books
        energy = number(port.read("1-1:1.8.0"))
        thd = number(port.read("1-1:31.7.124"))
        amps = number(port.read("1-1:31.7.0"))
    assert energy == 0  # steps of 10 Wh
    counted_wh = int(books.vector[0]) / 1e6
    mean_w = counted_wh * 3600 / seconds
    assert mean_w == pytest.approx(p_w, rel=0.03, abs=0.5)
    if name != "induction-cooker":
        assert amps == pytest.approx(i_a, rel=0.05, abs=0.02)
        assert thd == pytest.approx(thd_i, rel=0.15, abs=0.5)
    assert recorded_feed(point_of(open_recording(path, APPLIANCE), Declared())).wiring is (
        Wiring.ONE_PHASE
    )
    assert abs(q_var) < 200
