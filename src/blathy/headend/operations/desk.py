"""What every operation on a meter works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blathy.headend.collection.collector import Collector
from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory
from blathy.headend.operations.confirmations import Confirmations
from blathy.headend.operations.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Desk:
    """The operator's desk: store, inventory, the way to the meters, jobs, asked-twice and clock."""

    database: Database
    inventory: Inventory
    collector: Collector
    jobs: Jobs
    confirmations: Confirmations
    now: Callable[[], float]
