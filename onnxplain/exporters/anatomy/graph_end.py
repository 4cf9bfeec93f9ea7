"""The graph as the contract's `GraphEnd`: what is needed to tell what its outputs mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.contract import EndNode, EndValue, GraphEnd, ImageInput, is_batched
from onnxplain.exporters.graph.values import STANDARD, maybe_dims, name_of
from onnxplain.exporters.operators.table import operator_of

# Lists of axes and scalars are smaller, weights are larger.
LARGEST_KEPT = 16


def read_graph_end(graph: ir.Graph, image: ImageInput | None) -> GraphEnd:
    """The outputs of a graph, its nodes by what they compute, and its small constants. `image`: its input, if known."""
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    constants = dict(_constants(graph))
    return GraphEnd(
        outputs=tuple(map(_end_value, graph.outputs)),
        nodes=tuple(map(_end_node, graph)),
        values={name_of(value): _end_value(value) for value in values if value.name},
        constants={name: array for name, array in constants.items() if array is not None},
        stored=frozenset(constants),
        opset=graph.opset_imports.get("", 0),
        unbatched=image is not None and not is_batched(image.layout),
        batch=None if image is None else image.batch,
    )


def _end_value(value: ir.Value) -> EndValue:
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    shape = maybe_dims(value)
    return EndValue(name_of(value), dtype, None if shape is None else tuple(None if d == "?" else d for d in shape))


def _end_node(node: ir.Node) -> EndNode:
    return EndNode(
        operator=_computes(node),
        inputs=tuple("" if source is None else name_of(source) for source in node.inputs),
        outputs=tuple(output.name or "" for output in node.outputs),
        attributes=_numbers(node),
    )


def _computes(node: ir.Node) -> str:
    """The standard operator that a node computes; the name with its domain where there is none."""
    row = operator_of(node)
    if node.domain in STANDARD or row.twin is not None or row.hands is not None:
        return row.computes
    return f"{node.domain}.{node.op_type}" if row.weight is None else "MatMul"


def _numbers(node: ir.Node) -> Mapping[str, int | float | Sequence[int]]:
    """The integers, floats and lists of integers among the attributes."""
    found: dict[str, int | float | Sequence[int]] = {}
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.INT:
            found[name] = attribute.as_int()
        elif attribute.type == ir.AttributeType.FLOAT:
            found[name] = attribute.as_float()
        elif attribute.type == ir.AttributeType.INTS:
            found[name] = tuple(attribute.as_ints())
    return found


def _constants(graph: ir.Graph) -> Iterator[tuple[str, np.ndarray | None]]:
    """The name of each stored constant, with its content if it is small."""
    stored = [value for value in graph.initializers.values() if not value.is_graph_input()]
    made = [node.outputs[0] for node in graph if node.op_type == "Constant" and node.domain in STANDARD]
    for value in (*stored, *made):
        tensor = None
        if (shape := maybe_dims(value)) is not None and all(isinstance(size, int) for size in shape):
            # Asked of small ones only: telling what a Constant node holds takes longer than all else here.
            small = math.prod(size for size in shape if isinstance(size, int)) <= LARGEST_KEPT
            tensor = ir.convenience.get_const_tensor(value) if small else None
        yield name_of(value), None if tensor is None else tensor.numpy()
