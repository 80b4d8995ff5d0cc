"""The portal in front of three real meters that nobody polls: an alarm is shown when it is sent, a
current transformer is put on, keys and their counters are told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from blathy.headend import HeadEnd
from blathy.headend.api import create_app
from tests.headend.small_fleet import SmallFleet, small_fleet
from tests.portal.conftest import STATIC, Window, log_in_as
from tests.waiting import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1800),
]
MODELS = ("mt372", "mpta-1", "k382m")
COVER = "terminal_cover_opened"
START_S = 900


class Centre(uvicorn.Server):
    """Fleet, control centre and portal on an event loop of their own, beside the browser's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready: Future[None] = Future()
        self.small: SmallFleet
        self.address = ""
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._work)

    def install_signal_handlers(self) -> None:
        """The test's own."""

    def _work(self) -> None:
        try:
            self.loop.run_until_complete(self._live())
        except BaseException as error:
            if not self.ready.done():
                self.ready.set_exception(error)
            raise
        finally:
            self.loop.close()

    async def _live(self) -> None:
        async with small_fleet(self.folder / "fleet", MODELS) as small:
            # no schedules: what is seen was sent by a meter or asked for by somebody
            head = HeadEnd.open(self.folder / "head", small.site, history_days=1, schedules=())
            await head.start()
            small.push_to(await head.listen("127.0.0.1", 0))
            for point in head.inventory.points.values():
                await head.collector.read_events(point)
                await head.collector.lines.release(point.meter)
            self.small = small
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
                super().__init__(
                    uvicorn.Config(
                        create_app(head), log_config=None, lifespan="off",
                        timeout_graceful_shutdown=1,
                    )
                )  # fmt: skip
                served = asyncio.create_task(self.serve([listener]))
                await until(lambda: self.started)
                self.ready.set_result(None)
                await served
            await head.stop()

    def happens(self, model: str, name: str) -> None:
        """Something happens at a meter now; back when the meter knows it."""
        done: Future[None] = Future()

        def work() -> None:
            self.small.happens(model, name)
            done.set_result(None)

        self.loop.call_soon_threadsafe(work)
        done.result(300)


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    if not (STATIC / "index.html").is_file():
        pytest.fail("the portal is not built: run `make setup` or `python tools/build_portal.py`")
    one = Centre(tmp_path_factory.mktemp("centre"))
    one.thread.start()
    try:
        one.ready.result(START_S)
        yield one
    finally:
        one.should_exit = True
        one.thread.join(300)


Enter = Callable[[str, str], Page]


@pytest.fixture(scope="module")
def window(browser: Browser, centre: Centre) -> Window:
    return Window(browser, centre.address, phone=False)


@pytest.fixture
def enter(window: Window) -> Iterator[Enter]:
    """Log in as somebody; a page that throws fails."""

    def log_in(user: str, password: str) -> Page:
        log_in_as(window.page, user, password)
        return window.page

    yield log_in
    window.rest()
    window.judge()


def test_an_alarm_is_told_on_any_page_the_moment_the_meter_sends_it(
    centre: Centre, enter: Enter
) -> None:
    page = enter("demo", "demo-password")
    with page.expect_response(lambda answer: "/stream" in answer.url and "alarms" in answer.url):
        page.goto("/settings")  # a page that shows no events at all
    notices = page.get_by_role("status")
    expect(notices.get_by_text("Terminal cover opened")).to_have_count(0)
    centre.happens("mt372", COVER)
    expect(notices.get_by_text("Terminal cover opened")).to_be_visible()
    notices.get_by_role("link", name="Place of mt372").click()
    expect(page.get_by_role("heading", level=1, name="Place of mt372")).to_be_visible()
    expect(notices.get_by_text("Terminal cover opened")).to_have_count(0)
    told = page.locator("#events li").filter(has_text="Terminal cover opened")
    expect(told.first).to_contain_text("sent by the meter")
    groups = page.locator("#events").get_by_role("combobox", name="Group of events")
    groups.select_option("Payment")
    expect(page.locator("#events")).to_contain_text("No event matches")
    groups.select_option("Tamper")
    expect(told.first).to_be_visible()


def test_an_installer_attaches_a_current_transformer_and_is_asked_first(enter: Enter) -> None:
    page = enter("ivan", "installer-password")
    page.goto("/points/mpta-1")
    block = page.locator("#transformers")
    expect(block).to_contain_text("errors are not corrected")
    block.get_by_role("button", name="Attach a transformer to input 1").click()
    dialog = page.get_by_role("dialog")
    check = dialog.get_by_role("button", name="Check first")
    expect(check).to_be_disabled()
    dialog.get_by_label("Serial number").fill("no good")
    expect(dialog).to_contain_text("Use up to 16 letters")
    dialog.get_by_label("Serial number").fill("CT-0042")
    dialog.get_by_label("Rated current in A").fill("250")
    dialog.get_by_label("Ratio error in %, 1").fill("-0.32")
    dialog.get_by_label("Phase displacement in minutes, 1").fill("12.5")
    dialog.get_by_role("button", name="Add a point").click()
    expect(dialog).to_contain_text("Each point needs its three numbers")
    dialog.get_by_label("% of rated current, 2").fill("20")
    dialog.get_by_label("Ratio error in %, 2").fill("0.4")
    check.click()
    expect(dialog).to_contain_text("Place of mpta-1")
    expect(dialog).to_contain_text("Consequence")
    dialog.get_by_role("button", name="Yes: Attach").click()
    expect(dialog).to_contain_text("Written into the meter and read back")
    page.keyboard.press("Escape")
    row = block.get_by_role("row").filter(has_text="CT-0042").first
    expect(row).to_contain_text("250")
    row.get_by_role("button", name="2 points").click()
    curve = block.get_by_role("table", name="Constants of CT-0042").locator("tbody tr")
    expect(curve.nth(0)).to_contain_text("+0.400")
    expect(curve.nth(1)).to_contain_text("−0.320")
    expect(curve.nth(1)).to_contain_text("12.5")
    expect(block.get_by_role("listitem").first).to_contain_text("CT-0042 on input 1")
    expect(block.get_by_role("listitem").first).to_contain_text("ivan")

    block.get_by_role("button", name="Attach a transformer to input 2").click()
    dialog.get_by_role("combobox", name="Transformer").select_option("CT-0042")
    check.click()
    expect(dialog).to_contain_text("Taken from")
    expect(dialog).to_contain_text("Place of mpta-1, input 1")
    dialog.get_by_role("button", name="Cancel").click()


def test_security_is_told_for_all_meters_and_for_one(enter: Enter) -> None:
    page = enter("ivan", "installer-password")
    page.goto("/operations")
    rows = page.locator("#security tbody tr")
    expect(rows).to_have_count(len(MODELS))
    for row in rows.all():
        expect(row).to_contain_text("HLS with GMAC, encrypted")
        expect(row).to_contain_text("< 0.01 %")
    expect(page.locator("#security")).to_contain_text("all encrypted")
    rows.get_by_role("link", name="Place of k382m").click()
    keys = page.locator("#keys")
    expect(keys).to_contain_text("Counter, ours")
    expect(keys.locator("dl")).to_contain_text("encrypted")
