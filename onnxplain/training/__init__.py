"""Training of the localizers in PyTorch (the `train` extra); everything else runs without it."""

from __future__ import annotations
