"""NTP setup (class 100): which server a meter asks for the time, and when.

With shared secrets the question proves the newest of the authentication keys, and only an answer
that proves it, too, is taken. Autokey is not spoken: neither the method nor its client key can be
set. A server that gives no answer is an event once, and another one when it answers again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import Requester
from blathy.meter.objects import refused, setting_of
from blathy.obis import Obis
from blathy.wire import sntp
from blathy.wire.sntp import SharedKey

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NTP_SETUP: Final = Obis(0, 0, 25, 10, 0)
SERVER_ADDRESS, SERVER_PORT, AUTHENTICATION, KEYS = 3, 4, 5, 6
NO_AUTHENTICATION, SHARED_SECRETS = 0, 1
_ACTIVATED: Final = bytes(NTP_SETUP) + b"\x02"
_LOST: Final = b"time server lost"


def is_activated(meter: Meter) -> bool:
    """Whether the meter is to keep its clock by a time server; asked every second."""
    raw = meter.settings.get(_ACTIVATED)
    return raw is not None and bool(axdr.decode(raw).value)


def time_server(meter: Meter) -> tuple[str, int]:
    """Host and port of the server that is set; AccessError where none is to be asked."""
    if not is_activated(meter):
        raise refused("NTP is switched off; set activated first")
    address = setting_of(meter, NTP_SETUP, SERVER_ADDRESS)
    host = "" if address is None else bytes(address.value).decode("ascii", "replace").strip()
    if not host:
        raise refused("no time server is set")
    port = setting_of(meter, NTP_SETUP, SERVER_PORT)
    return host, sntp.PORT if port is None else int(port.value)


def shared_key(meter: Meter) -> SharedKey | None:
    """What questions and answers are proved with; None where nothing is to be proved, AccessError
    where there is no key for it."""
    method = setting_of(meter, NTP_SETUP, AUTHENTICATION)
    if method is None or method.value == NO_AUTHENTICATION:
        return None
    keys = setting_of(meter, NTP_SETUP, KEYS)
    if method.value != SHARED_SECRETS or keys is None or not keys.value:
        raise refused("there is no key to prove answers of the time server with; add one")
    number, octets = keys.value[-1].value
    return SharedKey(int(number.value), bytes(octets.value))


def tell_server(meter: Meter, *, answers: bool) -> None:
    """Log that the time server has stopped to answer, or does so again."""
    if answers is not (_LOST in meter.settings):
        return
    if answers:
        meter.drop_settings(_LOST)
    else:
        meter.save_setting(_LOST, b"\x01")
    meter.record("time_server_back" if answers else "time_server_lost")


def synchronize(meter: Meter, _data: Data, _who: Requester) -> bytes:
    """Method 1. Success: the server is asked; how it went the clock and its events tell."""
    time_server(meter)
    shared_key(meter)
    meter.request_time()
    return b""
