"""What each client of a meter may do and how it proves itself, made when it is first asked for.

A meter has half a dozen clients and is spoken to by one or two of them; ten thousand meters in one
process keep what is in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from blathy.meter.classes.security_setup import trusted_between
from blathy.models.model import Association
from blathy.wire.security import KeySet
from blathy.wire.server import AssociationProfile

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

_NONE_MADE: Final[dict[int, AssociationProfile]] = {}
"""Shared: replaced, never added to."""


class ClientProfiles(Mapping[int, AssociationProfile]):
    """By client address. A profile is the same object until `renew`, or until the meter's clock
    reaches the begin or end of a certificate."""

    __slots__ = ("_keys", "_made", "_meter", "_within")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._made = _NONE_MADE
        self._keys: KeySet | None = None
        self._within: tuple[int, int] | None = None  # of suites with certificates

    def renew(self) -> None:
        """Keys, secrets or rights have changed: everything is made anew."""
        self._made = _NONE_MADE
        self._keys = None
        self._within = None

    def __getitem__(self, client_sap: int) -> AssociationProfile:
        within = self._within
        if within is not None and not within[0] <= self._meter.clock_utc_s() < within[1]:
            self.renew()
        found = self._made.get(client_sap)
        if found is None:
            association = next((a for a in self._open() if a.client_sap == client_sap), None)
            if association is None:
                raise KeyError(client_sap)
            found = self._meter.client_profile(association, self._key_set())
            self._made = {**self._made, client_sap: found}
        return found

    def __iter__(self) -> Iterator[int]:
        return (association.client_sap for association in self._open())

    def __len__(self) -> int:
        return sum(1 for _ in self._open())

    def _open(self) -> Iterable[Association]:
        meter = self._meter
        return (a for a in meter.model.associations if meter.seal_open or not a.needs_open_seal)

    def _key_set(self) -> KeySet:
        if self._keys is None:
            self._keys = self._meter.key_set()
            if self._keys.suite:
                self._within = trusted_between(self._meter)
        return self._keys
