"""Explain an image in one call: model, image and method name in, explanation out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from onnxplain.contract import ATTENTION_LAYER
from onnxplain.contract.expected import LONGEST_NAME, Listed, Text
from onnxplain.contract.metadata_checks import MOST_LAYERS
from onnxplain.explanations.open_model import default_method, open_model
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.opening_notes import notes

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.box import Corners
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.target import Target

_LOGGER = logging.getLogger("onnxplain")


# A string is also a sequence of strings. The first signature applies, as intended: a string is one path.
@overload
def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: ImageLike,
    method: str | None = ...,
    target: Target = ...,
    *,
    against: int | str | None = ...,
    like: ImageLike | None = ...,
    region: Corners | None = ...,
    **options: Any,
) -> Explanation: ...


@overload
def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: ImageLike,
    method: str | None = ...,
    *,
    target: list[Target] | tuple[Target, ...],
    against: int | str | None = ...,
    like: ImageLike | None = ...,
    region: Corners | None = ...,
    **options: Any,
) -> list[Explanation]: ...


@overload
def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: Iterable[ImageLike],
    method: str | None = ...,
    target: Target | Sequence[Target] = ...,
    *,
    against: int | str | None = ...,
    like: ImageLike | None = ...,
    region: Corners | None = ...,
    **options: Any,
) -> list[Explanation]: ...


def explain(
    model_or_engine: Engine | str | os.PathLike[str],
    image: ImageLike | Iterable[ImageLike],
    method: str | None = None,
    target: Target | Sequence[Target] = None,
    *,
    against: int | str | None = None,
    like: ImageLike | None = None,
    region: Corners | None = None,
    **options: Any,
) -> Explanation | list[Explanation]:
    """Explain the model's output for an image: ``explain("model.onnx", "cat.jpg").heatmap``.

    `model_or_engine`: an `Engine`, or the path of an ONNX file, which is then loaded for this call only. A plain file
    is instrumented first if the method needs it, and the copy is kept in the user's cache folder (`open_model`). The
    logger ``onnxplain`` says so (INFO). `image`: a path, a PIL image or a uint8 RGB array (H, W, 3), or any iterable of
    them for a list of explanations. `method`: one of `METHODS`; None: "grad-cam", "grad-x-attention" where the file has
    the attention of a transformer, "hires-cam" for a detector, or "rise" for a file that cannot be instrumented, which
    is logged as a warning. `options` go to the constructor, e.g. ``masks=2000`` for "rise"; for a plain file, `layer`
    is what `instrument` takes. `target`, `against`, `like` and `region`: see `Explainer`; a list of targets for one
    image gives a list of explanations.

    Raises OnnxplainError for an unknown method, option, target or image, and if the extra `export` is missing;
    UnsupportedError if the file lacks what the method needs; ModelError for a file that cannot be loaded; the errors of
    `instrument`.
    """
    from onnxplain.contract.arguments import FilePath
    from onnxplain.explainers.registry import build
    from onnxplain.runtime.engine import Engine

    if method is not None:
        Text(LONGEST_NAME, least=1).check("method", method)
    if isinstance(model_or_engine, Engine):
        engine, chosen = model_or_engine, method or default_method(model_or_engine.spec, _named_layers(options))
    else:
        FilePath("a path or an Engine").check("model_or_engine", model_or_engine)
        layers = _named_layers(options)
        asked = () if method is None else (method,)
        opened = open_model(Path(model_or_engine), asked, OpenOptions(layers=layers))
        for note in notes(opened):
            _LOGGER.log(logging.WARNING if note.warning else logging.INFO, note.text)
        engine, (chosen,) = opened.engine, opened.methods
        if layers == (ATTENTION_LAYER,):
            # Methods of maps then say which layer they need; those of attention take none.
            del options["layer"]
        elif layers:
            options["layer"] = opened.layer
    ask: Callable[..., Any] = build(chosen, engine, **options)
    found: Explanation | list[Explanation] = ask(image, target, against=against, like=like, region=region)
    return found


def _named_layers(options: Mapping[str, Any]) -> tuple[str, ...]:
    layer = options.get("layer")
    if layer is not None and not isinstance(layer, str):
        Listed(Text(LONGEST_NAME), MOST_LAYERS).check("layer", layer)
    return (layer,) if isinstance(layer, str) else tuple(layer or ())
