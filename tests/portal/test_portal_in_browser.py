"""What a person does in the portal, done in a browser: log in, look, open, press, switch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, ViewportSize, expect
from playwright.sync_api import TimeoutError as NotInTime

from tests.headend.test_sentences import entries
from tests.portal.conftest import DESK, PHONE, Opener, log_in_as
from tests.portal.english_left import english_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1800),
]
POINT = "/points/p-001"
MANY = 5000
POLL_MS = 200
"""Looking at every frame would have the browser draw frames for nothing else."""


def drawn(page: Page) -> None:
    """Wait until the load profile's chart has ink on its canvas."""
    page.locator("#profile canvas").wait_for()
    page.wait_for_function(
        """() => {
          const canvas = document.querySelector('#profile canvas');
          const pen = canvas.getContext('2d');
          const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
          let inked = 0;
          for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
          return inked > 2000;
        }""",
        polling=POLL_MS,
    )


def fits(page: Page) -> bool:
    """Whether the page comes to be no wider than the screen."""
    try:
        page.wait_for_function(
            """() => {
              const { scrollWidth, clientWidth } = document.documentElement;
              return scrollWidth <= clientWidth;
            }""",
            polling=POLL_MS,
        )
    except NotInTime:
        return False
    return True


def shown_code(page: Page) -> str:
    """What the LCD shows, in the words for who cannot see it."""
    return page.locator("#display svg[role=img]").get_attribute("aria-label") or ""


def test_a_wrong_password_says_what_to_do_and_the_right_one_lets_in(open_portal: Opener) -> None:
    page = open_portal("/points", log_in=False)
    page.get_by_label("User").fill("demo")
    page.get_by_label("Password").fill("no")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Points")).to_be_visible()


def test_the_overview_shows_the_town_and_again_when_loaded_again(open_portal: Opener) -> None:
    page = open_portal()
    expect(page.get_by_text("Load now").first).to_be_visible()
    expect(page.get_by_role("link", name="Feeder 4")).to_be_visible()
    expect(
        page.get_by_role("list", name="Completeness day by day").get_by_role("listitem")
    ).to_have_count(30)
    page.locator("canvas").first.wait_for()
    page.reload()
    page.get_by_text("Load now").first.wait_for()
    page.locator("canvas").first.wait_for()


def test_the_load_chart_becomes_its_table_and_its_csv(open_portal: Opener) -> None:
    page = open_portal("/?view=table")
    expect(page.get_by_role("rowgroup", name="Table")).to_contain_text("measured")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("start,end,Feeder 1 [W],Feeder 2 [W]")
    assert len(lines) > 90
    page.get_by_role("button", name="Chart", exact=True).click()
    page.locator("canvas").first.wait_for()


WATCH_SHIFTS = """() => {
  window.shift = window.changes = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shift += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
  new MutationObserver(() => (window.changes += 1)).observe(
    document.querySelector('#figures'), { subtree: true, characterData: true, childList: true }
  );
}"""
"""Adds up what has moved since the load began, and counts the changes of the town's figures."""


def test_nothing_moves_while_the_overview_loads_and_lives(open_portal: Opener) -> None:
    page = open_portal()
    page.locator("canvas").first.wait_for()
    page.evaluate(WATCH_SHIFTS)
    page.wait_for_function("() => window.changes >= 3", polling=POLL_MS)
    assert page.evaluate("window.shift") < 0.1


def test_points_are_found_sorted_and_opened_by_keyboard_alone(open_portal: Opener) -> None:
    page = open_portal()
    page.keyboard.press("/")
    page.keyboard.type("baker")
    expect(page.get_by_role("option").first).to_contain_text("Bakery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Bakery")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", level=1, name="Points")).to_be_visible()
    page.get_by_role("button", name="Power now").click()
    expect(page).to_have_url(re.compile(r"sort=power_w"))
    page.get_by_role("combobox", name="Medium").select_option("water")
    expect(page).to_have_url(re.compile(r"medium=water"))
    expect(page.get_by_role("row").filter(has_text="Kovács water")).to_be_visible()
    expect(page.locator("a.point")).to_have_count(1)


