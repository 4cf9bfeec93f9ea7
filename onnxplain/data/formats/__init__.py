"""Readers of annotation formats: one row in `table.py` and one file for each format, and shared helpers."""
