"""The `blathy` command: collects the verb families and turns every error into one sentence."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.main import get_command

from blathy import __version__
from blathy.cli.usage import VerbGroup, prepared, sentence
from blathy.cli.verbs import load_verbs

WRONG: Final = 2
OWN_FAULT: Final = 70
INTERRUPTED: Final = 130
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TRACEBACK: Final = "BLATHY_TRACEBACK"

app = typer.Typer(
    name="blathy",
    cls=VerbGroup,
    help="A smart electricity meter in software, and the control centre that reads it.",
    epilog="`blathy VERB --help` shows what a verb takes, with examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"max_content_width": 100},
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
    if sys.stdout is None:  # closed by the shell (`>&-`): nobody wants the output
        with Path(os.devnull).open("w", encoding="utf-8") as nobody, redirect_stdout(nobody):
            main()
        return
    # Our matrices are small: threads of the matrix library only spin where the cores are busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except CommandError as error:
        status = _say(str(error), WRONG)
    except typer.TyperException as error:
        status = _say(sentence(error, sys.argv[1:]), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except OSError as error:
        if error.errno in _FULL:
            _let_go()
            status = _say(f"the output can't be written: {error.strerror}; make room", WRONG)
        elif error.errno != errno.EPIPE:
            status = _unforeseen(error)
        else:  # who reads has seen enough, as in `blathy model show esox | head`
            _let_go()
            status = 0
    except Exception as error:  # noqa: BLE001 - the last resort, told as such
        status = _unforeseen(error)
    if status:
        sys.exit(status)


def _let_go() -> None:
    """What is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    load_verbs(arguments)
    command = prepared(get_command(app))
    words = [word for word in arguments if not word.startswith("-")]
    if words == arguments and len(words) < 2 and (not words or words[0] in ("meter", "model")):
        arguments = [*arguments, "--help"]
    try:  # not command.main, which ends with status 1 when who reads has seen enough
        with command.make_context("blathy", arguments) as context:
            ended = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ended if isinstance(ended, int) else 0


def _say(text: str, status: int) -> int:
    typer.echo(f"blathy: {text}", err=True)
    return status


def _unforeseen(error: Exception) -> int:
    if os.environ.get(TRACEBACK):
        raise error
    what = f"{type(error).__name__}: {error}".strip().replace("\n", " ")
    return _say(
        f"this is a fault in blathy itself ({what}); run it again with {TRACEBACK}=1 "
        "and report what it prints",
        OWN_FAULT,
    )
