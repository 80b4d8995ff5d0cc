"""The meters of the data sheets as tables, and the type that they are rows of.

`MODELS` maps the short name to the model; `model(name)` also forgives case and the maker's name.
A user adds a meter in one file with `register`.
"""

from __future__ import annotations

from typing import Final

from blathy.models.kamstrup_162m_382m import K162M, K382M
from blathy.models.model import Model, ModelError
from blathy.models.mpta import MPTA_1, MPTA_3
from blathy.models.mt372 import MT372
from blathy.models.omnipower import OMNIPOWER
from blathy.models.reference import REFERENCE
from blathy.models.smartesox import SMARTESOX

MODELS: Final[dict[str, Model]] = {
    table.key: table for table in (MPTA_1, MPTA_3, MT372, K162M, K382M, OMNIPOWER, SMARTESOX)
}

LABORATORY: Final[dict[str, Model]] = {REFERENCE.key: REFERENCE}
"""Meters of no data sheet; `model` knows them, lists leave them out."""


def register(table: Model) -> None:
    """Add a model of one's own; raise ModelError where its key is taken by another table."""
    if MODELS.setdefault(table.key, table) is not table:
        msg = f"there is already a model {table.key!r}"
        raise ModelError(msg)


def model(name: str) -> Model:
    """The model of that key or name; raise KeyError with the keys there are."""
    wanted = name.strip().casefold()
    for table in (*MODELS.values(), *LABORATORY.values()):
        if wanted in {table.key, table.name.casefold()}:
            return table
    msg = f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}"
    raise KeyError(msg)


__all__ = ["LABORATORY", "MODELS", "Model", "ModelError", "model", "register"]
