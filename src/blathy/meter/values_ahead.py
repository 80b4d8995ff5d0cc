"""What a register will show after each interval of a block that is still to be measured.

Monitors look for their next crossing in it, so that a block is cut there and not after every
interval. It holds as far as the controller leaves the supply as it is, for instantaneous values and
energies that do not depend on the rate; of everything else nothing is known ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from blathy.meter.classes.values import COUNTING, rescaled
from blathy.meter.objects import ValueReference
from blathy.models.model import INTEGER_RANGE
from blathy.quantity import Kind, Source
from blathy.registers.block import Block
from blathy.registers.cells import Cells
from blathy.registers.instant import instant_of

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

Flags = NDArray[np.bool_]
VALUE: Final = 2
"""The attribute of a register that holds its value."""


def raw_values_ahead(meter: Meter, source: Source, block: Block) -> Cells | None:
    """The source's value after each interval, in the base of the books; shorter than the block
    where the controller decides before its end. All of the block has supply."""
    control = meter.control
    drawn = control.as_drawn(block.cut(0, control.undecided(block)))
    try:
        if source.kind is Kind.INSTANT:
            return instant_of(drawn.instant, source)
        if source.kind is Kind.ENERGY and not source.tariff:
            layout = meter.ledger.layout
            so_far = meter.ledger.snapshot().value(source)
            used = layout.flows(drawn) @ layout.weights(source)[: layout.flow]
            after: Cells = so_far + np.cumsum(used)
            return after
    except (LookupError, ValueError):
        pass
    return None


def counts_ahead(
    meter: Meter, reference: ValueReference, block: Block
) -> tuple[Cells, Flags] | None:
    """What a register's value will be as it is sent, and where it is a number at all."""
    row = next((row for row in meter.model.rows if row.obis == reference.obis), None)
    if row is None or reference.attribute != VALUE or reference.class_id != row.class_id:
        return None
    raw = raw_values_ahead(meter, row.source, block)
    if raw is None:
        return None
    counts = rescaled(raw, row.source, row.scaler)
    low, high = INTEGER_RANGE[row.data_type]
    within: Flags = (counts >= low) & (counts <= high)
    if row.source.kind in COUNTING and not within.all():
        return None
    return counts, within
