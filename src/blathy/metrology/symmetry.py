"""Symmetrical components, unbalance and phase sequence of three-phase systems.

u2 = U2 / U1 and u0 = U0 / U1 in percent, from the phasors of the fundamental (IEC 61000-4-30).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

A: Final = complex(-0.5, np.sqrt(3.0) / 2.0)
"""The operator a: a turn by 120°."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Zero, positive and negative sequence phasors, referred to L1."""

    zero: NDArray[np.complex128]
    positive: NDArray[np.complex128]
    negative: NDArray[np.complex128]

    @property
    def negative_percent(self) -> NDArray[np.float64]:
        """u2 (i2): negative against positive sequence; NaN without a positive sequence."""
        return _percent(self.negative, self.positive)

    @property
    def zero_percent(self) -> NDArray[np.float64]:
        """u0 (i0): zero against positive sequence; NaN without a positive sequence."""
        return _percent(self.zero, self.positive)

    @property
    def sequence(self) -> NDArray[np.int64]:
        """+1 for L1 L2 L3, -1 for the reversed order, 0 where neither is twice the other."""
        forward, backward = np.abs(self.positive), np.abs(self.negative)
        return np.where(forward > 2 * backward, 1, np.where(backward > 2 * forward, -1, 0))


def components(phasors: NDArray[Any]) -> Components:
    """Symmetrical components of phasors (..., 3)."""
    x1, x2, x3 = phasors[..., 0], phasors[..., 1], phasors[..., 2]
    a2 = A * A
    return Components(
        np.asarray((x1 + x2 + x3) / 3.0),
        np.asarray((x1 + A * x2 + a2 * x3) / 3.0),
        np.asarray((x1 + a2 * x2 + A * x3) / 3.0),
    )


def unbalance_of_lines_percent(u_ll_v: NDArray[Any]) -> NDArray[np.float64]:
    """u2 in percent from the rms of the three line-to-line voltages (..., 3), without angles."""
    square = u_ll_v**2
    total = square.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        beta = (square**2).sum(axis=-1) / total**2
        root = np.sqrt(np.maximum(3.0 - 6.0 * beta, 0.0))
        return np.asarray(100.0 * np.sqrt((1.0 - root) / (1.0 + root)))


def _percent(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = 100.0 * np.abs(part) / np.abs(whole)
    return np.where(np.abs(whole) > 0, ratio, np.nan)
