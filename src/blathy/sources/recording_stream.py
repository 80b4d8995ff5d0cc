"""Recordings of any length, block by block: the samples as the file holds them, with their scale.

What `recordings.read_recording` takes whole, `open_recording` hands out in blocks of frames, so
that memory does not grow with the length of a WAV, CSV or NumPy file (COMTRADE files are read
whole, as their reader does). Integers stay integers: the end of their range tells saturation.
"""

from __future__ import annotations

import csv
import math
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.sources.recordings import (
    SUFFIXES,
    Layout,
    RecordingError,
    check_names,
    header_channel,
    is_time_column,
    rate_of_times,
    read_recording,
)

Frames = NDArray[Any]
CSV_ROWS: Final = 8_192


@dataclass(frozen=True, slots=True)
class RecordingStream:
    """A recording that is read as often and in as large blocks as wanted.

    `channels` names the columns of a frame, `scales` are V or A per unit of the file and
    `full_scale` the value at which a sample is saturated (infinite where the file cannot tell).
    `frames` is None where only reading tells the length; `start` is the file's own time stamp.
    """

    name: str
    sample_rate_hz: float
    channels: tuple[str, ...]
    scales: tuple[float, ...]
    full_scale: float
    frames: int | None
    nominal_hz: float
    start: str
    notes: tuple[str, ...]
    reader: Callable[[int], Iterator[Frames]]

    def blocks(self, frames: int) -> Iterator[Frames]:
        """From the beginning: arrays (at most `frames`, channels) in the file's own unit."""
        return self.reader(frames)


def open_recording(
    path: Path, layout: Layout | None = None, full_scale: float | None = None
) -> RecordingStream:
    """Open a recording; raise RecordingError with one sentence where it cannot be taken."""
    layout = layout or Layout()
    suffix = path.suffix.lower()
    if not path.is_file():
        raise RecordingError(f"there is no file {path}")
    if suffix not in SUFFIXES:
        raise RecordingError(f"{path.name}: a recording is one of {', '.join(SUFFIXES)}")
    opener = {".wav": _open_wav, ".csv": _open_csv, ".npy": _open_npy}.get(suffix, _open_whole)
    stream = opener(path, layout, full_scale)
    if not any(name.startswith("u") for name in stream.channels):
        raise RecordingError(
            f"{path.name} holds no voltage; name its columns with --channels, e.g. u1,i1"
        )
    if stream.frames is not None and stream.frames < 2:
        raise RecordingError(f"{path.name} holds no samples of a voltage or a current")
    return stream


def _named(path: Path, layout: Layout, columns: int) -> tuple[list[int], tuple[str, ...]]:
    """Columns to take and their channels; half voltages, half currents unless the layout says."""
    half = columns // 2
    names = layout.channels or (
        *(f"u{n + 1}" for n in range(half or 1)), *(f"i{n + 1}" for n in range(half)),
    )  # fmt: skip
    check_names(path, names, columns)
    taken = [index for index, name in enumerate(names) if name != "-"]
    return taken, tuple(names[index] for index in taken)


def _open_whole(path: Path, layout: Layout, full_scale: float | None) -> RecordingStream:
    record = read_recording(path, layout)
    names = tuple(record.samples)
    samples = np.stack([record.samples[name] for name in names], axis=1)

    def read(frames: int) -> Iterator[Frames]:
        for first in range(0, len(samples), frames):
            yield samples[first : first + frames]

    scales = (1.0,) * len(names)
    limit = math.inf if full_scale is None else full_scale
    return RecordingStream(
        path.name, layout.sample_rate_hz or record.sample_rate_hz, names, scales, limit,
        len(samples), record.nominal_hz, record.start, record.notes, read,
    )  # fmt: skip


# --- WAV ---

_WAV_FULL_SCALE: Final = {1: 127.0, 2: 32_767.0, 3: 8_388_607.0, 4: 2_147_483_647.0}


def _open_wav(path: Path, layout: Layout, full_scale: float | None) -> RecordingStream:
    try:
        with wave.open(str(path), "rb") as file:
            count, width, length = file.getnchannels(), file.getsampwidth(), file.getnframes()
            rate = layout.sample_rate_hz or float(file.getframerate())
    except (wave.Error, EOFError) as error:
        raise RecordingError(f"{path.name} is no PCM WAV file: {error}") from error
    taken, names = _named(path, layout, count)

    def read(frames: int) -> Iterator[Frames]:
        with wave.open(str(path), "rb") as file:
            while raw := file.readframes(frames):
                whole = len(raw) - len(raw) % (count * width)
                yield _pcm(raw[:whole], width).reshape(-1, count)[:, taken]

    return RecordingStream(
        path.name, rate, names, tuple(layout.factor(index) for index in taken),
        full_scale or _WAV_FULL_SCALE[width], length, 0.0, "", (), read,
    )  # fmt: skip


def _pcm(raw: bytes, width: int) -> Frames:
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.int16) - np.int16(128)
    if width == 3:
        octets = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        joined = octets[:, 0] << 8 | octets[:, 1] << 16 | octets[:, 2] << 24
        return joined >> 8
    return np.frombuffer(raw, f"<i{width}")


# --- NumPy ---


