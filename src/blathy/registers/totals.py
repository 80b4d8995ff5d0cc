"""The energy registers: totals since ever and the rates, as one vector of integers.

Layout of the vector: 4 phases x 8 measures, 6 losses, the pulse inputs (together the *flow*, what
an interval adds), then 8 measures for every rate. A register that the meter shows is a sum of these
cells with weights of +1 and -1, so tariffs add up to their total exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from blathy.quantity import Kind, Loss, Measure, Phase, Source
from blathy.registers.block import ENERGY_MEASURES, PHASES, Block
from blathy.registers.cells import Cells

LOSSES: Final = tuple(Loss)
LOSS_AT: Final = len(PHASES) * len(ENERGY_MEASURES)
PULSES_AT: Final = LOSS_AT + len(LOSSES)
PULSES_NAME: Final = "pulses_"
_MEASURE_AT: Final = {measure: at for at, measure in enumerate(ENERGY_MEASURES)}
_SUMS: Final[dict[Measure, tuple[tuple[Measure, int], ...]]] = {
    Measure.R_PLUS: ((Measure.R1, 1), (Measure.R2, 1)),
    Measure.R_MINUS: ((Measure.R3, 1), (Measure.R4, 1)),
    Measure.A_ABS: ((Measure.A_IMPORT, 1), (Measure.A_EXPORT, 1)),
    Measure.A_NET: ((Measure.A_IMPORT, 1), (Measure.A_EXPORT, -1)),
}


class Layout:
    """Where the cells of a meter with so many rates and pulse inputs are."""

    __slots__ = ("flow", "pulse_inputs", "rates", "size")

    def __init__(self, rates: int, pulse_inputs: int) -> None:
        self.rates = rates
        self.pulse_inputs = pulse_inputs
        self.flow = PULSES_AT + pulse_inputs
        self.size = self.flow + rates * len(ENERGY_MEASURES)

    def flows(self, block: Block) -> Cells:
        """What every interval adds, (n, flow); raise ValueError if anything runs backwards."""
        n = len(block)
        flows = np.zeros((n, self.flow), dtype=np.int64)
        flows[:, :LOSS_AT] = block.energy_u.reshape(n, LOSS_AT)
        if block.loss_u is not None:
            flows[:, LOSS_AT:PULSES_AT] = block.loss_u
        if block.pulses is not None and self.pulse_inputs:
            inputs = min(block.pulses.shape[1], self.pulse_inputs)
            flows[:, PULSES_AT : PULSES_AT + inputs] = block.pulses[:, :inputs]
        if n and flows.min() < 0:
            raise ValueError("the energies and pulses of an interval cannot be negative")
        return flows

    def counts(self, source: Source) -> bool:
        """Whether the source is a pulse input of this meter: a counter that runs with the flow."""
        number = source.name.removeprefix(PULSES_NAME)
        counted = source.kind is Kind.COUNTER and number != source.name and number.isdecimal()
        return counted and 1 <= int(number) <= self.pulse_inputs

    def rate_at(self, rate: int) -> int:
        """The first cell of a rate's registers."""
        return self.flow + (rate - 1) * len(ENERGY_MEASURES)

    def weights(self, source: Source) -> Cells:
        """The register as weights on the vector; raise ValueError if there is no such register."""
        return _weights(self.rates, self.pulse_inputs, source)


@lru_cache(maxsize=4096)
def _weights(rates: int, pulse_inputs: int, source: Source) -> Cells:
    layout = Layout(rates, pulse_inputs)
    weights = np.zeros(layout.size, dtype=np.int64)
    if source.loss is not None:
        weights[LOSS_AT + LOSSES.index(source.loss)] = 1
        weights.setflags(write=False)
        return weights
    if source.kind is Kind.COUNTER:
        weights[PULSES_AT + int(source.name.removeprefix(PULSES_NAME)) - 1] = 1
        weights.setflags(write=False)
        return weights
    if source.measure not in _MEASURE_AT and source.measure not in _SUMS:
        raise ValueError(f"{source} is no energy register")
    if source.tariff and source.phase is not Phase.TOTAL:
        raise ValueError(f"{source}: the rates are kept for the total, not per phase")
    if source.tariff > rates:
        raise ValueError(f"{source}: there are only {rates} rates")
    first = layout.rate_at(source.tariff) if source.tariff else 8 * PHASES.index(source.phase)
    for measure, sign in _SUMS.get(source.measure, ((source.measure, 1),)):
        weights[first + _MEASURE_AT[measure]] += sign
    weights.setflags(write=False)
    return weights


class Selection:
    """Several registers at once: the columns of a profile, evaluated along a stretch."""

    __slots__ = ("_by_rate", "_matrix", "width")

    def __init__(self, layout: Layout, sources: tuple[Source, ...]) -> None:
        self.width = len(sources)
        columns = [layout.weights(source) for source in sources]
        self._matrix = np.array(columns, dtype=np.int64).reshape(len(columns), layout.size).T.copy()
        measures = len(ENERGY_MEASURES)
        self._by_rate = [self._matrix[: layout.flow].copy() for _ in range(layout.rates + 1)]
        for rate in range(1, layout.rates + 1):
            at = layout.rate_at(rate)
            self._by_rate[rate][:measures] += self._matrix[at : at + measures]

    def at(self, vector: Cells) -> Cells:
        """The registers now, (width,)."""
        values: Cells = vector @ self._matrix
        return values

    def along(self, vector: Cells, flows: Cells, rate: int) -> Cells:
        """The registers after each of the accumulated `flows` (m, flow) under one rate."""
        values: Cells = vector @ self._matrix + flows @ self._by_rate[rate]
        return values
