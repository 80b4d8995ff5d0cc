"""The console blocks of a page: its commands are run and print what the page says."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

from tests import processes

Step = tuple[str, list[str]]


def steps_of(block: str) -> list[Step]:
    """(command, lines of output) of a console block, in order."""
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def matches(wanted: list[str], output: str) -> bool:
    """`…` alone on a line stands for any lines, inside a line for any characters."""
    pattern = "\n".join(
        "…" if line == "…" else re.escape(line).replace("…", ".*") for line in wanted
    )
    pattern = pattern.replace("…\n", r"(?:.*\n)*?").replace("\n…", r"(?:\n.*)*")
    return re.fullmatch(rf"{pattern}\n*", output) is not None


class Console:
    """A shell in a folder; `4059` is another port in it, and what it started ends with it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, str(port)
        self._background: list[processes.Process] = []
        self._environment = {"COLUMNS": "110", "BLATHY_STATE": str(folder / "state")}

    def run(self, step: Step) -> None:
        """Run a command; assert that it prints what the page says."""
        command, wanted = step
        words = shlex.split(command.replace("4059", self._port).removesuffix("&"))
        assert words[0] == "blathy"
        if command.endswith("&"):
            output = self._start(words[1:])
        else:
            done = processes.run(*words[1:], folder=self._folder, environment=self._environment)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            output = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        shown = [line.replace("4059", self._port).rstrip() for line in wanted]
        assert matches(shown, output), f"{command}\n{output}"

    def _start(self, words: list[str]) -> str:
        """Start in the background; what it printed when it was ready."""
        process = processes.start(*words, folder=self._folder, environment=self._environment)
        self._background.append(process)
        return "\n".join(line.rstrip() for line in process.until("Ctrl-C"))

    def close(self) -> None:
        """End what was started."""
        for process in self._background:
            process.send_signal(signal.SIGINT)
            process.wait()
            process.close()
