"""`blathy explain`: any frame or conversation as a tree with names and units."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.tree import Tree

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.curve_options import PrivateKeyOption, PublicKeyOption, curve_keys
from blathy.cli.meter_options import (
    AkOption,
    EkOption,
    JsonOption,
)
from blathy.cli.title_keys import KeyOption, TitleKeysOption, title_keys
from blathy.client.address import parse_address
from blathy.client.capture import from_octets, load
from blathy.client.explain import KeyRing, Node, explain_all
from blathy.transport.errors import MeterError

TREE_COLUMNS: Final = 240
"""Where there is no terminal: room for deep trees."""


@app.command()
def explain(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="HEX|FILE",
            help="Hex, a file (hex, dump, trace, record, pcap, raw), or - for stdin.",
        ),
    ],
    ek: EkOption = "",
    ak: AkOption = "",
    bk: Annotated[
        str, typer.Option(metavar="KEY", help="Broadcast key: hex, @FILE or env:NAME.")
    ] = "",
    kek: Annotated[
        str, typer.Option(metavar="KEY", help="Master key: hex, @FILE or env:NAME.")
    ] = "",
    key: KeyOption = [],  # noqa: B006 - typer copies it
    keys: TitleKeysOption = "",
    public_key: PublicKeyOption = [],  # noqa: B006
    private_key: PrivateKeyOption = [],  # noqa: B006
    suite: Annotated[int, typer.Option(min=0, max=2, help="Security suite of the keys.")] = 0,
    password: Annotated[
        str,
        typer.Option(
            metavar="SECRET",
            help="HLS secret, to check the proofs: text, 0x hex, @FILE or env:NAME.",
        ),
    ] = "",
    client_title: Annotated[
        str, typer.Option(metavar="TITLE", help="System title of the client, hex.")
    ] = "",
    meter_title: Annotated[
        str, typer.Option(metavar="TITLE", help="System title of the meter, hex.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show HDLC, wrapper, M-Bus and xDLMS octets as a tree with names and units.

    Ciphered APDUs are opened with the keys given and with dedicated keys that the conversation
    itself shows; of signatures it is said whether they hold.
    """
    secrets = {"ek": ek, "ak": ak, "bk": bk, "kek": kek, "suite": str(suite)}
    secrets |= {"title": client_title, "meter_title": meter_title, "password": password}
    try:
        address = parse_address("dlms://explain", secrets)
        text = " ".join(source)  # hex with blanks comes as so many words
        chunks = from_octets(sys.stdin.buffer.read()) if text == "-" else load(text)
    except MeterError as error:
        raise CommandError(str(error)) from error
    given = address.keys
    has_keys = any((given.unicast, given.broadcast, given.authentication, given.master))
    by_title = title_keys(key, suite, keys)
    curves = curve_keys(public_key, private_key)
    for title, entry in by_title.items():
        for public in filter(None, (entry.peer_signing, entry.peer_agreement)):
            if not curves.add_public(title, public):
                raise CommandError(f"{keys}: a public key of {title.hex()} is on no curve")
    ring = KeyRing(given if has_keys else None, by_title, address.password, curves)
    nodes = explain_all(
        chunks,
        client_title=address.title if client_title else b"",
        server_title=address.meter_title,
        ring=ring,
    )
    if as_json:
        print(json.dumps([_plain(node) for node in nodes], ensure_ascii=False, indent=1))
        return
    out = console(TREE_COLUMNS)
    for node in nodes:
        out.print(_tree(node))


def _plain(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"text": node.text}
    if node.octets:
        found["hex"] = node.octets.hex()
    if node.children:
        found["children"] = [_plain(child) for child in node.children]
    return found


def _tree(node: Node) -> Tree:
    tree = Tree(f"[bold]{escape(node.text)}[/]", guide_style="dim")
    _grow(tree, node)
    return tree


def _grow(tree: Tree, node: Node) -> None:
    for child in node.children:
        _grow(tree.add(escape(child.text)), child)
