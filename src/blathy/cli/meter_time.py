"""`blathy time`: the clock of one meter, shown and set."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
    YesOption,
    ZoneOption,
)
from blathy.cli.meters import (
    ask,
    parse_moment,
    parse_zone,
    plain,
    with_meter,
)
from blathy.client.meter import Meter
from blathy.clock import Zone


@app.command("time")
def meter_time(
    url: UrlArgument,
    wanted: Annotated[
        str, typer.Option("--set", help="now, or a time such as 2026-11-21T10:00+01:00.")
    ] = "",
    yes: YesOption = False,
    zone: ZoneOption = "",
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a meter's clock and how far it is from this machine's; set it."""
    here = parse_zone(zone)
    moment = _moment(wanted, here)
    if wanted and not yes:
        ask(f"Set the clock to {'the time of this machine' if moment is None else moment}?")

    async def work(meter: Meter) -> dict[str, Any]:
        if wanted:
            await meter.set_clock(moment)
        shown = await meter.clock()
        return {"shown": str(shown), "time": plain(shown), "ahead_s": await meter.clock_offset_s()}

    found = with_meter(
        url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters, zone=zone
    )
    if as_json:
        print(json.dumps(found))
        return
    ahead = found["ahead_s"]
    off = f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    console().print(f"{found['shown']}, {off if ahead else 'as this machine'}", markup=False)


def _moment(text: str, zone: Zone | None) -> datetime | None:
    """None: the time of this machine at the moment of setting."""
    if text in {"", "now"}:
        return None
    try:
        return parse_moment(datetime.fromisoformat(text).isoformat(), zone)
    except ValueError:
        raise CommandError(
            f"--set {text} is no time; write now or 2026-11-21T10:00+01:00"
        ) from None
