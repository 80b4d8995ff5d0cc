"""Who calls: a meter that opens the connection itself has yet to say which one it is."""

from __future__ import annotations

from dataclasses import replace

from blathy.client.address import MeterAddress
from blathy.client.cache import ObjectCache
from blathy.client.session import LOGICAL_DEVICE_NAME, PUBLIC_TIMEOUT_S, Session
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.transport.errors import MeterError
from blathy.transport.line import LentLine, Line


async def caller_of(line: Line, address: MeterAddress) -> str:
    """The logical device name that the meter on this line tells its public client, to look its keys
    up by; empty where it tells none. Nothing proves it before an association with those keys.

    The line stays open for `Meter.connect(address, line=line)`.
    """
    public = replace(address.public(), timeout_s=min(address.timeout_s, PUBLIC_TIMEOUT_S))
    try:
        async with Session(public, line=LentLine(line), cache=ObjectCache()) as asked:
            return device_name(await asked.get(LOGICAL_DEVICE_NAME))
    except MeterError:
        return ""


def device_name(raw: bytes) -> str:
    """A logical device name as text, its octets in hex where they are none; empty for no name."""
    try:
        value = axdr.decode(raw).value
    except AxdrError:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        return ""
    text = value.decode("ascii", "replace").strip()
    return text if text.isprintable() and "\ufffd" not in text else value.hex()
