"""A few values by name, where the names are the same for every meter of a plan and shared by them.

Ten thousand meters in one process would otherwise keep ten thousand tables of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


def places_of(names: Iterable[str]) -> dict[str, int]:
    """The place of every name, in their order."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


class Named(Mapping[str, T]):
    """A mapping that does not change: `values` in the order of `places`."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: tuple[T, ...]) -> None:
        assert len(places) == len(values)
        self._places = places
        self._values = values

    def __getitem__(self, name: str) -> T:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)

    def with_values(self, values: tuple[T, ...]) -> Named[T]:
        """The same names with other values."""
        return Named(self._places, values)

    def __repr__(self) -> str:
        return f"Named({dict(self)})"
