"""The shape of what a node makes, as far as its constants tell it. Definitions: Operators.md of onnx.

An unknown size counts as 1, so every shape is a lower bound of the real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.contract.allocations.constants import SmallArray
from onnxplain.contract.allocations.graph import KnownShape, Numbers


@dataclass(frozen=True)
class KnownInputs:
    """What is known of a node's inputs: values and shapes, None where they are not; and its attributes."""

    values: Sequence[SmallArray | None]
    shapes: Sequence[KnownShape | None]
    attributes: Mapping[str, Numbers]

    def sizes(self, index: int) -> list[int] | None:
        """The value of an input as integers."""
        value = self.values[index] if index < len(self.values) else None
        return None if value is None else [int(number) for number in np.ravel(value)]

    def shape(self, index: int) -> KnownShape | None:
        """The shape of an input."""
        return self.shapes[index] if index < len(self.shapes) else None

    def listed(self, name: str) -> list[Any] | None:
        """An attribute of several numbers."""
        found: Any = self.attributes.get(name)
        return list(found) if isinstance(found, tuple) else None

    def number(self, name: str, default: int) -> int:
        """An attribute of one number."""
        found: Any = self.attributes.get(name, default)
        return int(found)


def elements(shape: Sequence[int | None]) -> int:
    """The numbers that a tensor of this shape has at least."""
    return math.prod(1 if size is None else max(size, 0) for size in shape)


def broadcast(shapes: Sequence[KnownShape | None]) -> KnownShape | None:
    """The shape after broadcasting; None where nothing is known."""
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known), default=0)
    full = [(None,) * (rank - len(shape)) + tuple(shape) for shape in known]
    return tuple(max((s for s in sizes if s is not None), default=None) for sizes in zip(*full, strict=True))


def _broadcast(known: KnownInputs) -> KnownShape | None:
    return broadcast(known.shapes) if any(shape is not None for shape in known.shapes) else None


def _given(index: int) -> Callable[[KnownInputs], KnownShape | None]:
    """The sizes are an input."""

    def rule(known: KnownInputs) -> KnownShape | None:
        sizes = known.sizes(index)
        return None if sizes is None else tuple(sizes)

    return rule


def _attribute(name: str) -> Callable[[KnownInputs], KnownShape | None]:
    """The sizes are an attribute."""

    def rule(known: KnownInputs) -> KnownShape | None:
        sizes = known.listed(name)
        return None if sizes is None else tuple(sizes)

    return rule


def _expand(known: KnownInputs) -> KnownShape | None:
    sizes = known.sizes(1)
    return None if sizes is None else broadcast([tuple(sizes), known.shape(0)])


def _tile(known: KnownInputs) -> KnownShape | None:
    repeats, shape = known.sizes(1), known.shape(0)
    if repeats is None:
        return None
    return tuple(repeats) if shape is None else tuple((s or 1) * n for s, n in zip(shape, repeats, strict=True))


def _resize(known: KnownInputs) -> KnownShape | None:
    """Inputs: X, roi, scales, sizes; X, scales up to opset 10; the scales are an attribute of Upsample 7."""
    sizes = known.sizes(3)
    if sizes is not None:
        return tuple(sizes)
    value = known.values[1 if len(known.values) == 2 else 2] if len(known.values) > 1 else None
    scales = known.listed("scales") if value is None else [float(number) for number in np.ravel(value)]
    if not scales:
        return None
    shape, axes = known.shape(0), known.listed("axes")
    if shape is None:
        return tuple(math.floor(max(scale, 1)) for scale in scales)
    by_axis = dict(zip([a % len(shape) for a in axes] if axes else range(len(shape)), scales, strict=True))
    return tuple(math.floor((size or 1) * by_axis.get(at, 1)) for at, size in enumerate(shape))


def _pad(known: KnownInputs) -> KnownShape | None:
    """The widths are an input since opset 11, an attribute before."""
    pads, shape, axes = known.sizes(1) or known.listed("pads"), known.shape(0), known.sizes(3)
    if not pads:
        return None
    widths = [first + last for first, last in zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True)]
    if shape is None:
        return tuple(max(1, 1 + width) for width in widths)
    by_axis = dict(zip([a % len(shape) for a in axes] if axes else range(len(shape)), widths, strict=True))
    return tuple((size or 1) + by_axis.get(at, 0) for at, size in enumerate(shape))


def _range(known: KnownInputs) -> KnownShape | None:
    if len(known.values) != 3 or any(value is None for value in known.values):
        return None
    start, limit, delta = (float(np.ravel(value)[0]) for value in known.values if value is not None)
    return (max(math.ceil((limit - start) / delta), 0),)


def _one_hot(known: KnownInputs) -> KnownShape | None:
    depth = known.sizes(1)
    return None if depth is None else (*(known.shape(0) or ()), *depth)


def _matmul(known: KnownInputs) -> KnownShape | None:
    first, second = known.shape(0), known.shape(1)
    if first is None or second is None or min(len(first), len(second)) < 2:
        return None
    return (*(broadcast([first[:-2], second[:-2]]) or ()), first[-2], second[-1])


def _gemm(known: KnownInputs) -> KnownShape | None:
    first, second = known.shape(0), known.shape(1)
    if first is None or second is None or len(first) != 2 or len(second) != 2:
        return None
    return first[1 if known.number("transA", 0) else 0], second[0 if known.number("transB", 0) else 1]


def _concat(known: KnownInputs) -> KnownShape | None:
    shapes = [shape for shape in known.shapes if shape is not None]
    if not shapes:
        return None
    axis = known.number("axis", 0) % len(shapes[0])
    return tuple(sum(shape[at] or 1 for shape in shapes) if at == axis else size for at, size in enumerate(shapes[0]))