def test_a_point_shows_its_glass_its_values_and_its_load_profile(open_portal: Opener) -> None:
    page = open_portal(POINT)
    expect(page.get_by_role("heading", level=1, name="Kovács household")).to_be_visible()
    expect(page.locator("#display svg[role=img]")).to_be_visible()
    assert re.search(r"The display reads [\d.]+ k", shown_code(page))
    row = page.locator("#live tr").filter(has=page.get_by_role("rowheader", name="U", exact=True))
    expect(row).to_contain_text(re.compile(r"2[23]\d\.\d\s*V"))
    expect(page.get_by_role("img", name=re.compile("^Phasor diagram: U L1"))).to_be_visible()
    drawn(page)


def test_the_registers_match_the_glass_digit_for_digit(open_portal: Opener) -> None:
    page = open_portal(POINT)
    page.locator("#registers tbody tr").first.wait_for()
    page.locator("#display svg[role=img]").wait_for()
    match = re.search(r"reads ([\d.]+) (\w+), code ([\w.]+)", shown_code(page))
    assert match
    digits, _unit, code = match.groups()
    row = page.locator("#registers tbody tr").filter(has_text=f":{code}")
    told = row.locator(".value").inner_text().split()[0]
    assert re.sub(r"\D", "", told)[:7] == re.sub(r"\D", "", digits)[:7]


def test_a_button_of_the_meter_changes_what_its_glass_shows(open_portal: Opener) -> None:
    page = open_portal(POINT)
    note = page.locator("#display .note")
    page.locator("#display .key").first.wait_for()
    page.locator("#display .key").first.click()
    expect(note).to_contain_text("manual list")


def last_long_day() -> date:
    """The last day of 25 hours before the last three: the last Sunday of an October."""
    latest = datetime.now(UTC).date() - timedelta(days=3)
    ends = (date(year, 10, 31) for year in (latest.year, latest.year - 1))
    sundays = (end - timedelta(days=(end.weekday() + 1) % 7) for end in ends)
    return next(day for day in sundays if day <= latest)


def test_the_picker_steps_and_the_url_is_the_state(open_portal: Opener) -> None:
    long_day = last_long_day()
    next_day = long_day + timedelta(days=1)
    page = open_portal(f"{POINT}?period=day&day={long_day}")
    drawn(page)
    expect(page.locator("#profile")).to_contain_text("25 h")
    chart = page.locator("#profile [role=application]")
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"day={next_day}"))
    page.keyboard.press("ArrowUp")
    expect(page).to_have_url(re.compile(r"period=week"))
    page.go_back()
    expect(page).to_have_url(re.compile(f"period=day&day={next_day}"))
    page.get_by_role("button", name="Table", exact=True).click()
    expect(page.locator("#profile .tablerow").first).to_contain_text("00:00–00:15")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").first.click()
    assert download.value.suggested_filename.endswith(".csv")


