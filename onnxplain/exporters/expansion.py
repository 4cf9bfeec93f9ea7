"""Operators that are differentiated through what they are made of.

An operator with a function body in onnx (Gelu, Mish, LogSoftmax, Attention …) and ONNX Runtime's fused operators of
the domain com.microsoft become standard nodes that belong to no graph: a shadow of the original. The walk goes through
the shadow; the branch computes of it what the rules read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.defs
import onnx.helper
import onnx.inliner
import onnx.shape_inference
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.branch import Branch
from onnxplain.exporters.values import attribute, constant_of, describe, name_of

Fused = Callable[[Branch, ir.Node], Sequence[ir.Value | None]]


@dataclass(frozen=True)
class Expansion:
    """Nodes in the order of execution, and the values that stand for the original's outputs (None: not made)."""

    nodes: tuple[ir.Node, ...]
    outputs: tuple[ir.Value | None, ...]


def expand_node(node: ir.Node, opset: int) -> Expansion | None:
    """What the node is made of, or None where nothing is known; its inputs are values of the original graph."""
    if node.domain == "com.microsoft":
        fused = FUSED.get(node.op_type)
        if fused is None:
            return None
        recorder = Branch(f"{node.outputs[0].name}/made_of")
        outputs = tuple(fused(recorder, node))
        expansion = Expansion(tuple(recorder.nodes), outputs)
    else:
        body = _function_body(node, opset)
        if body is None:
            return None
        expansion = body
    _infer(expansion, node, opset)
    return expansion


def _function_body(node: ir.Node, opset: int) -> Expansion | None:
    """The nodes of onnx's own definition of the operator."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    proto = ir.to_proto(node)
    if schema.has_function:  # type: ignore[attr-defined]
        function = schema.function_body
    elif schema.has_context_dependent_function:  # type: ignore[attr-defined]
        types = [type_proto(source).SerializeToString() for source in node.inputs]
        text = schema.get_context_dependent_function(  # type: ignore[attr-defined]
            proto.SerializeToString(), types
        )
        function = onnx.FunctionProto()
        function.ParseFromString(text)
    else:
        return None
    defaults = {
        name: ir.serde.deserialize_attribute(formal.default_value)
        for name, formal in schema.attributes.items()
        if formal.default_value.name
    }
    return _instantiate(function, node, defaults)


def _instantiate(function: onnx.FunctionProto, node: ir.Node, defaults: Mapping[str, ir.Attr]) -> Expansion:
    """The body's nodes as detached nodes on the node's own inputs."""
    if any(attr.type == onnx.AttributeProto.GRAPH for inner in function.node for attr in inner.attribute):
        raise UnsupportedError(f"no gradient for {describe(node)}: control flow in its function body")
    made = {name for inner in function.node for name in inner.output}
    unmade = [name for name in function.output if name not in made]
    positions = {name: index for index, name in enumerate(function.output)}
    for name in unmade:
        # Attention's body leaves out optional outputs that its node does not have.
        function.output.remove(name)
    body = ir.serde.deserialize_function(function)
    prefix = f"{node.outputs[0].name}/made_of"
    values: dict[ir.Value, ir.Value | None] = {}
    for position, formal in enumerate(body.inputs):
        values[formal] = node.inputs[position] if position < len(node.inputs) else None
    given = {**defaults, **node.attributes}
    nodes: list[ir.Node] = []
    for inner in body:
        copy = ir.Node(
            inner.domain,
            inner.op_type,
            [None if source is None else values[source] for source in inner.inputs],
            attributes=[bound for attr in inner.attributes.values() if (bound := _bound(attr, given)) is not None],
            num_outputs=len(inner.outputs),
            name=f"{prefix}/{inner.op_type}_{len(nodes)}",
        )
        for old, new in zip(inner.outputs, copy.outputs, strict=True):
            new.name = f"{prefix}/{old.name}"
            values[old] = new
        nodes.append(copy)
    outputs: list[ir.Value | None] = [None] * max(len(positions), len(node.outputs))
    for name, formal in zip(function.output, body.outputs, strict=True):
        outputs[positions[name]] = values[formal]
    return Expansion(tuple(nodes), tuple(outputs[: len(node.outputs)]))


def _bound(attr: ir.Attr, given: Mapping[str, ir.Attr]) -> ir.Attr | None:
    """An attribute of the body, references to the node's own attributes resolved."""
    if not attr.is_ref():
        return attr
    found = given.get(attr.ref_attr_name or "")
    return None if found is None else ir.Attr(attr.name, found.type, found.value)


def type_proto(value: ir.Value | None) -> onnx.TypeProto:
    """The value's type and shape as protobuf, as far as they are known."""
    if value is None or value.dtype is None:
        return onnx.TypeProto()
    shape = None if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return onnx.helper.make_tensor_type_proto(value.dtype.value, shape)


