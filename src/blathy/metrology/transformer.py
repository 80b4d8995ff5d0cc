"""Instrument transformers and the losses of power transformers and lines.

Losses (OBIS 1-b:83.8.e, quantities of `blathy.quantity.Loss`): OLA = RCu I²h, OLR = Xs I²h,
NLA = U²h / RFe, NLR = U²h / Xm, with U²h and I²h summed over the phases. They carry no sign; a
register by direction counts them with the sign of P.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.energy import S_I2, S_U2, Seconds

MICRO_HOURS_PER_S = 1e6 / 3600.0


@dataclass(frozen=True, slots=True)
class Ratios:
    """Current and voltage transformer ratios, e.g. 200/5 A and 20 000/100 V."""

    i_primary_a: float = 1.0
    i_secondary_a: float = 1.0
    u_primary_v: float = 1.0
    u_secondary_v: float = 1.0

    def __post_init__(self) -> None:
        if min(self.i_primary_a, self.i_secondary_a, self.u_primary_v, self.u_secondary_v) <= 0:
            raise ValueError("the sides of a transformer ratio are above zero")

    @property
    def current(self) -> float:
        return self.i_primary_a / self.i_secondary_a

    @property
    def voltage(self) -> float:
        return self.u_primary_v / self.u_secondary_v

    @property
    def energy(self) -> float:
        """Primary over secondary energy."""
        return self.current * self.voltage

    def primary_imp_per_k(self, secondary_imp_per_k: float) -> float:
        """Pulse constant on the primary side of a meter that counts secondary energy."""
        return secondary_imp_per_k / self.energy


@dataclass(frozen=True, slots=True)
class LossParameters:
    """COSEM objects 0.10.0 … 0.10.3: Xm, RFe, RCu, Xs in ohms (on the side that is measured)."""

    r_cu_ohm: float = 1.0
    x_s_ohm: float = 1.0
    r_fe_ohm: float = 1e6
    x_m_ohm: float = 1e6

    def __post_init__(self) -> None:
        if self.r_fe_ohm <= 0 or self.x_m_ohm <= 0 or self.r_cu_ohm < 0 or self.x_s_ohm < 0:
            raise ValueError("RFe and Xm are above zero, RCu and Xs not negative")

    @classmethod
    def of_nameplate(
        cls,
        *,
        rated_va: float,
        rated_line_v: float,
        no_load_w: float,
        load_loss_w: float,
        magnetising_percent: float,
        impedance_percent: float,
    ) -> LossParameters:
        """Parameters of a three-phase transformer from its nameplate, per phase, at `rated_line_v`.

        Iron losses grow with U², copper losses with I².
        """
        if min(rated_va, rated_line_v, no_load_w) <= 0:
            raise ValueError("rated power, voltage and no-load loss are above zero")
        i_rated = rated_va / (np.sqrt(3.0) * rated_line_v)
        magnetising_var = np.sqrt(
            max((rated_va * magnetising_percent / 100) ** 2 - no_load_w**2, 1e-12)
        )
        series_var = np.sqrt(max((rated_va * impedance_percent / 100) ** 2 - load_loss_w**2, 0.0))
        return cls(
            r_cu_ohm=float(load_loss_w / (3 * i_rated**2)),
            x_s_ohm=float(series_var / (3 * i_rated**2)),
            r_fe_ohm=float(rated_line_v**2 / no_load_w),
            x_m_ohm=float(rated_line_v**2 / magnetising_var),
        )


class LossCounter:
    """Counts OLA NLA OLR NLR U²h I²h per second in uWh, uvarh, uV²h and uA²h, remainders carried.

    The order is that of `blathy.quantity.Loss`.
    """

    def __init__(self, parameters: LossParameters) -> None:
        self.parameters = parameters
        self.total_u = np.zeros(6, np.int64)
        self._remainder = np.zeros(6)

    def add(self, seconds: Seconds) -> NDArray[np.int64]:
        """(n, 6) whole micro-units of each second; their sum is `total_u` exactly."""
        out = np.zeros((len(seconds), 6), np.int64)
        # Where a signal stops, the corrected sum of what is left may fall just below zero.
        u2h = np.maximum(seconds.per_phase[:, :, S_U2].sum(axis=1), 0.0) * MICRO_HOURS_PER_S
        i2h = np.maximum(seconds.per_phase[:, :, S_I2].sum(axis=1), 0.0) * MICRO_HOURS_PER_S
        p = self.parameters
        amounts = np.stack(
            [
                p.r_cu_ohm * i2h, u2h / p.r_fe_ohm, p.x_s_ohm * i2h, u2h / p.x_m_ohm, u2h, i2h,
            ],
            axis=1,
        )  # fmt: skip
        for k in range(len(seconds)):
            amount = self._remainder + amounts[k]
            whole = np.floor(amount)
            self._remainder = amount - whole
            out[k] = whole.astype(np.int64)
        self.total_u += out.sum(axis=0)
        return out
