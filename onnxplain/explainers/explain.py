"""Explain an image in one call: model, image and method name in, explanation out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from onnxplain.explainers.registry import build
from onnxplain.runtime.engine import Engine

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.target import Target


# A string is also a sequence of strings. The first signature applies, as intended: a string is one path.
@overload
def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: ImageLike,
    method: str = ...,
    target: Target = ...,
    **options: Any,
) -> Explanation: ...


@overload
def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: Iterable[ImageLike],
    method: str = ...,
    target: Target | Sequence[Target] = ...,
    **options: Any,
) -> list[Explanation]: ...


def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: ImageLike | Iterable[ImageLike],
    method: str = "grad-cam",
    target: Target | Sequence[Target] = None,
    **options: Any,
) -> Explanation | list[Explanation]:
    """Explain the model's output for an image: ``explain("model.onnx", "cat.jpg").heatmap``.

    `model_or_engine`: an `Engine`, or the path of an ONNX file, which is then loaded for this call only. `image`: a
    path, a PIL image or a uint8 RGB array (H, W, 3), or any iterable of them for a list of explanations. `method`: one
    of `METHODS`; `options` go to its constructor, e.g. ``masks=2000`` for "rise". `target`: see `Explainer`.
    Raises OnnxplainError for an unknown method, option, target or image, UnsupportedError if the file lacks what the
    method needs, ModelError for a file that cannot be loaded.
    """
    engine = model_or_engine if isinstance(model_or_engine, Engine) else Engine(model_or_engine)
    return build(method, engine, **options)(image, target)  # type: ignore[arg-type]
