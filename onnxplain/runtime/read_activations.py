"""The outputs of a run, feature maps and gradients among them, as `Activations`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.runtime import head_scores
from onnxplain.runtime.answers import read_answers
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.geometry import Frame
from onnxplain.runtime.results import Activations
from onnxplain.runtime.sessions.many_targets import spread_row
from onnxplain.runtime.target import PREDICTED_CLASS


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
