"""What `blathy meter run` prints when its ports are open: for people, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import typer

Tell = Callable[[str, dict[str, Any]], None]
"""Takes a sentence for people, and the record that `--json` prints."""


def connection(level: str, host: str, port: int | None, url: str) -> dict[str, Any]:
    """One client at one place; `host` is the device and `port` None at a serial line."""
    return {"level": level, "host": host, "port": port, "url": url}


def ready_lines(ready: dict[str, Any]) -> list[str]:
    """The system title and a line for every connection."""
    connections = [f"{each['level']:<12} {each['url']}" for each in ready["connections"]]
    return [f"system title {ready['system_title']}", *connections]


def print_ready(sentence: str, ready: dict[str, Any], *, as_json: bool) -> None:
    """Say that everything is ready: a line of JSON, or lines to copy from."""
    if as_json:
        typer.echo(json.dumps(ready, ensure_ascii=False))
        return
    typer.echo(f"{sentence} Connect with:")
    for line in ready_lines(ready):
        typer.echo(f"  {line}")
    for load in ready.get("loads", ()):
        typer.echo(f"Load {load['server']}, server address {load['server']}:")
        for line in ready_lines(load):
            typer.echo(f"  {line}")
    if ready.get("pulses"):
        typer.echo(f"Pulses at {ready['pulses']}")
    typer.echo("Ctrl-C ends it.")
