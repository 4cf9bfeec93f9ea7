"""Explain ONNX image models: the predicted class, a box around the object, and a heatmap of the evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.version import __version__

if TYPE_CHECKING:
    from onnxplain.explainers.registry import methods
    from onnxplain.explanations.explain import explain
    from onnxplain.runtime import Engine, load_image

__all__ = ["Engine", "OnnxplainError", "__version__", "explain", "load_image", "methods"]

_LAZY = {
    "Engine": "onnxplain.runtime",
    "explain": "onnxplain.explanations.explain",
    "load_image": "onnxplain.runtime",
    "methods": "onnxplain.explainers.registry",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that importing the package does no work."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
