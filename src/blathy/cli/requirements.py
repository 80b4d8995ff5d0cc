"""`blathy requirements`: which promise of the data sheets is proved by which tests."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console


class Standing(Enum):
    """Of one promise."""

    PROVED = "proved"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One promise with the tests that prove it and how the last run of them ended."""

    id: str
    promise: str
    meters: tuple[str, ...]
    tests: dict[str, str]

    @property
    def standing(self) -> Standing:
        if not self.tests:
            return Standing.OPEN
        if any(outcome == "failed" for outcome in self.tests.values()):
            return Standing.FAILED
        if any(outcome == "passed" for outcome in self.tests.values()):
            return Standing.PROVED
        return Standing.OPEN


def project_root() -> Path:
    """The checkout that holds docs/requirements.toml: here or above, or around the sources."""
    places = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    for place in places:
        if (place / "docs" / "requirements.toml").is_file():
            return place
    raise CommandError("docs/requirements.toml is not here; run this in a checkout of blathy")


def load_requirements(root: Path) -> list[Requirement]:
    """The list of docs/requirements.toml joined with build/requirements.json of the last run."""
    families = tomllib.loads((root / "docs" / "requirements.toml").read_text())
    results_file = root / "build" / "requirements.json"
    results: dict[str, dict[str, str]] = {}
    if results_file.is_file():
        try:
            results = json.loads(results_file.read_text())
        except ValueError as error:
            raise CommandError(f"{results_file} is damaged; delete it and run make test") from error
    found = []
    for family, entry in families.items():
        for number, promise in entry["promises"].items():
            name = f"{family}-{number}"
            meters = tuple(entry["meters"])
            found.append(Requirement(name, promise, meters, results.get(name, {})))
    return found


_STYLE = {Standing.PROVED: "green", Standing.FAILED: "red", Standing.OPEN: "dim"}


@app.command()
def requirements(
    only: Annotated[
        Standing | None, typer.Option("--only", help="Show only proved, failed or open ones.")
    ] = None,
    meter: Annotated[str, typer.Option(help="Show only those of a meter, e.g. omnipower.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print as Markdown.")] = False,
) -> None:
    """Show which promises of the data sheets the last test run proved."""
    everything = load_requirements(project_root())
    shown = [
        r
        for r in everything
        if (only is None or r.standing is only) and (not meter or meter in r.meters)
    ]
    if meter and not shown:
        names = sorted({name for r in everything for name in r.meters})
        raise CommandError(f"no promise names the meter {meter!r}; there are {', '.join(names)}")
    counts = {s: sum(r.standing is s for r in shown) for s in Standing}
    summary = ", ".join(f"{count} {standing.value}" for standing, count in counts.items())
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "id": r.id, "promise": r.promise, "meters": list(r.meters),
                "standing": r.standing.value, "tests": r.tests,
            }
            for r in shown
        ]  # fmt: skip
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if as_markdown:
        print("| ID | promise | standing | tests |\n| --- | --- | --- | --- |")
        for r in shown:
            print(f"| {r.id} | {r.promise} | {r.standing.value} | {len(r.tests)} |")
        print(f"\n{summary} of {len(shown)}.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "promise", "standing", "tests"):
        table.add_column(heading, no_wrap=heading == "ID")
    for r in shown:
        style = _STYLE[r.standing]
        table.add_row(r.id, r.promise, f"[{style}]{r.standing.value}[/]", str(len(r.tests) or ""))
    out = console()
    out.print(table)
    out.print(f"\n{summary} of {len(shown)} promises")
