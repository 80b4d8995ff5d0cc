"""See that a Chromium is there for the browser tests: installed, Debian's, or Playwright's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.portal.chromium import choose_node, installed, of_playwright


def main() -> None:
    if installed() or of_playwright():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("no Chromium found: installing Debian's package", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (("update",), ("install", "-y", "--no-install-recommends", "chromium")):
            subprocess.run(
                ["apt-get", *words], check=False, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    if not installed():
        print("no Chromium found: asking Playwright for its own", flush=True)
        choose_node()
        done = subprocess.run(
            [sys.executable, "-m", "playwright", "install", "chromium"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(next((x for x in done.stderr.splitlines() if "rror" in x), "it failed"))
    if not (installed() or of_playwright()):
        print(
            "no Chromium that runs, for the browser tests: install the package `chromium` (Debian, "
            "as root: apt install chromium) and run again"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
