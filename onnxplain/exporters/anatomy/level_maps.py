"""The maps of a detector that are explained: each level's map before its head, and the deepest map of the backbone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import onnx_ir as ir

from onnxplain.exporters.anatomy.detector_ends import DetectorEnds
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.graph.path import sources_of
from onnxplain.exporters.graph.values import upstream
from onnxplain.exporters.operators.table import operator_of

# Operators that enlarge maps: what lies behind them is the neck, not the backbone.
_ENLARGING = frozenset({"Resize", "Upsample", "ConvTranspose", "DepthToSpace"})


def level_maps(graph: ir.Graph, ends: DetectorEnds, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The maps that ``auto`` means, in the graph's order; none if no map leads to boxes and scores.

    A level's map is the last one that boxes and scores have in common: behind it, no other common map lies on some way
    to the boxes, nor on some way to the scores. Between map and output there must be a product with weights; raw
    predictions are no features. The deepest map of the backbone is the last of the smallest maps before anything is
    enlarged.
    """
    boxes = before_weights(graph, ends.holders("box"))
    scores = before_weights(graph, ends.holders("classes", "score", "objectness"))
    common = [layer for layer in layers if layer.automatic and layer.tap in boxes and layer.tap in scores]
    taps = {layer.tap for layer in common}
    straight = [
        _reaching(graph, ends.holders(*parts), taps) for parts in (("box",), ("classes", "score", "objectness"))
    ]
    chosen = [layer for layer in common if all(layer.tap in reaching for reaching in straight)] or common[-1:]
    backbone = [layer for layer in common if not _is_enlarged(layer.tap)]
    if backbone:
        smallest = min(layer.arrangement.positions for layer in backbone)
        chosen.append([layer for layer in backbone if layer.arrangement.positions == smallest][-1])
    return tuple(layer for layer in common if any(layer is each for each in chosen))


def _is_enlarged(value: ir.Value) -> bool:
    return any(operator_of(node).computes in _ENLARGING for node in upstream(value))


def before_weights(graph: ir.Graph, ends: Iterable[ir.Value]) -> set[ir.Value]:
    """The values from which a product with weights leads to some end."""
    reaching, through = set(ends), set[ir.Value]()
    for node in reversed(list(graph)):
        found = reaching.intersection(node.outputs)
        if not found:
            continue
        is_product = operator_of(node).weight is not None
        for source in sources_of(node):
            reaching.add(source)
            if is_product or not through.isdisjoint(node.outputs):
                through.add(source)
    return through


def _reaching(graph: ir.Graph, ends: Iterable[ir.Value], taps: Collection[ir.Value]) -> set[ir.Value]:
    """The values that lead to some end past all of the taps."""
    reaching = set(ends)
    for node in reversed(list(graph)):
        if any(output in reaching and output not in taps for output in node.outputs):
            reaching.update(sources_of(node))
    return reaching
