"""Training of localizers, and of networks of labels or a number, in PyTorch.

It needs the `train` extra; the rest of the package does not.
"""

from __future__ import annotations
