"""The distortion that a low-voltage grid has anyway, whatever is plugged in at a point."""

from __future__ import annotations

from typing import Final

U_HARMONICS: Final = ((5, 0.012, 170.0), (7, 0.008, 40.0), (11, 0.004, 200.0))
"""Order, ratio to the fundamental, angle in degrees: a usual low-voltage background."""