def _infer(expansion: Expansion, node: ir.Node, opset: int) -> None:
    """Shapes and types of the shadow's values, from those of the node's inputs."""
    made = {output for inner in expansion.nodes for output in inner.outputs}
    sources = {
        name_of(source): source
        for inner in expansion.nodes
        for source in inner.inputs
        if source is not None and source not in made
    }
    initializers = []
    inputs = []
    for name, source in sources.items():
        array = constant_of(source)
        if array is not None and array.size <= 1024:
            initializers.append(onnx.numpy_helper.from_array(array, name))
        else:
            inputs.append(onnx.helper.make_value_info(name, type_proto(source)))
    graph = onnx.helper.make_graph(
        [ir.to_proto(inner) for inner in expansion.nodes],
        "made_of",
        inputs,
        [onnx.ValueInfoProto(name=name_of(output)) for output in expansion.outputs if output is not None],
        initializers,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        raise UnsupportedError(
            f"no gradient for {describe(node)}: its function body has no shapes ({error})"
        ) from error
    known = {info.name: info for info in (*inferred.value_info, *inferred.output)}
    for value in made:
        info = known.get(name_of(value))
        if info is None or not info.type.HasField("tensor_type"):
            continue
        value.dtype = ir.DataType(info.type.tensor_type.elem_type)
        if info.type.tensor_type.HasField("shape"):
            value.shape = ir.Shape(
                [
                    dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                    for dim in info.type.tensor_type.shape.dim
                ]
            )
    for output, own in zip(expansion.outputs, node.outputs, strict=False):
        if output is not None and own.shape is not None and own.dtype is not None:
            output.shape, output.dtype = own.shape, own.dtype


def _fused_conv(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Conv, a sum with a fourth input, an activation."""
    own = {"activation", "activation_params"}
    attributes = {name: attr.value for name, attr in node.attributes.items() if name not in own}
    (value,) = op.emit("Conv", list(node.inputs[:3]), attributes)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        value = op.Add(value, node.inputs[3])
    activation = attribute(node, "activation", "")
    parameters = [float(p) for p in node.attributes.get_floats("activation_params", ())]
    if activation == "Clip":
        value = op.Clip(value, parameters[0], parameters[1])
    elif activation in ("LeakyRelu", "Elu"):
        value = getattr(op, activation)(value, alpha=parameters[0])
    elif activation == "HardSigmoid":
        value = op.HardSigmoid(value, alpha=parameters[0], beta=parameters[1])
    elif activation in ("Relu", "Sigmoid", "Tanh"):
        value = getattr(op, str(activation))(value)
    elif activation:
        raise UnsupportedError(f"no gradient for {describe(node)}: its activation {activation}")
    return [value]


def _gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · (1 + erf(x / √2)) / 2."""
    return [_erf_gelu(op, node.inputs[0])]


def _bias_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Gelu of x + bias."""
    return [_erf_gelu(op, op.Add(node.inputs[0], node.inputs[1]))]


def _erf_gelu(op: Branch, x: ir.Value | None) -> ir.Value:
    return op.Mul(x, op.Mul(op.Add(op.Erf(op.Mul(x, 0.7071067811865476)), 1.0), 0.5))


def _fast_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 of x + bias."""
    x = node.inputs[0]
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        x = op.Add(x, node.inputs[1])
    cubic = op.Add(x, op.Mul(op.Mul(op.Mul(x, x), x), 0.044715))
    return [op.Mul(x, op.Mul(op.Add(op.Tanh(op.Mul(cubic, 0.7978845608028654)), 1.0), 0.5))]


def _quick_gelu(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """x · sigmoid(α x)."""
    alpha = attribute(node, "alpha", 1.702)
    assert isinstance(alpha, float)
    return [op.Mul(node.inputs[0], op.Sigmoid(op.Mul(node.inputs[0], alpha)))]


def _skip_layer_normalization(op: Branch, node: ir.Node) -> Sequence[ir.Value | None]:
    """LayerNormalization of input + skip + bias; the fourth output is that sum."""
    x, skip, gamma, beta, bias = (*node.inputs, None, None)[:5]
    total = op.Add(x, skip)
    if bias is not None:
        total = op.Add(total, bias)
    epsilon = attribute(node, "epsilon", 1e-12)
    operands = [total, gamma, *([] if beta is None else [beta])]
    return [op.LayerNormalization(*operands, axis=-1, epsilon=epsilon), None, None, total][: len(node.outputs)]


def _fused_matmul(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """α · A′B′, the last two axes of either swapped."""
    operands = []
    for source, flag in zip(node.inputs, ("transA", "transB"), strict=False):
        assert source is not None and source.shape is not None
        rank = len(source.shape)
        if attribute(node, flag, 0):
            operands.append(op.Transpose(source, perm=[*range(rank - 2), rank - 1, rank - 2]))
        else:
            operands.append(source)
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        raise UnsupportedError(f"no gradient for {describe(node)}: transBatchA or transBatchB")
    alpha = attribute(node, "alpha", 1.0)
    assert isinstance(alpha, float)
    return [op.Mul(op.MatMul(*operands), alpha)]


FUSED: Mapping[str, Fused] = {
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "FusedConv": _fused_conv,
    "FusedMatMul": _fused_matmul,
    "Gelu": _gelu,
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_normalization,
}
