"""The meter shows which legally relevant software it runs (WELMEC 7.2): a hash over exactly
that."""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef
from blathy.models import MODELS
from blathy.obis import Obis
from blathy.store.identification import identification_of, software_identification, sources
from tests.meter.running import call, fed, get, who


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_meter_shows_the_identification_of_what_runs(model: str) -> None:
    meter = fed(model, days=1)
    b = 1 if MODELS[model].flag == "KAM" else 0
    ref = AttributeRef(1, Obis(1, b, 0, 2, 8), 2)
    shown = axdr.decode(meter.objects.get(ref, who(meter))).value
    text = shown.decode() if isinstance(shown, bytes) else shown
    assert software_identification().upper().startswith(text)
    assert len(text) >= 8


@pytest.mark.parametrize("model", sorted(m.key for m in MODELS.values() if m.display))
def test_its_display_reaches_the_identification_by_its_button(model: str) -> None:
    meter = fed(model, days=1)
    shown = {}
    for _press in range(64):
        call(meter, 9, "0-0:10.128.0", 1, axdr.u16(1))
        face = get(meter, 1, "0-0:96.128.0", 2)
        shown[face[3]] = face[4]
    assert software_identification().upper().startswith(shown["0.2.8"])
    assert len(shown["0.2.8"]) >= 8


def test_one_changed_octet_changes_it_and_nothing_else_does() -> None:
    files = list(sources())
    assert {name.split("/")[0] for name, _ in files} == {"metrology", "registers", "store"}
    changed = [
        (name, body + b" ") if n == 3 else (name, body) for n, (name, body) in enumerate(files)
    ]
    assert identification_of(iter(files)) == software_identification()
    assert identification_of(iter(changed)) != software_identification()
