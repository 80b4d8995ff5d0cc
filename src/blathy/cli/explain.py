"""`blathy explain`: any frame or conversation as a tree with names and units."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from blathy.cli.app import CommandError, app
from blathy.client.address import parse_address
from blathy.client.capture import from_octets, load
from blathy.client.explain import Node, explain_all
from blathy.transport.errors import MeterError


@app.command()
def explain(
    source: Annotated[str, typer.Argument(help="Hex, a file (hex, record, pcap), or - for stdin.")],
    ek: Annotated[str, typer.Option(help="Encryption key: hex, @FILE or env:NAME.")] = "",
    ak: Annotated[str, typer.Option(help="Authentication key: hex, @FILE or env:NAME.")] = "",
    bk: Annotated[str, typer.Option(help="Broadcast key: hex, @FILE or env:NAME.")] = "",
    suite: Annotated[int, typer.Option(help="Security suite, 0 to 2.")] = 0,
    client_title: Annotated[str, typer.Option(help="System title of the client, hex.")] = "",
    meter_title: Annotated[str, typer.Option(help="System title of the meter, hex.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show HDLC, wrapper and xDLMS octets as a tree; ciphered ones are opened with the keys."""
    secrets = {"ek": ek, "ak": ak, "bk": bk, "suite": str(suite)}
    secrets |= {"title": client_title, "meter_title": meter_title}
    try:
        address = parse_address("dlms://explain", secrets)
        chunks = from_octets(sys.stdin.buffer.read()) if source == "-" else load(source)
    except MeterError as error:
        raise CommandError(str(error)) from error
    has_keys = bool(address.keys.unicast or address.keys.broadcast)
    nodes = explain_all(
        chunks,
        address.keys if has_keys else None,
        address.title if client_title else b"",
        address.meter_title,
    )
    if as_json:
        print(json.dumps([_plain(node) for node in nodes], ensure_ascii=False, indent=1))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    for node in nodes:
        console.print(_tree(node))


def _plain(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"text": node.text}
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
