"""NTP setup (class 100): which server a meter asks for the time, and when.

Answers are taken as they come: a setup that asks for their authentication (shared secrets, autokey)
is not obeyed, and synchronize says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import Requester
from blathy.meter.objects import refused, setting_of
from blathy.obis import Obis
from blathy.wire import sntp

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NTP_SETUP: Final = Obis(0, 0, 25, 10, 0)
SERVER_ADDRESS, SERVER_PORT, AUTHENTICATION = 3, 4, 5
NO_AUTHENTICATION: Final = 0
_ACTIVATED: Final = bytes(NTP_SETUP) + b"\x02"


def is_activated(meter: Meter) -> bool:
    """Whether the meter is to keep its clock by a time server; asked every second."""
    raw = meter.settings.get(_ACTIVATED)
    return raw is not None and bool(axdr.decode(raw).value)


def time_server(meter: Meter) -> tuple[str, int]:
    """Host and port of the server that is set; AccessError where none is to be asked."""
    if not is_activated(meter):
        raise refused("NTP is switched off; set activated first")
    method = setting_of(meter, NTP_SETUP, AUTHENTICATION)
    if method is not None and method.value != NO_AUTHENTICATION:
        raise refused("this meter cannot prove answers of time servers; set no authentication")
    address = setting_of(meter, NTP_SETUP, SERVER_ADDRESS)
    host = "" if address is None else bytes(address.value).decode("ascii", "replace").strip()
    if not host:
        raise refused("no time server is set")
    port = setting_of(meter, NTP_SETUP, SERVER_PORT)
    return host, sntp.PORT if port is None else int(port.value)


def synchronize(meter: Meter, _data: Data, _who: Requester) -> bytes:
    """Method 1. Success: the server is asked; how it went the clock and its events tell."""
    time_server(meter)
    meter.request_time()
    return b""
