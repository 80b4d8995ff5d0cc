"""A load that is the same at every port and can be computed by hand: for tests only."""

from __future__ import annotations

import numpy as np

from blathy.quantity import Phase
from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, INSTANT_INDEX, Block, Incident


class ConstantLoad:
    """`power_w` of import on every phase of the meter; energies are exact for steps of 36 s."""

    replayable = True

    def __init__(
        self, power_w: int = 1200, phases: int = 3, incidents: tuple[Incident, ...] = ()
    ) -> None:
        self.power_w = power_w
        self.phases = phases
        self.incidents = incidents

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        energy = np.zeros((n, 4, len(ENERGY_MEASURES)), np.int64)
        energy_u = self.power_w * step_s * 1_000_000 // 3600
        energy[:, 1 : 1 + self.phases, 0] = energy_u
        energy[:, 1 : 1 + self.phases, 6] = energy_u
        energy[:, 0, 0] = energy[:, 0, 6] = energy_u * self.phases
        instant = np.zeros((n, len(INSTANT_COLUMNS)), np.int64)
        p_mw = self.power_w * 1000
        for phase in range(1, self.phases + 1):
            for name, value in (
                ("u_mv", 230_000), ("i_ma", p_mw // 230), ("p_mw", p_mw), ("s_mva", p_mw),
                ("pf_milli", 1000),
            ):  # fmt: skip
                instant[:, INSTANT_INDEX[name, Phase(phase)]] = value
        for name, value in (
            ("u_mv", 230_000), ("i_ma", p_mw // 230), ("p_mw", p_mw * self.phases),
            ("s_mva", p_mw * self.phases), ("pf_milli", 1000), ("f_mhz", 50_000),
        ):  # fmt: skip
            instant[:, INSTANT_INDEX[name, Phase.TOTAL]] = value
        supply = np.full(n, (1 << self.phases) - 1, np.uint8)
        end = start_utc_s + n * step_s
        incidents = tuple(i for i in self.incidents if start_utc_s <= i.at_utc_s < end)
        return Block(start_utc_s, step_s, energy, instant, supply, incidents=incidents)
