"""Alarm registers as the head-end knows them: which bits it has dealt with.

Bits stay set in a meter until somebody clears them, so a push tells a new alarm only by comparison.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.headend.database import upsert
from blathy.headend.inventory.registry import Meter
from blathy.headend.schema import alarm_register


def new_bits(connection: Connection, meter: Meter, register: str, bits: int, now: int) -> int:
    """The bits of an alarm register that nobody has dealt with; from now on they are known.

    Of a meter never heard of before nothing tells old bits from new ones: its logs are read.
    """
    table = alarm_register
    known = connection.execute(
        sa.select(table.c.bits).where(table.c.meter_id == meter.id, table.c.obis == register)
    ).scalar()
    row = {"meter_id": meter.id, "obis": register, "bits": bits | (known or 0), "at": now}
    upsert(connection, table, [row])
    return 0 if known is None else bits & ~known


def cleared(connection: Connection, meter: Meter, register: str, bits: int, now: int) -> None:
    """The meter has cleared these bits of an alarm register: the next alarm is a new one."""
    table = alarm_register
    known = connection.execute(
        sa.select(table.c.bits).where(table.c.meter_id == meter.id, table.c.obis == register)
    ).scalar()
    row = {"meter_id": meter.id, "obis": register, "bits": (known or 0) & ~bits, "at": now}
    upsert(connection, table, [row])
