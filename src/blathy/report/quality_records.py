"""Where a weekly assessment gets its record from: a waveform, a table of means, a meter's profile.

Each function returns the record and notes on what it does not hold. Nothing is filled in: what was
not measured stays empty and is shown as "not measured".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S
from blathy.metrology.aggregation import Interval, Span
from blathy.metrology.en50160 import INTERVAL_S, LONG_TERM_S, QualityRecord, VoltageEvent
from blathy.metrology.engine import Engine, FlickerValue, FrequencyValue, Measured, Measuring
from blathy.metrology.half_cycle import COASTING
from blathy.metrology.voltage_events import FLAGGED, VoltageEventKind
from blathy.sources.recorded_point import RecordedPoint, Watch
from blathy.sources.recordings import RecordingError

Floats = NDArray[np.float64]
ORDERS: Final = range(2, 26)
BLOCK_S: Final = 2.0
SLOT_S: Final = 10
TOLERANCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """A record with the name of its place and what is to be said about it."""

    name: str
    record: QualityRecord
    notes: tuple[str, ...]
    absent: str = "not measured"
    """What is said of a criterion without values."""


# --- a recording ---


@dataclass(slots=True)
class _Collected:
    """What a week needs of the engine's results: a few values per ten minutes."""

    intervals: list[Interval] = field(default_factory=list)
    flicker: list[FlickerValue] = field(default_factory=list)
    frequencies: list[FrequencyValue] = field(default_factory=list)
    events: list[VoltageEvent] = field(default_factory=list)

    def add(self, measured: Measured) -> None:
        self.intervals += [i for i in measured.intervals if i.span is Span.MINUTES_10]
        self.flicker += [f for f in measured.flicker if f.long_term]
        self.frequencies += measured.frequencies
        for event in measured.voltage_events:
            if event.ended and event.kind is not VoltageEventKind.RAPID_CHANGE:
                self.events.append(
                    VoltageEvent(
                        measured.utc_ns(event.start) / NANOSECONDS_PER_S, event.duration_s,
                        event.extreme_percent, event.kind is VoltageEventKind.INTERRUPTION,
                    )
                )  # fmt: skip


