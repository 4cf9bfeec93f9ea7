"""Arithmetic of small constants, as graphs compute sizes with it. Definitions: Operators.md of onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract.allocations.graph import MOST_KNOWN, Numbers

SmallArray = npt.NDArray[np.generic]
Attributes = Mapping[str, Numbers]
_DTYPES: Mapping[int, str] = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


def _axes(inputs: Sequence[Any], attributes: Attributes) -> tuple[int, ...] | None:
    """Axes are an attribute up to opset 12, an input later."""
    if len(inputs) > 1:
        return tuple(int(axis) for axis in np.ravel(inputs[1]))
    found: Any = attributes.get("axes")
    return None if found is None else tuple(int(axis) for axis in found)


def _axis(attributes: Attributes) -> int:
    axis: Any = attributes.get("axis", 0)
    return int(axis)


def _divide(inputs: Sequence[Any], _: Attributes) -> Any:
    first, second = inputs
    if not np.issubdtype(first.dtype, np.integer):
        return first / second
    quotient = np.abs(first) // np.abs(second)
    return np.where((first < 0) != (second < 0), -quotient, quotient).astype(first.dtype)


def _slice(inputs: Sequence[Any], attributes: Attributes) -> Any:
    """The positions are attributes up to opset 9."""
    data, *rest = inputs
    parts: list[Any] = [np.ravel(each) for each in rest]
    if not parts:
        given: list[Any] = [attributes[name] for name in ("starts", "ends", "axes") if name in attributes]
        parts = given
    starts, ends = parts[:2]
    axes = parts[2] if len(parts) > 2 else range(len(starts))
    steps = parts[3] if len(parts) > 3 else [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # A negative step runs past the first element where it ends below it.
        last = None if step < 0 and end < -data.shape[axis] else int(end)
        index[axis] = slice(int(start), last, int(step))
    return data[tuple(index)]


def _unsqueeze(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return np.expand_dims(inputs[0], _axes(inputs, attributes) or ())


def _reshape(inputs: Sequence[Any], _: Attributes) -> Any:
    sizes = [inputs[0].shape[at] if size == 0 else int(size) for at, size in enumerate(inputs[1])]
    return inputs[0].reshape(sizes)


def _cast(inputs: Sequence[Any], attributes: Attributes) -> Any:
    to: Any = attributes["to"]
    return inputs[0].astype(_DTYPES[to])


def _reduced(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> Any:
        return function(inputs[0], axis=_axes(inputs, attributes), keepdims=bool(attributes.get("keepdims", 1)))

    return rule


def _each(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    return lambda inputs, _: function(*inputs)


# Operator → the value from the values of its inputs.
_RULES: Mapping[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "Abs": _each(np.abs),
    "Add": _each(np.add),
    "Cast": _cast,
    "Ceil": _each(np.ceil),
    "Concat": lambda inputs, attributes: np.concatenate(inputs, _axis(attributes)),
    "Div": _divide,
    "Expand": lambda inputs, _: inputs[0] * np.ones(inputs[1].astype(int), inputs[0].dtype),
    "Flatten": lambda inputs, _: inputs[0].reshape(1, -1),
    "Floor": _each(np.floor),
    "Gather": lambda inputs, attributes: np.take(inputs[0], inputs[1].astype(int), _axis(attributes)),
    "Identity": lambda inputs, _: inputs[0],
    "Max": _each(lambda *inputs: np.max(np.broadcast_arrays(*inputs), axis=0)),
    "Min": _each(lambda *inputs: np.min(np.broadcast_arrays(*inputs), axis=0)),
    "Mod": lambda inputs, _: np.mod(*inputs),
    "Mul": _each(np.multiply),
    "Neg": _each(np.negative),
    "Pow": lambda inputs, _: np.power(*inputs).astype(inputs[0].dtype),
    "Range": _each(np.arange),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Reshape": _reshape,
    "Round": _each(np.round),
    "Slice": _slice,
    "Sqrt": _each(np.sqrt),
    "Squeeze": lambda inputs, attributes: np.squeeze(inputs[0], _axes(inputs, attributes)),
    "Sub": _each(np.subtract),
    "Tile": lambda inputs, _: np.tile(inputs[0], inputs[1].astype(int)),
    "Unsqueeze": _unsqueeze,
}


def computed(operator: str, inputs: Sequence[SmallArray | None], attributes: Attributes) -> SmallArray | None:
    """The value of a node from those of its inputs; None if it is not known, or holds more than `MOST_KNOWN` numbers.

    The caller has made sure that the result is small.
    """
    rule = _RULES.get(operator)
    if rule is None or not inputs or any(each is None for each in inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            value: SmallArray = np.asarray(rule(inputs, attributes))
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError):
        return None  # ONNX Runtime reports it.
    return value if value.size <= MOST_KNOWN else None
