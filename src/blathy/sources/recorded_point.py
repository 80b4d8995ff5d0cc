"""A recording as a measuring point: its wiring, nominal values, calibration, and frames in order.

The file tells what it can (channels, rate, scale); what it cannot is taken from the caller or
found in its first second, and `notes` says which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S
from blathy.metrology.connection import (
    SAMPLE_RATE_HZ_MAX,
    SAMPLE_RATE_HZ_MIN,
    Connection,
    Wiring,
)
from blathy.metrology.sensors import TAPS, Calibration, CalibrationPoint, FractionalDelay
from blathy.sources.recording_stream import RecordingStream
from blathy.sources.recordings import RecordingError
from blathy.sources.resampling import FLAT, Resampler, factors

Floats = NDArray[np.float64]

WIRINGS: Final[dict[str, Wiring]] = {
    "1": Wiring.ONE_PHASE,
    "2": Wiring.TWO_PHASE,
    "split": Wiring.SPLIT_PHASE,
    "3x4": Wiring.THREE_PHASE_4_WIRE,
    "3x3": Wiring.THREE_PHASE_3_WIRE,
}
"""Names of the wirings: phases, or phases x wires."""

USUAL_U_V: Final = (
    57.735, 63.51, 69.28, 100.0, 110.0, 120.0, 127.0, 220.0, 230.0, 240.0, 277.0, 347.0, 400.0,
    5_773.5, 6_350.9, 11_547.0, 12_701.7, 19_052.6, 20_207.3, 63_508.5, 76_210.2, 127_017.1,
)  # fmt: skip
"""Usual voltages to neutral, medium and high voltage (10 kV to 220 kV line to line) included."""
_FITS: Final = 0.12
_LIVE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Declared:
    """What the caller says about a recording; None and empty leave it to the file."""

    wiring: str = ""
    nominal_u_v: float | None = None
    nominal_hz: int | None = None
    nominal_i_a: float | None = None
    start: str = ""
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedPoint:
    """A recording ready for the measuring engine.

    `columns` says which column of the file each channel of a frame is, None where it was not
    recorded (its samples are 0). `carried_hz` is the highest frequency the recording holds.
    """

    stream: RecordingStream
    connection: Connection
    columns: tuple[int | None, ...]
    start_utc_ns: int | None
    up: int
    down: int
    calibrations: Mapping[str, Calibration]
    nominal_i_known: bool
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels of a frame: u1 … i1 … in."""
        wiring = self.connection.wiring
        if wiring is Wiring.THREE_PHASE_3_WIRE:
            return ("u12", "u32", "i1", "i3")
        phases = range(1, wiring.phases + 1)
        neutral = ("in",) if self.connection.neutral_measured else ()
        return (*(f"u{p}" for p in phases), *(f"i{p}" for p in phases), *neutral)

    @property
    def currents(self) -> bool:
        """Whether any current was recorded."""
        first = self.connection.wiring.voltages
        return any(column is not None for column in self.columns[first:])

    @property
    def carried_hz(self) -> float:
        rate = self.stream.sample_rate_hz
        return 0.5 * FLAT * rate if self.up > 1 else 0.5 * rate

    def frames(self, watch: Watch, block: int) -> Iterator[NDArray[Any]]:
        """Frames in the order of the wiring, at the connection's rate; `watch` sees the file's."""
        corrector = _Corrector(self) if self.calibrations else None
        resampler = (
            Resampler(self.up, self.down, len(self.columns)) if self.up * self.down > 1 else None
        )
        for raw in self.stream.blocks(block):
            frames = self.ordered(watch.seen(raw))
            if corrector is not None:
                frames = corrector.process(frames)
            yield resampler.process(_finite(frames)) if resampler is not None else frames
        if corrector is not None:
            last = corrector.finish()
            yield resampler.process(last) if resampler is not None else last
        if resampler is not None:
            yield resampler.finish()

    def ordered(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Columns of the file in the order of a frame; 0 where nothing was recorded."""
        present = [column for column in self.columns if column is not None]
        if len(present) == len(self.columns):
            return raw[:, present]
        out = np.zeros((len(raw), len(self.columns)), raw.dtype)
        for place, column in enumerate(self.columns):
            if column is not None:
                out[:, place] = raw[:, column]
        return out


@dataclass(slots=True)
class Watch:
    """Counts the samples of each channel of the file that are no number or at the range's end."""

    full_scale: float
    frames: int = 0
    invalid: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    saturated: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def seen(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Count, and hand on."""
        if not len(self.invalid):
            self.invalid = np.zeros(raw.shape[1], np.int64)
            self.saturated = np.zeros(raw.shape[1], np.int64)
        self.frames += len(raw)
        if raw.dtype.kind == "f":
            self.invalid += (~np.isfinite(raw)).sum(axis=0)
        if np.isfinite(self.full_scale):
            size = np.abs(raw.astype(np.int64) if raw.dtype.kind == "i" else raw)
            self.saturated += (size >= self.full_scale).sum(axis=0)
        return raw


def point_of(stream: RecordingStream, declared: Declared) -> RecordedPoint:
    """Prepare a recording; raise RecordingError where it cannot be measured as asked."""
    notes = list(stream.notes)
    wiring = _wiring(stream, declared.wiring)
    columns = _columns(stream, wiring, notes)
    up, down = factors(stream.sample_rate_hz, SAMPLE_RATE_HZ_MIN, SAMPLE_RATE_HZ_MAX)
    if not 500.0 <= stream.sample_rate_hz <= 2e6:
        raise RecordingError(
            f"{stream.name}: {stream.sample_rate_hz:g} samples per second cannot be measured; "
            "500 to 2 000 000 can"
        )
    rate = stream.sample_rate_hz * up / down
    if up * down > 1:
        notes.append(f"resampled from {stream.sample_rate_hz:g} to {rate:g} samples per second")
    head = _head(stream)
    nominal_hz = declared.nominal_hz or _nominal_hz(stream, head, notes)
    nominal_u = declared.nominal_u_v or _nominal_u(head, columns, wiring, notes)
    scale = _scales(stream, columns)
    voltages = wiring.voltages
    unknown = sorted(set(declared.calibrations) - set(stream.channels))
    if unknown:
        raise RecordingError(f"the calibration is for {unknown[0]}, which {stream.name} lacks")
    # Filled or corrected samples are floats: the limit still holds, in the file's own unit.
    limit = stream.full_scale if np.isfinite(stream.full_scale) else None
    try:
        connection = Connection(
            rate, wiring, nominal_hz, nominal_u, declared.nominal_i_a or 5.0,
            scale[:voltages], scale[voltages:],
            neutral_measured=len(columns) > wiring.voltages + wiring.currents,
            full_scale_counts=limit,
        )  # fmt: skip
    except ValueError as error:
        raise RecordingError(f"{stream.name}: {error}") from error
    return RecordedPoint(
        stream, connection, columns, _start_utc_ns(declared.start or stream.start), up, down,
        dict(declared.calibrations), declared.nominal_i_a is not None, tuple(notes),
    )  # fmt: skip


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Channel -> calibration from a JSON file: serial number -> channel and constants.

        {"CT-17": {"channel": "i1", "rated_a": 50,
                   "points": [{"share": 1.0, "ratio": 0.995, "phase_min": 12.5}]}}

    `share` is the part of the rated value, `ratio` indicated over true, `phase_min` the lead in
    minutes of arc. Voltage sensors say `rated_v`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(_calibration(serial, entry) for serial, entry in found.items())
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(
            f"{path.name} is no calibration ({error}); it maps a serial number to channel, "
            "rated_a and points of share, ratio and phase_min"
        ) from error


def _calibration(serial: str, entry: dict[str, Any]) -> tuple[str, Calibration]:
    rated = float(entry["rated_v"] if "rated_v" in entry else entry["rated_a"])
    points = tuple(
        CalibrationPoint(float(p["share"]), float(p["ratio"]), float(p["phase_min"]))
        for p in entry["points"]
    )
    if rated <= 0 or any(p.ratio <= 0 for p in points):
        raise ValueError(f"{serial}: rated value and ratios are above zero")
    made = Calibration(
        serial, rated, points, str(entry.get("date", "")), str(entry.get("station", ""))
    )
    return str(entry["channel"]), made


class _Corrector:
    """Undoes ratio and phase error of the calibrated channels; the others are delayed alike.

    The working point of the constants is the rms of the whole recording, found beforehand.
    """

    def __init__(self, point: RecordedPoint) -> None:
        connection, stream = point.connection, point.stream
        self._names = [None if c is None else stream.channels[c] for c in point.columns]
        levels = _levels(point)
        self._factors = np.ones(len(self._names))
        self._delays = []
        for place, name in enumerate(self._names):
            calibration = point.calibrations.get(name) if name is not None else None
            delay = FractionalDelay(0.0)
            if calibration is not None:
                try:
                    self._factors[place], delay = calibration.corrector(
                        float(levels[place]), stream.sample_rate_hz, connection.nominal_hz
                    )
                except ValueError as error:
                    raise RecordingError(f"calibration {calibration.serial}: {error}") from error
            self._delays.append(delay)
        self._skip = TAPS // 2

    def process(self, frames: NDArray[Any]) -> Floats:
        clean = _finite(frames) * self._factors
        parts = [d.process(clean[:, n]) for n, d in enumerate(self._delays)]
        out = np.stack(parts, axis=1)
        skipped = min(self._skip, len(out))
        self._skip -= skipped
        return out[skipped:]

    def finish(self) -> Floats:
        return self.process(np.zeros((TAPS // 2, len(self._delays))))


def _levels(point: RecordedPoint) -> Floats:
    square, n = np.zeros(len(point.columns)), 0
    for raw in point.stream.blocks(1 << 16):
        frames = _finite(point.ordered(raw))
        square += (frames * frames).sum(axis=0)
        n += len(raw)
    scale = np.abs(point.connection.scale_per_channel())
    return np.asarray(np.sqrt(square / max(n, 1)) * scale)


def _finite(frames: NDArray[Any]) -> Floats:
    """Samples that are no number count as 0, as in the engine."""
    clean = np.nan_to_num(frames.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(clean)


def _head(stream: RecordingStream) -> Floats:
    """The first second, in V and A."""
    length = max(2, round(stream.sample_rate_hz))
    parts, n = [], 0
    for raw in stream.blocks(length):
        parts.append(_finite(raw))
        n += len(raw)
        if n >= length:
            break
    if n < 2:
        raise RecordingError(f"{stream.name} holds no samples of a voltage or a current")
    return np.asarray(np.concatenate(parts)[:length] * np.asarray(stream.scales))


def _wiring(stream: RecordingStream, wanted: str) -> Wiring:
    if wanted:
        if wanted not in WIRINGS:
            raise RecordingError(f"there is no wiring {wanted!r}; use {', '.join(WIRINGS)}")
        return WIRINGS[wanted]
    highest = max(int(n[1]) for n in stream.channels if n in {"u1", "u2", "u3", "i1", "i2", "i3"})
    return (Wiring.ONE_PHASE, Wiring.TWO_PHASE, Wiring.THREE_PHASE_4_WIRE)[highest - 1]


def _columns(stream: RecordingStream, wiring: Wiring, notes: list[str]) -> tuple[int | None, ...]:
    place = {name: index for index, name in enumerate(stream.channels)}
    if wiring is Wiring.THREE_PHASE_3_WIRE:
        second_u = place.get("u3", place.get("u2"))
        second_i = place.get("i3", place.get("i2"))
        found = [place.get("u1"), second_u, place.get("i1"), second_i]
        wanted = ["u1 (u12)", "u3 (u32)", "i1", "i3"]
    else:
        phases = range(1, wiring.phases + 1)
        wanted = [f"{kind}{p}" for kind in "ui" for p in phases]
        found = [place.get(name) for name in wanted]
    for name, column in zip(wanted, found, strict=True):
        if column is None and any(n.startswith(name[0]) for n in stream.channels):
            notes.append(f"{name} was not recorded and counts as 0")
    if not any(name in {"i1", "i2", "i3"} for name in stream.channels):
        notes.append("no current was recorded: no powers, no energies")
    used = {column for column in found if column is not None}
    neutral = place.get("in")
    for name, column in place.items():
        if column not in used and name != "in":
            notes.append(f"channel {name} is not used by this wiring")
    if neutral is not None and wiring is not Wiring.THREE_PHASE_3_WIRE and wiring.phases > 1:
        return (*found, neutral)
    return tuple(found)


def _scales(stream: RecordingStream, columns: tuple[int | None, ...]) -> tuple[float, ...]:
    scales = tuple(1.0 if column is None else stream.scales[column] for column in columns)
    if not all(np.isfinite(scale) and scale != 0 for scale in scales):
        raise RecordingError(f"{stream.name}: a --scale factor is a number other than 0")
    return scales


def _nominal_hz(stream: RecordingStream, head: Floats, notes: list[str]) -> int:
    if round(stream.nominal_hz) in {50, 60}:
        return round(stream.nominal_hz)
    voltages = [n for n, name in enumerate(stream.channels) if name.startswith("u")]
    signal = head[:, voltages] - head[:, voltages].mean(axis=0)
    size = max(len(signal), round(stream.sample_rate_hz))
    lines = np.abs(np.fft.rfft(signal * np.hanning(len(signal))[:, None], size, axis=0)).sum(axis=1)
    hz = np.arange(len(lines)) * stream.sample_rate_hz / size
    band = (hz >= 40) & (hz <= 72)
    if not lines[band].any():
        return 50
    found = 60 if float(hz[band][int(np.argmax(lines[band]))]) > 55.0 else 50
    notes.append(f"nominal frequency taken as {found} Hz from the signal")
    return found


def _nominal_u(
    head: Floats, columns: tuple[int | None, ...], wiring: Wiring, notes: list[str]
) -> float:
    present = [c for c in columns[: wiring.voltages] if c is not None]
    rms = float(np.sqrt(np.mean(head[:, present] ** 2, axis=0)).max(initial=0.0))
    if wiring is Wiring.THREE_PHASE_3_WIRE:
        rms /= np.sqrt(3.0)
    if rms < _LIVE * USUAL_U_V[0]:
        return 230.0
    near = min(USUAL_U_V, key=lambda u: abs(np.log(rms / u)))
    fits = abs(rms / near - 1.0) <= _FITS
    if abs(rms / 230.0 - 1.0) <= _FITS:
        near = 230.0
    found = near if fits else float(f"{rms:.3g}")
    why = "the usual one nearest to the signal" if fits else "that of the first second"
    notes.append(f"nominal voltage taken as {found:g} V, {why}; --nominal-u says otherwise")
    return found


def _start_utc_ns(start: str) -> int | None:
    if not start:
        return None
    try:
        instant = datetime.fromisoformat(start)
    except ValueError as error:
        raise RecordingError(f"{start!r} is no time; write 2026-03-01T12:00:00Z") from error
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    whole = instant.replace(microsecond=0)
    return int(whole.timestamp()) * NANOSECONDS_PER_S + instant.microsecond * 1000
