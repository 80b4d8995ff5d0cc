"""The generated pages of the meters are what their tables say now."""

from __future__ import annotations

from pathlib import Path

import pytest

from blathy.models import MODELS
from blathy.models.page import page

PAGES = Path(__file__).resolve().parents[2] / "docs" / "meters"


@pytest.mark.parametrize("key", MODELS)
def test_the_page_of_a_meter_is_current(key: str) -> None:
    """Run `make docs` when this fails."""
    assert (PAGES / f"{key}.md").read_text() == page(MODELS[key])


@pytest.mark.parametrize("key", MODELS)
def test_assumed_registers_are_listed_apart(key: str) -> None:
    text = page(MODELS[key])
    before, after = text.split("## What is assumed")
    for row in MODELS[key].assumed_rows():
        assert f"| `{row.obis}` | {row.class_id} | {row.title}" in after
        assert f"| `{row.obis}` | {row.class_id} | {row.title}" not in before


def test_no_page_is_left_over() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(MODELS)
