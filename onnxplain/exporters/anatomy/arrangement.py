"""The arrangement of a feature map in a tensor: channels first, channels last, or a sequence of tokens.

The arrangement of every value is found by walking the graph from the image. Some operators determine it (Conv, pools).
Some move axes (Transpose, Reshape). Some keep it, since they work on each position separately (Add, LayerNormalization,
a product with a weight). Values that mix axes (attention heads, windows) have no arrangement and do not count as maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxplain.contract import Layout
from onnxplain.exporters.anatomy.axes import Axes, axes_of_map, form_of_axes, reshape_axes, transpose_axes
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import Dims, int_attribute, is_constant, maybe_dims
from onnxplain.exporters.operators.operator import Hands, Places
from onnxplain.exporters.operators.table import operator_of

# The last, [N · C, h, w], holds the matrices of attention, C its heads.
Form = Literal["nchw", "nhwc", "nct", "ntc", "chw"]

AXIS = {"nchw": 1, "nct": 1, "nhwc": 3, "ntc": 2}
MAP_RANK = 4
TOKEN_RANK = 3


@dataclass(frozen=True)
class Arrangement:
    """How a tensor holds maps of `size_hw`: the order of axes, and the number of extra tokens before and after."""

    form: Form
    size_hw: tuple[int, int]
    tokens_before: int = 0
    tokens_after: int = 0

    @property
    def positions(self) -> int:
        """h · w."""
        return math.prod(self.size_hw)

    @property
    def is_token_sequence(self) -> bool:
        """Whether the positions are laid out along one axis."""
        return self.form in ("nct", "ntc")

    def to_map(self, branch: Branch, value: ir.Value, channels: int) -> ir.Value:
        """Emit nodes into the branch that bring the tensor to [N, K, h, w]; extra tokens are dropped."""
        if self.form == "nchw":
            return value
        if self.form == "nhwc":
            return branch.Transpose(value, perm=[0, 3, 1, 2])
        if self.form == "chw":
            return branch.Reshape(value, [-1, channels, *self.size_hw])
        axis = 1 if self.form == "ntc" else 2
        if self.tokens_before or self.tokens_after:
            value = branch.Slice(value, [self.tokens_before], [self.tokens_before + self.positions], [axis])
        if self.form == "ntc":
            value = branch.Transpose(value, perm=[0, 2, 1])
        return branch.Reshape(value, [-1, channels, *self.size_hw])

    def array_to_map(self, array: np.ndarray) -> np.ndarray:
        """As `to_map`, for an array: returns [N, K, h, w]."""
        if self.form == "nchw":
            return array
        if self.form == "nhwc":
            return array.transpose(0, 3, 1, 2)
        tokens = array if self.form == "nct" else array.transpose(0, 2, 1)
        kept = tokens[:, :, self.tokens_before : self.tokens_before + self.positions]
        return kept.reshape(len(array), -1, *self.size_hw)


def arrange(graph: ir.Graph, image: ir.Value, layout: Layout) -> dict[ir.Value, Arrangement]:
    """Find the arrangement of every value that has one."""
    found: dict[ir.Value, Arrangement] = {}
    taken_apart: dict[ir.Value, Axes] = {}
    if layout == "nchw" or layout == "nhwc":
        _note(found, image, layout, None)
    for node in graph:
        for output in node.outputs[:1] if node.op_type != "Split" else node.outputs:
            known = _of_output(node, output, found)
            if known is not None:
                _note(found, output, known.form, known)
            elif node.op_type in ("Reshape", "Transpose"):
                _follow_axes(node, output, found, taken_apart)
    return found


def _follow_axes(
    node: ir.Node, output: ir.Value, found: dict[ir.Value, Arrangement], taken_apart: dict[ir.Value, Axes]
) -> None:
    """Follow the axes through a Reshape or Transpose that splits the axes of a map, or merges them again."""
    source, shape = node.inputs[0], maybe_dims(output)
    if source is None or shape is None:
        return
    axes, arrangement = taken_apart.get(source), found.get(source)
    if axes is None and arrangement is not None and (arrangement.form == "nchw" or arrangement.form == "nhwc"):
        axes = axes_of_map(arrangement.form, maybe_dims(source) or ())
    if axes is None:
        return
    if node.op_type == "Reshape":
        axes = reshape_axes(axes, shape)
    else:
        axes = transpose_axes(axes, tuple(node.attributes.get_ints("perm", ())))
    if axes is not None:
        taken_apart[output] = axes
        form = form_of_axes(axes)
        if form is not None:
            _note(found, output, form, None)


def channels_of(value: ir.Value, arrangement: Arrangement) -> int | None:
    """The number of channels K, or None if it is not known."""
    size = (maybe_dims(value) or (None,) * MAP_RANK)[AXIS[arrangement.form]]
    return size if isinstance(size, int) else None


def _note(found: dict[ir.Value, Arrangement], value: ir.Value, form: Form, known: Arrangement | None) -> None:
    """Record an arrangement if it agrees with the dimensions of the value."""
    shape = maybe_dims(value)
    if shape is None:
        return
    if form in ("nchw", "nhwc"):
        height, width = shape[2:4] if form == "nchw" else shape[1:3]
        if len(shape) == MAP_RANK and isinstance(height, int) and isinstance(width, int):
            found[value] = Arrangement(form, (height, width))
    elif known is not None and len(shape) == TOKEN_RANK:
        tokens = known.tokens_before + known.positions + known.tokens_after
        if shape[1 if form == "ntc" else 2] == tokens:
            found[value] = known


def _of_output(node: ir.Node, output: ir.Value, found: dict[ir.Value, Arrangement]) -> Arrangement | None:
    shape = maybe_dims(output)
    if shape is None:
        return None
    operator = operator_of(node)
    if operator.channels_second:
        form: Form = "nhwc" if int_attribute(node, "channels_last", 0) else "nchw"
        return Arrangement(form, (1, 1)) if len(shape) == MAP_RANK else None
    known = [(source, found[source]) for source in node.inputs if source is not None and source in found]
    if not known:
        return None
    source, arrangement = known[0]
    if node.op_type == "Transpose":
        return _transposed(arrangement, tuple(node.attributes.get_ints("perm", ())))
    if operator.hands is Hands.RESHAPED:
        return _reshaped(arrangement, maybe_dims(source) or (), shape)
    if node.op_type == "Concat":
        return _concatenated(node, arrangement, found, len(shape))
    if operator.weight is not None:
        weight = node.inputs[operator.weight]
        by_weight = weight is not None and is_constant(weight) and node.inputs[0] is source
        swapped = int_attribute(node, "transA", 0) or int_attribute(node, "transBatchA", 0)
        return arrangement if by_weight and not swapped and arrangement.form in ("nhwc", "ntc") else None
    if node.op_type == "Slice" and arrangement.is_token_sequence:
        return None
    keeps_rank = len(shape) == len(maybe_dims(source) or ())
    # An operator that reaches this line is elementwise, even if both operands have an arrangement. Products of
    # activations were handled above.
    return arrangement if keeps_rank and operator.places is not Places.LOST else None


def _transposed(arrangement: Arrangement, perm: tuple[int, ...]) -> Arrangement | None:
    moves: dict[tuple[str, tuple[int, ...]], Form] = {
        ("nchw", (0, 2, 3, 1)): "nhwc",
        ("nhwc", (0, 3, 1, 2)): "nchw",
        ("nct", (0, 2, 1)): "ntc",
        ("ntc", (0, 2, 1)): "nct",
    }
    form = moves.get((arrangement.form, perm))
    return None if form is None else replace(arrangement, form=form)


def _reshaped(arrangement: Arrangement, before: Dims, after: Dims) -> Arrangement | None:
    """A Reshape from map to tokens or back, if the sizes are unambiguous and the batch axis stays first."""
    height, width = arrangement.size_hw
    if len(before) == len(after) and before[1:] == after[1:]:
        return arrangement
    if arrangement.tokens_before or arrangement.tokens_after:
        return None
    channels = before[AXIS[arrangement.form]]
    shapes: dict[Form, tuple[int | str, ...]] = {
        "nchw": (channels, height, width),
        "nhwc": (height, width, channels),
        "nct": (channels, height * width),
        "ntc": (height * width, channels),
    }
    partner: dict[Form, Form] = {"nchw": "nct", "nct": "nchw", "nhwc": "ntc", "ntc": "nhwc"}
    form = partner[arrangement.form]
    return Arrangement(form, arrangement.size_hw) if tuple(after[1:]) == shapes[form] else None


def _concatenated(
    node: ir.Node, arrangement: Arrangement, found: dict[ir.Value, Arrangement], rank: int
) -> Arrangement | None:
    """A Concat of channels keeps the arrangement. A Concat of tokens adds to the extra tokens before or after."""
    axis = int_attribute(node, "axis", 0) % rank
    if axis == AXIS[arrangement.form]:
        return arrangement
    if not arrangement.is_token_sequence or axis == 0:
        return None
    before = after = 0
    seen = None
    for source in node.inputs:
        if source is not None and source in found:
            if seen is not None:
                return None
            seen = found[source]
            continue
        size = (maybe_dims(source) or ("?",) * rank)[axis] if source is not None else "?"
        if not isinstance(size, int):
            return None
        before, after = (before + size, after) if seen is None else (before, after + size)
    if seen is None:
        return None
    return replace(seen, tokens_before=seen.tokens_before + before, tokens_after=seen.tokens_after + after)
