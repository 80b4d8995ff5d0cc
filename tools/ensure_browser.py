"""See that a Chromium is there for the browser tests: installed, Debian's, or Playwright's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def playwright_browser() -> bool:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        return Path(p.chromium.executable_path).exists()


def main() -> None:
    if found() or playwright_browser():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("no Chromium found: installing Debian's package", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update"], check=False, **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "chromium"], check=False, **quiet)  # type: ignore[call-overload]
    if not found():
        print("no Chromium found: asking Playwright for its own", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if not (found() or playwright_browser()):
        print("no Chromium for the browser tests; install the package `chromium` and run again")
        sys.exit(1)


if __name__ == "__main__":
    main()
