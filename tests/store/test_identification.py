"""The software identification covers exactly the legally relevant modules, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import blathy
from blathy.store.identification import (
    LEGALLY_RELEVANT,
    identification_of,
    short_identification,
    software_identification,
    sources,
)

PACKAGE = Path(blathy.__file__).parent


def copied(root: Path) -> Path:
    for package in (*LEGALLY_RELEVANT, "wire"):
        shutil.copytree(PACKAGE / package, root / package)
    return root


def test_one_changed_byte_in_any_relevant_file_changes_it(tmp_path: Path) -> None:
    root = copied(tmp_path / "blathy")
    before = identification_of(sources(root))
    assert before == software_identification()
    for name, _ in list(sources(root)):
        path = root / name
        original = path.read_bytes()
        path.write_bytes(original + b"\n")
        assert identification_of(sources(root)) != before, name
        path.write_bytes(original)


def test_other_modules_and_line_ends_do_not_change_it(tmp_path: Path) -> None:
    root = copied(tmp_path / "blathy")
    (root / "wire" / "new.py").write_text("x = 1\n")
    for path in (root / "registers").glob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert identification_of(sources(root)) == software_identification()


def test_an_added_file_changes_it(tmp_path: Path) -> None:
    root = copied(tmp_path / "blathy")
    (root / "store" / "extra.py").write_text("")
    assert identification_of(sources(root)) != software_identification()


def test_the_display_shows_eight_digits() -> None:
    assert len(short_identification()) == 8
    assert software_identification().upper().startswith(short_identification())
