"""The tail file: the part of a model after the last layer. It takes feature maps and returns what the heads answer.

Methods that try many changes of the same feature maps run the tail instead of the whole network. The tail is cut out of
the prepared graph: the maps become the input, in the arrangement that the graph has, and all nodes that do not depend
on them are removed. Quantized operators stay, so that the tail rounds as the file does; float16 becomes float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from onnxplain.contract import (
    TAIL_BOX_OUTPUT,
    TAIL_FEATURES_INPUT,
    TAIL_LOGITS_OUTPUT,
    TAIL_METADATA_KEY,
    TAIL_SUFFIX,
    TailSpec,
    logits_output,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.inputs import UNBATCHED_RANK
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX, free_name
from onnxplain.exporters.graph.values import (
    FLOATS,
    dequantizer_of,
    dims,
    downstream,
    is_constant,
    maybe_dims,
    name_of,
    static_dims,
)
from onnxplain.exporters.graph.widen import widen
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on
from onnxplain.exporters.writing.seeds import to_map
from onnxplain.exporters.writing.verdicts import NoTail, TailFault

ID_DIGITS = 16
# float32 in the tail (`widen`).
WIDENED = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def tail_path(destination: Path) -> Path:
    """The path of the tail of `destination`: ``model.tail.onnx`` beside ``model.onnx``."""
    return destination.with_name(f"{destination.stem}{TAIL_SUFFIX}")


def check_tail_path(destination: Path, source: Path | None = None) -> None:
    """Raise ModelError if the tail would overwrite the source, or a file that is not a tail."""
    path = tail_path(destination)
    if not path.is_file():
        return
    if source is not None and source.exists() and path.samefile(source):
        raise ModelError(
            f"{path}: found the source file, expected a free name for the tail: give another output, or --no-tail"
        )
    try:
        known = {entry.key for entry in onnx.load(path, load_external_data=False).metadata_props}
    except Exception:  # protobuf and onnx raise many kinds of errors for other files
        known = set()
    if TAIL_METADATA_KEY not in known:
        raise ModelError(
            f"{path}: found a file that is not a tail written by onnxplain, expected no file or a tail: move it away, "
            "or use --no-tail"
        )


def cut_tail_file(
    prepared: onnx.ModelProto, layer: Layer, heads: Sequence[Head], image_name: str
) -> onnx.ModelProto | NoTail:
    """The part after the layer as a model, or the reason why the features are not enough to compute it.

    `prepared` is the graph in which `layer` and `heads` were found. Input: float32 [N, K, h, w]. Outputs: one per head,
    float32 [N, size], or [N, C, h, w] for a mask. N is symbolic if the model's batch is symbolic.
    """
    arrangement = layer.arrangement
    others = arrangement.tokens_before + arrangement.tokens_after
    if others:
        return NoTail(TailFault.MORE_TOKENS, layer.name, tokens=others)
    proto = onnx.ModelProto()
    proto.CopyFrom(prepared)
    model = ir.from_proto(proto)
    graph = model.graph
    values = {name_of(value): value for node in graph for value in node.outputs if value.name}
    values |= {name_of(value): value for value in graph.inputs}
    tap, image = values[name_of(layer.tap)], values[image_name]
    batch = None if image.shape is None else 1 if len(image.shape) == UNBATCHED_RANK else image.shape[0]
    graph.inputs.clear()
    graph.outputs.clear()

    names = _output_names(heads)
    for name in (TAIL_FEATURES_INPUT, *names):
        free_name(graph, name)
    features = ir.Value(
        name=TAIL_FEATURES_INPUT,
        shape=ir.Shape([batch, layer.channels, *layer.size_hw]),
        type=ir.TensorType(ir.DataType.FLOAT),
    )
    graph.inputs.append(features)
    entered = _enter(graph, features, tap, layer)
    _skip_copies(features)
    _tell_shapes(graph, features)
    for head, name in zip(heads, names, strict=True):
        answer = values[name_of(head.answer)]
        answer = entered if answer is tap else answer
        graph.outputs.append(_leave(graph, replace(head, value=answer), name, batch))
    passes.RemoveUnusedNodesPass()(model)
    around = _values_around(graph, features)
    if around:
        return NoTail(TailFault.GOES_AROUND, layer.name, values=around)
    model.metadata_props.clear()
    model.producer_name, graph.name = PREFIX, "tail"
    cut = widen(ir.to_proto(model))
    cut.metadata_props.add(key=TAIL_METADATA_KEY, value=_identify(cut))
    return cut


def describe_tail(tail: onnx.ModelProto, destination: Path, layer: str) -> TailSpec:
    """The metadata entry of `destination` about its tail."""
    (tail_id,) = [entry.value for entry in tail.metadata_props if entry.key == TAIL_METADATA_KEY]
    outputs = tuple(output.name for output in tail.graph.output)
    return TailSpec(file=tail_path(destination).name, id=tail_id, layer=layer, outputs=outputs)


def _identify(tail: onnx.ModelProto) -> str:
    """An id that is equal for equal tails: instrumenting a file twice writes the same bytes."""
    return hashlib.sha256(tail.SerializeToString(deterministic=True)).hexdigest()[:ID_DIGITS]


def _enter(graph: ir.Graph, features: ir.Value, tap: ir.Value, layer: Layer) -> ir.Value:
    """Make the graph read the features in place of the tap; returns what it reads."""
    branch = Branch(f"{PREFIX}/enter")
    value = features
    if layer.arrangement.form == "nhwc":
        value = branch.Transpose(value, perm=[0, 2, 3, 1])
    elif layer.arrangement.is_token_sequence:
        value = branch.Reshape(value, [0, layer.channels, layer.arrangement.positions])
        if layer.arrangement.form == "ntc":
            value = branch.Transpose(value, perm=[0, 2, 1])
    if tap.dtype in FLOATS:
        if tap.dtype not in WIDENED:
            value = branch.Cast(value, to=tap.dtype)
    else:
        value = _quantize(branch, value, tap)
    ir.convenience.replace_all_uses_with(tap, value)
    if branch.nodes:
        graph.insert_before(graph[0], branch.nodes)
    return value


def _skip_copies(features: ir.Value) -> None:
    """Have the graph read the features where it read copies of them: OpenVINO loses an input that is only copied."""
    copies = [node for node in features.consumers() if _copies(node)]
    for node in copies:
        ir.convenience.replace_all_uses_with(node.outputs[0], features)
        node.replace_input_with(0, None)
    if copies:
        _skip_copies(features)


def _copies(node: ir.Node) -> bool:
    """Dropout, Identity, and a Cast between types that `widen` makes one."""
    return hands_on(node, Hands.WHOLE) and (node.op_type != "Cast" or node.outputs[0].dtype in WIDENED)


def _quantize(branch: Branch, value: ir.Value, tap: ir.Value) -> ir.Value:
    """The integers from which the features were dequantized: features = (integers − z) · s."""
    node = dequantizer_of(tap)
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert scale is not None and tap.dtype is not None
    if zero is None:
        shape = static_dims(scale, tuple(range(len(dims(scale)))))
        zero = branch.constant(np.zeros(shape, tap.dtype.numpy()))
    quantized: ir.Value = branch.QuantizeLinear(value, scale, zero, axis=node.attributes.get_int("axis", 1))
    return quantized


def _output_names(heads: Sequence[Head]) -> list[str]:
    """``logits`` for the default head, ``box`` for its box, ``logits/<head>`` for the others."""
    names = [TAIL_LOGITS_OUTPUT, *(logits_output(head.name) for head in heads[1:])]
    if len(heads) > 1 and heads[1].kind == "box":
        names[1] = TAIL_BOX_OUTPUT
    return names


def _leave(graph: ir.Graph, head: Head, name: str, batch: ir.SymbolicDim | int | None) -> ir.Value:
    """The head's value as an output, float32 [N, size], or [N, C, h, w] for a mask."""
    branch = Branch(f"{PREFIX}/leave_{name}")
    value = head.value
    if value.dtype not in WIDENED:
        value = branch.Cast(value, to=ir.DataType.FLOAT)
    if head.kind == "mask":
        value = to_map(branch, head, value)
    elif len(maybe_dims(value) or ()) != 2:
        value = branch.Reshape(value, [-1, head.size])
    if value.is_graph_input() or value.is_graph_output():
        # The layer itself is the mask, or two heads share a value.
        value = branch.Identity(value)
    graph.extend(branch.nodes)
    value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
    value.shape = ir.Shape([batch, head.size, *(head.map_size_hw or ())])
    return value


