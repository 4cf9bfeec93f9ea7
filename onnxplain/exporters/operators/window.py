"""The sliding window of convolutions and pools, with explicit padding."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.exporters.operators.site import Site


@dataclass(frozen=True)
class Window:
    """A window over the spatial axes of input 0; every field has one entry per spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """The number of input positions that one window spans, including dilation."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def read_window(at: Site, kernel: tuple[int, ...]) -> Window:
    """The window of a Conv or a pool, from its attributes (ONNX Operators.md: auto_pad, pads, strides, dilations)."""
    rank = len(kernel)
    strides = tuple(at.attribute("strides") or (1,) * rank)
    dilations = tuple(at.attribute("dilations") or (1,) * rank)
    pads = tuple(at.attribute("pads") or (0,) * 2 * rank)
    begin, end = pads[:rank], pads[rank:]
    mode = at.attribute("auto_pad", "NOTSET")
    if mode == "VALID":
        begin = end = (0,) * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = _same_pads(at, kernel, strides, dilations, upper=mode == "SAME_UPPER")
    return Window(kernel, strides, dilations, begin, end)


def _same_pads(
    at: Site, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], upper: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    begin, end = [], []
    for size, k, stride, dilation in zip(at.spatial(at.value(0)), kernel, strides, dilations, strict=True):
        size_out = -(-size // stride)
        total = max((size_out - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if upper else large)
        end.append(large if upper else small)
    return tuple(begin), tuple(end)


def pooled_size(window: Window, size_in: tuple[int, ...], ceil_mode: bool) -> tuple[int, ...]:
    """Spatial size after a pool, as ONNX Runtime and torch compute it.

    With `ceil_mode`, a last window that would start after the input and its leading pad is left out. onnx's shape
    inference counts that window, so the inferred shape can be one larger.
    """
    sizes = []
    for axis in range(window.rank):
        stride, begin = window.strides[axis], window.pads_begin[axis]
        room = size_in[axis] + begin + window.pads_end[axis] - window.extent[axis]
        steps = -(-room // stride) if ceil_mode else room // stride
        if ceil_mode and steps * stride >= size_in[axis] + begin:
            steps -= 1
        sizes.append(steps + 1)
    return tuple(sizes)


def transposed_padding(
    window: Window, size_in: tuple[int, ...], size_out: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """(pads, output_padding) with which ConvTranspose maps `size_out` back to exactly `size_in`.

    ConvTranspose returns the size (size_out − 1) · stride + extent + output_padding − pads. Input at the end that no
    forward window read becomes output_padding. If a window read past the end (ceil_mode), that is removed as padding.
    """
    pads_end, output_padding = [], []
    for axis in range(window.rank):
        reach = (size_out[axis] - 1) * window.strides[axis] + window.extent[axis]
        surplus = reach - window.pads_begin[axis] - size_in[axis]
        pads_end.append(max(surplus, 0))
        output_padding.append(max(-surplus, 0))
    return [*window.pads_begin, *pads_end], output_padding


def read_transposed_window(at: Site, kernel: tuple[int, ...]) -> Window:
    """The window of a ConvTranspose; its padding is computed from the input and output sizes.

    Operators.md: total padding = stride · (in − 1) + output_padding + extent − out, split by `auto_pad`.
    """
    rank = len(kernel)
    strides = tuple(at.attribute("strides") or (1,) * rank)
    dilations = tuple(at.attribute("dilations") or (1,) * rank)
    pads = tuple(at.attribute("pads") or (0,) * 2 * rank)
    mode = at.attribute("auto_pad", "NOTSET")
    begin, end = pads[:rank], pads[rank:]
    if at.attribute("output_shape") or mode in ("SAME_UPPER", "SAME_LOWER"):
        output_padding = tuple(at.attribute("output_padding") or (0,) * rank)
        size_in, size_out = at.spatial(at.value(0)), at.spatial(at.node.outputs[0])
        totals = [
            max(strides[a] * (size_in[a] - 1) + output_padding[a] + (kernel[a] - 1) * dilations[a] + 1 - size_out[a], 0)
            for a in range(rank)
        ]
        small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        begin, end = (small, large) if mode == "SAME_UPPER" else (large, small)
    return Window(kernel, strides, dilations, begin, end)
