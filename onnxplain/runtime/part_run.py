"""One run of the session on a part of a batch: the images that fit at once, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy import int64

from onnxplain.contract import LayerSpec, is_batched
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.feed import Feed, Opened
from onnxplain.runtime.head_scores import head_output, predicted_entries
from onnxplain.runtime.output_shapes import OutputShapes
from onnxplain.runtime.sessions.session import Session, run_session, with_batch_axis
from onnxplain.runtime.target import PREDICTED_CLASS


@dataclass(frozen=True, eq=False)
class PartRun:
    """Computes `output_names`, and the gradients of `layers`. It is a `Compute`.

    `aims`: the inputs ``reference`` and ``region`` with one row, or one per target; None where they are not given.
    """

    session: Session
    path: Path
    feed: Feed
    shapes: OutputShapes
    output_names: Sequence[str]
    layers: Collection[LayerSpec]
    aims: Mapping[str, FloatArray | None]

    def __call__(
        self,
        part_nchw: FloatArray,
        targets: npt.NDArray[int64],
        sizes_hw: npt.NDArray[int64],
        rows: npt.NDArray[int64],
    ) -> list[AnyArray]:
        """The outputs for images float32 (N, C, H, W). `rows`: the rows of `aims` that belong to the targets."""
        aims = {name: each if each is None or len(each) == 1 else each[rows] for name, each in self.aims.items()}
        settled = self._settled(part_nchw, targets, sizes_hw)
        opened = Opened(self.layers, frozenset(self.output_names))
        inputs = self.feed.arrays(part_nchw, settled, opened, aims, sizes_hw)
        outputs = run_session(self.session, self.path, self.output_names, inputs)
        if not is_batched(self.feed.spec.input.layout):
            added = _added_by_the_exporters(self.feed.spec.gradient_layers)
            named = zip(self.output_names, outputs, strict=True)
            outputs = [output if name in added else with_batch_axis(output) for name, output in named]
        self.shapes.check(self.output_names, outputs, len(part_nchw), len(targets))
        return outputs

    def _settled(
        self, part_nchw: FloatArray, targets: npt.NDArray[int64], sizes_hw: npt.NDArray[int64]
    ) -> npt.NDArray[int64]:
        """The targets, with the best entry of the default head for −1 where the file would take another head's.

        That costs a run without gradients.
        """
        predicted = targets == PREDICTED_CLASS
        spec = self.feed.spec
        gradients = {layer.gradients for layer in spec.gradient_layers}
        asks = self.layers or gradients.intersection(self.output_names)
        if not asks or self.feed.file_targets is None or not predicted.any():
            return targets
        head = spec.head
        inputs = self.feed.arrays(part_nchw, targets, Opened(), None, sizes_hw)
        (output,) = run_session(self.session, self.path, [head_output(head)], inputs)
        if not is_batched(self.feed.spec.input.layout):
            output = with_batch_axis(output)
        return np.where(predicted, predicted_entries(head, output), targets)


def _added_by_the_exporters(layers: Collection[LayerSpec]) -> set[str]:
    """The outputs that always have a batch axis."""
    return {name for layer in layers for name in (layer.features, layer.gradients)}
