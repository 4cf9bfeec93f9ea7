"""Shuffling a model's weights, so that nothing that the network learned is left.

For the model parameter randomization test of Adebayo et al. 2018, with all layers at once: if an explanation stays as
good on the shuffled model, it does not depend on what the model learned. The values of each weight are permuted among
themselves, so their distribution stays the same. Activations and scores therefore stay finite and of usual size.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.inliner
import onnx.numpy_helper

from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.exporters.operators.operator import Hands, Operator
from onnxplain.exporters.operators.table import look_up

FLOAT_TYPES = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    }
)

Use = tuple[Operator, int]


def permute_weights(proto: onnx.ModelProto, seed: int) -> tuple[onnx.ModelProto, int]:
    """A copy of the model with the values of every weight permuted, and the number of weights.

    Weights are the learned tensors that have at least two different values, whether they are initializers or Constant
    nodes. Biases and the integers of a quantized file are among them. Scales, zero points, indices, shapes and the
    running statistics of BatchNormalization stay. (A constant operand of arithmetic, such as a mean colour, looks like
    a bias and is permuted too.) The permutation of a weight depends only on the seed, its name and its size. Raises
    OnnxplainError for a negative seed, ModelError for a model without weights.
    """
    if seed < 0:
        raise OnnxplainError(f"shuffle_weights: found the seed {seed}, expected 0 or more")
    shuffled = onnx.ModelProto()
    # Inside a function, one weight has a different name for each call.
    shuffled.CopyFrom(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    graphs = list(_with_subgraphs(shuffled.graph))
    readers = _readers(graphs)
    count = 0
    for name, tensor in _constants(graphs):
        if not _is_learnt(tensor.data_type, list(_uses(name, readers))):
            continue
        values = onnx.numpy_helper.to_array(tensor).reshape(-1)
        if len(values) and (values != values[0]).any():
            order = np.random.default_rng([seed, _number(name)]).permutation(len(values))
            permuted = values[order].reshape(tuple(tensor.dims))
            tensor.CopyFrom(onnx.numpy_helper.from_array(permuted, tensor.name))
            count += 1
    if not count:
        raise ModelError("found no weights to shuffle in the model, expected a trained network: give another model")
    return shuffled, count


def _with_subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _with_subgraphs(inner)


def _constants(graphs: Sequence[onnx.GraphProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Each stored tensor of more than one value, with the name under which nodes read it."""
    for graph in graphs:
        stored = [(tensor.name, tensor) for tensor in graph.initializer]
        for node in graph.node:
            if node.op_type == "Constant":
                stored += [(node.output[0], entry.t) for entry in node.attribute if entry.name == "value"]
        yield from ((name, tensor) for name, tensor in stored if math.prod(tensor.dims) > 1)


def _readers(graphs: Sequence[onnx.GraphProto]) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
    """The nodes that read a value, and the index of the input."""
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for graph in graphs:
        for node in graph.node:
            for index, name in enumerate(node.input):
                readers[name].append((node, index))
    return readers


def _uses(name: str, readers: Mapping[str, list[tuple[onnx.NodeProto, int]]]) -> Iterator[Use]:
    """The uses of a tensor: operator and input index; operators that only pass it on are skipped."""
    for node, index in readers.get(name, []):
        operator = look_up(node.domain, node.op_type)
        handed_on = operator.hands in (Hands.WHOLE, Hands.RESHAPED) or operator.name == "Transpose"
        if handed_on and index == 0:
            yield from _uses(node.output[0], readers)
        else:
            yield operator, index


def _is_learnt(data_type: int, uses: Sequence[Use]) -> bool:
    quantized = [_reads_weight(operator, index) for operator, index in uses if _reads_integers(operator)]
    if data_type not in FLOAT_TYPES:
        return len(quantized) == len(uses) > 0 and all(quantized)
    return len(uses) > 0 and not quantized and not any(index in operator.not_learnt for operator, index in uses)


def _reads_integers(operator: Operator) -> bool:
    """Whether the operator has quantized operands. Its other inputs are scales, zero points, indices or shapes."""
    return operator.integers is not None and operator.integers.operands != ()


def _reads_weight(operator: Operator, index: int) -> bool:
    """Whether the input of a quantized operator holds learned integers: an operand or a bias."""
    integers = operator.integers
    return integers is not None and index in (*(integers.operands or ()), integers.bias)


def _number(name: str) -> int:
    """A number computed from the name, the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
