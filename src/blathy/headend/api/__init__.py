"""The control centre's REST interface, its stream and the portal."""

from __future__ import annotations

from blathy.headend.api.app import create_app

__all__ = ["create_app"]
