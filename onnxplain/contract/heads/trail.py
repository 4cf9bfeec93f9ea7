"""Looking through what follows a model's answer: casts, quantization, reshapes, factors, bounds, TopK, activations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from onnxplain.contract.heads.found import Activation
from onnxplain.contract.heads.graph_end import EndNode, EndValue, GraphEnd

_WHOLE = ("Identity", "Dropout", "Cast", "CastLike")
_ROUNDED = ("QuantizeLinear", "DequantizeLinear")
_RESHAPED = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "ExpandDims")
_PICKED = ("TopK", "ArgMax")
# What a hidden step may be besides an activation.
_CHOSEN = (*_PICKED, "NonMaxSuppression")
_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_PRODUCTS = ("Conv", "Gemm", "MatMul", "ConvTranspose", "Einsum")
# Between a vector and its norm: what keeps the norm away from zero, and what gives it the vector's shape.
_NORM_STEPS = ("Clip", "Max", "Add", "Sqrt", "Expand", "Unsqueeze", "Reshape", "Identity", "Cast", "Reciprocal")
_NORMS = ("ReduceL2", "ReduceSumSquare", "ReduceSum")


@dataclass(frozen=True)
class Trail:
    """What lies between an output and the value behind it.

    `source`: the value before the activation; without one, the value reached through casts, rounding and reshapes.
    `bottom`: the value reached through everything that can be looked through; equal for outputs that say the same.
    `activation` and its `axis`, counted in the shape of its input; None without one. `log`, `factor`: how scores are
    stored. `picked`: "TopK" or "ArgMax", if the output holds only the best. `permuted`: a Transpose is in between.
    `reshaped`: the shape of the output is not that of the source.
    """

    tip: EndValue
    source: str
    bottom: str
    activation: Activation | None = None
    axis: int | None = None
    log: bool = False
    factor: float = 1.0
    picked: EndNode | None = None
    permuted: tuple[int, ...] | None = None
    reshaped: bool = False


def follow(end: GraphEnd, tip: EndValue) -> Trail:
    """The trail of a value, from the end of the graph to what was computed."""
    name, factor, picked, permuted, reshaped = tip.name, 1.0, None, None, False
    kept: str | None = None
    while (node := end.producers.get(name)) is not None and node.inputs and node.inputs[0]:
        found = _activation(end, node)
        if found is not None:
            activation, source = found
            log = node.operator == "LogSoftmax"
            axis = _axis(end, node) if activation == "softmax" else None
            bottom = _bottom(end, source)
            return Trail(tip, source, bottom, activation, axis, log, factor, picked, permuted, reshaped)
        data = node.inputs[0]
        if node.operator in (*_WHOLE, *_ROUNDED):
            pass
        elif node.operator in _RESHAPED:
            reshaped = True
        elif node.operator == "Transpose" and permuted is None:
            permuted = tuple(int(axis) for axis in _listed(node, "perm"))
        elif node.operator in _PICKED and picked is None:
            picked, reshaped = node, True
        elif node.operator == "Clip":
            kept = kept or name
        elif (scaled := _scaled(end, node)) is not None:
            kept = kept or name
            data, factor = scaled[0], factor * scaled[1]
        else:
            break
        name = data
    source = picked.inputs[0] if picked is not None else kept or name
    return Trail(tip, source, name, picked=picked, permuted=permuted, reshaped=reshaped)


def hidden_step(end: GraphEnd, name: str) -> str | None:
    """An activation or a choice that lies between the last product and a value, and is not understood; None if none.

    ``x · Sigmoid(x)`` is the activation SiLU inside a network, and does not count.
    """
    seen, waiting = {name}, [name]
    while waiting:
        current = waiting.pop()
        node = end.producers.get(current)
        if node is None or node.operator in _PRODUCTS:
            continue
        if node.operator in (*_CHOSEN, "Softmax", "LogSoftmax") or (
            node.operator == "Sigmoid" and not _is_gate(end, node)
        ):
            return node.operator
        for source in node.inputs:
            if source and source not in seen and source not in end.stored:
                seen.add(source)
                waiting.append(source)
    return None


def _is_gate(end: GraphEnd, node: EndNode) -> bool:
    """Whether a Sigmoid's result is only multiplied: x · Sigmoid(x), or the gates of squeeze and excitation."""
    readers = [reader for reader in end.nodes if node.outputs[0] in reader.inputs]
    return bool(readers) and all(reader.operator == "Mul" for reader in readers)


def _activation(end: GraphEnd, node: EndNode) -> tuple[Activation, str] | None:
    """The activation that a node completes, and the value before it."""
    if node.operator in _ACTIVATIONS:
        return _ACTIVATIONS[node.operator], node.inputs[0]
    if node.operator == "LpNormalization" and node.attributes.get("p", 2) == 2:
        return "l2", node.inputs[0]
    if (logits := _exponentials(end, node)) is not None:
        return "softmax", logits
    if node.operator in ("Div", "Mul") and len(node.inputs) == 2:
        for vector, norm in (node.inputs, node.inputs[::-1])[: 1 if node.operator == "Div" else 2]:
            if _is_norm_of(end, norm, vector):
                return "l2", vector
    return None


