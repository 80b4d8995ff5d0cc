"""The README's commands run and print what it says; its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.free_ports import free_port

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLATHY = [sys.executable, "-c", "from blathy.cli import main; main()"]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def console_steps() -> list[tuple[str, list[str]]]:
    """(command, lines of output) of every console block, in order."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
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


def test_the_console_blocks_run_and_print_what_they_say(tmp_path: Path) -> None:
    port = str(free_port())
    background: list[subprocess.Popen[str]] = []
    try:
        steps = console_steps()
        assert len(steps) >= 4
        for command, wanted in steps:
            words = shlex.split(command.replace("4059", port).removesuffix("&"))
            assert words[0] == "blathy"
            shown = [line.replace("4059", port) for line in wanted]
            if command.endswith("&"):
                background.append(_start(words[1:], tmp_path))
                output = _read_until_quiet(background[-1])
            else:
                done = subprocess.run(
                    [*BLATHY, *words[1:]], capture_output=True, text=True, timeout=240, check=False,
                    cwd=tmp_path, env=_environment(),
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                output = "\n".join(line.rstrip() for line in done.stdout.splitlines())
            assert matches(shown, output), f"{command}\n{output}"
    finally:
        for process in background:
            process.send_signal(signal.SIGINT)
            process.wait(120)
            assert process.stdout is not None
            process.stdout.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "110", "PYTHONUNBUFFERED": "1"}


def _start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BLATHY, *words], stdout=subprocess.PIPE, text=True, cwd=folder, env=_environment()
    )


def _read_until_quiet(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line, f"it ended: {lines}"
        lines.append(line.rstrip())
        if "Ctrl-C" in line:
            return "\n".join(lines)
    raise AssertionError("\n".join(lines))


@pytest.mark.parametrize("page", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = set(LINK.findall(index.read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - linked == set()


def test_every_verb_is_in_the_docs() -> None:
    from blathy.cli.verbs import VERBS

    text = "\n".join(page.read_text() for page in DOCS)
    missing = [verb for verb in VERBS if f"blathy {verb}" not in text]
    assert missing == []
