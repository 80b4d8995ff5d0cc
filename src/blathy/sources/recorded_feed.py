"""A recording as the load of a meter: its whole cycles, played again and again.

The recording is cut at two upward zero crossings of its first voltage and joined into a loop; what
lies between two samples is interpolated, so shape and frequency stay as they were recorded. Live
seconds are measured from these samples; for the past the loop's own mean stands, measured once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.engine import Engine, Measured, Measuring
from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, Block, Incident
from blathy.sources.measured import SampledSource, harmonics_of
from blathy.sources.recorded_point import RecordedPoint, Watch
from blathy.sources.recordings import RecordingError

Floats = NDArray[np.float64]
DURATION_S_MAX: Final = 120.0
"""Of a longer recording the beginning is played: a meter holds it in memory."""
TAPS: Final = 32
_BAND_HZ: Final = 15.0
MEAN_S: Final = range(10, 61)
"""The past is the mean of a number of seconds in which the loop ends as nearly as it can."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFeed:
    """`Feed` of a loop: (n, channels) in V and A as recorded."""

    loop: NDArray[np.float32]
    sample_rate_hz: int
    wiring: Wiring
    nominal_u_v: float
    nominal_hz: int
    notes: tuple[str, ...] = ()

    def second(self, at_utc_s: int) -> tuple[NDArray[Any], tuple[Incident, ...]]:
        """The samples of that second: the same whenever it is asked for."""
        first = at_utc_s * self.sample_rate_hz % len(self.loop)
        places = (first + np.arange(self.sample_rate_hz)) % len(self.loop)
        return self.loop[places], ()


