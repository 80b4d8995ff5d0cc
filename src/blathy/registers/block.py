"""The block: consecutive intervals as arrays. What metrology or a source hands to the ledger.

One interval a second live, a day at once when catching up, a year when simulating: the ledger's
result does not depend on how the same intervals are cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.quantity import Measure, Phase

ENERGY_MEASURES: Final = (
    Measure.A_IMPORT,
    Measure.A_EXPORT,
    Measure.R1,
    Measure.R2,
    Measure.R3,
    Measure.R4,
    Measure.E_IMPORT,
    Measure.E_EXPORT,
)
"""Last axis of `Block.energy_u`. R+ R- |A| and net are sums of these."""

PHASES: Final = (Phase.TOTAL, Phase.L1, Phase.L2, Phase.L3)
"""Middle axis of `Block.energy_u`. The total is netted as the meter's rule says, so it need not be
the sum of the phases."""

INSTANT_COLUMNS: Final[tuple[tuple[str, Phase], ...]] = (
    *(
        (name, phase)
        for name in ("u_mv", "i_ma", "p_mw", "q_mvar", "s_mva", "pf_milli")
        for phase in PHASES
    ),
    ("i_n_ma", Phase.TOTAL),
    ("f_mhz", Phase.TOTAL),
    *(("thd_u_milli_percent", phase) for phase in PHASES[1:]),
    *(("thd_i_milli_percent", phase) for phase in PHASES[1:]),
    *(
        ("angle_u_mdeg", phase) for phase in PHASES[1:]
    ),  # lag of the voltage behind U1: 0, 120, 240 degrees
    *(("angle_i_mdeg", phase) for phase in PHASES[1:]),  # lag of the current behind U1
    ("u2_milli_percent", Phase.TOTAL),  # negative over positive sequence; 0 with fewer phases
)
"""Columns of `Block.instant`: means over the interval. `u_mv` TOTAL is the mean of the phases
present, `i_ma` TOTAL the largest phase; `p_mw`, `q_mvar` are signed; a missing phase is 0."""
INSTANT_INDEX: Final = {column: index for index, column in enumerate(INSTANT_COLUMNS)}


@dataclass(frozen=True, slots=True, order=True)
class Incident:
    """Something that happened at a moment: a sag, a cover opened, a magnet. `name` is one of
    `registers.events.EVENTS`; `value` is its figure in the base of what it is about (mV, mA, s)."""

    at_utc_s: int
    name: str
    phase: Phase = Phase.TOTAL
    value: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`n` consecutive intervals of `step_s` s; the first begins at `start_utc_s` (true time)."""

    start_utc_s: int
    step_s: int
    energy_u: NDArray[
        np.int64
    ]  # (n, 4, 8): PHASES x ENERGY_MEASURES, in uWh uvarh uVAh per interval
    instant: NDArray[np.int64]  # (n, len(INSTANT_COLUMNS))
    supply: NDArray[np.uint8]  # (n,): bit 0 L1, bit 1 L2, bit 2 L3 energised; 0 = the meter is off
    loss_u: NDArray[np.int64] | None = (
        None  # (n, 6): in the order of quantity.Loss, uWh uvarh uV2h uA2h
    )
    instant_min: NDArray[np.int64] | None = None  # as `instant`: extremes inside each interval
    instant_max: NDArray[np.int64] | None = None
    pulses: NDArray[np.int64] | None = None  # (n, inputs): pulses counted at the terminals
    incidents: tuple[Incident, ...] = field(default=())
    harmonics: NDArray[np.int64] | None = (
        None  # (2, 3, 51): of U and I, L1-L3, by order, at the end; 0.01 % of order 1
    )

    def __post_init__(self) -> None:
        n = len(self.supply)
        assert self.step_s > 0
        assert self.energy_u.shape == (n, len(PHASES), len(ENERGY_MEASURES))
        assert self.instant.shape == (n, len(INSTANT_COLUMNS))

    def __len__(self) -> int:
        return len(self.supply)

    @property
    def end_utc_s(self) -> int:
        return self.start_utc_s + len(self) * self.step_s

    def cut(self, first: int, last: int) -> Block:
        """The intervals `first` … `last` - 1 with the incidents that fall into them."""
        start = self.start_utc_s + first * self.step_s
        end = self.start_utc_s + last * self.step_s

        def part(array: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
            return None if array is None else array[first:last]

        return Block(
            start,
            self.step_s,
            self.energy_u[first:last],
            self.instant[first:last],
            self.supply[first:last],
            part(self.loss_u),
            part(self.instant_min),
            part(self.instant_max),
            part(self.pulses),
            tuple(i for i in self.incidents if start <= i.at_utc_s < end),
            self.harmonics,
        )

    def with_incidents(self, more: Iterable[Incident]) -> Block:
        """The same block with further incidents, in order of time."""
        joined = sorted((*self.incidents, *more), key=lambda incident: incident.at_utc_s)
        return replace(self, incidents=tuple(joined))
