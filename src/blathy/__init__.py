"""blathy: a smart electricity meter in software, and the control centre that reads it."""

__version__ = "0.1.0"
