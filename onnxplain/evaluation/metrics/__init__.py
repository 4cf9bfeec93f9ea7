"""Metrics: one row in `table.py` each, their formulas, and the statistics of their values."""
