"""`blathy token`: a credit token for a prepayment meter, made and, if wanted, entered."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
)
from blathy.cli.meters import with_meter
from blathy.client.meter import Meter
from blathy.client.selling import TokenAnswer, enter_token, new_token


@app.command()
def token(
    url: UrlArgument,
    energy_wh: Annotated[int, typer.Argument(help="Energy that is sold, in Wh.", min=1)],
    number: Annotated[
        int | None,
        typer.Option(help="Number of the token; none: the time. A meter takes each once.", min=0),
    ] = None,
    enter: Annotated[bool, typer.Option("--enter", help="Enter it at the meter, too.")] = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a credit token for a meter, authenticated with its master key (`kek` in the URL)."""

    async def work(meter: Meter) -> tuple[bytes, TokenAnswer | None]:
        octets = new_token(meter, energy_wh, number)
        return octets, await enter_token(meter, octets) if enter else None

    octets, answer = with_meter(
        url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters
    )
    if as_json:
        told = {"token": octets.hex(), "energy_wh": energy_wh}
        status = {} if answer is None else {"status": answer.status.name.lower()}
        typer.echo(json.dumps(told | status, indent=1))
    else:
        typer.echo(octets.hex())
    if answer is None:
        return
    if not answer.booked:
        raise CommandError(f"the meter does not book the token: {answer.meaning}")
    if not as_json:
        typer.echo(answer.meaning)
