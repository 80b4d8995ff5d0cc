"""Several loads behind one device: current inputs grouped into single- and three-phase loads.

Each current input has a parameter that says which load it belongs to and on which phase it sits
(10 x load + phase, 0: not used). Load 1 is the device itself; every other complete load is a
logical device of its own, at the server address of its number, with its own registers, profiles and
keys. All of them are measured from the same samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from blathy.meter.identity import MeterIdentity, identity_of
from blathy.meter.keeping import Keeper
from blathy.meter.measuring import adapt, constants_of, ct_inputs, number_set
from blathy.meter.meter import Meter
from blathy.metrology.conditions import Condition
from blathy.metrology.connection import Wiring
from blathy.models.model import Model
from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, Block, Incident
from blathy.sources.constants import Constants
from blathy.sources.measured import PastSource, SampledSource
from blathy.wire.server import LogicalDevice

FIRST: Final = 1
"""The load that the device itself measures."""
STEP_S_MAX: Final = 60
OF_LOADS: Final = frozenset(
    (Condition.CURRENT_UNBALANCE, Condition.MISSING_CURRENT, Condition.REVERSED_CURRENT)
)
"""Conditions that a load of its own does not tell: it may well be switched off, or feed back."""


@dataclass(frozen=True, slots=True)
class Load:
    """One load: its number, its current inputs, and the phase (1-3) of each."""

    number: int
    inputs: tuple[int, ...]
    phases: tuple[int, ...]

    @property
    def three_phase(self) -> bool:
        return len(self.inputs) == 3


def places_of(meter: Meter) -> tuple[tuple[int, int], ...]:
    """(load, phase) of every current input of a device, as its parameters say."""
    numbers = (number_set(meter, f"ct_{channel}_load") for channel in ct_inputs(meter.model))
    return tuple((number // 10, number % 10) for number in numbers)


def loads_of(meter: Meter) -> tuple[Load, ...]:
    """The complete loads of a device: one input, or three on the phases 1, 2 and 3."""
    grouped: dict[int, list[tuple[int, int]]] = {}
    for channel, (number, phase) in zip(ct_inputs(meter.model), places_of(meter), strict=True):
        if number and phase in range(1, len(meter.model.phases) + 1):
            grouped.setdefault(number, []).append((phase, channel))
    found = []
    for number, members in sorted(grouped.items()):
        phases, inputs = zip(*sorted(members), strict=True)
        if len(inputs) == 1 or phases == (1, 2, 3):
            found.append(Load(number, tuple(inputs), tuple(phases)))
    return tuple(found)


class InputsFeed(Protocol):
    """Samples of all inputs of a device: the voltages of its phases, then every current input."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def phases(self) -> int: ...

    @property
    def nominal_u_v(self) -> float: ...

    @property
    def nominal_hz(self) -> int: ...

    def second(self, at_utc_s: int) -> tuple[NDArray[Any], tuple[Incident, ...]]: ...


class SharedInputs:
    """Hands every second of a feed to all loads, which ask for it one after the other."""

    def __init__(self, feed: InputsFeed) -> None:
        self.feed = feed
        self._kept: dict[int, tuple[NDArray[Any], tuple[Incident, ...]]] = {}

    def second(self, at_utc_s: int) -> tuple[NDArray[Any], tuple[Incident, ...]]:
        if at_utc_s not in self._kept:
            self._kept = {s: f for s, f in self._kept.items() if abs(s - at_utc_s) < 5}
            self._kept[at_utc_s] = self.feed.second(at_utc_s)
        return self._kept[at_utc_s]


@dataclass(frozen=True, slots=True, eq=False)
class LoadFeed:
    """`Feed` of one load: its own columns of the shared samples."""

    shared: SharedInputs
    load: Load

    @property
    def sample_rate_hz(self) -> int:
        return self.shared.feed.sample_rate_hz

    @property
    def wiring(self) -> Wiring:
        return Wiring.THREE_PHASE_4_WIRE if self.load.three_phase else Wiring.ONE_PHASE

    @property
    def nominal_u_v(self) -> float:
        return self.shared.feed.nominal_u_v

    @property
    def nominal_hz(self) -> int:
        return self.shared.feed.nominal_hz

    def second(self, at_utc_s: int) -> tuple[NDArray[Any], tuple[Incident, ...]]:
        frames, incidents = self.shared.second(at_utc_s)
        phases = self.shared.feed.phases
        columns = [p - 1 for p in self.load.phases] + [phases + n - 1 for n in self.load.inputs]
        return frames[:, columns], incidents if self.load.number == FIRST else ()


