"""The control centre: reads any number of meters over their ports."""

from __future__ import annotations

from blathy.headend.head_end import HeadEnd

__all__ = ["HeadEnd"]
