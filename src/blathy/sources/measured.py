"""Intervals that were measured: samples through the metrology engine, second by second.

A `SampledSource` feeds a meter from samples while it runs live: what the engine finds in them
(energy, instants, harmonics, dips, unbalance) is the interval. For the past, which nobody can
sample, it answers as another source does. `MeasuredSource` draws the samples of a synthetic point.

What the meter's terminals carry becomes primary values by the constants that are set in the meter
(`constants`): transformer ratios, and the measured errors of current transformers, which are undone
here before anything is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S
from blathy.metrology.conditions import DEFAULT_LIMITS, Condition, Limit
from blathy.metrology.connection import Connection
from blathy.metrology.engine import Engine, Measured, Measuring
from blathy.metrology.sensors import FractionalDelay
from blathy.metrology.spectrum import ORDER_MAX, Spectra
from blathy.metrology.transformer import LossParameters, Ratios
from blathy.metrology.voltage_events import VoltageEventKind, VoltageEventRules
from blathy.quantity import Phase
from blathy.registers.block import Block, Incident
from blathy.sources.constants import Constants
from blathy.sources.feed import DrawnFeed, Feed, Frames, SampledPoint

LIVE_SECONDS_MAX: Final = 120
"""A request for more seconds at once is catching up, not live."""
RETUNE_SAMPLES: Final = 1e-3
"""A working point that moves a correction by less than this leaves its filter as it is."""

EVENT_NAMES: Final = {
    VoltageEventKind.DIP: ("sag_start", "sag_end"),
    VoltageEventKind.SWELL: ("swell_start", "swell_end"),
}
CONDITION_NAMES: Final = {
    Condition.OVERCURRENT: ("overcurrent_start", "overcurrent_end"),
    Condition.CURRENT_WITHOUT_VOLTAGE: ("current_without_voltage", ""),
    Condition.MISSING_CURRENT: ("missing_current_start", "missing_current_end"),
    Condition.REVERSED_CURRENT: ("current_reversed", ""),
    Condition.WRONG_SEQUENCE: ("phase_sequence_wrong", "phase_sequence_right"),
    Condition.VOLTAGE_UNBALANCE: ("voltage_asymmetry_start", "voltage_asymmetry_end"),
    Condition.CURRENT_UNBALANCE: ("current_asymmetry_start", "current_asymmetry_end"),
    Condition.NEUTRAL_BROKEN: ("neutral_fault_start", "neutral_fault_end"),
    Condition.THD_U: ("thd_u_start", "thd_u_end"),
}
"""Over- and under-voltage and lost phases are missing: the books judge them, by limits that are set
in the meter, and would tell them twice."""
BY_NATURE: Final = frozenset(
    (Condition.CURRENT_UNBALANCE, Condition.MISSING_CURRENT, Condition.REVERSED_CURRENT)
)
"""Conditions of a load that is unbalanced or feeds back by nature, as a house with a roof is."""
_JUDGED: Final = MappingProxyType({c: DEFAULT_LIMITS[c] for c in CONDITION_NAMES})


def incidents_of(
    measured: Measured, *, ignored: frozenset[Condition] = frozenset()
) -> list[Incident]:
    """What the engine found, in the vocabulary of the books."""
    found: list[Incident] = []
    for event in measured.voltage_events:
        names = EVENT_NAMES.get(event.kind)
        if names is None:
            continue
        at = measured.utc_ns(event.end if event.ended else event.start) // NANOSECONDS_PER_S
        phase = Phase(event.worst_phase) if event.phases in {1, 2, 4} else Phase.TOTAL
        value_mv = round(event.extreme_v * 1000) if np.isfinite(event.extreme_v) else 0
        found.append(Incident(at, names[event.ended], phase, value_mv))
    for change in measured.conditions:
        names = CONDITION_NAMES.get(change.condition, ("", ""))
        name = names[not change.began]
        if name and change.condition not in ignored:
            at = measured.utc_ns(change.at) // NANOSECONDS_PER_S
            found.append(Incident(at, name, Phase(change.phase)))
    return found


class PastSource(Protocol):
    """Answers for intervals that nobody sampled."""

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block: ...


@dataclass(slots=True)
class SampledSource:
    """`IntervalSource` whose live seconds are measured from samples.

    `nominal_i_a`: what the conditions of currents are judged by, at the terminals. `ignored`:
    conditions that this installation is not to be judged by. `inputs`: which currents of the feed
    belong to this meter, where several loads share its samples. `constants`: those of the meter;
    without them the terminals' values are the primary ones. Power-transformer losses follow from
    its parameters and are measured in live seconds only.
    """

    feed: Feed
    past: PastSource
    nominal_i_a: float = 40.0
    ignored: frozenset[Condition] = BY_NATURE
    limits: Mapping[Condition, Limit] = field(default_factory=lambda: _JUDGED)
    rules: VoltageEventRules = field(default_factory=VoltageEventRules)
    constants: Callable[[], Constants] | None = None
    replayable: bool = True
    _engine: Engine | None = field(default=None, repr=False)
    _corrector: Corrector | None = field(default=None, repr=False)
    _in_force: Constants = field(default_factory=Constants, repr=False)
    _scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(1), repr=False)
    _fed_until_s: int = 0
    _next_s: int = 0
    _ready: deque[Block] = field(default_factory=deque, repr=False)
    _late: list[Incident] = field(default_factory=list, repr=False)
    _harmonics: NDArray[np.int64] | None = field(default=None, repr=False)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """As IntervalSource. One-second intervals that follow each other are measured."""
        if step_s != 1 or n > LIVE_SECONDS_MAX:
            self._engine = None
            return self.past.block(start_utc_s, n, step_s)
        if self._engine is None or start_utc_s != self._next_s or self._present() != self._in_force:
            self._begin(start_utc_s)
        while len(self._ready) < n:
            self._feed()
        parts = [self._ready.popleft() for _ in range(n)]
        self._next_s = start_utc_s + n
        return joined(parts)

    def _present(self) -> Constants:
        return self.constants() if self.constants is not None else Constants()

    def _begin(self, start_utc_s: int) -> None:
        """Start a second early, so that the engine is synchronised when the first one counts."""
        feed, self._in_force = self.feed, self._present()
        ratios, wiring = self._in_force.ratios, feed.wiring
        currents = [self._in_force.current_ratio(n) for n in range(wiring.currents)]
        connection = Connection(
            feed.sample_rate_hz,
            wiring,
            nominal_hz=feed.nominal_hz,
            nominal_u_v=feed.nominal_u_v * ratios.voltage,
            nominal_i_a=self.nominal_i_a * max(currents),
        )
        self._scale = np.array([ratios.voltage] * wiring.voltages + currents)
        self._corrector = Corrector.of(self._in_force, wiring.voltages, self.feed)
        measuring = Measuring(
            flicker=False,
            aggregates=False,
            losses=self._in_force.losses,
            conditions={c: v for c, v in self.limits.items() if c not in self.ignored},
            voltage_events=self.rules,
        )
        begin = start_utc_s - 1
        self._engine = Engine(connection, measuring, begin * NANOSECONDS_PER_S)
        self._ready.clear()
        self._late.clear()
        self._next_s, self._fed_until_s = start_utc_s, begin
        self._feed()

    def _feed(self) -> None:
        assert self._engine is not None
        frames, incidents = self.feed.second(self._fed_until_s)
        self._fed_until_s += 1
        primary = frames * self._scale
        if self._corrector is not None:
            primary = self._corrector.process(primary)
        self._take(self._engine.push(np.ascontiguousarray(primary)), incidents)

    def _take(self, measured: Measured, happened: tuple[Incident, ...]) -> None:
        self._late += happened
        self._late += incidents_of(measured, ignored=self.ignored)
        if measured.blocks is not None and measured.blocks.spectra is not None:
            self._harmonics = harmonics_of(measured.blocks.spectra)
        seconds = measured.seconds
        for row in range(len(seconds)):
            at = seconds.start_utc_s + row
            if at < self._next_s:
                continue  # the second in which the engine synchronised
            due = [i for i in self._late if i.at_utc_s <= at]
            self._late = [i for i in self._late if i.at_utc_s > at]
            late = (Incident(max(i.at_utc_s, at), i.name, i.phase, i.value) for i in due)
            self._ready.append(
                Block(
                    at,
                    1,
                    seconds.energy_u[row : row + 1],
                    measured.instants[row : row + 1],
                    measured.supply[row : row + 1],
                    measured.loss_u[row : row + 1] if measured.loss_u is not None else None,
                    incidents=tuple(sorted(late, key=lambda i: i.at_utc_s)),
                    harmonics=self._harmonics,
                )
            )


class MeasuredSource(SampledSource):
    """The samples of a synthetic point, measured.

    `ratios` are the transformers in front of the meter and `losses` the power transformer's
    parameters; a meter that is set so (`constants` left out) or has them set itself.
    """

    __slots__ = ()

    def __init__(
        self,
        point: SampledPoint,
        sample_rate_hz: int = 6_400,
        *,
        nominal_i_a: float = 40.0,
        ignored: frozenset[Condition] = BY_NATURE,
        ratios: Ratios | None = None,
        losses: LossParameters | None = None,
    ) -> None:
        ratios = ratios or Ratios()
        fixed = Constants(ratios, losses)
        feed = DrawnFeed(point, sample_rate_hz, ratios)
        super().__init__(
            feed, point, nominal_i_a / ratios.current, ignored, constants=lambda: fixed
        )


class Corrector:
    """Undoes ratio and phase error of current transformers in a stream of primary samples.

    The working point is each second's own rms. Channels without a calibration are delayed alike,
    so that all stay aligned.
    """

    def __init__(self, constants: Constants, voltages: int, channels: int, feed: Feed) -> None:
        self._calibrations = [
            None if n < voltages else constants.calibration(n - voltages) for n in range(channels)
        ]
        self._delays = [FractionalDelay(0.0) for _ in range(channels)]
        self._leads = [0.0] * channels
        self._rate, self._hz = feed.sample_rate_hz, feed.nominal_hz

    @classmethod
    def of(cls, constants: Constants, voltages: int, feed: Feed) -> Corrector | None:
        """None where nothing is to be corrected."""
        currents = feed.wiring.currents
        if not any(constants.calibration(n) for n in range(currents)):
            return None
        return cls(constants, voltages, voltages + currents, feed)

    def process(self, frames: Frames) -> NDArray[np.float64]:
        """As many frames out as in."""
        out = np.empty(frames.shape)
        for n, calibration in enumerate(self._calibrations):
            samples = np.asarray(frames[:, n], np.float64)
            if calibration is not None:
                rms = float(np.sqrt(np.mean(samples * samples)))
                samples = samples / calibration.ratio_at(rms)
                self._retune(n, calibration.phase_min_at(rms) / 21_600 / self._hz * self._rate)
            out[:, n] = self._delays[n].process(samples)
        return out

    def _retune(self, n: int, lead: float) -> None:
        if abs(lead - self._leads[n]) > RETUNE_SAMPLES:
            self._delays[n], self._leads[n] = self._delays[n].retuned(lead), lead


def harmonics_of(spectra: Spectra) -> NDArray[np.int64]:
    """(2, 3, 51): U and I of L1-L3 by order in 0.01 % of order 1, over all windows; 0 is none."""
    square = np.nan_to_num(spectra.harmonic_square.mean(axis=0))
    out = np.zeros((2, 3, ORDER_MAX + 1), np.int64)
    for group in range(2):
        for phase in range(spectra.phases):
            row = square[group * spectra.phases + phase]
            if row[1] > 0:
                share = np.minimum(np.sqrt(row / row[1]), 6.0)
                out[group, phase] = np.rint(1e4 * share).astype(np.int64)
    return out


def joined(parts: list[Block]) -> Block:
    """Consecutive blocks of the same step as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    loss = [p.loss_u for p in parts if p.loss_u is not None]
    return Block(
        first.start_utc_s,
        first.step_s,
        np.concatenate([p.energy_u for p in parts]),
        np.concatenate([p.instant for p in parts]),
        np.concatenate([p.supply for p in parts]),
        np.concatenate(loss) if len(loss) == len(parts) else None,
        incidents=tuple(i for p in parts for i in p.incidents),
        harmonics=parts[-1].harmonics,
    )
