"""Another default head for an explainable file, which counts its targets in the order in which it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnxplain.contract import HeadSpec, ModelSpec, Numbering, StatedHead, order_heads, stated_default
from onnxplain.errors import ModelError
from onnxplain.runtime.target import PREDICTED_CLASS


@dataclass(frozen=True, eq=False)
class FileTargets:
    """The targets as the file counts them. `numbers`: int64, of each target of the spec the file's own."""

    numbers: npt.NDArray[np.int64]

    def of(self, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The file's own numbers; −1 stays, and means the best entry of the default head that was written."""
        return np.where(targets == PREDICTED_CLASS, PREDICTED_CLASS, self.numbers[targets])


def choose_default(spec: ModelSpec, stated: Sequence[StatedHead]) -> tuple[ModelSpec, FileTargets | None]:
    """The spec of an explainable file with the default head that the user states, and the file's own numbers.

    The numbers are None where the order of the heads stays. Class activation maps belong to the default head that was
    written, so another one has none. Raises ModelError for a head that the file lacks, or has as another kind.
    """
    owners = {output: head for head in spec.heads for output in (head.logits, head.scores, head.name)}
    for each in stated:
        head = owners.get(each.name)
        if head is None or each.kind not in (None, head.kind):
            listed = ", ".join(f"{head.name} ({head.kind})" for head in spec.heads)
            raise ModelError(
                f"head {each.name}: found an explainable file, whose heads are fixed: {listed}; expected one of "
                "them, of the same kind, or the original file"
            )
    chosen = stated_default(stated)
    if chosen is None or owners[chosen] is spec.head:
        return spec, None
    default = owners[chosen]
    heads = order_heads(spec.heads, default.name)
    positions = [spec.heads.index(head) for head in heads]
    tail = spec.tail
    if tail is not None:
        tail = replace(tail, outputs=tuple(tail.outputs[position] for position in positions))
    return replace(spec, heads=heads, cam=None, tail=tail), FileTargets(_numbers(spec.heads, heads))


def _numbers(written: tuple[HeadSpec, ...], heads: tuple[HeadSpec, ...]) -> npt.NDArray[np.int64]:
    """The number in the file of each target: `written`, the heads in its order; `heads`, in that of the spec."""
    file = Numbering(written)
    return np.array([file.target(head, entry) for head in heads for entry in range(head.entries)], np.int64)