def _exponentials(end: GraphEnd, node: EndNode) -> str | None:
    """z of ``e^z / Σ e^z``, the Softmax of old Keras for more than two axes; e^(z − max z) counts as e^z."""
    if node.operator != "Div":
        return None
    powers, total = (end.producers.get(source) for source in node.inputs)
    if powers is None or total is None or powers.operator != "Exp" or total.operator != "ReduceSum":
        return None
    if total.inputs[0] != node.inputs[0]:
        return None
    shifted = end.producers.get(powers.inputs[0])
    if shifted is not None and shifted.operator == "Sub":
        largest = end.producers.get(shifted.inputs[1])
        if largest is not None and largest.operator == "ReduceMax" and largest.inputs[0] == shifted.inputs[0]:
            return shifted.inputs[0]
    return powers.inputs[0]


def _is_norm_of(end: GraphEnd, name: str, vector: str) -> bool:
    """Whether a value is the Euclidean norm of a vector, possibly kept away from zero, stretched or inverted."""
    for _ in range(12):
        node = end.producers.get(name)
        if node is None:
            return False
        if node.operator in _NORMS:
            return _is_reduced(end, node, vector)
        if node.operator == "Pow":
            exponent = end.constants.get(node.inputs[1])
            if exponent is None or exponent.size != 1 or abs(float(exponent.ravel()[0])) != 0.5:
                return False
        elif node.operator not in _NORM_STEPS and not (node.operator == "Div" and node.inputs[0] in end.stored):
            return False
        computed = [source for source in node.inputs if source and source not in end.stored]
        if not computed:
            return False
        name = computed[0]
    return False


def _is_reduced(end: GraphEnd, node: EndNode, vector: str) -> bool:
    if node.operator != "ReduceSum":
        return _same(end, node.inputs[0], vector)
    squared = end.producers.get(node.inputs[0])
    if squared is None:
        return False
    if squared.operator == "Pow":
        exponent = end.constants.get(squared.inputs[1])
        return exponent is not None and float(exponent.ravel()[0]) == 2 and _same(end, squared.inputs[0], vector)
    if squared.operator == "Mul":
        return all(_same(end, source, vector) for source in squared.inputs)
    return False


def _same(end: GraphEnd, name: str, vector: str) -> bool:
    """Whether two names are one value, besides casts, Identity and the magnitude."""
    passing = (*_WHOLE, "Abs")
    while name != vector and (node := end.producers.get(name)) is not None and node.operator in passing:
        name = node.inputs[0]
    return name == vector


def _scaled(end: GraphEnd, node: EndNode) -> tuple[str, float] | None:
    """The value that a node multiplies by a positive number, and that number."""
    if node.operator not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for value, constant in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        array = end.constants.get(constant)
        if array is not None and array.size == 1 and array.dtype.kind in "iuf":
            number = float(array.ravel()[0])
            if not 0 < number < math.inf or (node.operator == "Div" and value != node.inputs[0]):
                return None
            return value, number if node.operator == "Mul" else 1 / number
    return None


def _axis(end: GraphEnd, node: EndNode) -> int:
    """The axis of a Softmax as the file states it; the default was 1 before opset 13."""
    if node.operator == "Div":
        total = end.producers[node.inputs[1]]
        stated = end.constants.get(total.inputs[1]) if len(total.inputs) > 1 else None
        axes = list(_listed(total, "axes")) if stated is None else stated.ravel().tolist()
        return int(axes[0]) if axes else -1
    axis = node.attributes.get("axis", 1 if 0 < end.opset < 13 else -1)
    assert isinstance(axis, int)
    return axis


def axis_of(node: EndNode) -> int:
    """The axis of a TopK (default −1) or an ArgMax (default 0)."""
    axis = node.attributes.get("axis", -1 if node.operator == "TopK" else 0)
    assert isinstance(axis, int)
    return axis


def _listed(node: EndNode, name: str) -> Iterator[int]:
    found = node.attributes.get(name, ())
    return iter(found if not isinstance(found, int | float) else (int(found),))


def _bottom(end: GraphEnd, name: str) -> str:
    """The value behind casts, rounding, reshapes and positive factors."""
    while (node := end.producers.get(name)) is not None:
        scaled = _scaled(end, node)
        if scaled is not None:
            name = scaled[0]
        elif node.operator in (*_WHOLE, *_ROUNDED, *_RESHAPED):
            name = node.inputs[0]
        else:
            break
    return name


def has_product(end: GraphEnd, first: str, last: str) -> bool:
    """Whether a product with stored weights lies between two values."""
    passed = {first}
    for node in end.nodes:
        if any(source in passed for source in node.inputs):
            if node.operator in _PRODUCTS and any(source in end.stored for source in node.inputs):
                continue
            passed.update(node.outputs)
    return last not in passed
