"""Build hook: a wheel carries the built portal; an editable install leaves it to `make setup`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PortalBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs tools/build_portal.py before a standard wheel is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        root = Path(self.root)
        built = root / "src" / "blathy" / "headend" / "api" / "static" / "index.html"
        if version == "standard" and not built.exists():
            subprocess.run([sys.executable, str(root / "tools" / "build_portal.py")], check=True)
