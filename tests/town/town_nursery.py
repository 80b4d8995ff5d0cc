"""Starts `blathy up` by forking a process that has imported everything, for tests that start often.

Run as `python -m tests.town.town_nursery`. Every line on standard input is a JSON list of arguments
of `blathy`: a child runs them as a process of its own, which can be killed like any other. What it
prints comes out on standard output, between two lines that begin with MARK: its process number, and
how it ended. The import of the libraries and the reading of compiled code, two thirds of a start,
happen once.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

MARK: Final = "\x01"
HOUR_S: Final = 3600


def prepare() -> None:
    """Import what `blathy up` needs, and step a town once so that its compiled code is loaded."""
    import blathy.cli.up  # noqa: F401
    from blathy.town.town import Town, TownPlan

    begin = 1_779_832_800
    town = Town(TownPlan(7, 12, begin))
    with tempfile.TemporaryDirectory() as place:
        fleet = town.fleet(Path(place), lambda: float(begin + HOUR_S))
        fleet.catch_up(begin + HOUR_S)
        fleet.store.close()
    town.warm_up()
    gc.collect()
    gc.freeze()


def say(what: str) -> None:
    os.write(1, f"{MARK}{what}\n".encode())


def main() -> None:
    prepare()
    say("ready")
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            become_blathy(json.loads(line))
            return
        say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


def become_blathy(arguments: list[str]) -> None:
    """Be the process that a user would have started."""
    from blathy.cli import main

    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.argv = ["blathy", *arguments]
    main()


if __name__ == "__main__":
    main()
