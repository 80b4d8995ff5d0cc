"""A meter process that is made to be killed: it steps, commits and prints what became visible.

Run as `python -m tests.store.killed_meter PATH`. Every line on standard output is what a port had
shown: the energy register in uWh, the number of profile rows, the end of the reserved counter.
"""

from __future__ import annotations

import sys
from pathlib import Path

from blathy.registers.ledger import Ledger
from blathy.store import Store
from tests.registers.intervals import UTC_2026, A, block, full_plan

PLAN = full_plan()
NAME = "m1"


def main(path: Path) -> None:
    store = Store.open(path)
    place = store.meter(NAME)
    found = place.load_ledger(PLAN)
    ledger = found[0] if found else Ledger(PLAN, UTC_2026)
    while True:
        ledger.step(block(ledger.now, 60, 60, watt=6000))
        ledger.add_event("local_access")
        ledger.note("killer", "read")
        place.stage(ledger)
        outcome = store.commit()
        assert outcome.ok, outcome.error
        seen = place.committed
        assert seen is not None
        numbers = place.reserve("counter", 8)
        rows = seen.profiles["load"].ring.end
        print(seen.value(A), rows, numbers.stop, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
