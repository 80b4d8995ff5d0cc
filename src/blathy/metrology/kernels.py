"""How the compiled kernels are compiled: late, quickly, once, and without hidden work.

A `kernel` is called from Python and kept in numba's cache; a `part` is called by kernels alone, so
it needs neither a place in the cache nor an entry from Python. Both leave out what costs time and
is never used here: counting references to arrays (kernels create none, all arrays are handed in)
and a check before every division. They save a third of the time of
compiling, and small functions run up to three times as fast.

Importing numba takes half a second of a core, which a command that measures nothing should not
spend. So the decorators only take note of a function; at the first call of any kernel all that were
noted are handed to numba, and what it returns takes their names in their modules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from threading import RLock
from typing import Any, Final, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

PART: Final[dict[str, Any]] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "no_cpython_wrapper": True,
    "no_rewrites": True,
    "_nrt": False,
}

KERNEL: Final[dict[str, Any]] = {**PART, "cache": True, "no_cpython_wrapper": False}

FAST: Final = {"reassoc", "contract", "arcp", "nsz"}
"""Float freedom that the compiler may use: sums in any (but always the same) order. NaN stays."""

_noted: Final[list[tuple[Any, dict[str, Any]]]] = []
_one_at_a_time: Final = RLock()


def part(**options: Any) -> Callable[[Function], Function]:
    """Of a function that kernels call; `options` beside those of every part."""

    def note(function: Function) -> Function:
        _noted.append((function, {**PART, **options}))
        return function

    return note


def kernel(**options: Any) -> Callable[[Function], Function]:
    """Of a function that Python calls; `options` beside those of every kernel."""

    def note(function: Function) -> Function:
        _noted.append((function, {**KERNEL, **options}))

        @wraps(function)
        def first_call(*arguments: Any) -> Any:
            _hand_to_numba()
            return function.__globals__[function.__name__](*arguments)

        return cast("Function", first_call)

    return note


def _hand_to_numba() -> None:
    njit = import_module("numba").njit
    with _one_at_a_time:
        noted = [_noted.pop() for _ in range(len(_noted))]
        # Parts first: once a kernel has its name another thread may call it, and compile it.
        for function, options in sorted(noted, key=lambda each: "cache" in each[1]):
            function.__globals__[function.__name__] = njit(**options)(function)
