"""Which module holds which verb. A module registers its commands on `cli.app.app` when imported;
only the one that is called is, so that `blathy --version` stays quick."""

from __future__ import annotations

from importlib import import_module
from typing import Final

VERBS: Final[dict[str, str]] = {
    "explain": "blathy.cli.explain",
    "requirements": "blathy.cli.requirements",
    "up": "blathy.cli.up",
    "town": "blathy.cli.town",
    "type-test": "blathy.cli.type_test",
    "doctor": "blathy.cli.doctor",
    "meter": "blathy.cli.meter",
    "model": "blathy.cli.model",
    "clone": "blathy.cli.clone",
    "objects": "blathy.cli.objects",
    "profile": "blathy.cli.profile",
    "read": "blathy.cli.read",
    "measure": "blathy.cli.measure",
    "en50160": "blathy.cli.en50160",
    "listen": "blathy.cli.listen",
    "readout": "blathy.cli.readout",
    "record": "blathy.cli.record",
    "replay": "blathy.cli.record",
}


def load_verbs(arguments: list[str]) -> None:
    """Import the module of the verb in `arguments`, or all of them (for the list of `--help`)."""
    asked = next((VERBS[word] for word in arguments[:1] if word in VERBS), None)
    if asked is None and arguments[:1] == ["--version"]:
        return
    for name in (asked,) if asked else dict.fromkeys(VERBS.values()):
        import_module(name)
