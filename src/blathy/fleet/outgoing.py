"""What meters do of their own accord: push, tell the clients of open associations, call home, ask
for the time."""

from __future__ import annotations

import time
from collections.abc import Callable

from blathy.fleet.call_home import CallHome
from blathy.fleet.push_sender import PushSender
from blathy.fleet.time_asker import TimeAsker
from blathy.meter.meter import Meter
from blathy.transport.open_links import OpenLinks
from blathy.wire.server import LogicalDevice


class Outgoing:
    """The senders of one process. `now` is what the meters' sources go by; `outside`: whether
    anything goes beyond this machine."""

    def __init__(self, now: Callable[[], float] = time.time, *, outside: bool = False) -> None:
        self.pushes = PushSender(outside=outside)
        self.times = TimeAsker(now, outside=outside)
        self.open_links = OpenLinks()
        self.calls = CallHome(self.open_links, outside=outside)

    def collect(
        self, meter: Meter, called: LogicalDevice, *others: LogicalDevice, source: str = ""
    ) -> None:
        """Send on what the meter has for others now. `called`: what it serves when it calls home;
        `others`: what it serves elsewhere. `source`: its own address."""
        self.pushes.collect(meter, source)
        self.times.collect(meter, source)
        self.calls.collect(meter, called, source)
        if notices := meter.take_notices():
            for device in (called, *others):
                self.open_links.send(device, notices)

    async def stop(self) -> None:
        """Give up what is under way."""
        await self.pushes.stop()
        await self.times.stop()
        await self.calls.stop()
