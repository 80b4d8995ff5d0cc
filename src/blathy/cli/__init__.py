"""The command line: one module per verb family."""

from blathy.cli.app import main

__all__ = ["main"]
