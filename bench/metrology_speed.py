"""Speed of the measuring engine: three-phase U and I at 10 kS/s on one core, as x real time.

The peer, pqopen-lib (zero crossings, one-cycle and 10-cycle rms, powers, harmonics, unbalance and
flicker are switched on), runs in a process of its own on the same samples in the same run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blathy.metrology import Connection, Engine, Measuring

RATE = 10_000
SIGNAL_S = 120
PUSH_S = 10


def signal(duration_s: int) -> NDArray[np.float32]:
    """Distorted, slightly unbalanced, with a little noise and one dip."""
    rng = np.random.default_rng(7)
    t = np.arange(RATE * duration_s) / RATE
    columns = []
    for phase in range(6):
        rms, lag = (230.0, 0.0) if phase < 3 else (5.0 + phase, 0.5)
        angle = 2 * np.pi * 50.02 * t - 2 * np.pi / 3 * (phase % 3) - lag
        wave = np.sin(angle)
        for order, share in ((3, 0.03), (5, 0.05), (7, 0.03), (11, 0.02), (13, 0.01), (49, 0.002)):
            wave += share * np.sin(order * angle + phase)
        columns.append(np.sqrt(2) * rms * (wave + 1e-4 * rng.normal(size=len(t))))
    frames = np.stack(columns, axis=1).astype(np.float32)
    middle = len(frames) // 2
    frames[middle : middle + 2_000, 1] *= 0.7
    return frames


def engine_speed(
    frames: NDArray[np.float32], measuring: Measuring, push_s: float, runs: int = 3
) -> float:
    """Best of some runs: seconds of signal per second of processor time."""
    size = round(push_s * RATE)
    best = float("inf")
    for _ in range(runs):
        engine = Engine(Connection(RATE), measuring)
        begin = time.process_time()
        for at in range(0, len(frames), size):
            engine.push(frames[at : at + size])
        engine.finish()
        best = min(best, time.process_time() - begin)
    return len(frames) / RATE / best


def peak_memory_mb(duration_s: int) -> float:
    """Growth of the resident set while measuring `duration_s`, the samples themselves excluded."""
    frames = signal(PUSH_S)
    engine = Engine(Connection(RATE))
    engine.push(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(duration_s // PUSH_S):
        engine.push(frames)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024.0


PEER = """
import json, logging, time, warnings
import numpy as np
from bench.metrology_speed import RATE, signal
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from daqopen.channelbuffer import AcqBuffer
from pqopen.powersystem import PowerSystem
frames = signal(20)
buffers = [AcqBuffer(size=RATE * 25, dtype=np.float64, name=n) for n in
           ("u1", "u2", "u3", "i1", "i2", "i3")]
system = PowerSystem(zcd_channel=buffers[0], input_samplerate=float(RATE))
for k in range(3):
    system.add_phase(u_channel=buffers[k], i_channel=buffers[3 + k])
stamps = AcqBuffer(size=RATE * 25, dtype=np.int64, name="time")
system.enable_nper_abs_time_sync(stamps)
system.enable_harmonic_calculation(num_harmonics=50)
system.enable_fluctuation_calculation(nominal_voltage=230)
begin = None
for at in range(0, len(frames), 1000):
    if at == 5 * RATE:
        begin = time.process_time()
    for k in range(6):
        buffers[k].put_data(frames[at : at + 1000, k].astype(np.float64))
    micros = 1_000_000_000_000_000 + np.arange(at, at + 1000) * (1_000_000 // RATE)
    stamps.put_data(micros.astype(np.int64))
    system.process()
print(json.dumps(15.0 / (time.process_time() - begin)))
"""


def peer_speed() -> float | None:
    """pqopen-lib's three-phase set with harmonics and flicker; None where it is not installed."""
    done = subprocess.run([sys.executable, "-c", PEER], capture_output=True, text=True, check=False)
    return float(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


def run() -> list[dict[str, Any]]:
    frames = signal(SIGNAL_S)
    engine_speed(frames[: 3 * RATE], Measuring(), 1.0)  # compile
    full = engine_speed(frames, Measuring(), PUSH_S)
    live = engine_speed(frames[: 30 * RATE], Measuring(), 0.2)
    registers = engine_speed(frames, Measuring.registers_only(), PUSH_S, runs=20)
    peer = peer_speed()
    rows = [
        ("full set: spectrum, flicker, events, storage; 10-s pushes", full, 400.0, peer),
        ("full set, pushed every 0.2 s as live", live, None, peer),
        ("registers only", registers, 5_000.0, None),
    ]
    out: list[dict[str, Any]] = [
        {
            "work": f"metrology, 3 x U + I at 10 kS/s, {work}",
            "figure": figure,
            "unit": "x real time",
            "goal": goal,
            "peer": "pqopen-lib" if peer_figure is not None else None,
            "peer_figure": peer_figure,
        }
        for work, figure, goal, peer_figure in rows
    ]
    growth = peak_memory_mb(600)
    out.append(
        {
            "work": "metrology, growth of memory over ten minutes of the full set",
            "figure": growth,
            "unit": "MB",
            "goal": 20.0,
            "peer": None,
            "peer_figure": None,
        }
    )
    return out
