"""The outputs that are added to an explainable graph: feature maps, logits, weights of the class activation map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.contract import CAM_WEIGHTS_OUTPUT, LOGITS_OUTPUT, features_output
from onnxplain.exporters.anatomy.head import NoPooledHead, PooledHead
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.roles import Roles
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.names import PREFIX, free_name
from onnxplain.exporters.graph.values import FLOATS, dequantizer_of
from onnxplain.exporters.writing.gate import flat_logits


def add_features(graph: ir.Graph, layer: Layer, batch: ir.SymbolicDim | int | None, index: int) -> ir.Value:
    """The value that becomes the output ``features/<layer>``, float32 [N, K, h, w]."""
    tap = layer.tap
    tail = Branch(f"{PREFIX}/features_{index}")
    if tap.dtype == ir.DataType.FLOAT and layer.arrangement.form == "nchw" and not tap.is_graph_output():
        value = tap
    else:
        if tap.dtype == ir.DataType.FLOAT:
            value = tail.Identity(tap) if layer.arrangement.form == "nchw" else tap
        elif tap.dtype in FLOATS:
            value = tail.Cast(tap, to=ir.DataType.FLOAT)
        else:
            # A separate DequantizeLinear, so that ONNX Runtime can still fuse the others into integer kernels.
            node = dequantizer_of(tap)
            (value,) = tail.repeat(node, list(node.inputs))
        value = layer.arrangement.to_map(tail, value, layer.channels)
        graph.extend(tail.nodes)
    free_name(graph, features_output(layer.name))
    value.name = features_output(layer.name)
    value.shape = ir.Shape([batch, layer.channels, *layer.size_hw])
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def add_logits(graph: ir.Graph, roles: Roles) -> ir.Value:
    """The logits as float32 [N, C]: the model's own output if it has this form, else computed from it."""
    if roles.logits_output is not None:
        return roles.logits_output
    tail = Branch(f"{PREFIX}/logits")
    value = flat_logits(tail, roles)
    if value is roles.logits:
        value = tail.Identity(value)
    graph.extend(tail.nodes)
    batch = roles.logits.shape[0] if roles.logits.shape is not None and len(roles.logits.shape) > 1 else 1
    value.shape, value.type = ir.Shape([batch, roles.classes]), ir.TensorType(ir.DataType.FLOAT)
    taken = {output.name for output in graph.outputs}
    value.name = LOGITS_OUTPUT if LOGITS_OUTPUT not in taken else f"{PREFIX}/{LOGITS_OUTPUT}"
    free_name(graph, value.name, keep=value)
    graph.outputs.append(value)
    return value


def add_cam_weights(graph: ir.Graph, layers: Sequence[Layer], head: PooledHead | NoPooledHead) -> str | None:
    """Make the head's weights an output; returns the name of their layer, or None if there are no such weights."""
    if isinstance(head, NoPooledHead):
        return None
    names = [layer.name for layer in layers if layer.tap is head.layer]
    if not names:
        return None
    free_name(graph, CAM_WEIGHTS_OUTPUT)
    value = _stored_weights(graph, head.weights)
    if value is None:
        value = ir.Value(
            name=CAM_WEIGHTS_OUTPUT,
            shape=ir.Shape(head.weights.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(head.weights, name=CAM_WEIGHTS_OUTPUT),
        )
        graph.register_initializer(value)
    else:
        value.name = CAM_WEIGHTS_OUTPUT
    graph.outputs.append(value)
    return names[0]


def _stored_weights(graph: ir.Graph, weights: np.ndarray) -> ir.Value | None:
    """The initializer that holds exactly these weights, so that they are not stored twice; None if there is none."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if (
            tensor is not None
            and tensor.dtype == ir.DataType.FLOAT
            and tuple(tensor.shape) == weights.shape
            and not value.is_graph_input()
            and np.array_equal(tensor.numpy(), weights)
        ):
            return value
    return None
