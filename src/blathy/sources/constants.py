"""What is set in a meter about its connection: it turns what the terminals carry into primary
values.

A source that measures asks for them every second, so a ratio written at a port holds from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from blathy.metrology.sensors import Calibration
from blathy.metrology.transformer import LossParameters, Ratios


@dataclass(frozen=True, slots=True)
class Constants:
    """Ratios of the instrument transformers, parameters of the power transformer, sensors.

    `input_ratios` (primary over secondary current of each current input) and `calibrations` (the
    measured errors of the transformer at each input, None where unknown) are for meters whose
    inputs differ; empty means `ratios` for all, and nothing known.
    """

    ratios: Ratios = field(default_factory=Ratios)
    losses: LossParameters | None = None
    input_ratios: tuple[float, ...] = ()
    calibrations: tuple[Calibration | None, ...] = ()

    def current_ratio(self, channel: int) -> float:
        """Primary over secondary current of an input (from 0 on)."""
        if channel < len(self.input_ratios):
            return self.input_ratios[channel]
        return self.ratios.current

    def calibration(self, channel: int) -> Calibration | None:
        """What was measured of the transformer at an input (from 0 on)."""
        return self.calibrations[channel] if channel < len(self.calibrations) else None


@runtime_checkable
class Connected(Protocol):
    """A source that measures with the constants of the meter it feeds."""

    constants: Callable[[], Constants] | None


def connect(source: object, constants: Callable[[], Constants]) -> None:
    """Let a source follow the constants of its meter; a source that needs none is left alone."""
    if isinstance(source, Connected):
        source.constants = constants
