"""The portal in front of a whole small town: real meters, read over their real ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.portal.conftest import STATIC, Window
from tests.town.running_town import RunningTown

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1800),
]
FEEDERS = 4


@pytest.fixture(scope="module")
def window(browser: Browser, town: RunningTown) -> Window:
    if not (STATIC / "index.html").is_file():
        pytest.fail("the portal is not built: run `make setup` or `python tools/build_portal.py`")
    return Window(browser, town.address, phone=False)


@pytest.fixture
def page(window: Window) -> Iterator[Page]:
    """Logged in; a page that throws fails."""
    window.log_in()
    window.page.goto("/")
    expect(window.page.get_by_role("navigation", name="Places")).to_be_visible()
    yield window.page
    window.rest()
    window.judge()


def point_of(town: RunningTown, model: str) -> str:
    return str(town.api("GET", f"points?model={model}")["items"][0]["id"])


def test_the_town_is_seen_and_a_meter_is_read_and_pressed(page: Page, town: RunningTown) -> None:
    feeders = page.get_by_role("region", name="Stations and feeders")
    # beside them one that leads to a feeder's alarms, once it has any
    expect(feeders.locator("a[href^='/points']")).to_have_count(FEEDERS)
    expect(feeders.locator("tbody td.num").first).to_have_text(re.compile(r"\d.*W"))

    page.goto(f"/points/{point_of(town, 'mt372')}")
    glass = page.locator("#display").get_by_role("img")
    expect(glass).to_have_attribute("aria-label", re.compile(r"\d"))

    page.get_by_role("button", name="Month", exact=True).click()
    profile = page.locator("#profile")
    expect(profile.locator("canvas")).to_be_visible()
    expect(profile.get_by_text(re.compile(r"Σ \d"))).to_have_count(2)
    expect(profile.get_by_text(re.compile(r"Complete \d"))).to_be_visible()

    live = page.locator("#live").locator("table")
    before = live.inner_text()
    expect(live).not_to_have_text(before, use_inner_text=True)

    press = page.locator("#display").get_by_role("button", name="scroll")
    listed = page.locator("#display").get_by_text(re.compile(r"list \d+/\d+"))
    expect(listed).to_have_text(re.compile("^automatic"))
    press.click()
    expect(listed).not_to_have_text(re.compile("^automatic"))
    expect(page.locator("#display").get_by_role("status")).to_have_count(0)


def test_every_row_tells_its_register(town: RunningTown) -> None:
    rows = town.api("GET", "points?size=100")["items"]
    assert len(rows) >= FEEDERS
    for row in rows:
        shown = row["register"]
        assert shown is not None, row["id"]
        assert re.fullmatch(r"\d+(\.\d+)?", shown["value"]), row["id"]
        assert shown["unit"] == ("m³" if row["medium"] == "water" else "kWh")


def test_a_supply_is_disconnected_and_given_back(page: Page, town: RunningTown) -> None:
    point = point_of(town, "omnipower")
    name = town.api("GET", f"points/{point}")["name"]
    page.goto(f"/points/{point}")
    for command, answer in (
        ("Disconnect supply", "disconnected"),
        ("Release for reconnection", "ready for reconnection"),
    ):
        page.get_by_role("button", name=f"{command}…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(name)
        expect(dialog).to_contain_text("Consequence")
        dialog.get_by_role("button", name=f"Yes: {command}").click()
        expect(page.get_by_text(answer, exact=True).first).to_be_visible()
        page.keyboard.press("Escape")


def test_keys_are_changed_and_the_meter_answers_to_the_new(page: Page, town: RunningTown) -> None:
    page.goto(f"/points/{point_of(town, 'k382m')}")
    keys = page.locator("#keys")
    row = keys.locator("tbody tr").filter(has_text="encryption key")
    before = row.locator("code").inner_text()
    keys.get_by_role("button", name="Change keys…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Check first").click()
    expect(dialog).to_contain_text("Consequence")
    dialog.get_by_role("button", name="Yes: Change keys").click()
    expect(dialog).to_contain_text("Read back from the meter")
    page.keyboard.press("Escape")
    expect(row.locator("code")).not_to_have_text(before)
    check = page.get_by_role("button", name="Check now")
    expect(check).to_be_enabled()
    checks = page.locator("#clock tbody tr")
    before_count = checks.count()
    check.click()
    expect(checks).not_to_have_count(before_count)
