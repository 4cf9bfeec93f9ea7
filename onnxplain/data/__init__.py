"""Data sets: the record that every reader yields, and generated digits."""

from __future__ import annotations
