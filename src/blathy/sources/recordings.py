"""Recordings of waveforms: COMTRADE, WAV, CSV and NumPy files as samples in volts and amperes.

Channels are named `u1 u2 u3 un i1 i2 i3 in`. COMTRADE files name phase and unit themselves (IEC
60255-24); CSV files in their header; WAV and NumPy files hold bare numbers, so the caller says what
a column is and how many volts or amperes a count is (`Layout`).
"""

from __future__ import annotations

import csv
import re
import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANNELS: Final = ("u1", "u2", "u3", "un", "i1", "i2", "i3", "in")
SUFFIXES: Final = (".cfg", ".cff", ".dat", ".wav", ".csv", ".npy")
_UNIT_FACTORS: Final = {
    "v": 1.0, "kv": 1e3, "mv": 1e-3, "a": 1.0, "ka": 1e3, "ma": 1e-3, "ua": 1e-6, "uv": 1e-6,
}  # fmt: skip
_HEADER = re.compile(
    r"\s*(u|v|i)\s*_?(l)?(1|2|3|n|a|b|c)?\s*[\[(_ ]*\s*([kmu]?[va])?\s*[\])]?\s*", re.IGNORECASE
)
_PHASE: Final = {"1": "1", "2": "2", "3": "3", "a": "1", "b": "2", "c": "3", "n": "n", "": "1"}


