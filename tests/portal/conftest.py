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
    Cookie,
    Page,
    Request,
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
    "--disable-software-rasterizer",
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


class Window:
    """A page of the browser, used by one test after the other: a new one costs as much as four
    loads of the portal in this one. Nothing of a test is left in it after `rest`."""

    def __init__(self, browser: Browser, url: str, *, phone: bool) -> None:
        self._url = url
        self._session: list[Cookie] = []
        self.faults: list[str] = []
        self.strangers: list[str] = []
        self._context = browser.new_context(
            viewport=PHONE if phone else DESK,
            has_touch=phone,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="America/New_York",
            base_url=url,
        )
        self._context.set_default_timeout(WAIT_MS)
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._look_where)
        self.rest()

    def _look_where(self, request: Request) -> None:
        if not request.url.startswith((self._url, "data:", "blob:")):
            self.strangers.append(request.url)

    def log_in(self) -> None:
        """With the cookie of somebody who has logged in through the portal's own form."""
        if self._session:
            self._context.add_cookies(self._session)  # type: ignore[arg-type]
            return
        log_in_as(self.page, "demo", "demo")
        self._session = self._context.cookies()
        self.rest()
        self._context.add_cookies(self._session)  # type: ignore[arg-type]

    def rest(self) -> None:
        """Leave the portal; forget who was logged in and what they have set."""
        self.page.unroute_all(behavior="ignoreErrors")
        self.page.goto("/favicon.svg")
        self.page.evaluate("localStorage.clear()")
        self._context.clear_cookies()

    def judge(self) -> None:
        """Fail where a page threw or loaded something from elsewhere; then begin anew."""
        faults, strangers = self.faults, self.strangers
        self.faults, self.strangers = [], []
        assert faults == [], "the page threw"
        assert strangers == [], "something was loaded from elsewhere"


def log_in_as(page: Page, user: str, password: str) -> None:
    """Log in through the form, from wherever the portal is."""
    if page.url.endswith(".svg"):
        page.goto("/")
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("navigation", name="Places")).to_be_visible()


Opener = Callable[..., Page]
Windows = dict[bool, Window]


@pytest.fixture(scope="module")
def windows() -> Windows:
    """The pages at desk and at phone size, as they come to be needed; closed with the browser."""
    return {}


@pytest.fixture
def open_portal(browser: Browser, portal_url: str, windows: Windows) -> Iterator[Opener]:
    """Open a path of the portal, logged in unless told otherwise; a page that throws fails."""
    used: list[Window] = []

    def opener(
        path: str = "/",
        *,
        phone: bool = False,
        dark: bool = False,
        log_in: bool = True,
        language: str = "en",
    ) -> Page:
        if phone not in windows:
            windows[phone] = Window(browser, portal_url, phone=phone)
        window = windows[phone]
        used.append(window)
        page = window.page
        page.emulate_media(color_scheme="dark" if dark else "light")
        if log_in:
            window.log_in()
        if language != "en":
            page.evaluate(f"localStorage.setItem('blathy.language', '{language}')")
        page.goto(path)
        if log_in:
            expect(page.get_by_role("navigation").first).to_be_visible()
        return page

    yield opener
    for window in used:
        window.rest()
    for window in used:
        window.judge()