def _tell_shapes(graph: ir.Graph, features: ir.Value) -> None:
    """If a Shape reads the batch size from a value before the layer, make it read the features instead.

    Exporters often take the batch size for a Reshape after the layer from the image.
    """
    behind = set(downstream(features))
    batch = dims(features)[0]
    for node in [node for node in graph if node.op_type == "Shape" and node not in behind]:
        source = node.inputs[0]
        shape = None if source is None else maybe_dims(source)
        if shape is None:
            continue
        asked = shape[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(shape))]
        if not all(isinstance(size, int) or size == batch for size in asked):
            continue
        branch = Branch(f"{PREFIX}/{name_of(node.outputs[0])}")
        sizes = [branch.Shape(features, start=0, end=1) if size == batch else np.array([size]) for size in asked]
        told = branch.Concat(*sizes, axis=0)
        graph.insert_before(node, branch.nodes)
        ir.convenience.replace_all_uses_with(node.outputs[0], told)


def _values_around(graph: ir.Graph, features: ir.Value) -> tuple[str, ...]:
    """Values that are needed besides the features: they do not depend on the features and are not constants."""
    behind = set(downstream(features))
    around = {
        name_of(source): None
        for node in graph
        if node in behind
        for source in node.inputs
        if source is not None and source is not features and source.producer() not in behind
        if not is_constant(source)
    }
    return tuple(around)
