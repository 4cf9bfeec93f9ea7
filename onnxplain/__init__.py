"""What is it, where, and why does the model say so: boxes and heatmaps for images from ONNX models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.version import __version__

if TYPE_CHECKING:
    import os

    from onnxplain.explainers import Explanation
    from onnxplain.runtime import Engine, ImageLike, load_image

__all__ = ["Engine", "OnnxplainError", "__version__", "explain", "load_image"]

_FROM_RUNTIME = ("Engine", "load_image")


def explain(
    model_or_engine: str | os.PathLike[str] | Engine,
    image: ImageLike,
    method: str = "grad-cam",
    target: int | str | None = None,
    **options: Any,
) -> Explanation:
    """Why the model says so: the heatmap of one image, in one call.

    `image` is a path, a PIL image or a uint8 RGB array (H, W, 3); `target` a class index, a label or
    ``box:0`` … ``box:3``, None for the class that the model predicts; `options` are those of the method. For
    more than one image, make the `Engine` once. Raises OnnxplainError for an unknown method, target or
    option, UnsupportedError where the file lacks what the method needs.
    """
    from onnxplain.explainers import build
    from onnxplain.runtime import Engine

    engine = model_or_engine if isinstance(model_or_engine, Engine) else Engine(model_or_engine)
    return build(method, engine, **options)(image, target)


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that importing the package does no work."""
    if name in _FROM_RUNTIME:
        from onnxplain import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
