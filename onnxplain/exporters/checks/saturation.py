"""What the checks do on a processor whose eight-bit kernels saturate (`eight_bit_saturates`).

There the fused integer kernels of two graphs of one model differ: an output more, and a convolution is no longer fused.
So such graphs are compared without optimisation, node by node, where both compute the same. How far the answers are off
is measured, and goes into the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.numpy_helper

from onnxplain.contract import ModelSpec
from onnxplain.exporters.checks.same_outputs import relative_difference
from onnxplain.exporters.checks.trial_images import feeds_of, image_batch, plain_feeds
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.machine.processor import eight_bit_saturates
from onnxplain.machine.saturation import INTEGER_PRODUCTS, NodeNames, products_that_saturate

SATURATION_IMAGE_SEEDS = range(40, 56)
_SHIFT = 128
_EIGHT_BITS: dict[int, type[np.integer]] = {onnx.TensorProto.INT8: np.uint8, onnx.TensorProto.UINT8: np.int8}


@dataclass(frozen=True)
class Saturation:
    """A quantized file on a processor whose eight-bit kernels saturate.

    `products`: the values that may be wrong there. `original_error`, `written_error`: the largest difference of any
    output from exact integers, relative to that output's largest value, on random images: of the file as found and of
    the file as written.
    """

    products: tuple[str, ...]
    original_error: float
    written_error: float


def may_saturate_here(model: onnx.ModelProto) -> bool:
    """Whether this processor saturates, and a product of this graph can."""
    return eight_bit_saturates() and bool(saturating_products(model))


def saturating_products(model: onnx.ModelProto) -> tuple[str, ...]:
    """The products of a graph that can saturate on some processors (`products_that_saturate`)."""
    nodes = [NodeNames(node.op_type, node.input, node.output) for node in model.graph.node]
    constants = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in _eight_bit_constants(model).items()}
    return products_that_saturate(nodes, constants)


def measure_saturation(original: onnx.ModelProto, explainable: onnx.ModelProto, spec: ModelSpec) -> Saturation | None:
    """How far both files are off on this processor; None where it does not saturate, or where no product can."""
    if not may_saturate_here(original):
        return None
    images = [image_batch(original, spec.input, seed) for seed in SATURATION_IMAGE_SEEDS]
    feeds = [plain_feeds(spec, image) for image in images]
    # One session at a time: each holds the weights again.
    expected = _run(GraphSession(with_exact_products(original), "model in exact integers", optimised=False), feeds)
    found = _run(GraphSession(original, "original model"), feeds)
    closed = [feeds_of(spec, image, explain=False) for image in images]
    written = _run(GraphSession(explainable, "explainable graph"), closed, list(expected[0]))
    return Saturation(saturating_products(original), _largest_error(found, expected), _largest_error(written, expected))


def with_exact_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model for any processor: where a product may saturate, its weights have the other eight-bit type.

    Weights and their zero point are moved by 128 together, which changes no product. An int8 operand that is computed
    stays as it is. Dequantized products need no change: they are exact where nothing is fused.
    """
    exact = onnx.ModelProto()
    exact.CopyFrom(model)
    constants, saturating = _eight_bit_constants(exact), set(saturating_products(exact))
    for node in exact.graph.node:
        operands = INTEGER_PRODUCTS.get(node.op_type)
        if operands is None or node.output[0] not in saturating:
            continue
        for position, zero in ((operands.left, operands.left_zero), (operands.right, operands.right_zero)):
            weights = constants.get(node.input[position])
            if weights is None or zero is None:
                continue
            while len(node.input) <= zero:
                node.input.append("")
            zero_point = constants.get(node.input[zero])
            stored = np.zeros((), np.int64) if zero_point is None else onnx.numpy_helper.to_array(zero_point)
            name = f"{node.output[0]}/{position}/moved"
            node.input[position], node.input[zero] = name, f"{name}/zero"
            for array, moved in ((onnx.numpy_helper.to_array(weights), name), (stored, f"{name}/zero")):
                exact.graph.initializer.append(_moved(array, weights.data_type, moved))
    return exact


def _moved(array: np.ndarray, elem: int, name: str) -> onnx.TensorProto:
    shift = _SHIFT if elem == onnx.TensorProto.INT8 else -_SHIFT
    return onnx.numpy_helper.from_array((array.astype(np.int64) + shift).astype(_EIGHT_BITS[elem]), name)


def _eight_bit_constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    return {name: tensor for name, tensor in tensors.items() if tensor.data_type in _EIGHT_BITS}


def _run(
    session: GraphSession, feeds: Sequence[dict[str, np.ndarray]], names: Sequence[str] | None = None
) -> list[dict[str, np.ndarray]]:
    return [session.run(feed, names) for feed in feeds]


def _largest_error(found: Sequence[dict[str, np.ndarray]], expected: Sequence[dict[str, np.ndarray]]) -> float:
    return max(
        relative_difference(one[name], reference)
        for one, other in zip(found, expected, strict=True)
        for name, reference in other.items()
    )
