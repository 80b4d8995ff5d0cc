"""Intervals that were measured: samples through the metrology engine, second by second.

`MeasuredSource` feeds a meter from waveforms while it runs live: the synthetic point gives the
power, the synthesizer draws its samples, the engine measures them, and what it finds (energy,
instants, dips, unbalance) is the interval. For the past, which nobody can sample, it answers as the
synthetic point does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from blathy.clock import NANOSECONDS_PER_S
from blathy.metrology.conditions import Condition
from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.engine import Engine, Measured, Measuring
from blathy.metrology.transformer import LossParameters, Ratios
from blathy.metrology.voltage_events import VoltageEventKind
from blathy.quantity import Phase
from blathy.registers.block import Block, Incident
from blathy.sources.synthetic import LoadSpec
from blathy.sources.waveform import Dip, WaveformSynthesizer

LIVE_SECONDS_MAX: Final = 120
"""A request for more seconds at once is catching up, not live."""

EVENT_NAMES: Final = {
    VoltageEventKind.DIP: ("sag_start", "sag_end"),
    VoltageEventKind.SWELL: ("swell_start", "swell_end"),
}
CONDITION_NAMES: Final = {
    Condition.PHASE_LOST: ("phase_lost", "phase_returned"),
    Condition.UNDERVOLTAGE: ("undervoltage_start", "undervoltage_end"),
    Condition.OVERVOLTAGE: ("overvoltage_start", "overvoltage_end"),
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
DRAWN: Final = frozenset(("sag_start", "sag_end", "swell_start", "swell_end"))
"""Incidents of the grid that are drawn into the samples, so the engine must find them itself."""


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
        if change.condition in ignored:
            continue
        name = CONDITION_NAMES[change.condition][not change.began]
        if name:
            at = measured.utc_ns(change.at) // NANOSECONDS_PER_S
            found.append(Incident(at, name, Phase(change.phase)))
    return found


class SampledPoint(Protocol):
    """A place whose power is known, second by second, and can be drawn as samples."""

    @property
    def spec(self) -> LoadSpec: ...

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block: ...


@dataclass(slots=True)
class MeasuredSource:
    """`IntervalSource` whose live seconds are measured from samples.

    `ignored`: conditions that this installation is not to be judged by (a workshop's current is
    unbalanced by nature). `ratios`: the instrument transformers; the samples are those of their
    secondary side, all results are primary. `losses`: of the power transformer, on the primary
    side; measured in live seconds only.
    """

    point: SampledPoint
    sample_rate_hz: int = 6_400
    nominal_i_a: float = 40.0
    ignored: frozenset[Condition] = frozenset(
        (Condition.CURRENT_UNBALANCE, Condition.MISSING_CURRENT, Condition.REVERSED_CURRENT)
    )
    replayable: bool = True
    ratios: Ratios = field(default_factory=Ratios)
    losses: LossParameters | None = None
    _engine: Engine | None = field(default=None, repr=False)
    _synthesizer: WaveformSynthesizer = field(init=False, repr=False)
    _fed_until_s: int = 0
    _next_s: int = 0
    _ready: deque[Block] = field(default_factory=deque, repr=False)
    _late: list[Incident] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._synthesizer = WaveformSynthesizer(self.sample_rate_hz, self.point.spec.phases)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """As IntervalSource. One-second intervals that follow each other are measured."""
        if step_s != 1 or n > LIVE_SECONDS_MAX:
            self._engine = None
            return self.point.block(start_utc_s, n, step_s)
        if self._engine is None or start_utc_s != self._next_s:
            self._begin(start_utc_s)
        while len(self._ready) < n:
            self._feed()
        parts = [self._ready.popleft() for _ in range(n)]
        self._next_s = start_utc_s + n
        return joined(parts)

    def _begin(self, start_utc_s: int) -> None:
        """Start a second early, so that the engine is synchronised when the first one counts."""
        wiring = Wiring.THREE_PHASE_4_WIRE if self.point.spec.phases == 3 else Wiring.ONE_PHASE
        connection = Connection(
            self.sample_rate_hz,
            wiring,
            nominal_u_v=self.point.spec.u_nominal_v,
            nominal_i_a=self.nominal_i_a,
            u_v_per_count=self.ratios.voltage,
            i_a_per_count=self.ratios.current,
        )
        self._fed_until_s = self._next_s = start_utc_s
        begin = start_utc_s - 1
        measuring = Measuring(flicker=False, aggregates=False, losses=self.losses)
        self._engine = Engine(connection, measuring, begin * NANOSECONDS_PER_S)
        self._ready.clear()
        self._late.clear()
        self._fed_until_s = begin
        self._feed()

    def _feed(self) -> None:
        assert self._engine is not None
        second = self.point.block(self._fed_until_s, 1, 1)
        self._fed_until_s += 1
        primary = self._synthesizer.second(second, 0, dips_of(second.incidents))
        phases = self.point.spec.phases
        scale = np.repeat([self.ratios.voltage, self.ratios.current], phases).astype(np.float32)
        frames = (primary / scale[:, None]).T
        self._take(self._engine.push(np.ascontiguousarray(frames)), second)

    def _take(self, measured: Measured, fed: Block) -> None:
        self._late += [i for i in fed.incidents if i.name not in DRAWN]
        self._late += incidents_of(measured, ignored=self.ignored)
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
                    incidents=tuple(sorted(late)),
                )
            )


def dips_of(incidents: Iterable[Incident]) -> tuple[Dip, ...]:
    """Sags and swells that begin in a second as what the samples must show."""
    return tuple(
        Dip(incident.phase, 0.25, 0.55, incident.value / 1000.0)
        for incident in incidents
        if incident.name in {"sag_start", "swell_start"}
    )


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
    )
