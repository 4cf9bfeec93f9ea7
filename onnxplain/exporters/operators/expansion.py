"""Expansions: operators that are differentiated through the standard nodes that they consist of.

An operator with a function body in onnx (Gelu, Mish, LogSoftmax, Attention …), or a fused operator of ONNX Runtime's
domain com.microsoft, is rewritten as standard nodes. These nodes belong to no graph. The walk goes through them instead
of the original node; the branch computes those of their values that the rules read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.defs
import onnx.helper
import onnx.inliner
import onnx.shape_inference
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import constant_of, describe, name_of
from onnxplain.exporters.operators.operator import MICROSOFT
from onnxplain.exporters.operators.quantized import write_out
from onnxplain.exporters.operators.table import operator_of


@dataclass(frozen=True)
class Expansion:
    """The nodes in execution order, and the values for the original's outputs (None: the nodes do not compute it)."""

    nodes: tuple[ir.Node, ...]
    outputs: tuple[ir.Value | None, ...]


def expand_node(node: ir.Node, opset: int) -> Expansion | None:
    """What the node is made of, or None where nothing is known; its inputs are values of the original graph."""
    expansion = _from_row(node) if is_written_out(node) else _function_body(node, opset)
    if expansion is None:
        return None
    try:
        _infer(expansion, node, opset)
    except UnsupportedError:
        let_go(expansion.nodes)
        raise
    return expansion


def is_written_out(node: ir.Node) -> bool:
    """Whether it is a fused operator, whose standard nodes are told by its row and not by onnx."""
    return node.domain == MICROSOFT or operator_of(node).made_of is not None


@contextlib.contextmanager
def expansion_of(node: ir.Node, opset: int) -> Iterator[Expansion | None]:
    """As `expand_node`, but temporary: afterwards the nodes no longer count as consumers of the graph's values."""
    expansion = expand_node(node, opset)
    try:
        yield expansion
    finally:
        if expansion is not None:
            let_go(expansion.nodes)


def let_go(nodes: Sequence[ir.Node]) -> None:
    """Remove detached nodes from the consumers of the graph's values."""
    for node in nodes:
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)


def _from_row(node: ir.Node) -> Expansion | None:
    """The standard nodes of a fused or quantized operator, from its row in the table."""
    row, recorder = operator_of(node), Branch(f"{node.outputs[0].name}/made_of")
    try:
        if row.made_of is not None:
            outputs = tuple(row.made_of(recorder, node))
        elif row.twin is not None and row.integers is not None:
            outputs = tuple(write_out(recorder, node, row.twin, row.integers))
        else:
            return None
    except UnsupportedError:
        let_go(recorder.nodes)
        raise
    return Expansion(tuple(recorder.nodes), outputs)


def _function_body(node: ir.Node, opset: int) -> Expansion | None:
    """The nodes of the operator's definition in onnx."""
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
    """The nodes of the function body, as detached nodes that read the node's own inputs."""
    if any(attr.type == onnx.AttributeProto.GRAPH for inner in function.node for attr in inner.attribute):
        raise UnsupportedError(f"no gradient for {describe(node)}: control flow in its function body")
    made = {name for inner in function.node for name in inner.output}
    unmade = [name for name in function.output if name not in made]
    positions = {name: index for index, name in enumerate(function.output)}
    for name in unmade:
        # The function body of Attention omits optional outputs that the node does not have.
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
    """An attribute of the function body; a reference to an attribute of the node is resolved."""
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
    """Infer shapes and types of the expansion's values from those of the node's inputs."""
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
            f"no gradient for {describe(node)}: shape inference failed on its function body ({error})"
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