def _reshape(known: KnownInputs) -> KnownShape | None:
    sizes, shape = known.sizes(1), known.shape(0)
    if sizes is None:
        return shape
    return tuple(
        None if size < 0 else (shape[at] if shape else None) if size == 0 else size for at, size in enumerate(sizes)
    )


def _transpose(known: KnownInputs) -> KnownShape | None:
    shape, order = known.shape(0), known.listed("perm")
    if shape is None:
        return None
    return tuple(reversed(shape)) if order is None else tuple(shape[axis] for axis in order)


def _window(known: KnownInputs) -> KnownShape | None:
    """Conv with pads as large as the window; with smaller ones the result is about as large as the input."""
    pads, shape, weight = known.listed("pads"), known.shape(0), known.shape(1)
    kernel = known.listed("kernel_shape") or list((weight or ())[2:])
    if not pads or len(kernel) != len(pads) // 2:
        return None
    count = len(kernel)
    strides, dilations = (known.listed(name) or [1] * count for name in ("strides", "dilations"))
    extents = [dilation * ((size or 1) - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    if all(pad < extent for pad, extent in zip(pads, extents * 2, strict=True)):
        return None
    inner = (shape or ())[2:] or (None,) * count
    outer = [
        ((size or 1) + pads[at] + pads[at + count] - extents[at]) // strides[at] + 1 for at, size in enumerate(inner)
    ]
    batch, channels = (shape or (None, None))[:2]
    return (batch, weight[0] if weight else channels, *(max(size, 1) for size in outer))


def _transposed_window(known: KnownInputs) -> KnownShape | None:
    """ConvTranspose: strides and output_padding enlarge. Weights: (C, M / groups, kernel …)."""
    shape, weight = known.shape(0), known.shape(1)
    kernel = known.listed("kernel_shape") or list((weight or ())[2:])
    if not kernel:
        return None
    count = len(kernel)
    batch = shape[0] if shape else None
    channels = (weight[1] or 1) * known.number("group", 1) if weight else None
    stated = known.listed("output_shape")
    if stated:
        return (batch, channels, *stated[-count:])
    strides, dilations = (known.listed(name) or [1] * count for name in ("strides", "dilations"))
    pads, more = known.listed("pads") or [0] * 2 * count, known.listed("output_padding") or [0] * count
    inner = (shape or ())[2:] or (None,) * count
    outer = [
        strides[at] * ((size or 1) - 1)
        + more[at]
        + dilations[at] * ((kernel[at] or 1) - 1)
        + 1
        - pads[at]
        - pads[at + count]
        for at, size in enumerate(inner)
    ]
    return (batch, channels, *(max(size, 1) for size in outer))


def _image(known: KnownInputs) -> KnownShape | None:
    """Col2Im: from (N, C x block, L) with the sizes of image and block to (N, C, image)."""
    sizes, block, shape = known.sizes(1), known.sizes(2), known.shape(0)
    if sizes is None:
        return None
    if shape is None or block is None:
        return tuple(sizes)
    return (shape[0], (shape[1] or 1) // math.prod(block), *sizes)


def _grid(known: KnownInputs) -> KnownShape | None:
    """AffineGrid: the size of the images, (N, C, …), is an input; the grid has a point of so many numbers per pixel."""
    sizes = known.sizes(1)
    return None if sizes is None else (sizes[0], *sizes[2:], len(sizes) - 2)


def _crop_or_pad(known: KnownInputs) -> KnownShape | None:
    sizes, shape, axes = known.sizes(1), known.shape(0), known.listed("axes")
    if sizes is None or shape is None:
        return None if sizes is None else tuple(sizes)
    by_axis = dict(zip([axis % len(shape) for axis in axes] if axes else range(len(shape)), sizes, strict=True))
    return tuple(by_axis.get(at, size) for at, size in enumerate(shape))


def _same(known: KnownInputs) -> KnownShape | None:
    return known.shape(0)


_SAME = (
    "Abs BatchNormalization Cast CastLike Ceil Clip CumSum Elu Erf Exp EyeLike Floor Gelu HardSigmoid HardSwish "
    "Identity InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax LRN Mish Neg Not Relu Round "
    "RandomNormalLike RandomUniformLike ScatterElements ScatterND Selu Sigmoid Sign Sin Cos Softmax Softplus Sqrt Tanh"
)
_BROADCAST = "Add And BitShift Div Equal Greater Less Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor"
_SHAPES: Mapping[str, Callable[[KnownInputs], KnownShape | None]] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_BROADCAST.split(), _broadcast),
    **dict.fromkeys(["BlackmanWindow", "HammingWindow", "HannWindow", "ConstantOfShape"], _given(0)),
    **dict.fromkeys(["RandomNormal", "RandomUniform"], _attribute("shape")),
    **dict.fromkeys(["Resize", "Upsample"], _resize),
    "AffineGrid": _grid,
    "CenterCropPad": _crop_or_pad,
    "Col2Im": _image,
    "Concat": _concat,
    "Conv": _window,
    "ConvTranspose": _transposed_window,
    "Expand": _expand,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxUnpool": _given(2),
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Tile": _tile,
    "Transpose": _transpose,
}


def has_shape_rule(operator: str) -> bool:
    """Whether the shape of its output follows from shapes and constants."""
    return operator in _SHAPES


def made_shape(operator: str, known: KnownInputs) -> KnownShape | None:
    """The shape of a node's first output; None if it is not known."""
    rule = _SHAPES.get(operator)
    try:
        return None if rule is None else rule(known)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # ONNX Runtime reports it.
