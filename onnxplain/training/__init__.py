"""Training of localizers in PyTorch; needs the `train` extra, the rest of the package does not."""

from __future__ import annotations