def test_brushing_zooms_in_and_a_double_click_goes_back(open_portal: Opener) -> None:
    day = datetime.now(UTC).date() - timedelta(days=10)
    page = open_portal(f"{POINT}?period=day&day={day}")
    drawn(page)
    chart = page.locator("#profile [role=application]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(f"from={day}T.*to={day}T"))
    expect(page.locator("#profile .loading")).to_have_count(0)
    chart.dblclick(position={"x": box["width"] / 2, "y": box["height"] / 2})
    expect(page).not_to_have_url(re.compile(r"from="))


def test_a_command_is_asked_twice_and_shows_the_read_back(open_portal: Opener) -> None:
    page = open_portal(POINT)
    page.get_by_role("button", name="Disconnect supply…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Kovács household")
    expect(dialog).to_contain_text("switched off")
    dialog.get_by_role("button", name="Yes: Disconnect supply").click()
    expect(dialog).to_contain_text("Read back from the meter")
    expect(dialog).to_contain_text("Off")


def test_a_list_of_five_thousand_points_scrolls_to_its_end(open_portal: Opener) -> None:
    page = open_portal("/settings")

    def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        first = (int(query.get("page", ["1"])[0]) - 1) * int(query.get("size", ["50"])[0])
        size = int(query.get("size", ["50"])[0])
        items = [
            {
                "id": f"p{n}",
                "name": f"Point {n:04d}",
                "serial": f"{n:08d}",
                "kind": "household",
                "medium": "electricity",
                "state": "ok",
                "last_answer_at": None,
                "address": "",
                "station": None,
                "feeder": None,
                "model": "m",
                "model_name": "M",
                "alarms": 0,
                "power_w": n,
                "energy_today_wh": n,
                "completeness": 1.0,
                "last_error": None,
            }
            for n in range(first, min(first + size, MANY))
        ]
        route.fulfill(json={"items": items, "total": MANY, "page": 1, "size": size})

    page.route("**/api/v1/points?*", answer)
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_role("row").filter(has_text="Point 0000")).to_be_visible()
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.get_by_role("row").filter(has_text="Point 4999")).to_be_visible()
    assert page.locator("a.point").count() < 100


def test_a_power_limit_is_asked_twice_and_read_back(open_portal: Opener) -> None:
    page = open_portal(POINT)
    supply = page.locator("#supply")
    expect(supply).to_contain_text("Supply")
    supply.get_by_role("button", name="Power limit…").click()
    dialog = page.get_by_role("dialog")
    asked = dialog.get_by_label("Power limit in kW")
    asked.fill("-1")
    expect(dialog.get_by_role("button", name="Check first")).to_be_disabled()
    asked.fill("6.5")
    dialog.get_by_role("button", name="Check first").click()
    expect(dialog).to_contain_text("Kovács household")
    yes = dialog.get_by_role("button", name="Yes: Set power limit")
    yes.hover()
    light, dark = (contrast_of(page, "dialog .danger", name) for name in ("color", "background"))
    assert light != dark, "the yes can be read under the pointer"
    yes.click()
    expect(dialog).to_contain_text("6.50 kW")
    page.keyboard.press("Escape")
    expect(supply).to_contain_text(re.compile(r"6\.50\s*kW"))


def test_a_dialogue_is_walked_by_keyboard_and_gives_the_focus_back(open_portal: Opener) -> None:
    page = open_portal(POINT)
    limit = page.get_by_role("button", name="Set power limit…")
    limit.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Power limit in kW")).to_be_focused()
    dialog.get_by_role("button", name="Check first").press("Enter")
    expect(dialog).to_contain_text("5.00 kW")
    # the safe answer has the focus, not the dangerous one
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(limit).to_be_focused()


def test_events_of_a_meter_are_filtered_by_their_group(open_portal: Opener) -> None:
    page = open_portal(POINT)
    events = page.locator("#events")
    events.locator("li").first.wait_for()
    groups = events.get_by_role("combobox", name="Group of events")
    groups.select_option("Voltage")
    expect(events.locator("li").filter(has_not_text="voltage")).to_have_count(0)
    events.locator("li").first.wait_for()
    events.get_by_role("link", name="All events").click()
    expect(page).to_have_url(re.compile(r"/events\?point=p-001&group=voltage"))
    expect(page.get_by_role("combobox", name="Group of events")).to_have_value("voltage")
    expect(page.get_by_role("button", name="Kovács household ×")).to_be_visible()
    expect(page.locator("main li").filter(has_not_text="voltage")).to_have_count(0)
    page.locator("main li").first.wait_for()


NAMELESS = """() => {
  const name = (one) =>
    one.getAttribute('aria-label') || one.labels?.[0]?.textContent || one.textContent || one.title;
  return [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')]
    .filter((one) => one.getBoundingClientRect().width && !name(one)?.trim())
    .map((one) => one.outerHTML.slice(0, 200));
}"""


def contrast_of(page: Page, selector: str, name: str) -> str:
    style = {"color": "color", "background": "backgroundColor"}[name]
    return str(page.locator(selector).evaluate(f"(one) => getComputedStyle(one).{style}"))


