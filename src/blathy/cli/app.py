"""The `blathy` command: collects the verb families and turns every error into one sentence."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from blathy import __version__
from blathy.cli.verbs import load_verbs

app = typer.Typer(
    name="blathy",
    help="A smart electricity meter in software, and the control centre that reads it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class CommandError(Exception):
    """What a user did wrong or met: one sentence that says what is wrong and what to try."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blathy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: one sentence and exit status 2 for every foreseeable error, no traceback."""
    try:
        load_verbs(sys.argv[1:])
        app()
    except CommandError as error:
        typer.echo(f"blathy: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
