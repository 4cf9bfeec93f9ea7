"""Building the graph of a witness (see witness.py): nodes, constants, and the inputs besides the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir

from onnxplain.errors import OnnxplainError
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.graph.values import (
    FLOATS,
    constant_of,
    dequantizer_of,
    dims,
    int_attribute,
    is_constant,
    name_of,
    per_axis,
)

FEATURES = "onnxplain/witness_features"


class WitnessBuilder:
    """Collects the nodes, constants and fed values of a witness."""

    def __init__(self, dtype: type[np.floating], opset: int) -> None:
        self._dtype = np.dtype(dtype)
        self._elem = onnx.helper.np_dtype_to_tensor_dtype(self._dtype)
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._made: set[str] = set()
        self.captured: dict[str, int] = {}
        self.held: list[str] = []

    def enter(self, layer: Layer) -> None:
        """Compute the layer's `tap`, the value at which the gradient is taken, from the features."""
        name = name_of(layer.tap)
        features = self._arranged(layer)
        if layer.tap.dtype in FLOATS:
            self.emit("Identity", [features], name)
            return
        scale, zero = scale_and_zero(dequantizer_of(layer.tap))
        self.emit("Div", [features, self.constant(scale, name, "scale")], f"{name}/scaled")
        self.emit("Add", [f"{name}/scaled", self.constant(zero, name, "zero")], name)

    def _arranged(self, layer: Layer) -> str:
        """Bring maps [N, K, h, w] into the arrangement of the layer's tensor; extra tokens are taken from the run."""
        arrangement, name = layer.arrangement, name_of(layer.tap)
        if arrangement.form == "nchw":
            return FEATURES
        if arrangement.form == "nhwc":
            self.emit("Transpose", [FEATURES], f"{name}/nhwc", perm=(0, 2, 3, 1))
            return f"{name}/nhwc"
        is_merged = arrangement.form == "chw"
        sizes = (-1, *arrangement.size_hw) if is_merged else (0, layer.channels, arrangement.positions)
        shape = np.array(sizes, np.int64)
        self._initializers[f"{name}/shape"] = onnx.numpy_helper.from_array(shape, f"{name}/shape")
        self.emit("Reshape", [FEATURES, f"{name}/shape"], f"{name}/nct")
        if is_merged:
            return f"{name}/nct"
        tokens, axis = f"{name}/nct", 2
        if arrangement.form == "ntc":
            self.emit("Transpose", [tokens], f"{name}/ntc", perm=(0, 2, 1))
            tokens, axis = f"{name}/ntc", 1
        first, last = arrangement.tokens_before, arrangement.tokens_before + arrangement.positions
        parts = [tokens]
        for side, (start, end) in enumerate(((0, first), (last, last + arrangement.tokens_after))):
            if start == end:
                continue
            bounds = []
            for role, number in (("start", start), ("end", end), ("axis", axis)):
                constant = f"{name}/{role}_{side}"
                self._initializers[constant] = onnx.numpy_helper.from_array(np.array([number], np.int64), constant)
                bounds.append(constant)
            self.emit("Slice", [self.capture(layer.tap), *bounds], f"{name}/side_{side}")
            parts.insert(0 if side == 0 else len(parts), f"{name}/side_{side}")
        self.emit("Concat", parts, f"{name}/tokens", axis=axis)
        return f"{name}/tokens"

    def add(self, node: ir.Node) -> None:
        """Append one node of the path unchanged."""
        proto = ir.to_proto(node)
        proto.input[:] = [self.input(value) for value in node.inputs]
        for entry in proto.attribute:
            if node.op_type == "Cast" and entry.name == "to" and ir.DataType(entry.i) in FLOATS:
                entry.i = self._elem
        self._nodes.append(proto)
        self._made.update(proto.output)

    def keep_choice(self, node: ir.Node) -> None:
        """Take the indices that a node chooses from the run, and for TopK the values there."""
        if node.op_type != "TopK":
            return
        values, indices = node.outputs
        if values.consumers() or values.is_graph_output():
            source = self.input(node.inputs[0])
            axis = int_attribute(node, "axis", -1)
            self.emit("GatherElements", [source, self.capture(indices)], name_of(values), axis=axis)

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The finished witness; shapes are left open."""
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self._nodes,
            "witness",
            [
                info(FEATURES, self._elem, None),
                *(info(feed_name(name), elem, None) for name, elem in self.captured.items()),
                *(info(held_name(name), self._elem, None) for name in self.held),
            ],
            [info(name, self._elem, None) for name in outputs],
            list(self._initializers.values()),
        )
        opsets = [onnx.helper.make_opsetid("", self._opset), onnx.helper.make_opsetid("com.microsoft", 1)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def input(self, value: ir.Value | None) -> str:
        """The name of an operand in the witness: a computed value, a stored constant, or an input."""
        if value is None:
            return ""
        name = name_of(value)
        if name in self._made:
            return name
        if is_constant(value):
            if name not in self._initializers:
                array = constant_of(value)
                assert array is not None
                stored = array.astype(self._dtype) if value.dtype in FLOATS else array
                self._initializers[name] = onnx.numpy_helper.from_array(np.array(stored), name)
            return name
        return self.capture(value)

    def capture(self, value: ir.Value) -> str:
        """Make a value of the whole graph an input; returns the input's name, which no node of the path computes."""
        dtype = value.dtype or ir.DataType.FLOAT
        self.captured[name_of(value)] = self._elem if is_number(dtype.numpy()) else dtype.value
        return feed_name(name_of(value))

    def hold(self, value: ir.Value) -> str:
        """Make the integers of the run a second input, moved so that no two are equal; changes are added to them."""
        self.capture(value)
        if name_of(value) not in self.held:
            self.held.append(name_of(value))
        return held_name(name_of(value))

    def constant(self, array: np.ndarray | float, prefix: str, role: str) -> str:
        """Store numbers in the precision of the witness; returns the name."""
        name = f"{prefix}/{role}"
        self._initializers[name] = onnx.numpy_helper.from_array(np.asarray(array, self._dtype), name)
        return name

    def emit(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """Append one node with one output."""
        self._nodes.append(onnx.helper.make_node(op_type, list(inputs), [output], **attributes))
        self._made.add(output)


def feed_name(name: str) -> str:
    """The input that takes a captured value."""
    return f"captured/{name}"


def held_name(name: str) -> str:
    """The input that takes a held value."""
    return f"held/{name}"


def is_number(dtype: np.dtype) -> bool:
    """Whether values of the type are activations, floats or quantized, rather than shapes and indices."""
    # The types of ml_dtypes, integers of a few bits and bfloat16, are of kind V.
    return dtype.kind in "fV" or (dtype.itemsize <= 2 and dtype.kind in "iu")


def scale_and_zero(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a quantizing node, reshaped to broadcast along its axis."""
    scale = constant_of(node.inputs[1])
    if scale is None:
        raise OnnxplainError(f"the scale of {node.name or node.op_type} is computed at run time: choose a later layer")
    zero = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero is None:
        zero = np.zeros_like(scale)
    source = node.inputs[0]
    assert source is not None
    shape = dims(source)
    return per_axis(node, scale.astype(np.float64), shape), per_axis(node, zero.astype(np.float64), shape)
