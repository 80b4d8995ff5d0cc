"""The guide docs/dlms.md: its commands run, its Python runs, and both print what it says."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.console import Console, matches, steps_of
from tests.free_ports import free_port

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "dlms.md"
PRINTED = re.compile(r"^\s*print\(.*\)\s+# (.+?)\s*$", re.MULTILINE)


def run_python(text: str, names: dict[str, Any]) -> str:
    """What a block prints; `await` may stand at its top as in `python -m asyncio`."""
    code = compile(text, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        waiting = eval(code, names)
        if inspect.iscoroutine(waiting):
            asyncio.run(asyncio.wait_for(waiting, 240))
    return out.getvalue()


def test_the_guide_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    port, names = free_port(), {"__name__": "guide"}
    console, ran = Console(tmp_path, port), []
    blocks = re.findall(r"```(console|python|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    try:
        for language, text in blocks:
            here = text.replace("4059", str(port))
            ran.append(language)
            if language == "toml":
                (tmp_path / "keys.toml").write_text(here)
            elif language == "console":
                for step in steps_of(text):
                    console.run(step)
            else:
                printed = run_python(here, names).splitlines()
                wanted = PRINTED.findall(text)
                last = printed[len(printed) - len(wanted) :]
                for line, said in zip(last, wanted, strict=True):
                    assert matches([said], line), f"{said!r} but {line!r} in\n{text}"
    finally:
        console.close()
    assert ran.count("python") >= 6
    assert (tmp_path / "day.parquet").exists()
