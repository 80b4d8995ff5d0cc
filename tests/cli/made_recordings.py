"""Recordings made from closed forms, written in every format that `blathy measure` takes."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RATE = 10_000
HEADER = "t_s,u1_v,u2_v,u3_v,i1_a,i2_a,i3_a"


def harmonic_wave(
    t: Floats, rms: float, turn_deg: float = 0.0, hz: float = 50.0, **orders: float
) -> Floats:
    """A fundamental of `rms` lagging by `turn_deg`, with orders `h3=0.2` as parts of it in phase
    with its own h-fold angle."""
    angle = 2 * np.pi * hz * t - np.radians(turn_deg)
    parts = {1: 1.0, **{int(name[1:]): share for name, share in orders.items()}}
    return np.asarray(np.sqrt(2.0) * rms * sum(a * np.sin(h * angle) for h, a in parts.items()))


def three_phase(seconds: float = 2.0, rate: int = RATE, hz: float = 50.0) -> Floats:
    """u1 u2 u3 i1 i2 i3: 230 V with 3 % of h5; 10 A lagging 30° with 20 % of h3."""
    t = np.arange(round(seconds * rate)) / rate
    voltages = [harmonic_wave(t, 230.0, turn, hz, h5=0.03) for turn in (0, 120, 240)]
    currents = [harmonic_wave(t, 10.0, turn + 30, hz, h3=0.2) for turn in (0, 120, 240)]
    return np.stack([*voltages, *currents], axis=1)


def write_csv(path: Path, samples: Floats, header: str = HEADER, rate: int = RATE) -> Path:
    """With a column of instants in seconds."""
    t = np.arange(len(samples)) / rate
    table = np.column_stack([t, samples])
    np.savetxt(path, table, fmt="%.9g", delimiter=",", header=header, comments="")
    return path


def write_wav(path: Path, counts: NDArray[np.int16], rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(counts.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(counts.astype("<i2").tobytes())
    return path


def write_comtrade(path: Path, samples: Floats, rate: int = RATE, hz: float = 50.0) -> Path:
    """IEEE C37.111-1999, binary: three voltages and three currents, 0.02 V and 1 mA per count."""
    steps = np.array([0.02, 0.02, 0.02, 0.001, 0.001, 0.001])
    counts = np.round(samples / steps).astype("<i2")
    lines = ["made,point,1999", "6,6A,0D"]
    for n, (name, unit) in enumerate(zip(("VA", "VB", "VC", "IA", "IB", "IC"), "VVVAAA",
                                         strict=True)):  # fmt: skip
        lines.append(f"{n + 1},{name},{name[1]},,{unit},{steps[n]},0,0,-32767,32767,1,1,P")
    lines += [f"{hz:g}", "1", f"{rate},{len(samples)}"]
    lines += ["01/03/2026,12:00:00.000000", "01/03/2026,12:00:00.000000", "BINARY", "1"]
    path.write_text("\r\n".join(lines) + "\r\n")
    rows = np.zeros(len(samples), dtype=[("n", "<i4"), ("t", "<i4"), ("v", "<i2", (6,))])
    rows["n"] = np.arange(1, len(samples) + 1)
    rows["t"] = np.round(np.arange(len(samples)) * 1e6 / rate)
    rows["v"] = counts
    path.with_suffix(".dat").write_bytes(rows.tobytes())
    return path
