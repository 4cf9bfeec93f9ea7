"""Which values of a graph, and which shapes, can depend on the image's pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxplain.exporters.graph.path import sources_of
from onnxplain.exporters.graph.values import STANDARD
from onnxplain.exporters.operators.operator import MICROSOFT, Places
from onnxplain.exporters.operators.table import operator_of

# The inputs whose content decides the shape of an output. Operators that neither have a row here nor keep positions
# (`Places`) count as shaped by all of their inputs.
SHAPED_BY: Mapping[str, tuple[int, ...]] = {
    "ArgMax": (),
    "ArgMin": (),
    "Concat": (),
    "DepthToSpace": (),
    "Einsum": (),
    "Flatten": (),
    "Gather": (),
    "GatherElements": (),
    "GatherND": (),
    "GlobalAveragePool": (),
    "GlobalLpPool": (),
    "GlobalMaxPool": (),
    "GridSample": (),
    "RoiAlign": (),
    "Shape": (),
    "Size": (),
    "SpaceToDepth": (),
    "Transpose": (),
    "EyeLike": (),
    "RandomNormal": (),
    "RandomNormalLike": (),
    "RandomUniform": (),
    "RandomUniformLike": (),
    "Bernoulli": (),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **dict.fromkeys(
        (
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ),
        (1,),
    ),
}

# Their outputs differ from run to run.
RANDOM = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# They read a shape and no content.
READ_SHAPES = frozenset({"Shape", "Size"})


@dataclass
class Dependence:
    """`contents`: values that can differ with the pixels; `shapes`: values whose shape can.

    `constants`: node outputs that depend on initializers only.
    """

    contents: set[ir.Value] = field(default_factory=set)
    shapes: set[ir.Value] = field(default_factory=set)
    constants: set[ir.Value] = field(default_factory=set)


def depend_on_pixels(graph: ir.Graph) -> Dependence:
    """Walk the graph once, in order. Every graph input counts as pixels; what cannot be told counts as dependent."""
    found = Dependence(contents=set(graph.inputs))
    for node in graph:
        sources = list(sources_of(node))
        known = node.domain in STANDARD or node.domain == MICROSOFT
        shaped = not known or any(source in found.shapes for source in sources)
        shaped = shaped or any(source in found.contents for source in shaping_sources(node))
        random = node.domain in STANDARD and node.op_type in RANDOM
        if not known or random:
            dependent = True
        elif reads_shape(node):
            dependent = shaped
        else:
            dependent = shaped or any(source in found.contents for source in sources)
        constant = not dependent and all(is_stored(source) or source in found.constants for source in sources)
        for wanted, values in ((dependent, found.contents), (shaped, found.shapes), (constant, found.constants)):
            if wanted:
                values.update(node.outputs)
    return found


def reads_shape(node: ir.Node) -> bool:
    """Whether the node's output tells the shape of its input, whatever that contains."""
    return node.domain in STANDARD and node.op_type in READ_SHAPES


def is_stored(value: ir.Value) -> bool:
    """Whether the file stores the value and nobody can feed another."""
    return value.producer() is None and value.const_value is not None and not value.is_graph_input()


def shaping_sources(node: ir.Node) -> Iterator[ir.Value]:
    """The values whose content decides the shape of the node's outputs."""
    if node.domain in STANDARD and node.op_type in SHAPED_BY:
        given = [node.inputs[place] for place in SHAPED_BY[node.op_type] if place < len(node.inputs)]
        yield from (value for value in given if value is not None)
    elif operator_of(node).places not in (Places.KEPT, Places.WINDOW):
        whole_numbers = node.domain == MICROSOFT
        for source in sources_of(node):
            if not whole_numbers or source.dtype in (None, ir.DataType.INT64, ir.DataType.INT32):
                yield source
