"""What a register will show after each interval of a block that is still to be measured.

Monitors look for their next crossing in it, so that a block is cut there and not after every
interval. It holds as far as the controller leaves the supply as it is, for instantaneous values and
for what the books keep: as long as the rate stays, of demands and profiles to the end of their
period, of counters of events to the next event. Of everything else nothing is known ahead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from blathy.meter.classes.values import COUNTING, is_kept, kept_as, rescaled
from blathy.meter.objects import ValueReference
from blathy.models.model import INTEGER_RANGE
from blathy.quantity import Kind, Source
from blathy.registers.block import Block
from blathy.registers.cells import Cells
from blathy.registers.instant import instant_of
from blathy.registers.snapshot import DEMAND_KINDS, PERIOD_KINDS

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

Flags = NDArray[np.bool_]
AT_ONCE_S: Final = 900
"""So far it is looked at what changes with every period: the next look goes on from there."""
VALUE: Final = 2
"""The attribute of a register that holds its value."""
LAST_AVERAGE: Final = 3
"""The attribute of a demand register that holds the demand of the last period."""


def raw_values_ahead(meter: Meter, source: Source, block: Block) -> Cells | None:
    """The source's value after each interval, in the base of the books; shorter than the block
    where the controller decides before its end. All of the block has supply."""
    if source.kind in DEMAND_KINDS | PERIOD_KINDS:
        block = block.cut(0, min(len(block), -(-AT_ONCE_S // block.step_s)))
    control = meter.control
    drawn = control.as_drawn(block.cut(0, control.undecided(block)))
    try:
        if source.kind is Kind.INSTANT:
            return instant_of(drawn.instant, source)
        unit = 1
        if source.kind is Kind.COUNTER:
            if not is_kept(source.name):
                return None
            source, unit = kept_as(source.name)
        values = meter.ledger.outlook(drawn).values(source)
        return values if unit == 1 else values // unit
    except (LookupError, ValueError):
        return None


def counts_ahead(
    meter: Meter, reference: ValueReference, block: Block
) -> tuple[Cells, Flags] | None:
    """What a register's value will be as it is sent, and where it is a number at all."""
    row = next((row for row in meter.model.rows if row.obis == reference.obis), None)
    if row is None or reference.class_id != row.class_id:
        return None
    source = row.source
    if (row.class_id, reference.attribute) == (5, LAST_AVERAGE):
        source = replace(source, kind=Kind.LAST_DEMAND)
    elif reference.attribute != VALUE:
        return None
    raw = raw_values_ahead(meter, source, block)
    if raw is None:
        return None
    counts = rescaled(raw, source, row.scaler)
    low, high = INTEGER_RANGE[row.data_type]
    within: Flags = (counts >= low) & (counts <= high)
    if row.source.kind in COUNTING and not within.all():
        return None
    return counts, within
