"""The README's commands run and print what it says; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.console import Console, steps_of
from tests.free_ports import free_port

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_the_blocks_run_and_print_what_they_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text()
    port = free_port()
    console, ran = Console(tmp_path, port), []
    try:
        for language, block in re.findall(r"```(console|python)\n(.*?)```", text, re.DOTALL):
            if language == "python":
                exec(block.replace("4059", str(port)), {})
                assert capsys.readouterr().out.startswith("20")
                ran.append(language)
                continue
            for step in steps_of(block):
                console.run(step)
                ran.append(language)
    finally:
        console.close()
    assert ran.count("console") >= 4
    assert ran.count("python") >= 1


@pytest.mark.parametrize("page", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = set(LINK.findall(index.read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - linked == set()


def test_every_verb_is_in_the_docs() -> None:
    from blathy.cli.verbs import VERBS

    text = "\n".join(page.read_text() for page in DOCS)
    missing = [verb for verb in VERBS if f"blathy {verb}" not in text]
    assert missing == []
