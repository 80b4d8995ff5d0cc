"""Kernels are handed to numba at the first call of one of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from blathy.metrology import kernels


def test_no_kernel_can_be_called_before_all_parts_are_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may find the name of a kernel as soon as it stands for what numba made."""
    made: list[str] = []

    def njit(**_options: Any) -> Any:
        def compiled(function: Any) -> Any:
            made.append(function.__name__)
            return function

        return compiled

    monkeypatch.setattr(kernels, "_noted", [])
    monkeypatch.setattr(kernels, "import_module", lambda _name: SimpleNamespace(njit=njit))

    @kernels.kernel()
    def first() -> int:
        return 1

    @kernels.part()
    def middle() -> int:
        return 2

    @kernels.kernel()
    def last() -> int:
        return 3

    for name in ("first", "middle", "last"):
        monkeypatch.setitem(globals(), name, None)  # what it sets goes with the test
    assert first() == 1
    assert made[0] == "middle"
    assert sorted(made) == ["first", "last", "middle"]
    assert last() == 3
    assert middle() == 2
    assert len(made) == 3
