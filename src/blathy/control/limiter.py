"""Limits on power or current: the COSEM limiter (class 71) and the staged smart disconnect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from blathy.control.conditions import Conditions
from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.block import Block
from blathy.registers.cells import CellReader, CellWriter
from blathy.registers.plan import ThresholdPlan

NEVER: Final = 1 << 62
LARGEST_CURRENT: Final = Source(Kind.INSTANT, Measure.I, Phase.TOTAL)
"""The current of the phase that carries most."""
_CURRENTS: Final = frozenset({Measure.I, Measure.I_N})


def events_of(source: Source) -> tuple[str, str]:
    """The events of passing a limit and of being back within it."""
    if source.measure in _CURRENTS:
        return "overcurrent_start", "overcurrent_end"
    return "power_limit_exceeded", "power_limit_ended"


@dataclass(frozen=True, slots=True)
class LimiterPlan:
    """A limit on an INSTANT value (mW or mA).

    Above the threshold for `min_over_s` the supply is disconnected locally; below it for
    `min_under_s` it is reconnected locally if `reconnects` and the breaker's mode permits.
    """

    source: Source
    threshold_normal: int
    threshold_emergency: int
    min_over_s: int = 60
    min_under_s: int = 60
    reconnects: bool = True
    emergency_groups: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.source.kind is not Kind.INSTANT:
            raise ValueError("a limiter watches an INSTANT value")


@dataclass(frozen=True, slots=True)
class EmergencyProfile:
    """For `duration_s` from `from_utc_s` (the meter's clock) the emergency threshold applies."""

    profile_id: int
    from_utc_s: int
    duration_s: int


@lru_cache(maxsize=1024)
def _threshold(source: Source, limit: int, over_s: int, under_s: int) -> ThresholdPlan:
    """One for all limiters that are set alike."""
    start, end = events_of(source)
    return ThresholdPlan(source, limit, start, end, delay_s=over_s, release_delay_s=under_s)


class Limiter:
    """One limiter. `thresholds` normal and emergency can be set."""

    __slots__ = ("_conditions", "_emergency", "emergency_active", "plan")

    def __init__(self, plan: LimiterPlan) -> None:
        self.plan = plan
        self.emergency_active = False
        self._emergency: EmergencyProfile | None = None
        self._conditions = Conditions((self._threshold(),))

    def _threshold(self) -> ThresholdPlan:
        plan = self.plan
        return _threshold(plan.source, self.threshold_active, plan.min_over_s, plan.min_under_s)

    @property
    def threshold_active(self) -> int:
        """The threshold that applies now."""
        plan = self.plan
        return plan.threshold_emergency if self.emergency_active else plan.threshold_normal

    @property
    def over(self) -> bool:
        """Whether the limit counts as exceeded."""
        return self._conditions.active[0]

    @property
    def emergency(self) -> EmergencyProfile | None:
        return self._emergency

    def set_thresholds(self, normal: int, emergency: int) -> None:
        """Change both thresholds from the next interval on."""
        if (normal, emergency) != (self.plan.threshold_normal, self.plan.threshold_emergency):
            self.plan = replace(self.plan, threshold_normal=normal, threshold_emergency=emergency)
        self._conditions.change((self._threshold(),))

    def set_emergency(self, profile: EmergencyProfile | None) -> bool:
        """Take over an emergency profile; False if its group is not one of ours."""
        if profile is not None and profile.profile_id not in self.plan.emergency_groups:
            return False
        self._emergency = profile if profile is not None and profile.duration_s else None
        return True

    def clock(self, utc_s: int) -> int:
        """Switch between the thresholds by the meter's clock; return when to look again."""
        emergency = self._emergency
        if emergency is None:
            active, again = False, NEVER
        else:
            end = emergency.from_utc_s + emergency.duration_s
            active = emergency.from_utc_s <= utc_s < end
            again = emergency.from_utc_s if utc_s < emergency.from_utc_s else end
            again = again if utc_s < end else NEVER
        if active is not self.emergency_active:
            self.emergency_active = active
            self._conditions.change((self._threshold(),))
        return again

    def look(self, block: Block) -> int:
        return self._conditions.look(block)

    def advance(self, intervals: int) -> bool | None:
        """True when the limit has been exceeded long enough, False when it is over again."""
        return self._conditions.advance(intervals)[0]

    def forget_runs(self) -> None:
        self._conditions.forget_runs()

    def write(self, cells: CellWriter) -> None:
        emergency = self._emergency or EmergencyProfile(0, 0, 0)
        cells.put(emergency.profile_id, emergency.from_utc_s, emergency.duration_s)
        cells.put(self.emergency_active, self.plan.threshold_normal)
        cells.put(self.plan.threshold_emergency)
        self._conditions.write(cells)

    def read(self, cells: CellReader) -> None:
        emergency = EmergencyProfile(cells.take(), cells.take(), cells.take())
        self._emergency = emergency if emergency.duration_s else None
        self.emergency_active = bool(cells.take())
        self.set_thresholds(cells.take(), cells.take())
        self._conditions.read(cells)


@dataclass(frozen=True, slots=True)
class SmartDisconnectPlan:
    """Three stages over one limit: the further above, the sooner the breaker opens.

    Opens when the value is above `limit` x k1 for t1, above `limit` x k2 for t1 + t2, or above
    `limit` x k3 for t1 + t2 + t3 (factors in thousandths). Above `short_circuit` it does not open:
    that is the fuse's work. Recloses not before `reconnect_s`.
    """

    source: Source = LARGEST_CURRENT
    limit: int = 63_000
    factors_milli: tuple[int, int, int] = (1_600, 1_300, 1_100)
    times_s: tuple[int, int, int] = (10, 60, 600)
    short_circuit: int | None = None
    reconnect_s: int = 60

    def __post_init__(self) -> None:
        k1, k2, k3 = self.factors_milli
        t1, t2, t3 = self.times_s
        if not k1 >= k2 >= k3 > 0:
            raise ValueError("the factors must fall: k1 >= k2 >= k3")
        if not 0 <= t1 <= t2 <= t3:
            raise ValueError("the times must rise: t1 <= t2 <= t3")


class SmartDisconnect:
    """The staged limit at work."""

    __slots__ = ("_conditions", "plan")

    def __init__(self, plan: SmartDisconnectPlan) -> None:
        self.plan = plan
        start, end = events_of(plan.source)
        stages = [
            ThresholdPlan(
                plan.source,
                plan.limit * plan.factors_milli[stage] // 1000,
                start,
                end,
                delay_s=sum(plan.times_s[: stage + 1]),
                release_delay_s=0,
            )
            for stage in range(3)
        ]
        self._conditions = Conditions(tuple(stages), plan.short_circuit)

    def look(self, block: Block) -> int:
        return self._conditions.look(block)

    def advance(self, intervals: int) -> bool:
        """Whether a stage has been passed for its time."""
        return True in self._conditions.advance(intervals)

    def forget_runs(self) -> None:
        self._conditions.forget_runs()

    def write(self, cells: CellWriter) -> None:
        self._conditions.write(cells)

    def read(self, cells: CellReader) -> None:
        self._conditions.read(cells)