def record_of_recording(point: RecordedPoint) -> Gathered:
    """Measure a waveform into 10-min values, 10-s frequencies, Plt and events."""
    connection = point.connection
    engine = Engine(connection, Measuring(conditions=None), point.start_utc_ns or 0)
    watch, found = Watch(point.stream.full_scale), _Collected()
    block = max(64, round(BLOCK_S * point.stream.sample_rate_hz))
    frames = 0
    for part in point.frames(watch, block):
        frames += len(part)
        found.add(engine.push(part))
    found.add(engine.finish())
    start_s = engine.start_utc_ns / NANOSECONDS_PER_S
    end_s = start_s + frames / connection.sample_rate_hz
    highest = int(point.carried_hz // (1.15 * connection.nominal_hz))
    notes = list(point.notes)
    if highest < 40:
        notes.append(f"the sample rate carries harmonics to order {highest}: THD is not measured")
    if end_s - start_s < INTERVAL_S:
        notes.append("shorter than ten minutes: only frequency and events can be assessed")
    if point.start_utc_ns is None:
        notes.append("the recording does not tell when it began: times count from 1970-01-01")
    record = _record_of(found, point, (start_s, end_s), highest)
    return Gathered(point.stream.name, record, tuple(notes))


def _record_of(
    found: _Collected, point: RecordedPoint, span_s: tuple[float, float], highest: int
) -> QualityRecord:
    connection = point.connection
    phases, nominal = connection.phases, connection.nominal_u_v
    whole = [i for i in found.intervals if _seconds(i) >= INTERVAL_S - TOLERANCE_S]
    ticks = [round(i.start_utc_ns / NANOSECONDS_PER_S / INTERVAL_S) for i in whole]
    first = ticks[0] if ticks else int(-(-span_s[0] // INTERVAL_S))
    count = ticks[-1] - first + 1 if ticks else 0
    u_v = np.full((count, phases), np.nan)
    thd, u2 = np.full((count, phases), np.nan), np.full(count, np.nan)
    harmonics = np.full((count, phases, len(ORDERS)), np.nan)
    flagged = np.zeros(count, np.bool_)
    for tick, interval in zip(ticks, whole, strict=True):
        row = tick - first
        u_v[row], u2[row] = interval.u_v, interval.u2_percent
        flagged[row] = bool(interval.flags & FLAGGED)
        harmonics[row] = 100.0 * interval.harmonic[:phases, 2:26] / nominal
        if highest >= 40:
            thd[row] = interval.thd_percent(40)[:phases]
    harmonics[:, :, max(highest - 1, 0) :] = np.nan
    return QualityRecord(
        nominal, float(connection.nominal_hz), first * INTERVAL_S, u_v, flagged,
        _frequencies(found.frequencies, span_s), _plt(found.flicker, phases), u2, thd, harmonics,
        events=tuple(found.events),
    )  # fmt: skip


def _seconds(interval: Interval) -> float:
    return (interval.end_utc_ns - interval.start_utc_ns) / NANOSECONDS_PER_S


def _frequencies(values: Iterable[FrequencyValue], span_s: tuple[float, float]) -> Floats:
    """Means of the 10-s slots that the record covers whole, on a grid that was there."""
    return np.array(
        [
            np.nan if value.flags & COASTING else value.frequency_hz
            for value in values
            if value.start_utc_s >= span_s[0] - 1e-6
            and value.start_utc_s + SLOT_S <= span_s[1] + 1e-6
        ],
        dtype=np.float64,
    )


def _plt(values: Iterable[FlickerValue], phases: int) -> Floats:
    """The 2-h values that are whole; those touched by a dip are NaN."""
    kept = [
        np.where(value.flagged, np.nan, value.severity)
        for value in values
        if value.end_utc_ns - value.start_utc_ns >= (LONG_TERM_S - TOLERANCE_S) * NANOSECONDS_PER_S
    ]
    return np.stack(kept) if kept else np.zeros((0, phases))


# --- a table of means ---

_COLUMN: Final = re.compile(
    r"(u|thd_u|h(\d+)|plt)_l([123])(_v|_percent|)|(u2_percent|flagged|start)"
)


def is_table(path: Path) -> bool:
    """Whether a CSV or Parquet file holds means with a `start` column, not samples."""
    if path.suffix.lower() == ".parquet":
        return True
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return "start" in {title.strip().lower() for title in re.split("[,;\t]", head)}


def record_of_table(
    path: Path, nominal_u_v: float, nominal_hz: int, events: Path | None = None
) -> Gathered:
    """Means over 10 min (or what divides it; 15 min is said) from a CSV or Parquet table.

    Columns: `start` (ISO 8601 or seconds of UTC) and `u_l1_v`; optional `u_l2_v`, `u_l3_v`,
    `flagged` (0 or 1), `u2_percent`, `thd_u_l1_percent` …, `h3_l1_percent` … (order 2 … 25, percent
    of Un) and `plt_l1` … at the rows that begin an even hour. Empty is not measured.
    """
    columns = _read_columns(path)
    starts = columns.pop("start")
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    columns = {name: values[order] for name, values in columns.items()}
    step = _step_of(path, starts)
    series = Means(round(float(starts[0])), step, starts)
    notes: list[str] = []
    phases = max((p for p in (1, 2, 3) if f"u_l{p}_v" in columns), default=0)
    if not phases:
        raise RecordingError(f"{path.name} has no column u_l1_v with means of the voltage")
    ignored = sorted(name for name in columns if not _COLUMN.fullmatch(name))
    if ignored:
        notes.append(f"columns that are not assessed: {', '.join(ignored[:6])}")
    record = series.record(columns, phases, nominal_u_v, nominal_hz)
    if events is not None:
        record = replace(record, events=_read_events(events), dips_measured=True)
    else:
        notes.append("no events were given: dips and swells are not measured")
    return Gathered(path.name, record, (*_note_on_step(step), *notes))


def _note_on_step(step_s: int) -> tuple[str, ...]:
    if INTERVAL_S % step_s == 0:
        return ()
    words = f"means over {step_s // 60} min, where the standard has 10: short deviations show less"
    return (words,)


@dataclass(frozen=True, slots=True)
class Means:
    """Values of rising `starts` on a grid of `step_s`, joined to ten minutes where they divide
    it (root of the mean square; one missing value leaves the interval out)."""

    first_s: int
    step_s: int
    starts: Floats

    @property
    def interval_s(self) -> int:
        return INTERVAL_S if INTERVAL_S % self.step_s == 0 else self.step_s

    @property
    def begin_s(self) -> int:
        """Start of the first interval: a whole one."""
        return -(-self.first_s // self.interval_s) * self.interval_s

    @property
    def count(self) -> int:
        end = round(float(self.starts[-1])) + self.step_s
        return max((end - self.begin_s) // self.interval_s, 0)

    def joined(self, values: Floats) -> Floats:
        """Root of the mean square over each interval."""
        return np.asarray(np.sqrt(np.mean(np.square(self._grid(values)), axis=1)))

    def any_of(self, values: Floats) -> NDArray[np.bool_]:
        return np.asarray((np.nan_to_num(self._grid(values)) != 0).any(axis=1))

    def _grid(self, values: Floats) -> Floats:
        many = self.interval_s // self.step_s
        out = np.full(self.count * many, np.nan)
        places = np.round((self.starts - self.begin_s) / self.step_s).astype(np.int64)
        inside = (places >= 0) & (places < len(out))
        out[places[inside]] = values[inside]
        return out.reshape(self.count, many)

    def record(
        self, columns: Mapping[str, Floats], phases: int, nominal_u_v: float, nominal_hz: int
    ) -> QualityRecord:
        """A record of the columns named as in `record_of_table`."""
        nothing = np.full(self.count, np.nan)

        def stacked(form: str) -> Floats:
            found = [columns.get(form.format(p + 1)) for p in range(phases)]
            parts = [nothing if one is None else self.joined(one) for one in found]
            return np.stack(parts, axis=1)

        harmonics = np.stack([stacked(f"h{n}_l{{}}_percent") for n in ORDERS], axis=2)
        u2 = columns.get("u2_percent")
        flagged = columns.get("flagged")
        return QualityRecord(
            nominal_u_v, float(nominal_hz), self.begin_s, stacked("u_l{}_v"),
            np.zeros(self.count, np.bool_) if flagged is None else self.any_of(flagged),
            plt=self._plt(columns, phases),
            u2_percent=nothing if u2 is None else self.joined(u2),
            thd_percent=stacked("thd_u_l{}_percent"), harmonics_percent=harmonics,
            interval_s=self.interval_s, dips_measured=False,
        )  # fmt: skip

    def _plt(self, columns: Mapping[str, Floats], phases: int) -> Floats:
        begin = -(-self.begin_s // LONG_TERM_S) * LONG_TERM_S
        end = round(float(self.starts[-1])) + self.step_s
        count = max((end - begin) // LONG_TERM_S, 0)
        out = np.full((count, phases), np.nan)
        rows = np.round((self.starts - begin) / LONG_TERM_S, 6)
        on_hour = (rows == np.round(rows)) & (rows >= 0) & (rows < count)
        for p in range(phases):
            values = columns.get(f"plt_l{p + 1}")
            if values is not None:
                out[rows[on_hour].astype(np.int64), p] = values[on_hour]
        return out


def _step_of(path: Path, starts: Floats) -> int:
    if len(starts) < 2:
        raise RecordingError(f"{path.name} holds less than two intervals")
    steps = np.diff(starts)
    step = round(float(np.median(steps)))
    if step < 1 or np.any(np.abs(steps / step - np.round(steps / step)) > 0.01) or steps.min() <= 0:
        raise RecordingError(f"{path.name}: the starts do not lie on a grid of whole seconds")
    if step > 3600:
        raise RecordingError(f"{path.name}: means over {step} s are too long; 10 min are wanted")
    return step


def _read_columns(path: Path) -> dict[str, Floats]:
    raw = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    if "start" not in raw:
        raise RecordingError(f"{path.name} has no column start (UTC of each interval)")
    columns = {name: np.array([_number(v) for v in values]) for name, values in raw.items()
               if name != "start"}  # fmt: skip
    starts = [_instant(path, value) for value in raw["start"]]
    return {"start": np.array(starts, dtype=np.float64), **columns}


def _read_csv(path: Path) -> dict[str, list[Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            delimiter = max(";\t,", key=head.count)
            titles = [
                title.strip().lower() for title in next(csv.reader([head], delimiter=delimiter))
            ]
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, StopIteration, csv.Error) as error:
        raise RecordingError(f"{path.name} is no table in CSV; save it in UTF-8") from error
    if any(len(row) != len(titles) for row in rows):
        raise RecordingError(f"{path.name}: a row has not as many columns as the header")
    return {title: [row[n] for row in rows] for n, title in enumerate(titles)}


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {str(k).lower(): v for k, v in pq.read_table(path).to_pydict().items()}
    except (pa.ArrowException, OSError) as error:
        raise RecordingError(f"{path.name} is no readable Parquet file: {error}") from error


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 1.0 if str(value).strip().lower() == "true" else float("nan")


def _instant(path: Path, value: Any) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        found = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise RecordingError(
            f"{path.name}: {value!r} is no time; write 2026-03-01T12:00:00Z"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _read_events(path: Path) -> tuple[VoltageEvent, ...]:
    """Events as `start,duration_s,extreme_percent`."""
    raw = _read_csv(path)
    names = ("start", "duration_s", "extreme_percent")
    missing = [name for name in names if name not in raw]
    if missing:
        raise RecordingError(f"{path.name} has no column {missing[0]}; it needs {', '.join(names)}")
    rows = zip(*(raw[name] for name in names), strict=True)
    found = tuple(
        VoltageEvent(_instant(path, start), _number(lasts), _number(extreme))
        for start, lasts, extreme in rows
    )
    if any(np.isnan(e.duration_s) or np.isnan(e.extreme_percent) for e in found):
        raise RecordingError(f"{path.name}: a duration or extreme is no number")
    return found


# --- a metering point of a control centre ---


FREQUENCIES: Final = ("f_min", "f_max")
"""The extremes of ten minutes: both within the limits means that all 10-s means were."""


def nominal_of_rating(rated: str) -> float:
    """Voltage to neutral in a rating such as `3×230/400 V, 5(85) A`; 230 V where several fit."""
    volts = re.search(r"([\d./]+) V", rated)
    figures = [float(v) for v in volts[1].split("/") if v] if volts else []
    return 230.0 if not figures or 230.0 in figures else figures[0]


def wanted_channels(point: Mapping[str, Any]) -> list[str]:
    """The channels of a point that an assessment can use."""
    known = {f"{name}_l{p}" for p in (1, 2, 3) for name in ("u", "thd_u")} | {"u2", *FREQUENCIES}
    return [c["id"] for c in point.get("channels", ()) if c["id"] in known]


def record_of_point(
    point: Mapping[str, Any],
    profiles: Mapping[str, Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    nominal_u_v: float,
    nominal_hz: int,
) -> Gathered:
    """A record of what the control centre read from a meter: `profiles` by channel at slot
    resolution. Raise RecordingError where it holds no voltage."""
    name = f"{point.get('name', '')} ({point.get('id', '')})"
    if not any(c.startswith("u_l") and profiles[c]["slots"] for c in profiles):
        raise RecordingError(
            f"the meter of {name} keeps no profile of the voltage; choose a point whose meter does"
        )
    of_voltage = [p for c, p in profiles.items() if c.startswith("u_l") and p["slots"]]
    step = max(int(p["step_s"]) for p in of_voltage)
    others = sorted(c for c, p in profiles.items() if p["slots"] and int(p["step_s"]) != step)
    profiles = {c: p for c, p in profiles.items() if c not in others}
    starts = sorted({_second(s["start"]) for p in profiles.values() for s in p["slots"]})
    series = Means(starts[0], step, np.array(starts, dtype=np.float64))
    place = {start: n for n, start in enumerate(starts)}
    columns = {}
    for channel, profile in profiles.items():
        values = np.full(len(starts), np.nan)
        for slot in profile["slots"]:
            if slot["value"] is not None and slot.get("quality") in {"valid", None}:
                values[place[_second(slot["start"])]] = float(slot["value"])
        unit = "_v" if channel.startswith("u_") else "_hz" if channel in FREQUENCIES else "_percent"
        columns[channel + unit] = values
    phases = max(int(c[-1]) for c in profiles if c.startswith("u_l"))
    record = series.record(columns, phases, nominal_u_v, nominal_hz)
    outages, more = _outages(events)
    span = (record.start_utc_s, record.start_utc_s + record.duration_s)
    record = replace(
        record,
        events=tuple(outages),
        frequency_10s_hz=_extreme_frequencies(columns),
        flagged=_touched(record, outages),
    )
    notes = [
        "read from the meter's profile; what the meter does not record is not measured",
        *([FREQUENCY_NOTE] if len(record.frequency_10s_hz) else []),
        *([f"recorded over other periods and left out: {', '.join(others)}"] if others else []),
        *_note_on_step(step),
        *more,
    ]
    if span[1] <= span[0]:
        raise RecordingError(f"the profile of {name} holds no whole interval in that time")
    return Gathered(name, record, tuple(notes), "not measured by this meter")


FREQUENCY_NOTE: Final = (
    "frequency: the lowest and highest values of every period, the stricter judgement"
)


def _extreme_frequencies(columns: Mapping[str, Floats]) -> Floats:
    """The extremes of every period, those without values left out."""
    found = [columns[f"{name}_hz"] for name in FREQUENCIES if f"{name}_hz" in columns]
    joined = np.concatenate(found) if len(found) == len(FREQUENCIES) else np.zeros(0)
    return np.asarray(joined[np.isfinite(joined) & (joined > 0)])


def _second(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


def _outages(events: Sequence[Mapping[str, Any]]) -> tuple[list[VoltageEvent], list[str]]:
    """Interruptions from power-down and power-up; the sags that carry no depth only as a count."""
    found: list[VoltageEvent] = []
    down: int | None = None
    sags = 0
    for event in sorted(events, key=lambda e: str(e["at"])):
        at = _second(event["at"])
        if event["name"] == "power_down":
            down = at
        elif event["name"] == "power_up" and down is not None:
            if at > down:
                found.append(VoltageEvent(float(down), float(at - down), 0.0, True))
            down = None
        sags += event["name"] in {"sag_start", "swell_start"}
    notes = []
    if sags:
        notes.append(
            f"the meter reports {sags} sags and swells without their depth: they are not in the "
            "tables below"
        )
    return found, notes


def _touched(record: QualityRecord, events: Sequence[VoltageEvent]) -> NDArray[np.bool_]:
    flagged = record.flagged.copy()
    for event in events:
        first = int((event.start_utc_s - record.start_utc_s) // record.interval_s)
        last = int((event.start_utc_s + event.duration_s - record.start_utc_s) // record.interval_s)
        flagged[max(first, 0) : max(last + 1, 0)] = True
    return flagged