class RecordingError(ValueError):
    """The file cannot be taken as a recording; the sentence says what is wrong and what to try."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a WAV or NumPy file are, and what one count of each is worth.

    `channels` names the columns; `factors` are volts or amperes per unit of the file, one for each
    channel or a single one for all.
    """

    channels: tuple[str, ...] = ()
    factors: tuple[float, ...] = (1.0,)
    sample_rate_hz: float = 0.0

    def factor(self, index: int) -> float:
        return self.factors[index] if index < len(self.factors) else self.factors[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Samples of a recording: `samples[name]` is float64 in V or A, all of the same length.

    `nominal_hz` is 0 where the file does not say; `start` is the recording's own time stamp as
    text.
    """

    name: str
    sample_rate_hz: float
    samples: dict[str, NDArray[np.float64]]
    nominal_hz: float = 0.0
    start: str = ""
    notes: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return len(next(iter(self.samples.values())))

    @property
    def duration_s(self) -> float:
        return self.length / self.sample_rate_hz

    def voltages(self) -> list[NDArray[np.float64]]:
        """The phase voltages present, L1 first."""
        return [self.samples[n] for n in ("u1", "u2", "u3") if n in self.samples]

    def currents(self) -> list[NDArray[np.float64]]:
        """The phase currents present, L1 first."""
        return [self.samples[n] for n in ("i1", "i2", "i3") if n in self.samples]


def read_recording(path: Path, layout: Layout | None = None) -> Recording:
    """Read a recording; raise RecordingError with one sentence where it cannot be taken."""
    layout = layout or Layout()
    suffix = path.suffix.lower()
    if not path.exists():
        raise RecordingError(f"there is no file {path}")
    if suffix not in SUFFIXES:
        raise RecordingError(f"{path.name}: a recording is one of {', '.join(SUFFIXES)}")
    if suffix in {".cfg", ".cff", ".dat"}:
        found = _read_comtrade(path, layout)
    elif suffix == ".wav":
        found = _read_wav(path, layout)
    elif suffix == ".csv":
        found = _read_csv(path, layout)
    else:
        found = _read_npy(path, layout)
    if not found.samples or found.length < 2:
        raise RecordingError(f"{path.name} holds no samples of a voltage or a current")
    if not any(name.startswith("u") for name in found.samples):
        raise RecordingError(
            f"{path.name} holds no voltage; name its columns with --channels, e.g. u1,i1"
        )
    return found


# -- COMTRADE
# ---------------------------------------------------------------------------------------


def _read_comtrade(path: Path, layout: Layout) -> Recording:
    import comtrade

    target = path.with_suffix(".cfg") if path.suffix.lower() == ".dat" else path
    record = comtrade.Comtrade(ignore_warnings=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if target.suffix.lower() == ".cff":
                record.load(str(target))
            else:
                data = next(
                    (
                        p
                        for p in (target.with_suffix(".dat"), target.with_suffix(".DAT"))
                        if p.exists()
                    ),
                    None,
                )
                if data is None:
                    raise RecordingError(f"{target.name} needs its data file {target.stem}.dat")
                record.load(str(target), str(data))
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(f"{path.name} is no readable COMTRADE file: {error}") from error
    samples: dict[str, NDArray[np.float64]] = {}
    notes = []
    if layout.channels:
        check_names(path, layout.channels, len(record.cfg.analog_channels))
    for index, channel in enumerate(record.cfg.analog_channels):
        name = _channel_name(f"{channel.name}", channel.ph, channel.uu)
        if layout.channels:
            name = None if layout.channels[index] == "-" else layout.channels[index]
        values = np.asarray(record.analog[index], dtype=np.float64)
        if name is None or name in samples:
            notes.append(f"channel {channel.name!r} was left out")
            continue
        factor = _UNIT_FACTORS.get(channel.uu.strip().lower(), 1.0)
        if channel.pors.upper() == "S" and channel.primary and channel.secondary:
            factor *= float(channel.primary) / float(channel.secondary)
        samples[name] = values * factor * (layout.factor(index) if layout.channels else 1.0)
    rates = [rate for rate, _ in record.cfg.sample_rates if rate]
    if len(set(rates)) != 1:
        raise RecordingError(f"{path.name} changes its sampling rate; split it at the change")
    start = record.start_timestamp
    return Recording(
        path.name, float(rates[0]), samples, float(record.frequency or 0),
        start.isoformat() if start else "", tuple(notes),
    )  # fmt: skip


def _channel_name(name: str, phase: str, unit: str) -> str | None:
    kind = {"v": "u", "a": "i"}.get(unit.strip().lower()[-1:])
    if kind is None:
        return None
    token = phase.strip().lower() or re.sub(r"[^123abcn]", "", name.lower())[-1:]
    token = token.removeprefix("l")[-1:]
    return kind + _PHASE[token] if token in _PHASE else None


# --- WAV ---


def _read_wav(path: Path, layout: Layout) -> Recording:
    try:
        with wave.open(str(path), "rb") as file:
            count, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise RecordingError(f"{path.name} is no PCM WAV file: {error}") from error
    values = _pcm(raw, width).reshape(-1, count)
    return _of_columns(path, values, layout, layout.sample_rate_hz or float(rate))


def _pcm(raw: bytes, width: int) -> NDArray[np.float64]:
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float64) - 128
    if width == 3:
        octets = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        joined = octets[:, 0] | octets[:, 1] << 8 | octets[:, 2] << 16
        return np.where(joined >= 1 << 23, joined - (1 << 24), joined).astype(np.float64)
    return np.frombuffer(raw, f"<i{width}").astype(np.float64)


# --- CSV ---


def _read_csv(path: Path, layout: Layout) -> Recording:
    with path.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
    delimiter = ";" if head.count(";") > head.count(",") else ","
    columns = next(csv.reader([head], delimiter=delimiter))
    try:
        values = np.loadtxt(path, delimiter=delimiter, skiprows=1, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise RecordingError(
            f"{path.name}: {error}; every row needs the header's columns"
        ) from error
    rate = layout.sample_rate_hz
    samples: dict[str, NDArray[np.float64]] = {}
    for index, title in enumerate(columns):
        if is_time_column(title):
            rate = rate or rate_of_times(path, values[:, index], "ms" in title.lower())
            continue
        found = header_channel(title)
        if found is not None:
            samples[found[0]] = values[:, index] * found[1]
    if not rate:
        raise RecordingError(
            f"{path.name} has no time column (t_s); say --sample-rate, in samples per second"
        )
    return Recording(path.name, rate, samples)


def rate_of_times(path: Path, times: NDArray[np.float64], in_ms: bool) -> float:
    """Samples per second of evenly rising instants; raise RecordingError for others."""
    steps = np.diff(times) * (1e-3 if in_ms else 1.0)
    if len(steps) == 0 or steps.min() <= 0:
        raise RecordingError(f"{path.name}: the time column does not rise")
    mean = float(steps.mean())
    if float(np.abs(steps - mean).max()) > 0.25 * mean:
        raise RecordingError(f"{path.name}: the samples are not evenly spaced; resample it first")
    return round(1.0 / mean, 3)


# --- NumPy ---


def _read_npy(path: Path, layout: Layout) -> Recording:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise RecordingError(f"{path.name} is no NumPy array file: {error}") from error
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.number):
        raise RecordingError(f"{path.name} must be a table of numbers (samples, channels)")
    if values.shape[0] < values.shape[1]:
        values = values.T
    if not layout.sample_rate_hz:
        raise RecordingError(
            f"{path.name} does not tell its rate; say --sample-rate 6400, for example"
        )
    return _of_columns(path, values.astype(np.float64), layout, layout.sample_rate_hz)


def _of_columns(
    path: Path, values: NDArray[np.float64], layout: Layout, rate_hz: float
) -> Recording:
    names: Sequence[str] = layout.channels
    if not names:
        half = values.shape[1] // 2
        names = (*(f"u{n + 1}" for n in range(half or 1)), *(f"i{n + 1}" for n in range(half)))
    check_names(path, names, values.shape[1])
    samples = {
        name: values[:, index] * layout.factor(index)
        for index, name in enumerate(names)
        if name != "-"
    }
    return Recording(path.name, rate_hz, samples)


def check_names(path: Path, names: Sequence[str], columns: int) -> None:
    """Raise RecordingError unless `names` are one known, distinct channel (or -) per column."""
    if len(names) != columns:
        raise RecordingError(f"{path.name} has {columns} columns, --channels names {len(names)}")
    unknown = [name for name in names if name not in CHANNELS and name != "-"]
    if unknown:
        raise RecordingError(f"channel {unknown[0]!r} is not known; use {', '.join(CHANNELS)} or -")
    twice = [name for name in set(names) if name != "-" and list(names).count(name) > 1]
    if twice:
        raise RecordingError(f"{path.name}: {twice[0]} is named twice; give every column its own")


def header_channel(title: str) -> tuple[str, float] | None:
    """Channel and V or A per unit of a CSV column such as `u_l1_v`, `I2 [mA]`; None for others."""
    match = _HEADER.fullmatch(title)
    if match is None:
        return None
    kind = "i" if match[1].lower() == "i" else "u"
    return kind + _PHASE[(match[3] or "").lower()], _UNIT_FACTORS[(match[4] or "v").lower()]


def is_time_column(title: str) -> bool:
    """Whether a CSV column holds the instants of the samples, such as `t_s` or `time [ms]`."""
    return bool(re.fullmatch(r"\s*(t|time)[\s_\[(]*m?s?[\])]?\s*", title, re.IGNORECASE))