@dataclass(frozen=True, slots=True)
class Idle:
    """Time in which nothing was measured. `supply` 0: a device that was off."""

    supply: int = 0

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """As IntervalSource."""
        return Block(
            start_utc_s, step_s, np.zeros((n, 4, len(ENERGY_MEASURES)), np.int64),
            np.zeros((n, len(INSTANT_COLUMNS)), np.int64), np.full(n, self.supply, np.uint8),
        )  # fmt: skip


class LoadDevices:
    """A device with all of its loads. `advance` measures them together, second by second."""

    def __init__(
        self,
        meter: Meter,
        feed: InputsFeed,
        models: dict[int, Model],
        seed: str,
        keeper_of: Callable[[int], Keeper] | None = None,
        past: PastSource | None = None,
    ) -> None:
        """`models`: by number of phases, what a load is a meter of. `keeper_of` gives a load's
        place in the store; without it nothing outlives the process. `past`: what the device's own
        load did before anybody sampled it."""
        self.meter = meter
        self.shared = SharedInputs(feed)
        self._models, self._seed, self._keeper_of = models, seed, keeper_of
        self._past = past or Idle()
        self.loads: tuple[Load, ...] = ()
        self.meters: dict[int, Meter] = {}
        self.sources: dict[int, SampledSource] = {}
        self.devices: dict[int, LogicalDevice] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up what the parameters say: loads that are new begin, others end."""
        wanted = loads_of(self.meter)
        if wanted == self.loads:
            return
        before = {load.number: load for load in self.loads}
        self.loads = wanted
        for load in wanted:
            if before.get(load.number) != load:
                self._begin(load)
        for number in set(self.meters) - {load.number for load in wanted}:
            self.meters.pop(number).switch_off()
            del self.sources[number], self.devices[number]
        self.meter.neighbours = {
            n: m.identity.ldn for n, m in self.meters.items() if n != FIRST
        }  # fmt: skip

    def _begin(self, load: Load) -> None:
        past: PastSource = self._past if load.number == FIRST else Idle()
        source = SampledSource(LoadFeed(self.shared, load), past, ignored=OF_LOADS)
        if load.number == FIRST:
            meter = self.meter
        else:
            model = self._models[len(load.inputs)]
            meter = Meter(
                model,
                load_identity(model, self.meter.identity, self._seed, load.number),
                start_utc_s=self.meter.ledger.now,
                entropy=self.meter.entropy,
                options=replace(self.meter.options, profiles=()),
                keeper=self._keeper_of(load.number) if self._keeper_of else None,
            )
        adapt(source, meter)
        source.constants = lambda: self._constants(load)
        self.meters[load.number], self.sources[load.number] = meter, source
        self.devices[load.number] = meter.logical_device()

    def _constants(self, load: Load) -> Constants:
        """Those of the device's inputs, in the order of the load's."""
        whole = constants_of(self.meter)
        places = [n - 1 for n in load.inputs]
        return replace(
            whole,
            input_ratios=tuple(whole.current_ratio(n) for n in places),
            calibrations=tuple(whole.calibration(n) for n in places),
        )

    def advance(self, until_utc_s: int) -> None:
        """Measure all loads up to that moment and commit."""
        self.refresh()
        while (left := until_utc_s - self.meter.ledger.now) > 0:
            start, n = self.meter.ledger.now, min(left, STEP_S_MAX)
            if FIRST not in self.meters:  # the device lives on without a load of its own
                self.meter.step(Idle(0b111).block(start, n, 1))
            for number, meter in self.meters.items():
                if meter.ledger.now <= start:
                    meter.step(self.sources[number].block(start, n, 1))
        self.meter.commit()
        self.commit()

    def commit(self) -> None:
        """Commit the books of every load."""
        for meter in self.meters.values():
            meter.commit()


def load_identity(model: Model, of: MeterIdentity, seed: str, number: int) -> MeterIdentity:
    """A logical device of the same meter has a name and keys of its own: its counters begin by
    themselves, and no key may meet a counter twice."""
    own = identity_of(model, of.serial, f"{seed}/load/{number}", of.suite)
    return replace(own, ldn=f"CNTLOAD{number:1d}{of.serial:08d}".encode()[:16])
