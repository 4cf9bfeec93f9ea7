"""The part of a graph between a layer and the outputs, cut out so that it can be evaluated on its own.

It is the independent witness of the gradients: evaluated forward in float64 on onnx's reference evaluator, its
directional derivative is a finite difference that shares no code with the rules. Quantizing operators become
what straight-through means: q = q₀ + [q₀ not saturated] · (x − x₀) / s, around the values q₀ and x₀ of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import onnx_ir as ir
from onnx.reference.op_run import OpRun

from onnxplain.errors import OnnxplainError
from onnxplain.exporters.differentiate import path_between
from onnxplain.exporters.layers import Layer, multiply_adds
from onnxplain.exporters.roles import Roles
from onnxplain.exporters.rules.quantization import quantized_range
from onnxplain.exporters.session import GraphSession
from onnxplain.exporters.values import FLOATS, constant_of, dequantizer_of, dims, is_constant, name_of, per_axis

FEATURES = "onnxplain/tail_features"
REFERENCE_MAC_LIMIT = 400_000_000


class Erf(OpRun):
    """Erf in the precision of its input; onnx's reference evaluator rounds it to float32."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        from scipy.special import erf

        return (erf(x),)


@dataclass(frozen=True)
class Tail:
    """Features in, flattened logits (and box) out, in `dtype`.

    `captured` names the values of the whole graph that must be fed besides the features: side inputs of the
    path, and inputs and outputs of its quantizing operators.
    """

    proto: onnx.ModelProto
    dtype: type[np.floating]
    captured: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]

    def evaluate(self, features: np.ndarray, captured: Mapping[str, np.ndarray]) -> np.ndarray:
        """float (N, C) or (N, C + 4): logits, then the box."""
        feeds = {FEATURES: features.astype(self.dtype)}
        for name in self.captured:
            array = captured[name]
            feeds[_feed_name(name)] = array.astype(self.dtype) if _is_number(array.dtype) else array
        if self.dtype is np.float64:
            results = onnx.reference.ReferenceEvaluator(self.proto, new_ops=[Erf]).run(None, feeds)
        else:
            results = list(GraphSession(self.proto, "part behind the layer").run(feeds, self.outputs).values())
        rows = len(features)
        return np.concatenate([np.asarray(result).reshape(rows, -1) for result in results], axis=1)


def cut_tail(layer: Layer, roles: Roles, opset: int) -> Tail:
    """Cut out what lies between the layer and the logits (and the box, where there is one)."""
    targets = [roles.logits] if roles.box is None else [roles.logits, roles.box]
    path = path_between(layer.tap, targets)
    small = sum(multiply_adds(node) for node in path) <= REFERENCE_MAC_LIMIT
    dtype: type[np.floating] = np.float64 if small else np.float32
    builder = _TailBuilder(dtype, opset)
    builder.enter(layer)
    for node in path:
        builder.add(node)
    return Tail(
        builder.model([name_of(target) for target in targets]),
        dtype,
        tuple(builder.captured),
        tuple(name_of(target) for target in targets),
        tuple(dict.fromkeys(node.op_type for node in path)),
    )


