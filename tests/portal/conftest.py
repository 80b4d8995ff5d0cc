"""A control centre with the built portal in a process of its own, and a headless Chromium."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    StorageState,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.free_ports import free_port
from tests.portal.chromium import choose_node, installed

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "blathy" / "headend" / "api" / "static"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_S = 600
WAIT_MS = 120_000
DESK: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def portal_url() -> Iterator[str]:
    """Where the portal of a seeded site is served."""
    if not (STATIC / "index.html").is_file():
        pytest.fail("the portal is not built: run `make setup` or `python tools/build_portal.py`")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.headend.demo_server", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_S
        while not _answers(f"{url}/api/v1/site"):
            assert server.poll() is None, "the demonstration site ended at its start"
            assert time.monotonic() < until, f"no answer from {url} within {START_S} s"
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with its module: Playwright keeps an event loop running in the process, and tests of
    other modules start their own."""
    found = installed()
    choose_node()
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield opened
        opened.close()


Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def session_state(browser: Browser, portal_url: str) -> StorageState:
    """The cookie of somebody who has logged in through the portal's own form."""
    context = browser.new_context(base_url=portal_url)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("User").fill("demo")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("navigation", name="Places")).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_portal(browser: Browser, portal_url: str, session_state: StorageState) -> Iterator[Opener]:
    """Open a path of the portal, logged in unless told otherwise; a page that throws fails."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []
    strangers: list[str] = []

    def look_where(request: Request) -> None:
        if not request.url.startswith((portal_url, "data:", "blob:")):
            strangers.append(request.url)

    def opener(
        path: str = "/",
        *,
        phone: bool = False,
        dark: bool = False,
        log_in: bool = True,
        language: str = "en",
    ) -> Page:
        context = browser.new_context(
            viewport=PHONE if phone else DESK,
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            locale="en-GB",
            timezone_id="America/New_York",
            base_url=portal_url,
            storage_state=session_state if log_in else None,
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        if language != "en":
            page.add_init_script(f"localStorage.setItem('blathy.language', '{language}')")
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", look_where)
        page.goto(path)
        if log_in:
            expect(page.get_by_role("navigation").first).to_be_visible()
        return page

    yield opener
    for context in contexts:
        context.close()
    assert faults == [], "the page threw"
    assert strangers == [], "something was loaded from elsewhere"
