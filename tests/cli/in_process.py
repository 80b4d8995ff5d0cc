"""The `blathy` command in this process: exit status, output and messages as a shell would see."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO
from unittest import mock

from blathy.cli import main


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Watched(io.StringIO):
    """An output for `blathy` that does something as soon as a line with a mark is there."""

    def __init__(self, mark: str, then: Callable[[str], object]) -> None:
        super().__init__()
        self._mark, self._then = mark, then

    def write(self, text: str) -> int:
        if self._mark in text:
            self._then(text)
        return super().write(text)


def blathy(*arguments: object, stdout: TextIO | None = None, stderr: TextIO | None = None) -> Done:
    """Run the entry point with these arguments; what goes to your own `stdout` is not in `out`,
    nor in `err` what goes to your own `stderr`."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    argv = ["blathy", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict("os.environ", {"COLUMNS": "160"}),
        contextlib.redirect_stdout(stdout or out),
        contextlib.redirect_stderr(stderr or err),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Done(status, out.getvalue(), err.getvalue())