def in_float32(tail: Tail) -> Tail:
    """The same tail for ONNX Runtime, where the reference evaluator cannot run it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(tail.proto)
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float64:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in proto.graph.node:
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i == onnx.TensorProto.DOUBLE:
                entry.i = onnx.TensorProto.FLOAT
    return Tail(proto, np.float32, tail.captured, tail.outputs, tail.operators)


class _TailBuilder:
    def __init__(self, dtype: type[np.floating], opset: int) -> None:
        self._dtype = np.dtype(dtype)
        self._elem = onnx.helper.np_dtype_to_tensor_dtype(self._dtype)
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._made: set[str] = set()
        self.captured: dict[str, int] = {}

    def enter(self, layer: Layer) -> None:
        """The value that the gradient is taken at, from the features."""
        name = name_of(layer.tap)
        features = self._arranged(layer)
        if layer.tap.dtype in FLOATS:
            self._emit("Identity", [features], name)
            return
        scale, zero = _scale_and_zero(dequantizer_of(layer.tap))
        self._emit("Div", [features, self._constant(scale, name, "scale")], f"{name}/scaled")
        self._emit("Add", [f"{name}/scaled", self._constant(zero, name, "zero")], name)

    def _arranged(self, layer: Layer) -> str:
        """Maps [N, K, h, w] as the layer's own tensor holds them; its other tokens are those of the run."""
        arrangement, name = layer.arrangement, name_of(layer.tap)
        if arrangement.form == "nchw":
            return FEATURES
        if arrangement.form == "nhwc":
            self._emit_transpose(FEATURES, (0, 2, 3, 1), f"{name}/nhwc")
            return f"{name}/nhwc"
        shape = np.array([0, layer.channels, arrangement.positions], np.int64)
        self._initializers[f"{name}/shape"] = onnx.numpy_helper.from_array(shape, f"{name}/shape")
        self._emit("Reshape", [FEATURES, f"{name}/shape"], f"{name}/nct")
        tokens, axis = f"{name}/nct", 2
        if arrangement.form == "ntc":
            self._emit_transpose(tokens, (0, 2, 1), f"{name}/ntc")
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
            self._emit("Slice", [self._capture(layer.tap), *bounds], f"{name}/side_{side}")
            parts.insert(0 if side == 0 else len(parts), f"{name}/side_{side}")
        self._nodes.append(onnx.helper.make_node("Concat", parts, [f"{name}/tokens"], axis=axis))
        return f"{name}/tokens"

    def _emit_transpose(self, source: str, perm: tuple[int, ...], output: str) -> None:
        self._nodes.append(onnx.helper.make_node("Transpose", [source], [output], perm=perm))
        self._made.add(output)

    def add(self, node: ir.Node) -> None:
        """Append one node of the path, quantizing ones as straight-through."""
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
            return
        if node.op_type == "DequantizeLinear":
            self._dequantize(node)
            return
        proto = ir.to_proto(node)
        proto.input[:] = [self._input(value) for value in node.inputs]
        for entry in proto.attribute:
            if node.op_type == "Cast" and entry.name == "to" and ir.DataType(entry.i) in FLOATS:
                entry.i = self._elem
        self._nodes.append(proto)
        self._made.update(proto.output)

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The finished tail; shapes are left open."""
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self._nodes,
            "tail",
            [
                info(FEATURES, self._elem, None),
                *(info(_feed_name(name), elem, None) for name, elem in self.captured.items()),
            ],
            [info(name, self._elem, None) for name in outputs],
            list(self._initializers.values()),
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self._opset)], ir_version=10)

    def _quantize(self, node: ir.Node) -> None:
        source, out = node.inputs[0], node.outputs[0]
        assert source is not None
        q, prefix = name_of(out), f"{name_of(out)}/straight"
        low, high = quantized_range(out.dtype)
        scale, _ = _scale_and_zero(node)
        x0, q0 = self._capture(source), self._capture(out)
        self._emit("Greater", [q0, self._constant(low, prefix, "low")], f"{prefix}/above")
        self._emit("Less", [q0, self._constant(high, prefix, "high")], f"{prefix}/below")
        self._emit("And", [f"{prefix}/above", f"{prefix}/below"], f"{prefix}/inside")
        self._emit("Sub", [self._input(source), x0], f"{prefix}/dx")
        self._emit("Div", [f"{prefix}/dx", self._constant(scale, prefix, "scale")], f"{prefix}/dq")
        zero = self._constant(0.0, prefix, "none")
        self._emit("Where", [f"{prefix}/inside", f"{prefix}/dq", zero], f"{prefix}/passed")
        self._emit("Add", [q0, f"{prefix}/passed"], q)

    def _dequantize(self, node: ir.Node) -> None:
        y = name_of(node.outputs[0])
        scale, zero = _scale_and_zero(node)
        self._emit("Sub", [self._input(node.inputs[0]), self._constant(zero, y, "zero")], f"{y}/centred")
        self._emit("Mul", [f"{y}/centred", self._constant(scale, y, "scale")], y)

    def _input(self, value: ir.Value | None) -> str:
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
        return self._capture(value)

    def _capture(self, value: ir.Value) -> str:
        """Have a value of the whole graph fed, under a name that the path does not compute."""
        dtype = value.dtype or ir.DataType.FLOAT
        self.captured[name_of(value)] = self._elem if _is_number(dtype.numpy()) else dtype.value
        return _feed_name(name_of(value))

    def _constant(self, array: np.ndarray | float, prefix: str, role: str) -> str:
        name = f"{prefix}/{role}"
        self._initializers[name] = onnx.numpy_helper.from_array(np.asarray(array, self._dtype), name)
        return name

    def _emit(self, op_type: str, inputs: Sequence[str], output: str) -> None:
        self._nodes.append(onnx.helper.make_node(op_type, list(inputs), [output]))
        self._made.add(output)


def _feed_name(name: str) -> str:
    return f"captured/{name}"


def _is_number(dtype: np.dtype) -> bool:
    """Whether values of the type are activations, floats or quantized, rather than shapes and indices."""
    return dtype.kind == "f" or (dtype.itemsize <= 2 and dtype.kind in "iu")


def _scale_and_zero(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a quantizing node, shaped to broadcast along its axis."""
    scale = constant_of(node.inputs[1])
    if scale is None:
        raise OnnxplainError(f"the scale of {node.name or node.op_type} is computed at run time: choose a later layer")
    zero = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero is None:
        zero = np.zeros_like(scale)
    source = node.inputs[0]
    assert source is not None
    rank = len(dims(source))
    return per_axis(node, scale.astype(np.float64), rank), per_axis(node, zero.astype(np.float64), rank)
