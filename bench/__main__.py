"""`python -m bench [name…]`: run benchmarks, print one table, keep it in build/bench.json.

`python -m bench --list` says what there is. A goal is a lower limit for a rate (`≥`) and an upper
one for a cost (`≤`). Figures of two days compare only where the machine was the same and as idle:
a fixed piece of Python is timed before and after, and stands in the table as well.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

FOLDER: Final = Path(__file__).resolve().parent
RESULTS: Final = FOLDER.parent / "build" / "bench.json"
COSTS: Final = frozenset({"ms", "ms/meter", "s", "kB", "MB"})
"""Units of which less is better; of all others more is."""
COLUMNS: Final = ("benchmark", "work", "figure", "unit", "goal", "peer", "peer's figure")


def modules() -> dict[str, str]:
    """Name of every benchmark, in order, with what it says of itself in one line."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(each, ast.FunctionDef) and each.name == "run" for each in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    return found


def shown(value: Any) -> str:
    """A figure with three significant digits, thousands grouped; texts as they are."""
    if value is None or value == "":
        return "-"
    if isinstance(value, int | float):
        return f"{float(f'{value:.3g}'):,.10g}".replace(",", " ")
    return str(value)


def goal_shown(row: dict[str, Any]) -> str:
    """The goal with its direction."""
    if not isinstance(row.get("goal"), int | float):
        return shown(row.get("goal"))
    return f"{'≤' if row['unit'] in COSTS else '≥'} {shown(row['goal'])}"


def yardstick() -> dict[str, Any]:
    """How fast this machine runs Python now: the median of some rounds of a fixed loop."""

    def round_ms() -> float:
        table: dict[int, bytes] = {}
        begin = time.process_time()
        for number in range(50_000):
            table[number & 0xFF] = number.to_bytes(4, "big") + b"yardstick"
        return (time.process_time() - begin) * 1e3

    figure = statistics.median(round_ms() for _ in range(25))
    return {"work": "yardstick: 50 000 rounds of a loop in Python", "figure": figure, "unit": "ms"}


def machine() -> str:
    """What the figures were measured on."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores{load}"


def measured(names: list[str], console: Console) -> list[dict[str, Any]]:
    """The rows of these benchmarks, between two looks at the machine."""
    rows = [{"benchmark": "machine", **yardstick(), "peer": machine()}]
    for name in names:
        console.print(f"running {name} …", style="dim")
        begin = time.perf_counter()
        rows += [
            {"benchmark": name, **row} for row in importlib.import_module(f"bench.{name}").run()
        ]
        console.print(f"        {name} took {time.perf_counter() - begin:.0f} s", style="dim")
    return [*rows, {"benchmark": "machine", **yardstick(), "peer": machine()}]


def main(arguments: list[str]) -> int:
    known = modules()
    if any(each.startswith("-") for each in arguments):
        print((__doc__ or "").strip(), *(f"  {n:16} {t}" for n, t in known.items()), sep="\n")
        return 0 if set(arguments) <= {"--list", "-h", "--help"} else 2
    if unknown := [name for name in arguments if name not in known]:
        print(f"bench: {', '.join(unknown)} is no benchmark; choose of: {', '.join(known)}")
        return 2
    console = Console(width=max(Console().width, 120))
    rows = measured(arguments or list(known), console)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(
            row["benchmark"], row["work"], shown(row["figure"]), shown(row["unit"]),
            goal_shown(row), shown(row.get("peer")), shown(row.get("peer_figure")),
        )  # fmt: skip
    console.print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    run_now = {row["benchmark"] for row in rows}
    kept = [row for row in before if row["benchmark"] not in run_now]
    RESULTS.write_text(json.dumps(kept + rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
