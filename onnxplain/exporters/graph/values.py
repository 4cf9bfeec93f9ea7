"""Reading what is known about a value of a graph: its dimensions, its constant content, its producer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import onnx_ir as ir

from onnxplain.errors import ModelError, UnboundedLoopError
from onnxplain.exporters.graph.loops import BOUND_IT, NO_BOUND, first_unbounded
from onnxplain.exporters.graph.session import GraphSession

Dims = tuple[int | str, ...]

# A dimension without a name: two of them need not be equal.
UNKNOWN = "?"

# The domain of the standard ONNX operators, which has two names.
STANDARD = ("", "ai.onnx")
# Of a graph without a standard operator; one that has integers of 4 bits.
_ANY_OPSET = 21

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16})


def name_of(value: ir.Value) -> str:
    """The value's name; every value of a loaded file has one."""
    if value.name is None:
        raise ModelError("found a value without a name, expected one: the file is malformed, export it again")
    return value.name


def producer_of(value: ir.Value) -> ir.Node | None:
    """The node that computes the value; None for graph inputs and initializers."""
    return value.producer()


def describe(node: ir.Node) -> str:
    """The node in messages: its operator, then its name, or the name of its first output."""
    return f"{node.op_type} {node.name or node.outputs[0].name!r}"


def maybe_dims(value: ir.Value) -> Dims | None:
    """The value's dimensions, symbols as text (`UNKNOWN` for unnamed ones); None if even the rank is unknown."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else (dim.value or UNKNOWN) for dim in value.shape)


def dims(value: ir.Value) -> Dims:
    """As `maybe_dims`, but an unknown rank is an error that says where it was lost."""
    found = maybe_dims(value)
    if found is None:
        raise _unknown(f"the shape of value {value.name!r}", value)
    return found


def static_dims(value: ir.Value, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The given dimensions as numbers; an error that says what is open where one is not."""
    shape = dims(value)
    sizes = []
    for axis in axes:
        size = shape[axis]
        if not isinstance(size, int):
            raise _unknown(f"dimension {axis} ({size}) of value {value.name!r}", value)
        sizes.append(size)
    return tuple(sizes)


def _unknown(what: str, value: ir.Value) -> ModelError:
    """The error for a size that is needed and not known: an open input, or the operator that loses it."""
    nodes = list(upstream(value))
    read = {source for node in nodes for source in node.inputs if source is not None} | {value}
    for source in read:
        shape = maybe_dims(source)
        if not source.is_graph_input() or shape is None:
            continue
        open_axes = [axis for axis, size in enumerate(shape) if axis > 0 and not isinstance(size, int)]
        if open_axes:
            return ModelError(
                f"{what} is not known: input {source.name!r} {_listed(shape)} is open in dimension "
                f"{' and '.join(map(str, open_axes))}: give the image's size with --size HxW"
            )
    # Sizes are not looked for in a graph that may never end.
    loop = first_unbounded(nodes[0].graph or ()) if nodes else None
    if loop is not None:
        return UnboundedLoopError(f"{what} is not known, because of {describe(loop)}: {NO_BOUND}; {BOUND_IT}")
    for node in reversed(nodes):
        if not all(map(_is_sized, node.outputs)) and all(_is_sized(v) for v in node.inputs if v is not None):
            return ModelError(
                f"{what} is not known: the size of what {describe(node)} gives does not follow from the input's: "
                "choose a layer behind it, or export the model with fixed sizes"
            )
    return ModelError(f"{what} is the open batch, expected a number: export the model with a batch of 1")


def _is_sized(value: ir.Value) -> bool:
    """Whether every dimension but the batch is a number."""
    shape = maybe_dims(value)
    return shape is not None and all(isinstance(size, int) for size in shape[1:])


def _listed(shape: Dims) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def spatial_map(value: ir.Value) -> tuple[int, int, int] | None:
    """(K, h, w) if the value is a float map [N, K, h, w] with more than one position, else None."""
    shape = maybe_dims(value)
    if shape is None or len(shape) != 4 or value.dtype not in FLOATS:
        return None
    channels, height, width = shape[1:]
    if isinstance(channels, int) and isinstance(height, int) and isinstance(width, int) and height * width > 1:
        return channels, height, width
    return None


