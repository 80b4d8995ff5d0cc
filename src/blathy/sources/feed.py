"""Where samples come from, a second at a time: what the terminals of a meter carry, in V and A."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Wiring
from blathy.metrology.sensors import Sensor
from blathy.metrology.transformer import Ratios
from blathy.registers.block import INSTANT_COLUMNS, Block, Incident
from blathy.sources.synthetic import LoadSpec
from blathy.sources.waveform import Dip, WaveformSynthesizer

Frames = NDArray[Any]


class Feed(Protocol):
    """Samples of consecutive seconds.

    `wiring` says what the columns of a frame are; `nominal_u_v` is the voltage to neutral at the
    terminals. `second` gives (sample_rate_hz, channels) and what else happened in that second.
    """

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def wiring(self) -> Wiring: ...

    @property
    def nominal_u_v(self) -> float: ...

    @property
    def nominal_hz(self) -> int: ...

    def second(self, at_utc_s: int) -> tuple[Frames, tuple[Incident, ...]]: ...


class SampledPoint(Protocol):
    """A place whose power is known, second by second, and can be drawn as samples."""

    @property
    def spec(self) -> LoadSpec: ...

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block: ...


@dataclass(slots=True)
class DrawnFeed:
    """The samples of a point whose power is known. `ratios` are the transformers in front of the
    terminals: what is drawn is their secondary side."""

    point: SampledPoint
    sample_rate_hz: int = 6_400
    ratios: Ratios = field(default_factory=Ratios)
    nominal_hz: int = 50
    _synthesizer: WaveformSynthesizer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._synthesizer = WaveformSynthesizer(self.sample_rate_hz, self.point.spec.phases)

    @property
    def wiring(self) -> Wiring:
        """One phase, or three with neutral."""
        return Wiring.THREE_PHASE_4_WIRE if self.point.spec.phases == 3 else Wiring.ONE_PHASE

    @property
    def nominal_u_v(self) -> float:
        """Behind the voltage transformers."""
        return self.point.spec.u_nominal_v / self.ratios.voltage

    def second(self, at_utc_s: int) -> tuple[Frames, tuple[Incident, ...]]:
        """The second that begins at `at_utc_s`; sags and swells are in the samples."""
        block = self.point.block(at_utc_s, 1, 1)
        harmonics_of = getattr(self.point, "harmonics_a", None)
        harmonics = harmonics_of(at_utc_s) if harmonics_of is not None else None
        primary = self._synthesizer.second(block, 0, dips_of(block.incidents), harmonics)
        phases = self.point.spec.phases
        scale = np.repeat([self.ratios.voltage, self.ratios.current], phases).astype(np.float32)
        frames = np.ascontiguousarray((primary / scale[:, None]).T)
        return frames, tuple(i for i in block.incidents if i.name not in DRAWN)


DRAWN = frozenset(("sag_start", "sag_end", "swell_start", "swell_end"))
"""Incidents of the grid that are drawn into the samples, so the engine must find them itself."""


def dips_of(incidents: Iterable[Incident]) -> tuple[Dip, ...]:
    """Sags and swells that begin in a second as what the samples must show."""
    return tuple(
        Dip(incident.phase, 0.25, 0.55, incident.value / 1000.0)
        for incident in incidents
        if incident.name in {"sag_start", "swell_start"}
    )


@dataclass(slots=True)
class SensedFeed:
    """A feed seen through imperfect current sensors: `sensors` for each current, None is ideal.

    Their rated value is in the unit of the feed (the secondary current of a transformer).
    """

    feed: Feed
    sensors: tuple[Sensor | None, ...]

    @property
    def sample_rate_hz(self) -> int:
        return self.feed.sample_rate_hz

    @property
    def wiring(self) -> Wiring:
        return self.feed.wiring

    @property
    def nominal_u_v(self) -> float:
        return self.feed.nominal_u_v

    @property
    def nominal_hz(self) -> int:
        return self.feed.nominal_hz

    def second(self, at_utc_s: int) -> tuple[Frames, tuple[Incident, ...]]:
        """The second as the sensors hand it on."""
        frames, incidents = self.feed.second(at_utc_s)
        seen = np.asarray(frames, np.float64).copy()
        first = seen.shape[1] - len(self.sensors)
        for place, sensor in enumerate(self.sensors, first):
            if sensor is not None:
                seen[:, place] = sensor.apply(
                    seen[:, place], self.sample_rate_hz, nominal_hz=self.nominal_hz
                )
        return seen, incidents


@dataclass(slots=True)
class DrawnInputs:
    """Samples of a device with several current inputs: the voltages of its supply, and for every
    input the current of the load that it belongs to, behind a transformer of `ct_a` to
    `full_scale_a`. All loads see the voltages and the frequency of the first one's supply.

    `places` tells the load and the phase (1-3) of every input; (0, 0) is not used.
    """

    points: tuple[SampledPoint, ...]
    phases: int
    places: Callable[[], Sequence[tuple[int, int]]]
    ct_a: float = 100.0
    full_scale_a: float = 0.033
    sample_rate_hz: int = 6_400
    nominal_u_v: float = 230.0
    nominal_hz: int = 50
    _synthesizers: tuple[WaveformSynthesizer, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._synthesizers = tuple(
            WaveformSynthesizer(self.sample_rate_hz, self.phases) for _ in self.points
        )

    def second(self, at_utc_s: int) -> tuple[Frames, tuple[Incident, ...]]:
        """(rate, phases + inputs): volts, then amperes behind the transformers."""
        blocks = [point.block(at_utc_s, 1, 1) for point in self.points]
        supply = blocks[0]
        drawn = []
        pairs = zip(self.points, blocks, self._synthesizers, strict=True)
        for point, block, synthesizer in pairs:
            block.instant[:, _OF_SUPPLY] = supply.instant[:, _OF_SUPPLY]
            harmonics_of = getattr(point, "harmonics_a", None)
            harmonics = harmonics_of(at_utc_s) if harmonics_of is not None else None
            drawn.append(synthesizer.second(block, 0, dips_of(supply.incidents), harmonics))
        voltages = drawn[0][: self.phases]
        idle = np.zeros(self.sample_rate_hz, np.float32)
        currents = [
            drawn[load - 1][self.phases + phase - 1] if 0 < load <= len(drawn) else idle
            for load, phase in self.places()
        ]
        scale = self.full_scale_a / self.ct_a
        frames = np.stack([*voltages, *(scale * current for current in currents)], axis=1)
        return frames, tuple(i for i in supply.incidents if i.name not in DRAWN)


_OF_SUPPLY = [index for index, (name, _) in enumerate(INSTANT_COLUMNS) if name in {"u_mv", "f_mhz"}]
