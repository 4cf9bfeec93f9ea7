"""Emitting the nodes of a branch: the subgraph of an `If` that computes one layer's gradient when its gate is open.

A branch reads values of the main graph as outer values and computes in float32. Everything that only the branch needs
is computed inside it: casts of float16 activations, dequantized weights, constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import (
    FLOATS,
    Dims,
    dims,
    int_attribute,
    is_constant,
    producer_of,
    static_dims,
)

NARROW = FLOATS - {ir.DataType.FLOAT}

BranchOperand = ir.Value | np.ndarray | float | int | Sequence[int] | None


class Branch:
    """Records forward operators; ``branch.Mul(a, 2.0)`` appends a Mul node and returns its output.

    Floats become float32 scalars, integers int64 scalars, sequences of integers int64 vectors; arrays stay as they are.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._nodes: list[ir.Node] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._inside: dict[ir.Value, ir.Value] = {}
        self._made: set[ir.Value] = set()
        self._scaled: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        self._on_reading: dict[ir.Value, Callable[[ir.Value], ir.Value]] = {}
        self._again: dict[ir.Value, ir.Value] = {}

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """The nodes recorded so far, in the order of execution."""
        return tuple(self._nodes)

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def emit(*operands: BranchOperand, **attributes: Any) -> ir.Value:
            (output,) = self.emit(op_type, operands, attributes)
            return output

        return emit

    def emit(
        self,
        op_type: str,
        operands: Sequence[BranchOperand],
        attributes: Mapping[str, Any],
        outputs: int = 1,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """Append one node; returns its outputs."""
        node = ir.Node(
            domain,
            op_type,
            [self._operand(operand) for operand in operands],
            attributes=ir.convenience.convert_attributes(attributes),
            num_outputs=outputs,
            name=f"{self._prefix}/{op_type}_{len(self._nodes)}",
        )
        for output in node.outputs:
            output.name = f"{node.name}_{output.index()}"
        self._nodes.append(node)
        self._made.update(node.outputs)
        return node.outputs

    def repeat(self, node: ir.Node, operands: Sequence[BranchOperand]) -> Sequence[ir.Value]:
        """Append the standard operator of a node's name and attributes, with other operands; returns its outputs."""
        return self._copied(node, operands, "")

    def _copied(self, node: ir.Node, operands: Sequence[BranchOperand], domain: str) -> Sequence[ir.Value]:
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        return self.emit(node.op_type, operands, attributes, len(node.outputs), domain)

    def constant(self, array: np.ndarray) -> ir.Value:
        """A constant of the branch; equal constants are stored once."""
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.Constant(value=ir.tensor(array))
        return self._constants[key]

    def constant_scalar(self, number: float) -> ir.Value:
        """A float32 scalar."""
        return self.constant(np.array(number, dtype=np.float32))

    def forward(self, value: ir.Value) -> ir.Value:
        """A value of the main graph for use in the branch: as `raw`, but floats are cast to float32."""
        inner = self.raw(value)
        if value.dtype in NARROW and value not in self._made:
            inner = self.Cast(inner, to=ir.DataType.FLOAT)
        return inner

    def raw(self, value: ir.Value) -> ir.Value:
        """A value of the main graph in its own type.

        Two kinds of values are computed inside the branch: values of an operator's expansion, which the main graph
        does not contain; and values computed from initializers only (a dequantized or reshaped weight), so that the
        main graph keeps its own integer kernels.
        """
        if value in self._on_reading:
            self._inside[value] = self._on_reading.pop(value)(value)
        node = producer_of(value)
        if value in self._made or node is None or not (node.graph is None or is_constant(value)):
            return self._inside.get(value, value)
        if value in self._inside:
            return self._inside[value]
        if node.op_type == "DequantizeLinear":
            self._inside[value] = self._dequantized(node)
        else:
            # Expansions compute in float32, so their constants and those of their operands are float32 too. Constant
            # subgraphs of the main graph keep their types.
            bring = self.forward if node.graph is None else self.raw
            operands = [None if source is None else bring(source) for source in node.inputs]
            self._inside.update(zip(node.outputs, self._copied(node, operands, node.domain), strict=True))
        return self._inside[value]

    def on_reading(self, value: ir.Value, make: Callable[[ir.Value], ir.Value]) -> None:
        """Read what `make` makes of a value of the main graph, which the branch must not have read yet, in its place.

        It is made once, when it is first read.
        """
        self._on_reading[value] = make

    def compute_again(self, nodes: Sequence[ir.Node], instead: Mapping[ir.Value, ir.Value] | None = None) -> None:
        """Append copies of nodes of the main graph, and read these instead of the graph's own from now on.

        A value that a branch reads is kept until the branch has run, and ONNX Runtime does not fuse the node that
        computes it with others. Copies cost nothing while the gate is closed. `instead`: values that are read in place
        of others.
        """
        self._again |= {old: self._again.get(new, new) for old, new in (instead or {}).items()}
        for node in nodes:
            for old, new in zip(node.outputs, self._copied(node, node.inputs, node.domain), strict=True):
                new.shape, new.type = old.shape, old.type
                self._again[old] = new

    def part(self, name: str) -> Branch:
        """A branch that reads what this one reads, for a computation of its own; `take` appends it."""
        made = Branch(f"{self._prefix}/{name}")
        made._again = dict(self._again)
        return made

    def take(self, part: Branch) -> None:
        """Append the nodes of a part."""
        self._nodes += part._nodes

    def keep_needed(self, outputs: Sequence[ir.Value]) -> None:
        """Drop the nodes on which none of the outputs depends."""
        needed, kept = set(outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.outputs):
                needed.update(source for source in node.inputs if source is not None)
                kept.append(node)
            else:
                for index in range(len(node.inputs)):
                    node.replace_input_with(index, None)
        self._nodes = kept[::-1]

    def _dequantized(self, node: ir.Node) -> ir.Value:
        """(q − z) · s of constants.

        No DequantizeLinear is emitted: before a product, ONNX Runtime 1.31 merges it into an integer kernel, looks for
        the weight inside the subgraph, and fails to load the file.
        """
        quantized, scale, zero = (*node.inputs, None)[:3]
        assert quantized is not None and scale is not None
        shape = dims(quantized)
        axis, block = int_attribute(node, "axis", 1) % max(len(shape), 1), int_attribute(node, "block_size", 0)

        def along(factor: ir.Value) -> ir.Value:
            """A scalar, one entry per slice along the axis or one per block of it, as float32 that broadcasts."""
            number = self.Cast(self.raw(factor), to=ir.DataType.FLOAT)
            if block:
                return self.repeat_blocks(number, dims(factor), axis, block, static_dims(quantized, (axis,))[0])
            others = [other for other in range(len(shape)) if other != axis]
            return self.Unsqueeze(number, others) if len(dims(factor)) == 1 and others else number

        centred = self.Cast(self.raw(quantized), to=ir.DataType.FLOAT)
        if zero is not None:
            centred = self.Sub(centred, along(zero))
        return self.Mul(centred, along(scale))

    def repeat_blocks(self, factor: ir.Value, shape: Dims, axis: int, block: int, size: int) -> ir.Value:
        """A factor of `shape`, one entry per block of `block` along `axis`, repeated to `size` entries there."""
        rank = len(shape)
        sizes = [-1 if isinstance(length, str) else length for length in shape]
        sizes[axis] *= block
        stretched = self.Expand(
            self.Unsqueeze(factor, [axis + 1]), [*[1] * (axis + 1), block, *[1] * (rank - axis - 1)]
        )
        repeated = self.Reshape(stretched, sizes)
        return repeated if sizes[axis] == size else self.Slice(repeated, [0], [size], [axis])

    def scale_channels(self, cotangent: ir.Value, factor: ir.Value, spatial_rank: int) -> ir.Value:
        """Multiply a cotangent by a constant vector over its channels; `unscaled` can undo this."""
        shaped = self.Unsqueeze(factor, list(range(1, 1 + spatial_rank))) if spatial_rank > 0 else factor
        product = self.Mul(cotangent, shaped)
        self._scaled[product] = cotangent, factor
        return product

    def unscaled(self, cotangent: ir.Value) -> tuple[ir.Value, ir.Value | None]:
        """The cotangent before `scale_channels`, and the factor, so that a weight before it can include the factor."""
        return self._scaled.get(cotangent, (cotangent, None))

    def stand_in(self, value: ir.Value, original: ir.Value) -> None:
        """Read an output of an expansion from the main graph, which computes that value anyway."""
        self._inside[value] = self.forward(original)

    def _operand(self, operand: BranchOperand) -> ir.Value | None:
        if operand is None:
            return None
        if isinstance(operand, ir.Value):
            return self._again.get(operand, operand)
        if isinstance(operand, np.ndarray):
            return self.constant(operand)
        if isinstance(operand, float):
            return self.constant_scalar(operand)
        return self.constant(np.asarray(operand, dtype=np.int64))
