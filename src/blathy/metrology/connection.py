"""How the samples are wired: phases, scale of each channel, nominal values.

A frame is one sample of every channel at the same instant. Channel order of a frame:

- `ONE_PHASE`: u1 i1
- `TWO_PHASE` (two phases of a 120° system), `SPLIT_PHASE` (180°): u1 u2 i1 i2
- `THREE_PHASE_4_WIRE`: u1 u2 u3 i1 i2 i3
- `THREE_PHASE_3_WIRE` (two-element, Aron): u12 u32 i1 i3. The third current is -(i1 + i3) and the
  phase voltages are taken against the artificial star point, so that their powers add up to the
  power of the two elements whatever the load.

A measured neutral current follows as the last channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ_MIN: Final = 4_000.0
SAMPLE_RATE_HZ_MAX: Final = 32_768.0  # 32 kS/s and the binary rate above it

FULL_SCALE: Final = {
    np.dtype(np.int16).char: 32_767.0,
    np.dtype(np.int32).char: 8_388_607.0,  # 24 bits
}


class Wiring(Enum):
    """(channels of voltage in a frame, channels of current, phases measured, degrees apart)."""

    ONE_PHASE = (1, 1, 1, 0)
    TWO_PHASE = (2, 2, 2, 120)
    SPLIT_PHASE = (2, 2, 2, 180)
    THREE_PHASE_4_WIRE = (3, 3, 3, 120)
    THREE_PHASE_3_WIRE = (2, 2, 3, 120)

    @property
    def voltages(self) -> int:
        return self.value[0]

    @property
    def currents(self) -> int:
        return self.value[1]

    @property
    def phases(self) -> int:
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Connection:
    """One measuring point: sampling, wiring, scale and nominal values.

    `u_v_per_count` and `i_a_per_count` turn a sample into volts and amperes: one number for all
    channels or one for each (a measured neutral counts as the last current). Transformer ratios
    belong into them when primary values are wanted (see `transformer.Ratios`). A negative
    constant turns a current transformer round.
    `full_scale_counts`: a sample at or beyond it is saturated; by default the end of the integer
    type of the samples (int16: 32 767; int32 is taken as 24 bits: 8 388 607), none for floats.
    """

    sample_rate_hz: float
    wiring: Wiring = Wiring.THREE_PHASE_4_WIRE
    nominal_hz: int = 50
    nominal_u_v: float = 230.0
    nominal_i_a: float = 5.0
    u_v_per_count: float | tuple[float, ...] = 1.0
    i_a_per_count: float | tuple[float, ...] = 1.0
    neutral_measured: bool = False
    full_scale_counts: float | None = None

    def __post_init__(self) -> None:
        if not SAMPLE_RATE_HZ_MIN <= self.sample_rate_hz <= SAMPLE_RATE_HZ_MAX:
            msg = (
                f"a sample rate of {self.sample_rate_hz:g} Hz cannot be measured; "
                f"resample to {SAMPLE_RATE_HZ_MIN:g} to {SAMPLE_RATE_HZ_MAX:g} Hz"
            )
            raise ValueError(msg)
        if self.nominal_hz not in {50, 60}:
            raise ValueError(f"the nominal frequency is 50 or 60 Hz, not {self.nominal_hz}")
        if self.nominal_u_v <= 0 or self.nominal_i_a <= 0:
            raise ValueError("nominal voltage and current must be above zero")
        self.scale_per_channel()

    @property
    def phases(self) -> int:
        return self.wiring.phases

    @property
    def channels(self) -> int:
        """Channels of one input frame."""
        return self.wiring.voltages + self.wiring.currents + int(self.neutral_measured)

    @property
    def cycles_per_block(self) -> int:
        """Cycles of the base interval of IEC 61000-4-30: 10 at 50 Hz, 12 at 60 Hz."""
        return 10 if self.nominal_hz == 50 else 12

    def scale_per_channel(self) -> NDArray[np.float64]:
        """Volts or amperes per count, in the order of a frame."""
        currents = self.wiring.currents + int(self.neutral_measured)
        return np.concatenate(
            [
                _spread(self.u_v_per_count, self.wiring.voltages, "u_v_per_count"),
                _spread(self.i_a_per_count, currents, "i_a_per_count"),
            ]
        )

    def saturation_counts(self, dtype: np.dtype[np.generic]) -> float:
        """The count from which a sample of this type is saturated."""
        if self.full_scale_counts is not None:
            return self.full_scale_counts
        return FULL_SCALE.get(dtype.char, float("inf"))


def _spread(scale: float | tuple[float, ...], channels: int, name: str) -> NDArray[np.float64]:
    row = np.full(channels, scale) if isinstance(scale, int | float) else np.asarray(scale)
    if len(row) != channels or not np.all(np.isfinite(row)) or np.any(row == 0):
        msg = f"{name} needs one finite constant other than 0, or {channels} of them"
        raise ValueError(msg)
    return np.asarray(row, np.float64)
