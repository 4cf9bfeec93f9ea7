"""How heat is drawn unless something else is asked for."""

from __future__ import annotations

DEFAULT_COLORMAP = "inferno"
# Readable with every kind of colour vision: their lightness grows with the heat.
COLOUR_BLIND_SAFE = ("inferno", "magma", "viridis", "cividis")

DEFAULT_ALPHA = 0.7
