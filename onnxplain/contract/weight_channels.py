"""What the weights of a graph say about the channels of its image input, where the input leaves them open.

Exporters and runtime read the graph, each in its own way. Both ask `find_misfit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from onnxplain.contract.allocations.graph import KnownShape, PlainGraph, PlainNode
from onnxplain.contract.choices import Channels, ColourOrder, count_channels
from onnxplain.contract.image_input import AXES, DeclaredInput, ImageInput

# Operators that keep the channels of their first input, their number and their axis.
_KEEP = frozenset(
    (
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Identity",
        "InstanceNormalization",
        "LeakyRelu",
        "MaxPool",
        "QuantizeLinear",
        "Relu",
        "Sigmoid",
        "Tanh",
    )
)
_ARITHMETIC = frozenset(("Add", "Div", "Mul", "Sub"))
# The input that holds the weights of an operator, and their axis of the channels that lie on axis 1 of its first input.
_WEIGHTS: Mapping[str, tuple[int, int]] = {
    "BatchNormalization": (1, 0),
    "Conv": (1, 1),
    "ConvInteger": (1, 1),
    "ConvTranspose": (1, 0),
    "FusedConv": (1, 1),
    "InstanceNormalization": (1, 0),
    "QLinearConv": (3, 1),
}
_DOMAINS = {"FusedConv": "com.microsoft"}
# Weights may pass through these on the way to their operator.
_STORED_THROUGH = frozenset(("Cast", "DequantizeLinear", "Identity", "QuantizeLinear"))


@dataclass(frozen=True)
class ChannelMisfit:
    """Open channels were closed to a number that the graph does not take.

    `needed`: the number that it takes; `reader`: the operator that needs it; `weights`: its constant, of `shape`.
    """

    declared: DeclaredInput
    image: ImageInput
    is_stated: bool
    needed: int
    reader: str
    weights: str
    shape: KnownShape

    def __str__(self) -> str:
        found = count_channels(self.image.channels)
        source = "as stated" if self.is_stated else "as assumed"
        if self.image.channels_source is not None:
            source = f"as {self.image.channels_source} says"
        orders = [order for order in get_args(ColourOrder) if count_channels(order) == self.needed]
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return (
            f"found an input {self.declared.name} {self.declared.dtype} {self.declared.shape_text} with {found} "
            f"channel{'s' if found > 1 else ''} {source}, expected {self.needed}, as {self.reader} with the constant "
            f"{self.weights!r} [{shape}] needs: give --channels {' or '.join(orders or [str(self.needed)])} "
            "(channels=…)"
        )


def find_misfit(
    graph: PlainGraph, declared: DeclaredInput, image: ImageInput, stated: Channels | None
) -> ChannelMisfit | None:
    """Whether weights need another number of channels than open ones were closed to.

    None where the graph declares the number, where it fits, and where it cannot be told: only operators are followed
    that keep the channels.
    """
    first = AXES[image.layout][0]
    if declared.dims is None or isinstance(declared.dims[first], int):
        return None
    count, rank, axes = count_channels(image.channels), len(image.shape), {declared.name: first}
    stored = _stored(graph)
    for node in graph.nodes:
        place = next((place for place, name in enumerate(node.inputs) if name in axes), None)
        if place is None or node.domain != _DOMAINS.get(node.operator, ""):
            continue
        axis = axes[node.inputs[place]]
        name, needed = _constant(node, place, axis, rank, stored)
        if needed is not None and count == 1 and node.operator in _ARITHMETIC:
            continue  # One channel is repeated.
        if needed not in (None, count):
            assert needed is not None
            return ChannelMisfit(declared, image, stated is not None, needed, node.operator, name, stored[name])
        if node.operator == "Transpose":
            order = node.attributes.get("perm", tuple(range(rank))[::-1])
            if isinstance(order, tuple) and axis in order:
                axes[node.outputs[0]] = order.index(axis)
        elif (place == 0 and node.operator in _KEEP) or (node.operator in _ARITHMETIC and name):
            axes[node.outputs[0]] = axis
    return None


def _constant(
    node: PlainNode, place: int, axis: int, rank: int, stored: Mapping[str, KnownShape]
) -> tuple[str, int | None]:
    """The constant with which a node reads its operand, and the number of channels that it needs; "" without one."""
    if node.operator in _ARITHMETIC:
        name = node.inputs[1 - place]
        shape = stored.get(name)
        if shape is None or len(shape) > rank:
            return "", None
        at = axis - (rank - len(shape))
        return name, shape[at] if at >= 0 and shape[at] != 1 else None
    if node.operator not in _WEIGHTS or place != 0 or axis != 1:
        return "", None
    index, at = _WEIGHTS[node.operator]
    name = node.inputs[index] if index < len(node.inputs) else ""
    shape = stored.get(name)
    if shape is None or at >= len(shape):
        return "", None
    groups, size = node.attributes.get("group", 1) if at else 1, shape[at]
    return name, size * groups if size is not None and isinstance(groups, int) else None


def _stored(graph: PlainGraph) -> dict[str, KnownShape]:
    """The shapes of the stored constants by name, also behind their quantization."""
    shapes = dict(graph.shapes)
    for node in graph.nodes:
        if node.constant is not None:
            shapes[node.outputs[0]] = node.constant.shape
        elif node.operator in _STORED_THROUGH and node.inputs and node.inputs[0] in graph.shapes:
            shapes[node.outputs[0]] = shapes[node.inputs[0]]
    return shapes
