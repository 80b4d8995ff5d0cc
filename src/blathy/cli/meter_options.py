"""Options that several verbs take, most of them those that talk to a meter."""

from __future__ import annotations

from typing import Annotated

import typer

from blathy.cli.verbs import URL

UrlArgument = Annotated[str, typer.Argument(help=URL)]
PasswordOption = Annotated[
    str,
    typer.Option(
        metavar="SECRET", help="LLS password or HLS secret: text, 0x hex, @FILE or env:NAME."
    ),
]
EkOption = Annotated[
    str, typer.Option(metavar="KEY", help="Encryption key: hex, @FILE or env:NAME.")
]
AkOption = Annotated[
    str, typer.Option(metavar="KEY", help="Authentication key: hex, @FILE or env:NAME.")
]
KeysOption = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="FILE",
        help='TOML with a table per meter: ["HOST:4059"], in it ek, ak, suite, password.',
    ),
]
CountersOption = Annotated[
    str, typer.Option("--counters", metavar="FILE", help="Keeps our invocation counters.")
]
ZoneOption = Annotated[
    str,
    typer.Option("--zone", metavar="ZONE", help="Time zone of the meter, e.g. Europe/Budapest."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without being asked.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
