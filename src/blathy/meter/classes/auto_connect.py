"""Auto connect (class 29): whom a meter calls home to, how often it tries and when it may.

Destinations are addresses of TCP servers as text, `192.0.2.1:4059`. Modes 1 to 3 call when told to
and on alarms (mode 3: on alarms outside of the calling window too), 101 and 102 stay connected, 103
and 104 connect when told to. Messages and mails (modes 4 to 6) go nowhere: connect says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.local_times import Windows, in_a_window
from blathy.meter.objects import refused, setting_of
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

AUTO_CONNECT: Final = Obis(0, 0, 2, 1, 0)
NEVER, ANY_TIME, IN_WINDOW, ALARMS_ANY_TIME = 0, 1, 2, 3
PERMANENT, PERMANENT_IN_WINDOW, WHEN_TOLD_IN_WINDOW, WHEN_TOLD = 101, 102, 103, 104
DELIVERED_MODE, DELIVERED_REPETITIONS, DELIVERED_DELAY_S = PERMANENT, 3, 60
_ON_ALARMS: Final = {ANY_TIME, IN_WINDOW, ALARMS_ANY_TIME}
_IN_WINDOW: Final = {IN_WINDOW, ALARMS_ANY_TIME, PERMANENT_IN_WINDOW, WHEN_TOLD_IN_WINDOW}
_ENDS_WITH_WINDOW: Final = {PERMANENT_IN_WINDOW, WHEN_TOLD_IN_WINDOW}
_CALLING: Final = _ON_ALARMS | {PERMANENT, PERMANENT_IN_WINDOW, WHEN_TOLD_IN_WINDOW, WHEN_TOLD}
_DESTINATIONS: Final = bytes(AUTO_CONNECT) + b"\x06"
INACTIVITY_S: Final = 180
_TCP_SETUP: Final = Obis(0, 0, 25, 0, 0)


@dataclass(frozen=True, slots=True)
class Calling:
    """The rules of a meter's calls. `repetitions` after a first attempt, `delay_s` apart."""

    mode: int
    repetitions: int
    delay_s: int
    windows: Windows
    destinations: tuple[bytes, ...]

    @property
    def permanent(self) -> bool:
        return self.mode in {PERMANENT, PERMANENT_IN_WINDOW}


def calling_of(meter: Meter) -> Calling | None:
    """None where there is nobody to call; asked every second."""
    raw = meter.settings.get(_DESTINATIONS)
    destinations = () if raw is None else axdr.decode(raw).value
    if not destinations:
        return None

    def number(attribute: int, delivered: int) -> int:
        held = setting_of(meter, AUTO_CONNECT, attribute)
        return delivered if held is None else int(held.value)

    windows = setting_of(meter, AUTO_CONNECT, 5)
    return Calling(
        number(2, DELIVERED_MODE),
        number(3, DELIVERED_REPETITIONS),
        number(4, DELIVERED_DELAY_S),
        tuple(
            (bytes(each.value[0].value), bytes(each.value[1].value))
            for each in (() if windows is None else windows.value)
        ),
        tuple(bytes(each.value) for each in destinations),
    )


def may_begin(meter: Meter, calling: Calling, *, alarm: bool = False) -> bool:
    """Whether a call may go out now."""
    if calling.mode not in (_ON_ALARMS if alarm else _CALLING):
        return False
    free = calling.mode not in _IN_WINDOW or (alarm and calling.mode == ALARMS_ANY_TIME)
    return free or in_a_window(meter, calling.windows)


def has_to_end(meter: Meter, calling: Calling | None) -> bool:
    """Whether a call that stands, or is tried, has to end now."""
    if calling is None or calling.mode not in _CALLING:
        return True
    return calling.mode in _ENDS_WITH_WINDOW and not in_a_window(meter, calling.windows)


def inactivity_s(meter: Meter) -> int:
    """A call on which nothing has come for so long ends (class 41); 0 for never."""
    held = setting_of(meter, _TCP_SETUP, 6)
    return INACTIVITY_S if held is None else int(held.value)


def connect(meter: Meter, _data: Data, _who: Requester) -> bytes:
    """Method 1. Success: the call goes out."""
    calling = calling_of(meter)
    if calling is None:
        raise refused("no destination is set")
    if calling.mode not in _CALLING:
        raise refused(f"in mode {calling.mode} this meter opens no connection")
    if not may_begin(meter, calling):
        raise AccessError(ActionResult.TEMPORARY_FAILURE, "it is outside of the calling window")
    meter.request_call_home()
    return b""
