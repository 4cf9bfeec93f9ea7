"""Finding the values of a graph that are the image input, the logits, the scores and the box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import BOX_COORDINATES, DeclaredInput, ImageInput, StatedShape, UnreadInput, read_image_input
from onnxplain.errors import ModelError
from onnxplain.exporters.graph.values import (
    FLOATS,
    Dims,
    describe,
    maybe_dims,
    name_of,
    producer_of,
)
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on, operator_of

UNBATCHED_RANK = 3


@dataclass(frozen=True)
class Roles:
    """The values to differentiate, and the model's own outputs for them.

    `logits` is the float tensor whose entries, flattened, are the class logits. `logits_output` is the model's own
    output that holds them; None if it has to be added. `scores_output` is the output that holds probabilities. `box`
    is the float tensor of the box head, `box_output` its output.
    """

    logits: ir.Value
    classes: int
    logits_output: ir.Value | None
    scores_output: ir.Value | None
    box: ir.Value | None = None
    box_output: ir.Value | None = None

    @property
    def targets(self) -> tuple[ir.Value, ...]:
        """The values to differentiate: the logits, then the box if there is one."""
        return (self.logits,) if self.box is None else (self.logits, self.box)


def find_image_value(graph: ir.Graph, stated: StatedShape | None = None) -> tuple[ir.Value, ImageInput]:
    """The model's image input, and what is known about it. Raises ModelError if there is not exactly one."""
    if len(graph.inputs) != 1:
        listed = ", ".join(f"{value.name} {_shape_text(value)}" for value in graph.inputs)
        raise ModelError(
            f"found inputs {listed or 'none'}, expected exactly one image input: export the model with that input only"
        )
    (value,) = graph.inputs
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    image_input = read_image_input(DeclaredInput.of(name_of(value), dtype, maybe_dims(value)), stated)
    if isinstance(image_input, UnreadInput):
        raise ModelError(str(image_input))
    return value, image_input


def find_roles(graph: ir.Graph, logits: str | None = None, box: str | None = None) -> Roles:
    """Find the class logits at the end of the graph; a Softmax, reshapes and quantization may follow them.

    `logits` names an output, or any other value, to use as the logits instead. `box` names the output of the box head.
    Raises ModelError if no output, or more than one, has the shape of class logits.
    """
    box_output = _named_output(graph, box, "--box") if box is not None else None
    box_value = None
    if box_output is not None:
        box_value = _float_source(box_output)
        if not _is_box(box_output):
            raise ModelError(f"--box {box}: found shape {_shape_text(box_output)}, expected [N, 4]")
    if logits is not None:
        tip = _named_value(graph, logits)
    else:
        tips = [output for output in graph.outputs if output is not box_output and _looks_like_classes(output)]
        tip = _only_candidate(graph, tips, box_output)
    count = class_count(tip)
    if count is None:
        raise ModelError(
            f"value {tip.name!r}: found shape {_shape_text(tip)}, expected [N, C] (or [N, C, 1, 1]) with C of 2 "
            "or more: name the class logits with --logits NAME"
        )
    value, through_softmax = _behind_softmax(tip)
    is_output = tip.is_graph_output()
    plain = is_output and value is tip and value.dtype == ir.DataType.FLOAT and len(maybe_dims(tip) or ()) == 2
    return Roles(
        logits=value,
        classes=count,
        logits_output=tip if plain and not through_softmax else None,
        scores_output=tip if is_output and through_softmax else None,
        box=box_value,
        box_output=box_output,
    )


def class_count(value: ir.Value) -> int | None:
    """C if the value is [N, C] or [N, C, 1, 1] (the ones in any place after N), else None.

    In a graph that takes one image without a batch axis, it may also be [C].
    """
    behind = _per_image(value)
    if not behind or not all(isinstance(size, int) for size in behind):
        return None
    sizes = [size for size in behind if isinstance(size, int) and size != 1]
    return sizes[0] if len(sizes) == 1 else None


def _looks_like_classes(output: ir.Value) -> bool:
    return class_count(output) is not None and not _is_integer_label(output)


def _is_integer_label(output: ir.Value) -> bool:
    return output.dtype in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.STRING)


