"""Which elements of a graph's shape arithmetic are the same at every batch size.

An element that is equal in a few runs need not be: N // 4, N == 1 and min(N, 2) are equal at 2 and 3. It is certain
where it is a size that was equal in all runs, a constant, an element that was merely moved, or computed from such
elements alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.file.dependence import Dependence, is_stored, reads_shape, shaping_sources
from onnxplain.exporters.file.probe import Probed
from onnxplain.exporters.graph.path import sources_of
from onnxplain.exporters.graph.values import STANDARD, constant_of, evaluate_node

# Operators that move the elements of these inputs; None: of all. The other inputs say where to.
MOVERS: Mapping[str, tuple[int, ...] | None] = {
    "Concat": None,
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "Identity": (0,),
    "Reshape": (0,),
    "Slice": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
}

# Operators whose element depends on the elements at the same place alone.
ELEMENTWISE = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Div",
        "Equal",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Round",
        "Sqrt",
        "Sub",
        "Where",
    }
)


def certain_contents(graph: ir.Graph, dependence: Dependence, measured: Probed) -> list[ir.Value]:
    """The measured values that are the same at every batch size, whole."""
    walk = _Walk(dependence, measured)
    for node in graph:
        walk.enter(node)
    return [value for value in measured.contents if walk.masks[value].all()]


class _Walk:
    """A mask of certain elements for each value of the shape arithmetic, filled in the graph's order."""

    def __init__(self, dependence: Dependence, measured: Probed) -> None:
        self._dependence = dependence
        self._measured = measured
        self.masks: dict[ir.Value, np.ndarray] = {}
        self._doubtful_shapes: set[ir.Value] = set()

    def enter(self, node: ir.Node) -> None:
        """Fill in what the node computes."""
        for index, output in enumerate(node.outputs):
            if output in self._measured.contents:
                self.masks[output] = self._mask(node, output, index)
        doubtful = any(source in self._doubtful_shapes for source in sources_of(node))
        if doubtful or any(map(self._is_doubtful, shaping_sources(node))):
            self._doubtful_shapes.update(node.outputs)

    def _is_doubtful(self, value: ir.Value) -> bool:
        """Whether an element was equal in all runs and is not certain."""
        if value not in self.masks:
            return not self._is_certain(value)
        return bool((self._equal(value) & ~self.masks[value]).any())

    def _is_certain(self, value: ir.Value) -> bool:
        if value in self.masks:
            return bool(self.masks[value].all())
        return is_stored(value) or value in self._dependence.constants

    def _equal(self, value: ir.Value) -> np.ndarray:
        """Which elements were equal in all runs; one False where the shape was not."""
        first, *others = self._measured.contents[value]
        if any(other.shape != first.shape for other in others):
            return np.array(False)
        return np.asarray(np.logical_and.reduce([np.ones(first.shape, bool), *(other == first for other in others)]))

    def _mask(self, node: ir.Node, output: ir.Value, index: int) -> np.ndarray:
        equal = self._equal(output)
        sources = list(sources_of(node))
        if reads_shape(node):
            return np.asarray(equal & np.array(sources[0] not in self._doubtful_shapes))
        if all(map(self._is_certain, sources)):
            return equal
        nothing = np.zeros_like(equal)
        if node.domain not in STANDARD:
            return nothing
        if node.op_type in ELEMENTWISE:
            masks = [self._whole_mask(source) for source in sources]
            try:
                together = np.logical_and.reduce(np.broadcast_arrays(*masks))
                return np.asarray(equal & np.broadcast_to(together, equal.shape))
            except ValueError:
                return nothing
        if node.op_type in MOVERS:
            return np.asarray(equal & self._moved(node, index, nothing))
        return nothing

    def _whole_mask(self, value: ir.Value) -> np.ndarray:
        return self.masks[value] if value in self.masks else np.array(self._is_certain(value))

    def _moved(self, node: ir.Node, index: int, nothing: np.ndarray) -> np.ndarray:
        """The masks of what is moved, moved alike."""
        places: Sequence[int] = MOVERS[node.op_type] or range(len(node.inputs))
        operands: list[np.ndarray | None] = []
        for place, source in enumerate(node.inputs):
            if source is None:
                operands.append(None)
            elif place in places:
                mask = self.masks.get(source)
                content = constant_of(source) if mask is None else None
                if mask is None and content is None:
                    return nothing
                whole = np.ones_like(content, dtype=np.int64) if content is not None else None
                operands.append(whole if mask is None else mask.astype(np.int64))
            elif self._is_certain(source):
                found = self._measured.contents.get(source)
                operands.append(constant_of(source) if found is None else found[0])
            else:
                return nothing
        try:
            moved = evaluate_node(node, operands)[index]
        except Exception:  # The reference evaluator fails on forms that it lacks, each in its own way.
            return nothing
        return moved.astype(bool) if moved.shape == nothing.shape else nothing