def recorded_feed(point: RecordedPoint) -> RecordedFeed:
    """The loop of a recording; raise RecordingError where it holds less than two whole cycles."""
    connection = point.connection
    most = int(DURATION_S_MAX * connection.sample_rate_hz)
    parts: list[NDArray[Any]] = []
    length = 0
    for frames in point.frames(Watch(point.stream.full_scale), 1 << 16):
        parts.append(frames)
        length += len(frames)
        if length >= most:
            break
    raw = np.concatenate(parts)[:most] if parts else np.zeros((0, connection.channels))
    clean = np.nan_to_num(raw.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    samples = clean[:, : connection.channels] * connection.scale_per_channel()
    rate = round(connection.sample_rate_hz)
    loop = looped(samples, connection.sample_rate_hz, connection.nominal_hz)
    if loop is None:
        raise RecordingError(
            f"{point.stream.name} holds less than two whole cycles of a voltage; nothing to play"
        )
    notes = list(point.notes)
    if length >= most:
        notes.append(f"only the first {DURATION_S_MAX:g} s are played")
    return RecordedFeed(
        loop.astype(np.float32), rate, connection.wiring, connection.nominal_u_v,
        connection.nominal_hz, tuple(notes),
    )  # fmt: skip


def looped(samples: Floats, rate_hz: float, nominal_hz: int) -> Floats | None:
    """The whole cycles of a record, (n, channels), such that the end goes on at the beginning."""
    if len(samples) < 3 * rate_hz / nominal_hz + 2 * TAPS:
        return None
    crossings = upward_crossings(samples[:, 0], rate_hz, nominal_hz)
    inside = crossings[(crossings > TAPS) & (crossings < len(samples) - TAPS)]
    if len(inside) < 2:
        return None
    first, last = float(inside[0]), float(inside[-1])
    count = round(last - first)
    places = first + (last - first) / count * np.arange(count)
    whole = np.floor(places).astype(np.int64)
    fraction = places - whole
    offsets = np.arange(-TAPS // 2 + 1, TAPS // 2 + 1)
    distance = fraction[:, None] - offsets
    taps = np.sinc(distance) * np.i0(9.0 * np.sqrt(np.maximum(1 - (distance / (TAPS / 2)) ** 2, 0)))
    taps /= taps.sum(axis=1, keepdims=True)
    picked = samples[whole[:, None] + offsets]
    return np.asarray(np.einsum("nt,ntc->nc", taps, picked))


def upward_crossings(voltage: Floats, rate_hz: float, nominal_hz: int) -> Floats:
    """Instants in samples at which the fundamental goes through zero upwards."""
    spectrum = np.fft.rfft(voltage * np.hanning(len(voltage)))
    frequency = np.fft.rfftfreq(len(voltage), 1 / rate_hz)
    spectrum[np.abs(frequency - nominal_hz) > _BAND_HZ] = 0.0
    wave = np.fft.irfft(spectrum, len(voltage))
    at = np.flatnonzero((wave[:-1] < 0) & (wave[1:] >= 0))
    # the window leaves nothing to judge at the very ends
    share = np.abs(wave) / max(float(np.abs(wave).max()), 1e-30)
    strong = np.array([share[max(0, a - 200) : a + 200].max() > 0.02 for a in at], dtype=bool)
    at = at[strong] if len(at) else at
    return np.asarray(at + wave[at] / (wave[at] - wave[at + 1]))


@dataclass(slots=True)
class LoopMean:
    """Intervals of the past of a loop: every second is its mean second.

    Energies are exact for any cut: what is rounded off in one interval is in the next.
    """

    feed: RecordedFeed
    _energy_u: Floats | None = None  # (4, 8) of a second
    _block: Block | None = field(default=None, repr=False)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """`n` intervals of `step_s` seconds."""
        if self._energy_u is None or self._block is None:
            self._measure()
        assert self._energy_u is not None
        assert self._block is not None
        edges = start_utc_s + step_s * np.arange(n + 1, dtype=np.int64)
        day = edges // 86_400 * 86_400  # doubles count the uWh of a day exactly
        within = (edges - day)[:, None, None] * self._energy_u
        of_day = np.floor(86_400 * self._energy_u).astype(np.int64)
        counted = np.floor(within).astype(np.int64) + (day // 86_400)[:, None, None] * of_day
        one = self._block
        return Block(
            start_utc_s,
            step_s,
            np.diff(counted, axis=0),
            np.repeat(one.instant, n, axis=0),
            np.repeat(one.supply, n),
            instant_min=None if one.instant_min is None else np.repeat(one.instant_min, n, axis=0),
            instant_max=None if one.instant_max is None else np.repeat(one.instant_max, n, axis=0),
            harmonics=one.harmonics,
        )

    def _measure(self) -> None:
        """Measure as many seconds as make up whole rounds of the loop, nearly."""
        feed = self.feed
        rounds = [n * feed.sample_rate_hz / len(feed.loop) for n in MEAN_S]
        seconds = MEAN_S[int(np.argmin([abs(r - round(r)) for r in rounds]))]
        connection = Connection(
            feed.sample_rate_hz, feed.wiring, feed.nominal_hz, feed.nominal_u_v, 5.0
        )
        engine = Engine(connection, Measuring(flicker=False, aggregates=False, conditions=None), 0)
        parts = [engine.push(np.ascontiguousarray(feed.second(s)[0])) for s in range(seconds + 3)]
        energy = np.concatenate([p.seconds.energy_u for p in parts])[1 : seconds + 1]
        instant = np.concatenate([p.instants for p in parts])[1 : seconds + 1]
        self._energy_u = energy.mean(axis=0)
        self._block = Block(
            0,
            1,
            np.zeros((1, 4, len(ENERGY_MEASURES)), np.int64),
            np.rint(instant.mean(axis=0)).astype(np.int64).reshape(1, len(INSTANT_COLUMNS)),
            np.array([supply_of(parts)], np.uint8),
            instant_min=instant.min(axis=0)[None],
            instant_max=instant.max(axis=0)[None],
            harmonics=_harmonics(parts),
        )


def supply_of(parts: list[Measured]) -> int:
    """The phases that carried voltage in any second."""
    return int(np.bitwise_or.reduce(np.concatenate([p.supply for p in parts])))


def _harmonics(parts: list[Measured]) -> NDArray[np.int64] | None:
    found = [p.blocks.spectra for p in parts if p.blocks and p.blocks.spectra is not None]
    return harmonics_of(found[-1]) if found else None


def recorded_source(point: RecordedPoint) -> SampledSource:
    """A meter's source that plays a recording."""
    feed = recorded_feed(point)
    return SampledSource(feed, LoopMean(feed))