def attribute(node: ir.Node, name: str, default: object = None) -> object:
    """The attribute's plain value, or the default value of the operator's specification."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or the default value of the operator's specification."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def reduced_axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes of a Reduce operator: an attribute up to opset 17, an input since then. None if they are unknown."""
    axes: Sequence[int] | np.ndarray | None = node.attributes.get_ints("axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = constant_of(node.inputs[1])
        if axes is None:
            return None
    if axes is None or len(axes) == 0:
        return () if int_attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def is_constant(value: ir.Value) -> bool:
    """Whether the value depends only on initializers."""
    pending = [value]
    seen: set[ir.Value] = set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        node = producer_of(current)
        if node is not None:
            pending.extend(source for source in node.inputs if source is not None)
        elif current.const_value is None or current.is_graph_input():
            return False
    return True


def computed_values(graph: ir.Graph) -> set[ir.Value]:
    """The graph's values for which `is_constant` is false, found in one pass over a sorted graph."""
    computed = set(graph.inputs)
    for node in graph:
        sources = [source for source in node.inputs if source is not None]
        computed.update(source for source in sources if producer_of(source) is None and source.const_value is None)
        if not computed.isdisjoint(sources):
            computed.update(node.outputs)
    return computed


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The content of a value that depends only on initializers, else None."""
    if value is None or not is_constant(value):
        return None
    return _content(value, {})


def _content(value: ir.Value, known: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    """As `constant_of`; `known` keeps each value of a constant subgraph, so that it is computed only once."""
    node = producer_of(value)
    if node is None:
        return None if value.const_value is None else value.const_value.numpy()
    if value not in known:
        operands = [None if source is None else _content(source, known) for source in node.inputs]
        if node.op_type == "DequantizeLinear":
            known[value] = _dequantize(node, operands)
        else:
            outputs = [output for output in node.outputs if output.name]
            known.update(zip(outputs, evaluate_node(node, operands), strict=True))
    return known[value]


def per_axis(node: ir.Node, array: np.ndarray, shape: Dims) -> np.ndarray:
    """A scale or zero point of a quantizing node, shaped to broadcast with its integers, which have `shape`.

    One number, one per slice along the node's axis, or one per block of `block_size` along that axis (opset 21).
    """
    if array.size == 1:
        return array.reshape(())
    axis, block = int_attribute(node, "axis", 1), int_attribute(node, "block_size", 0)
    if block:
        size = shape[axis]
        repeated = np.repeat(array, block, axis)
        return repeated.take(range(size), axis) if isinstance(size, int) else repeated
    along = [1] * len(shape)
    along[axis] = -1
    return array.reshape(along)


def _dequantize(node: ir.Node, operands: list[np.ndarray | None]) -> np.ndarray:
    """(q − z) · s; needed because onnx's reference evaluator supports DequantizeLinear only since opset 19."""
    quantized, scale, zero = (*operands, None)[:3]
    assert quantized is not None and scale is not None
    factor = per_axis(node, scale, quantized.shape)
    centred = quantized.astype(np.float32)
    if zero is not None:
        centred = centred - per_axis(node, zero, quantized.shape).astype(np.float32)
    return np.asarray(centred * factor, dtype=scale.dtype)


def evaluate_node(node: ir.Node, operands: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The node's named outputs on onnx's reference evaluator; None for an input that is left out.

    Operators of other domains, such as com.microsoft, run on ONNX Runtime. Raises VerificationError if it cannot.
    """
    proto = ir.to_proto(node)
    if node.domain not in STANDARD:
        return _evaluate_on_onnxruntime(proto, operands)
    feeds = {name: array for name, array in zip(proto.input, operands, strict=True) if array is not None}
    opset = node.graph.opset_imports.get("", 18) if node.graph is not None else 18
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in proto.output if name],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return [np.asarray(array) for array in onnx.reference.ReferenceEvaluator(model).run(None, feeds)]


def _evaluate_on_onnxruntime(proto: onnx.NodeProto, operands: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """As `evaluate_node`; the operands are constants of the graph, because integers of 4 bits cannot be fed."""
    given = [(name, array) for name, array in zip(proto.input, operands, strict=True) if array is not None]
    tensors = {name: onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in given}
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "constant", [], outputs, list(tensors.values()))
    opsets = [onnx.helper.make_opsetid("", _ANY_OPSET), onnx.helper.make_opsetid(proto.domain, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return list(GraphSession(model, f"constant node {proto.op_type}").run({}).values())


def dequantizer_of(value: ir.Value) -> ir.Node:
    """The first DequantizeLinear that reads a quantized value."""
    for node in value.consumers():
        if node.op_type == "DequantizeLinear":
            return node
    raise ModelError(
        f"value {value.name!r} is quantized, but no DequantizeLinear reads it, expected one: choose another layer"
    )


def upstream(value: ir.Value) -> Iterator[ir.Node]:
    """Every node on which the value depends, each once."""
    seen: set[ir.Node] = set()
    pending = [producer_of(value)]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        pending.extend(producer_of(source) for source in node.inputs if source is not None)


def downstream(value: ir.Value) -> Iterator[ir.Node]:
    """Every node that depends on the value, each once."""
    seen: set[ir.Node] = set()
    pending = list(value.consumers())
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        for output in node.outputs:
            pending.extend(output.consumers())
