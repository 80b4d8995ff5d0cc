"""The portal's overview in a headless Chromium, loaded anew: first paint, and everything there.

The peer is a page of one word from the same server in the same browser: what the two cost alone.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ViewportSize, sync_playwright
from tests.free_ports import free_port
from tests.portal.chromium import choose_node, installed
from tests.portal.conftest import DESK, FLAGS, PHONE

from blathy.headend.api.app import STATIC

LOADS: Final = 9
GOAL_MS: Final = 1000
START_S: Final = 120
WORD: Final = "word.html"
WORD_PAGE: Final = "<!doctype html><title>word</title><p>blathy"
SCREENS: Final = {"desk": DESK, "phone": PHONE}

FIRST_PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
PAINTED: Final = "() => performance.getEntriesByName('first-contentful-paint').length > 0"
WATCH: Final = """(() => {
  // Complete: the portal is drawn, no block is waiting, and the chart has ink.
  const inked = (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, place) => place % 4 === 3 && value > 0);
  };
  const look = () => {
    const canvas = document.querySelector('#load canvas');
    const there = canvas?.width && !document.querySelector('[aria-busy=true]') && inked(canvas);
    if (there) window.completeAt = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _served() -> Iterator[str]:
    """The seeded site of the portal's tests, and beside its pages one of one word."""
    with tempfile.TemporaryDirectory() as folder:
        static = Path(folder) / "static"
        shutil.copytree(STATIC, static)
        (static / WORD).write_text(WORD_PAGE)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = subprocess.Popen(
            [
                sys.executable, "-m", "tests.headend.demo_server",
                "--port", str(port), "--static", str(static),
            ],
            stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            until = time.monotonic() + START_S
            while not _answers(f"{url}/api/v1/site"):
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the site to be measured does not answer at {url}")
                time.sleep(0.1)
            yield url
        finally:
            server.kill()
            server.wait()


def _figures(browser: Browser, url: str, screen: ViewportSize) -> tuple[float, float, float]:
    """Medians in ms: first paint of the word, first paint of the overview, all of it there."""
    context = browser.new_context(viewport=screen, base_url=url)
    login = context.request.post(
        "/api/v1/session", data=json.dumps({"user": "demo", "password": "demo"}),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert login.ok, "the demonstration site lets demo / demo in"
    alone, painted, complete = [], [], []
    page = context.new_page()
    for _ in range(LOADS):
        page.goto(f"/{WORD}")
        page.wait_for_function(PAINTED, polling=50)
        alone.append(page.evaluate(FIRST_PAINT))
    page.add_init_script(WATCH)
    for _ in range(LOADS):
        page.goto("/")
        page.wait_for_function("() => window.completeAt > 0", polling=50)
        painted.append(page.evaluate(FIRST_PAINT))
        complete.append(page.evaluate("window.completeAt"))
    context.close()
    return statistics.median(alone), statistics.median(painted), statistics.median(complete)


def run() -> list[dict[str, Any]]:
    """The overview at desk and at phone size, each beside the page of one word."""
    found = installed()
    choose_node()
    rows = []
    with _served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        for name, screen in SCREENS.items():
            alone, painted, complete = _figures(browser, url, screen)
            for work, figure in (("first paint", painted), ("complete", complete)):
                rows.append(
                    {
                        "work": f"overview, {name}: {work}", "figure": figure, "unit": "ms",
                        "goal": GOAL_MS, "peer": "page of one word: first paint",
                        "peer_figure": alone,
                    }
                )  # fmt: skip
        browser.close()
    return rows