def test_a_clock_is_corrected_by_rule_and_its_offset_is_said(open_portal: Opener) -> None:
    page = open_portal(POINT)
    clock = page.locator("#clock")
    expect(clock).to_contain_text("Offset")
    clock.get_by_role("button", name="Correct clock…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Shift").click()
    expect(dialog).to_contain_text("no quarter-hour is spoilt")
    dialog.get_by_role("button", name="By the rule").click()
    dialog.get_by_role("button", name="Check first").click()
    dialog.get_by_role("button", name="Yes: Correct clock").click()
    expect(dialog).to_contain_text("Offset now")


def test_keys_are_shown_by_their_fingerprint_alone(open_portal: Opener) -> None:
    page = open_portal(POINT)
    row = page.locator("#keys tbody tr").filter(has_text="encryption key")
    expect(row.locator("code")).to_have_text(re.compile(r"^[0-9a-f]{8}$"))
    assert re.search(r"[0-9a-f]{16}", page.locator("#keys").inner_text()) is None


def test_operations_show_clocks_and_what_meters_sent(open_portal: Opener) -> None:
    page = open_portal("/operations")
    expect(page.locator("#clocks tbody tr").first).to_be_visible()
    expect(page.locator("#clocks")).to_contain_text(re.compile("off by more than 2 s"))
    expect(page.locator("#pushes")).to_contain_text("accepted")


@pytest.mark.requirement("CC-06")
@pytest.mark.parametrize(
    ("user", "reads", "commands", "places"),
    [("vera", False, False, 5), ("ivan", True, False, 5), ("mira", True, True, 5)],
    ids=["viewer", "installer", "manager"],
)
def test_each_role_can_do_what_is_theirs(
    open_portal: Opener, user: str, reads: bool, commands: bool, places: int
) -> None:
    role = {"vera": "viewer", "ivan": "installer", "mira": "manager"}[user]
    page = open_portal(POINT, log_in=False)
    log_in_as(page, user, f"{role}-password")
    page.locator("#commands").wait_for()
    assert page.get_by_role("navigation", name="Places").locator("a.place").count() == places
    assert (page.get_by_role("button", name="Read now").count() == 1) is reads
    assert page.get_by_role("button", name="Disconnect supply…").is_enabled() is commands
    assert page.get_by_role("button", name="Power limit…").is_enabled() is commands
    assert (page.locator("#keys").count() == 1) is reads
    assert (page.get_by_role("button", name="Correct clock…").count() == 1) is reads


@pytest.mark.requirement("CC-06")
def test_a_consumer_sees_their_own_point_and_nothing_else(open_portal: Opener) -> None:
    page = open_portal("/", log_in=False)
    log_in_as(page, "clara", "consumer-password")
    expect(page.get_by_role("heading", level=1, name="Kovács household")).to_be_visible()
    drawn(page)
    assert page.get_by_role("navigation", name="Places").locator("a.place").count() == 2
    assert page.locator("#commands").count() == 0
    expect(page.locator("#supply")).to_contain_text("Supply")
    assert page.locator("#supply button").count() == 0
    page.goto("/points/p-003")
    expect(page.get_by_role("alert").first).to_be_visible()


def test_a_lost_connection_is_said_and_the_values_stay(open_portal: Opener) -> None:
    page = open_portal()
    shown = page.get_by_text("Load now").first
    shown.wait_for()
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_role("link", name="Events").first.click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    page.locator("main li").first.wait_for()


def test_a_silent_meter_says_so_in_words(open_portal: Opener) -> None:
    page = open_portal("/points/p-004")
    expect(page.locator("#live").get_by_role("alert")).to_contain_text("Try again")
    page.reload()
    expect(page.locator("#meter")).to_contain_text("no answer")
    drawn(page)


