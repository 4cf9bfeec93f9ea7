"""The outputs of a run, feature maps and gradients among them, as `Activations`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.runtime import head_scores
from onnxplain.runtime.answers import read_answers
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.heads.aims import check_reference, check_region
from onnxplain.runtime.image import is_image
from onnxplain.runtime.results import Activations
from onnxplain.runtime.sessions.many_targets import spread_row
from onnxplain.runtime.target import PREDICTED_CLASS, Target, is_list, resolve_targets

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike


def observe(
    engine: Engine,
    images: ImageLike | Iterable[ImageLike],
    target: Target | Sequence[Target],
    layers: Sequence[LayerSpec],
    *,
    gradients: bool,
    reference: npt.ArrayLike | None = None,
    region: npt.ArrayLike | None = None,
) -> list[Activations]:
    """Those of several entries of ``spec.layers`` or ``spec.attention.layers``, from one run.

    The arguments are those of `Engine.activations`.
    """
    spec = engine.spec
    several = list(target) if is_image(images) and is_list(target) else None
    batch = engine.prepare(images)
    targets = resolve_targets(spec, target, count := len(several or batch.frames))
    aims = check_reference(spec, reference, count), check_region(spec, region, count)
    kinds = [[each.features, *([each.gradients] if gradients else [])] for each in layers]
    names = [*engine.head_outputs, *(name for kind in kinds for name in kind)]
    sizes = batch.image_sizes_hw if spec.extra_inputs else None
    given = {"reference": aims[0], "region": aims[1], "image_sizes_hw": sizes}
    beside = {name: value for name, value in given.items() if value is not None}
    asked = [each.name for each in layers if each in spec.layers] if gradients else None
    found = engine.run(batch.pixels, names, targets, asked, **beside)
    frames = batch.frames * (1 if several is None else count)
    outputs = dict(zip(names, found, strict=True))
    answers = [outputs[name] for name in engine.head_outputs]
    return [
        read_activations(spec, each, [*answers, *(outputs[name] for name in kind)], targets, aims, frames)
        for each, kind in zip(layers, kinds, strict=True)
    ]


def read_activations(
    spec: ModelSpec,
    layer: LayerSpec,
    outputs: Sequence[AnyArray],
    targets: npt.NDArray[np.int64],
    aims: tuple[FloatArray | None, FloatArray | None],
    frames: Sequence[Frame],
) -> Activations:
    """A row for each target.

    `outputs`: those of the heads, the features, and the gradients if they were asked for. They have a row per image, or
    one row for several targets of one image. `aims`: reference and region of each target, as `Engine.run` takes them.
    `frames`: one per target.
    """
    heads, head, count = spec.heads, spec.head, len(targets)
    answered, seen = [spread_row(output, count) for output in outputs[: len(heads)]], outputs[len(heads) :]
    images = len(outputs[0])
    answers = read_answers(heads, outputs[: len(heads)], frames[:images])
    entries = head_scores.entry_scalars(heads, answered, *aims)
    scores = head_scores.entry_scores(heads, answered, *aims)
    return Activations(
        layer=layer,
        features=spread_row(seen[0], count),
        gradients=seen[1] if len(seen) > 1 else None,
        logits=entries[:, : head.entries] if head.logits else None,
        scores=scores[:, : head.entries],
        target=np.where(targets == PREDICTED_CLASS, head_scores.predicted_entries(head, answered[0]), targets),
        frames=tuple(frames),
        entries=entries,
        entry_scores=scores,
        answers=tuple(answers * (count // images)),
    )
