"""What methods need from a model file. Each method class sets one of these as its `needs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxplain.contract import ATTENTION_LAYER, INPUT_LAYER

if TYPE_CHECKING:
    from onnxplain.contract import HeadSpec, ModelSpec


@dataclass(frozen=True)
class Need:
    """What a method needs from a file: a description, a test, and the problem and advice if it is missing.

    `layer`: the name that `instrument` takes for it, of what it does not write unless it is asked for.
    """

    what: str
    met: Callable[[ModelSpec], bool]
    otherwise: str
    layer: str | None = None


def is_compared(head: HeadSpec) -> bool:
    """Whether a head has classes or labels that can be compared."""
    return head.kind in ("classes", "labels") and head.entries > 1


SCORES = Need(
    "any model with heads",
    lambda spec: spec.detector is None,
    "the file is a detector",
)
CLASSES_OR_BOXES = Need("any model with heads or boxes", lambda spec: True, "")
PLAIN = (SCORES, CLASSES_OR_BOXES)
"""The needs that a file meets without being instrumented."""
NO_LAYER = "the file has no instrumented layer of more than one cell: run `onnxplain instrument` first"
LAYERS_OR_LEVELS = Need(
    "an instrumented layer", lambda spec: any(layer.size_hw != (1, 1) for layer in spec.layers), NO_LAYER
)
INPUT_GRADIENT = Need(
    "the instrumented layer `input`",
    lambda spec: spec.detector is None and any(layer.name == INPUT_LAYER for layer in spec.layers),
    "the file has none: run `onnxplain instrument --layer input` (for a plain file `onnxplain explain` does it)",
    INPUT_LAYER,
)
ATTENTION = Need(
    "the attention matrices of a transformer",
    lambda spec: spec.detector is None and spec.attention is not None,
    "the file has none: run `onnxplain instrument --layer attention` (for a plain file `onnxplain explain` does it)",
    ATTENTION_LAYER,
)
LAYERWISE_ATTENTION = Need(
    "the attention matrices of a transformer, and its head on the tokens of each layer",
    lambda spec: ATTENTION.met(spec) and spec.attention is not None and spec.attention.layerwise,
    "the file has none: run `onnxplain instrument --layer attention` (for a plain file `onnxplain explain` does it), "
    "which leaves it out where blocks do not end alike, in one value that the head can read",
    ATTENTION_LAYER,
)
OF_ATTENTION = (ATTENTION, LAYERWISE_ATTENTION)
"""The needs of methods of attention."""
LAYERS = Need(
    "an instrumented layer of a model with heads",
    lambda spec: spec.detector is None and LAYERS_OR_LEVELS.met(spec),
    NO_LAYER,
)
OF_LAYERS = (LAYERS, LAYERS_OR_LEVELS)
"""The needs that every instrumented file with class scores meets."""
OF_BOXES = (CLASSES_OR_BOXES, LAYERS_OR_LEVELS)
"""The needs of methods that also explain the boxes of detectors."""
POOLED = "it gives each feature map one weight for the whole image, while a box depends on a few cells"
"""Why a method of pooled gradients cannot explain boxes."""
COMPARABLE = Need(
    "an instrumented layer, and a head of at least two classes or labels",
    lambda spec: LAYERS.met(spec) and any(map(is_compared, spec.heads)),
    "none of its heads has two classes or two labels to compare",
)
LINEAR_HEAD = Need(
    "global average pooling + linear head",
    lambda spec: spec.outputs.cam_weights is not None,
    "the file has no output `cam_weights`: its head is not global average pooling + linear, or the file was not "
    "written by `onnxplain instrument`",
)
TAIL = Need(
    "a tail file",
    lambda spec: spec.tail is not None,
    "the file has none: run `onnxplain instrument` without --no-tail; if no tail is possible, its report says why",
)
