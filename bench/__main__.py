"""`python -m bench [name…]`: run benchmarks, print one table, keep it in build/bench.json."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import bench

RESULTS = Path(__file__).resolve().parent.parent / "build" / "bench.json"


def modules() -> list[str]:
    """Names of the benchmark modules, in order."""
    found = pkgutil.iter_modules(bench.__path__)
    return sorted(each.name for each in found if not each.ispkg and each.name != "__main__")


def shown(value: Any) -> str:
    """A figure with three significant digits, thousands grouped; texts as they are."""
    if value is None or value == "":
        return "-"
    if isinstance(value, int | float):
        return f"{float(f'{value:.3g}'):,.10g}".replace(",", " ")
    return str(value)


def main(names: list[str]) -> int:
    known = modules()
    if unknown := [name for name in names if name not in known]:
        print(f"bench: {', '.join(unknown)} is no benchmark; choose of: {', '.join(known)}")
        return 2
    table = Table("benchmark", "work", "figure", "unit", "goal", "peer", "peer's figure")
    results: list[dict[str, Any]] = []
    console = Console(width=max(Console().width, 120))
    for name in names or known:
        module = importlib.import_module(f"bench.{name}")
        if not hasattr(module, "run"):
            continue
        console.print(f"running {name} …", style="dim")
        for row in module.run():
            results.append({"benchmark": name, **row})
            keys = ("work", "figure", "unit", "goal", "peer", "peer_figure")
            table.add_row(name, *(shown(row.get(key)) for key in keys))
    console.print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    run_now = {row["benchmark"] for row in results}
    kept = [row for row in before if row["benchmark"] not in run_now]
    RESULTS.write_text(json.dumps(kept + results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