def test_events_are_filtered_by_the_url(open_portal: Opener) -> None:
    page = open_portal("/events?severity=alarm")
    expect(page.get_by_role("button", name="Alarm", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    page.locator("main li").first.wait_for()
    assert page.locator("main li svg.warning, main li svg.info").count() == 0


def test_the_theme_and_the_language_are_switched_and_kept(open_portal: Opener) -> None:
    page = open_portal("/settings")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.get_by_role("button", name="Dark", exact=True).click()
    expect(page.locator("html")).not_to_have_css("background-color", light)
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1, name="Einstellungen")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Einstellungen")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark


def settled(page: Page) -> None:
    page.locator("main section, main p").first.wait_for()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def close(page: Page, dialog: Locator) -> None:
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


PLACES = (
    "/", "/points", POINT, f"{POINT}?view=table", "/points/p-008", "/events", "/operations",
    "/settings", "/none",
)  # fmt: skip
LANGUAGES = ("en", "hu", pytest.param("de", marks=pytest.mark.thorough))


@dataclass(frozen=True)
class Seen:
    """What was found on one page."""

    fits: bool
    nameless: list[str]
    english: set[str]
    rail_y: float | None
    """Where a phone shows the places."""


Walks = dict[str, dict[str, list[Seen]]]


@pytest.fixture(scope="module")
def walks() -> Walks:
    """What has been seen already, by language and place: every page is loaded once in each.

    A phone in English and in the dark; in the language of the longest words both sizes.
    """
    return {}


def walked(walks: Walks, open_portal: Opener, language: str) -> dict[str, list[Seen]]:
    if language not in walks:
        page = open_portal("/none", phone=True, dark=language == "en", language=language)
        sizes = [PHONE] if language == "en" else [PHONE, DESK]
        walks[language] = {path: look(page, path, sizes, language) for path in PLACES}
    return walks[language]


def look(page: Page, path: str, sizes: list[ViewportSize], language: str) -> list[Seen]:
    page.goto(path)
    settled(page)
    found = []
    for size in sizes:
        page.set_viewport_size(size)
        english = english_of(page, language) if language != "en" else set()
        rail = page.locator("nav").first.bounding_box() if size is PHONE else None
        found.append(
            Seen(fits(page), page.evaluate(NAMELESS), english, rail["y"] if rail else None)
        )
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_can_be_pressed_has_a_name_on_every_page(
    open_portal: Opener, walks: Walks, language: str
) -> None:
    for path, looks in walked(walks, open_portal, language).items():
        assert [one.nameless for one in looks if one.nameless] == [], path


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_scrolls_sideways_on_a_phone_or_a_desk(
    open_portal: Opener, walks: Walks, language: str
) -> None:
    for path, looks in walked(walks, open_portal, language).items():
        assert all(one.fits for one in looks), path
        assert looks[0].rail_y is not None
        assert looks[0].rail_y > 700, "the places are a bar at the bottom of a phone"


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_english_is_left_on_any_page_or_dialogue(
    open_portal: Opener, walks: Walks, language: str
) -> None:
    for path, looks in walked(walks, open_portal, language).items():
        assert [one.english for one in looks if one.english] == [], path
    page = open_portal(POINT, language=language)
    settled(page)
    dialog = page.get_by_role("dialog")
    openers = page.locator("#commands button, #supply button, #keys button, #clock button")
    for opener in openers.filter(has_text="…").all():
        opener.click()
        dialog.locator("dt, label").first.wait_for()
        assert english_of(page, language) == set(), opener.inner_text()
        close(page, dialog)
    page.get_by_role("button", name=entries(f"{language}.ts")["point.read"]).click()
    page.goto("/operations")
    page.locator(".job").first.wait_for()
    assert english_of(page, language) == set()


def test_a_refusal_is_told_in_the_readers_language(open_portal: Opener) -> None:
    page = open_portal("/points/p-005", language="de")
    page.locator("#supply").get_by_role("button", name="Leistungsgrenze").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("spinbutton").fill("12.5")
    dialog.get_by_role("button", name="Erst prüfen").click()
    expect(dialog.get_by_role("alert")).to_have_text(
        "Dairy farm ist geschützt: eine Grenze könnte den Ort abschalten. "
        "Vereinbaren Sie die Grenze mit den Leuten dort."
    )
