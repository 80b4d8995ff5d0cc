"""`blathy keys`, `clock`, `alarms` and `order`: a running control centre from the command line."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any

import typer
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.centre import (
    HERE,
    ApiOption,
    ControlCentre,
    PasswordOption,
    TokenOption,
    UserOption,
    YesOption,
)
from blathy.cli.console import console
from blathy.cli.meter_options import JsonOption

UNITS = {"w": "W", "wh": "Wh", "s": "s"}
PointArgument = Annotated[str, typer.Argument(help="A metering point, e.g. f1-01.")]


@app.command("keys")
def keys(
    point: PointArgument,
    change: Annotated[
        list[str],
        typer.Option(
            help="Change this key: encryption, authentication, broadcast, master or password. May "
            "be repeated."
        ),
    ] = [],  # noqa: B006 - typer copies it
    settle: Annotated[
        bool, typer.Option("--settle", help="End a change that was interrupted.")
    ] = False,
    yes: YesOption = False,
    api: ApiOption = HERE,
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show when the keys of a meter were changed, or change them; a key itself is never shown."""
    centre = ControlCentre(api, user, password, token)
    place = f"/points/{point}/keys"
    if settle:
        centre.ended(centre.post(f"{place}/settle", {}))
    if change:
        centre.ordered(place, {"purposes": change}, yes=yes)
    found = centre.get(place)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    table = _table("key", "changed", "fingerprint", "")
    for item in found["items"]:
        table.add_row(
            item["purpose"],
            item["changed_at"] or "",
            item["fingerprint"] or "",
            item["why_not"] or "can be changed",
        )
    console().print(table)
    if found["pending"]:
        waiting = ", ".join(found["pending"]["purposes"])
        typer.echo(f"A change is open: {waiting}, {found['pending']['state']}.")


@app.command("clock")
def clock(
    points: Annotated[
        list[str], typer.Argument(help="Metering points; none: all clocks of the site.")
    ] = [],  # noqa: B006 - typer copies it
    correct: Annotated[
        bool, typer.Option("--correct", help="Shift or set them by the rule.")
    ] = False,
    group: Annotated[str, typer.Option(help="Correct this group, e.g. all.")] = "",
    how: Annotated[str, typer.Option(help="auto, shift or set.")] = "auto",
    large: Annotated[
        bool, typer.Option("--large", help="Also where a clock is off by more than an hour.")
    ] = False,
    yes: YesOption = False,
    api: ApiOption = HERE,
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how far the meters' clocks are off, or correct them by rule."""
    centre = ControlCentre(api, user, password, token)
    if group and points:
        raise CommandError("name points or a group, not both")
    if correct or group:
        chosen = {"group": group} if group else {"points": points}
        if not group and not points:
            raise CommandError("say which clocks to correct: points, or --group all")
        job = centre.ordered("/clocks", {**chosen, "how": how, "large": large}, yes=yes)
        result = job["result"]
        typer.echo(
            f"{result['done']} corrected, {result['left']} left as they are, "
            f"{result['refused']} refused, {result['failed']} failed",
            err=as_json,
        )
    found = [_clock_of(centre, point) for point in points] or centre.get("/clocks")["items"]
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    table = _table("point", "place", "ahead by", "drift a day", "checked", "rule says")
    for item in found:
        table.add_row(
            item["point"]["id"],
            item["point"]["name"],
            _seconds(item["offset_s"]),
            _seconds(item["drift_s_per_day"]),
            item["checked_at"] or "",
            item["proposed"],
        )
    console().print(table)


@app.command("alarms")
def alarms(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many that come; 0: never.")] = 0,
    api: ApiOption = HERE,
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the latest alarms, and with --follow each new one the moment a meter sends it."""
    centre = ControlCentre(api, user, password, token)
    if not follow:
        for item in reversed(centre.get("/events", severity="alarm", size="20")["items"]):
            _show_alarm(item, as_json=as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):  # ends in order, as `listen` does
        _follow(centre, count, as_json=as_json)


@app.command("order")
def order(
    point: PointArgument,
    command: Annotated[
        str,
        typer.Argument(
            help="disconnect, connect, release, relay, limit, credit or set-clock, as the meter "
            "can."
        ),
    ],
    arguments: Annotated[
        list[str], typer.Argument(help="What it needs, e.g. power_w=5000, energy_wh=10000.")
    ] = [],  # noqa: B006 - typer copies it
    yes: YesOption = False,
    api: ApiOption = HERE,
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Switch, limit or sell to a place; asked twice, audited, read back from the meter."""
    centre = ControlCentre(api, user, password, token)
    body = {"command": command, "arguments": dict(_argument(text) for text in arguments)}
    job = centre.ordered(f"/points/{point}/commands", body, yes=yes)
    read_back = job["result"]["read_back"]
    if as_json:
        typer.echo(json.dumps(read_back, indent=1, ensure_ascii=False))
        return
    table = _table("read back from the meter", "")
    for name, value in read_back.items():
        table.add_row(*_in_words(name, value))
    console().print(table)


def _clock_of(centre: ControlCentre, point: str) -> dict[str, Any]:
    name = centre.get(f"/points/{point}")["name"]
    return {"point": {"id": point, "name": name}, **centre.get(f"/points/{point}/clock")}


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"{text!r} names nothing; write it like power_w=5000")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _in_words(name: str, value: object) -> tuple[str, str]:
    """`balance_wh`, 1200 as ("balance", "1 200 Wh")."""
    words, _, end = name.rpartition("_")
    if end not in UNITS:
        words, end = name, ""
    if isinstance(value, bool):
        shown = "on" if value else "off"
    elif isinstance(value, int):
        shown = f"{value:,} {UNITS.get(end, '')}".replace(",", "\N{NARROW NO-BREAK SPACE}").strip()
    else:
        shown = "none" if value is None else str(value)
    return words.replace("_", " "), shown


def _follow(centre: ControlCentre, count: int, *, as_json: bool) -> None:
    taken = 0
    for name, item in centre.stream("alarms"):
        if name == "alarms":
            _show_alarm(item, as_json=as_json)
            taken += 1
            if taken == count:
                return


def _show_alarm(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(item, ensure_ascii=False))
        return
    how = "told by the meter" if item["pushed_at"] else "found in its log"
    typer.echo(f"{item['at']}  {item['point']['name']}: {item['text']} ({how})")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:+g} s"


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