def _open_npy(path: Path, layout: Layout, full_scale: float | None) -> RecordingStream:
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise RecordingError(f"{path.name} is no NumPy array file: {error}") from error
    if (
        not isinstance(values, np.ndarray)
        or values.ndim not in {1, 2}
        or values.dtype.kind not in "iuf"
    ):
        raise RecordingError(f"{path.name} must be a table of numbers (samples, channels)")
    table = values[:, None] if values.ndim == 1 else values
    table = table.T if table.shape[0] < table.shape[1] else table
    if not layout.sample_rate_hz:
        raise RecordingError(
            f"{path.name} does not tell its rate; say --sample-rate 6400, for example"
        )
    taken, names = _named(path, layout, table.shape[1])
    kept = table.dtype.name in {"int16", "int32", "float32", "float64"}
    limit = {"int16": 32_767.0, "int32": 2_147_483_647.0}.get(table.dtype.name, math.inf)

    def read(frames: int) -> Iterator[Frames]:
        for first in range(0, len(table), frames):
            block = np.asarray(table[first : first + frames])[:, taken]
            yield block if kept else block.astype(np.float64)

    return RecordingStream(
        path.name, layout.sample_rate_hz, names, tuple(layout.factor(index) for index in taken),
        full_scale or limit, len(table), 0.0, "", (), read,
    )  # fmt: skip


# --- CSV ---


@dataclass(frozen=True, slots=True)
class _CsvForm:
    """How a CSV file is written: found in its first lines."""

    delimiter: str
    decimal_comma: bool
    header_lines: int
    titles: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> _CsvForm:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                head, second = file.readline(), file.readline()
        except UnicodeDecodeError as error:
            raise RecordingError(f"{path.name} is no text; save it as CSV in UTF-8") from error
        delimiter = max(";\t,", key=head.count)
        titles = tuple(next(csv.reader([head], delimiter=delimiter), []))
        comma = delimiter != "," and "," in second
        bare = all(_is_number(title) for title in titles) and bool(titles)
        return cls(delimiter, comma, 0 if bare else 1, () if bare else titles)

    def blocks(self, path: Path, rows: int) -> Iterator[NDArray[np.float64]]:
        """All columns as numbers; what is empty or no number is NaN."""
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = islice(file, self.header_lines, None)
            while part := list(islice(lines, rows)):
                yield self._numbers(path, part)

    def _numbers(self, path: Path, lines: list[str]) -> NDArray[np.float64]:
        if self.decimal_comma:
            lines = [line.replace(",", ".") for line in lines]
        try:
            return np.loadtxt(lines, delimiter=self.delimiter, ndmin=2, dtype=np.float64)
        except ValueError:
            pass  # a cell without a number, or a row of another length
        try:
            table = np.genfromtxt(lines, delimiter=self.delimiter, dtype=np.float64)
        except ValueError as error:
            words = "a row has not as many columns as the header; repair or remove it"
            raise RecordingError(f"{path.name}: {words}") from error
        return np.atleast_2d(table) if len(lines) == 1 else table.reshape(len(lines), -1)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _open_csv(path: Path, layout: Layout, full_scale: float | None) -> RecordingStream:
    form = _CsvForm.of(path)
    first = next(form.blocks(path, CSV_ROWS), None)
    if first is None or first.size == 0:
        raise RecordingError(f"{path.name} holds no samples of a voltage or a current")
    columns = first.shape[1]
    if form.titles and len(form.titles) != columns:
        raise RecordingError(f"{path.name}: the header has not as many columns as the rows")
    clock = next((n for n, title in enumerate(form.titles) if is_time_column(title)), None)
    in_ms = clock is not None and "ms" in form.titles[clock].lower()
    rate = layout.sample_rate_hz
    if not rate and clock is not None:
        rate = rate_of_times(path, first[:, clock], in_ms)
    if not rate:
        raise RecordingError(
            f"{path.name} has no time column (t_s); say --sample-rate, in samples per second"
        )
    taken, names, scales = _csv_channels(path, layout, form, columns, clock)

    def read(frames: int) -> Iterator[Frames]:
        before = None
        for block in form.blocks(path, frames):
            if clock is not None and not layout.sample_rate_hz:
                _check_times(path, before, block[:, clock], in_ms, rate)
                before = block[-1, clock]
            yield np.ascontiguousarray(block[:, taken])

    limit = math.inf if full_scale is None else full_scale
    return RecordingStream(path.name, rate, names, scales, limit, None, 0.0, "", (), read)


def _csv_channels(
    path: Path, layout: Layout, form: _CsvForm, columns: int, clock: int | None
) -> tuple[list[int], tuple[str, ...], tuple[float, ...]]:
    data = [n for n in range(columns) if n != clock]
    if layout.channels or not form.titles:
        taken, names = _named(path, layout, len(data))
        return [data[n] for n in taken], names, tuple(layout.factor(n) for n in taken)
    found = [(n, header_channel(form.titles[n])) for n in data]
    known = [(n, *channel) for n, channel in found if channel is not None]
    if not known:
        raise RecordingError(
            f"{path.name}: no column is named as a voltage or current (u1_v, i1_a); say --channels"
        )
    names = tuple(name for _, name, _ in known)
    check_names(path, names, len(names))
    scales = tuple(scale * layout.factor(k) for k, (_, _, scale) in enumerate(known))
    return [n for n, _, _ in known], names, scales


def _check_times(
    path: Path, before: float | None, times: NDArray[np.float64], in_ms: bool, rate_hz: float
) -> None:
    joined = times if before is None else np.concatenate([[before], times])
    steps = np.diff(joined) * (1e-3 if in_ms else 1.0) * rate_hz
    if len(steps) and not np.all(np.abs(steps - 1.0) < 0.25):
        place = float(joined[int(np.argmax(~(np.abs(steps - 1.0) < 0.25)))])
        raise RecordingError(
            f"{path.name}: the samples are not evenly spaced after t = {place:g}; split it there"
        )
