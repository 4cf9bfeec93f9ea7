"""Readers of annotation formats: one row in `table.py`, one file each, and what they share."""
