"""Which connections hold an association with a logical device: where it can speak unasked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from blathy.cosem.service import AttributeRef
from blathy.wire.server import LogicalDevice


class Report(Protocol):
    """A value that a meter tells of its own accord, and when it was so (twelve octets)."""

    @property
    def attribute(self) -> AttributeRef: ...

    @property
    def value(self) -> bytes: ...

    @property
    def time(self) -> bytes: ...


class OpenLink(Protocol):
    """One connection on which associations stand."""

    def report(self, device: LogicalDevice, report: Report) -> int:
        """Send it to every client that is associated with the device here; how many got it."""


class OpenLinks:
    """Sessions announce the devices that are associated on them; meters' reports go there."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[LogicalDevice, dict[OpenLink, None]]] = {}
        self.sent = 0

    def add(self, device: LogicalDevice, link: OpenLink) -> None:
        """An association with the device was opened on this connection."""
        self._links.setdefault(id(device), (device, {}))[1][link] = None

    def remove(self, device: LogicalDevice, link: OpenLink) -> None:
        """The last association with the device on this connection has ended."""
        found = self._links.get(id(device))
        if found is None:
            return
        found[1].pop(link, None)
        if not found[1]:
            del self._links[id(device)]

    def has(self, device: LogicalDevice) -> bool:
        """Whether anybody is associated with this device."""
        return id(device) in self._links

    def send(self, device: LogicalDevice, reports: Iterable[Report]) -> None:
        """Tell the clients that are associated with the device; nobody else hears of it."""
        found = self._links.get(id(device))
        if found is None:
            return
        for report in reports:
            for link in tuple(found[1]):
                self.sent += link.report(device, report)
