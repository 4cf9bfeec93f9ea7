"""The input of a rule: one node of the forward graph, seen from inside the branch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import (
    UNKNOWN,
    Dims,
    attribute,
    constant_of,
    describe,
    dims,
    maybe_dims,
    static_dims,
)


@dataclass(frozen=True)
class Site:
    """A forward node, the branch to emit into, the inputs whose gradient is wanted, and all cotangents.

    `cotangents` has one entry per output of the node; None if no gradient arrives there.
    """

    node: ir.Node
    branch: Branch
    active: frozenset[int]
    cotangents: tuple[ir.Value | None, ...]

    def needs(self, index: int) -> bool:
        """Whether the gradient of input `index` is wanted."""
        return index in self.active

    def input(self, index: int) -> ir.Value:
        """Forward input `index` as float32 inside the branch. Reading it keeps it in memory, so prefer `output`."""
        return self.branch.forward(self.value(index))

    def raw(self, index: int) -> ir.Value:
        """Forward input `index` in its own type: indices, conditions, integers."""
        return self.branch.raw(self.value(index))

    def output(self, index: int = 0) -> ir.Value:
        """Forward output `index` as float32 inside the branch."""
        return self.branch.forward(self.node.outputs[index])

    def value(self, index: int) -> ir.Value:
        """Forward input `index` itself, in the main graph."""
        value = self.node.inputs[index]
        if value is None:
            raise self.refuse(f"input {index} is missing")
        return value

    def has_input(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def input_dims(self, index: int = 0) -> Dims:
        """Dimensions of input `index`."""
        return dims(self.value(index))

    def output_dims(self, index: int = 0) -> Dims:
        """Dimensions of output `index`."""
        return dims(self.node.outputs[index])

    def spatial(self, value: ir.Value) -> tuple[int, ...]:
        """The sizes after batch and channels."""
        return static_dims(value, tuple(range(2, len(dims(value)))))

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node, or the default value of the operator's specification."""
        return attribute(self.node, name, default)

    def constant(self, index: int) -> np.ndarray | None:
        """Content of input `index` if it is known at export, else None."""
        return constant_of(self.node.inputs[index]) if self.has_input(index) else None

    def reshape_like_input(self, cotangent: ir.Value, index: int = 0) -> ir.Value:
        """The cotangent in the shape of input `index`, with as many rows as it has itself (see `rows_of`)."""
        shape = maybe_dims(self.value(index))
        if shape is None or 0 in shape:
            return self.branch.Reshape(cotangent, self.branch.Shape(self.raw(index)))
        symbols = [axis for axis, size in enumerate(shape) if isinstance(size, str)]
        if len(symbols) > 1:
            others = self.branch.Shape(self.raw(index), start=1)
            return self.branch.Reshape(cotangent, self.branch.Concat([-1], others, axis=0))
        inferred = symbols[0] if symbols else 0
        return self.branch.Reshape(cotangent, [-1 if axis == inferred else int(d) for axis, d in enumerate(shape)])

    def rows_of(self, cotangent: ir.Value) -> ir.Value:
        """The number of rows of a cotangent, int64 [1].

        One per image; several targets of one image have one each, while its forward values have one row. They broadcast
        where an operator does. Where it does not, a rule repeats the row: `repeat_rows`.
        """
        return self.branch.Shape(cotangent, start=0, end=1)

    def repeat_rows(self, value: ir.Value, rank: int, cotangent: ir.Value) -> ir.Value:
        """A value of the branch, of that rank, whose single row is repeated to the rows of the cotangent."""
        rows = self.rows_of(cotangent)
        return self.branch.Expand(value, self.branch.Concat(rows, [1] * (rank - 1), axis=0) if rank > 1 else rows)

    def raw_per_row(self, index: int, cotangent: ir.Value) -> ir.Value:
        """As `raw`, with a row for each row of the cotangent if input `index` has as many rows as the output."""
        value, dims_of_input = self.raw(index), maybe_dims(self.value(index))
        if dims_of_input is None or not self._has_rows_of_output(self.value(index)):
            return value
        return self.repeat_rows(value, len(dims_of_input), cotangent)

    def zeros_like(self, value: ir.Value, cotangent: ir.Value) -> ir.Value:
        """Zeros, float32, in the shape of a value of the main graph, with a row for each row of the cotangent."""
        op = self.branch
        shape = op.Shape(op.raw(value))
        if self._has_rows_of_output(value):
            shape = op.Concat(self.rows_of(cotangent), op.Shape(op.raw(value), start=1), axis=0)
        return op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, np.float32)))

    def _has_rows_of_output(self, value: ir.Value) -> bool:
        """Whether the first axis of a value is as long as that of the output, so that both can hold the images."""
        shape, out = maybe_dims(value), maybe_dims(self.node.outputs[0])
        return shape is not None and out is not None and shape[:1] == out[:1] not in ((), (UNKNOWN,))

    def expand_to_input(self, cotangent: ir.Value, axes: Collection[int], index: int = 0) -> ir.Value:
        """A cotangent of size 1 along `axes`, repeated to the shape of input `index`."""
        # Expand broadcasts both ways: a 1 keeps the cotangent's own size.
        sizes = [size if axis in axes else 1 for axis, size in enumerate(self.input_dims(index))]
        if all(isinstance(size, int) for size in sizes):
            return self.branch.Expand(cotangent, [size for size in sizes if isinstance(size, int)])
        return self.branch.Expand(cotangent, self.branch.Shape(self.raw(index)))

    def refuse(self, why: str) -> UnsupportedError:
        """The error for a form of the operator that the rule does not support."""
        return UnsupportedError(f"no gradient for {describe(self.node)}: {why}")


Gradients = Sequence[ir.Value | None]
Rule = Callable[[Site, ir.Value], Gradients]
