"""Where tables, trees and progress go: the same width and the same end for every verb."""

from __future__ import annotations

import errno
import sys
from typing import Final

from rich.console import Console

PIPED_COLUMNS: Final = 160


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The same end as for every other output that nobody reads on."""
        raise BrokenPipeError(errno.EPIPE, "nobody reads on")


def console(
    piped_columns: int = PIPED_COLUMNS, *, stderr: bool = False, soft_wrap: bool = False
) -> Console:
    """As wide as the terminal, or wide enough where there is none; with `soft_wrap` a line stays
    one line."""
    shown = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if shown else piped_columns
    return _Console(highlight=False, width=width, stderr=stderr, soft_wrap=soft_wrap)
