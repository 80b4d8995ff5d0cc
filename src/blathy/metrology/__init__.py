"""Waveforms to quantities: pure functions and small state objects on arrays of samples.

Nothing here reads a clock, a file or a port. Importing compiles nothing: each numba kernel is
compiled at its first call and cached beside its source.
"""

from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.energy import Apparent, EnergyRules, Netting, PulseOutput
from blathy.metrology.engine import Engine, Measured, Measuring
from blathy.metrology.half_cycle import HalfCycleMeter, HalfCycles
from blathy.metrology.quantities import Quantities
from blathy.metrology.spectrum import Spectra
from blathy.metrology.transformer import LossParameters, Ratios
from blathy.metrology.voltage_events import VoltageEventRules

__all__ = [
    "Apparent",
    "Connection",
    "EnergyRules",
    "Engine",
    "HalfCycleMeter",
    "HalfCycles",
    "LossParameters",
    "Measured",
    "Measuring",
    "Netting",
    "PulseOutput",
    "Quantities",
    "Ratios",
    "Spectra",
    "VoltageEventRules",
    "Wiring",
]