def _is_box(output: ir.Value) -> bool:
    behind = [size for size in _per_image(output) or () if size != 1]
    return behind == [BOX_COORDINATES]


def _per_image(value: ir.Value) -> Dims | None:
    """The dimensions behind the batch axis; all of them where the graph takes one image without such an axis."""
    shape, graph = maybe_dims(value), value.graph
    if shape is None or graph is None:
        return None
    unbatched = any(len(maybe_dims(image) or ()) == UNBATCHED_RANK for image in graph.inputs)
    return shape if unbatched else shape[1:]


def _only_candidate(graph: ir.Graph, tips: Sequence[ir.Value], box_output: ir.Value | None) -> ir.Value:
    listed = ", ".join(f"{output.name} {_shape_text(output)}" for output in graph.outputs)
    if not tips:
        _check_shapes_known(graph)
        raise ModelError(
            f"found outputs {listed}, expected class logits of shape [N, C]: name the class logits with --logits NAME"
        )
    if len(tips) > 1:
        hint = "" if box_output is not None else ", and the box head with --box NAME"
        raise ModelError(
            f"found outputs {listed}, expected only one of shape [N, C]: name the class logits with --logits NAME{hint}"
        )
    return tips[0]


def _check_shapes_known(graph: ir.Graph) -> None:
    """Raise ModelError with the first operator whose output shape is unknown, if an output shape depends on it."""
    if all(output.shape is not None for output in graph.outputs):
        return
    for node in graph:
        if any(output.shape is None and (output.consumers() or output.is_graph_output()) for output in node.outputs):
            domain = f"{node.domain}." if node.domain else ""
            raise ModelError(
                f"operator {domain}{node.op_type} at node {describe(node)}: the shapes of its output and of all values "
                "after it are unknown: save the file with fewer optimisations, or quantize it in the QDQ form"
            )


def _behind_softmax(tip: ir.Value) -> tuple[ir.Value, bool]:
    """The float tensor before the Softmax at the end of the graph, and whether there was one."""
    value: ir.Value = tip
    while (node := producer_of(value)) is not None and node.inputs and node.inputs[0] is not None:
        source = node.inputs[0]
        if operator_of(node).computes in ("Softmax", "LogSoftmax"):
            return _float_source(source), True
        if not hands_on(node, *Hands):
            break
        value = source
    return _float_source(tip), False


def _float_source(value: ir.Value) -> ir.Value:
    """The value itself if it is float; if it is quantized, the float value that it was quantized from."""
    while value.dtype not in FLOATS:
        node = producer_of(value)
        if node is None or node.inputs[0] is None or not hands_on(node, *Hands):
            dequantized = [reader.outputs[0] for reader in value.consumers() if reader.op_type == "DequantizeLinear"]
            if dequantized:
                return dequantized[0]
            raise ModelError(
                f"value {value.name!r}: found no floating point value that it is computed from, expected logits: "
                "name the class logits with --logits NAME"
            )
        value = node.inputs[0]
    return value


def _named_output(graph: ir.Graph, name: str, option: str) -> ir.Value:
    for output in graph.outputs:
        if output.name == name:
            return output
    raise ModelError(
        f"{option} {name}: not found, expected one of the outputs {', '.join(map(name_of, graph.outputs))}"
    )


def _named_value(graph: ir.Graph, name: str) -> ir.Value:
    for node in graph:
        for output in node.outputs:
            if output.name == name:
                return output
    raise ModelError(
        f"--logits {name}: not found, expected a value of the graph, such as one of the outputs "
        f"{', '.join(map(name_of, graph.outputs))}"
    )


def _shape_text(value: ir.Value) -> str:
    shape: Dims | None = maybe_dims(value)
    return "of unknown shape" if shape is None else "[" + ", ".join(map(str, shape)) + "]"


def element_count(value: ir.Value) -> int | None:
    """Number of elements per image; None if a size after the batch axis is symbolic."""
    shape = maybe_dims(value)
    if shape is None or not all(isinstance(size, int) for size in shape[1:]):
        return None
    return math.prod(size for size in shape[1:] if isinstance(size, int))
