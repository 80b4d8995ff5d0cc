"""Write the pages that are generated from tables; with --check, say which ones are not current.

Another generator joins by adding its (path, text) pairs in `pages`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from blathy.models import MODELS
from blathy.models.page import page

ROOT = Path(__file__).resolve().parent.parent


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated page with its text."""
    for key, table in MODELS.items():
        yield ROOT / "docs" / "meters" / f"{key}.md", page(table)


def main(check: bool) -> int:
    stale = [path for path, text in pages() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'not current' if check else 'written'}: {path.relative_to(ROOT)}")
    if not check:
        for path, text in pages():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
