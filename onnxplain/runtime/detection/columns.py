"""The outputs of a detector, cut into their parts: boxes, classes, objectness …, one row per candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.contract import Quantization
from onnxplain.contract.detectors import DetectorLayout, DetectorSpec, LayoutOutput
from onnxplain.contract.detectors.layout import ColumnPart
from onnxplain.errors import ModelError
from onnxplain.runtime.arrays import AnyArray, FloatArray


@dataclass(frozen=True, eq=False)
class DetectorColumns:
    """The parts of the candidates of one image, one row each: float32 (M, W), classes with their background.

    A part that the layout does not have is missing.
    """

    parts: Mapping[ColumnPart, FloatArray]

    def column(self, part: ColumnPart) -> FloatArray | None:
        """A part of one column, (M,); None where it is missing."""
        return self.parts[part][:, 0] if part in self.parts else None

    @property
    def count(self) -> int:
        """The number of candidates."""
        return len(self.parts["box"])


def read_columns(
    spec: DetectorSpec, outputs: Mapping[str, AnyArray], quantized: Mapping[str, Quantization] | None = None
) -> list[DetectorColumns]:
    """The columns of each image of a batch, from the outputs that the session returned.

    Levels follow each other in the order of the strides. Nothing is copied where one float32 output holds everything.
    Raises ModelError for an output of another shape than the layout has.
    """
    parts: dict[ColumnPart, FloatArray] = {}
    for wanted, names in zip(spec.layout.outputs, spec.outputs, strict=True):
        if not names:
            continue
        levels = [_rows(wanted, name, outputs[name], (quantized or {}).get(name)) for name in names]
        rows = levels[0] if len(levels) == 1 else np.concatenate(levels, axis=1)
        parts |= _cut(spec, wanted, names[0], rows)
    images = len(parts["box"])
    counts = {len(part) for part in parts.values()}
    if counts != {images}:
        raise ModelError(
            f"outputs {', '.join(spec.output_names)}: found {sorted(counts)} images, expected the same number in all: "
            "state another layout with --detector"
        )
    return [DetectorColumns({name: part[image] for name, part in parts.items()}) for image in range(images)]


def _rows(wanted: LayoutOutput, name: str, output: AnyArray, quantization: Quantization | None) -> FloatArray:
    """An output as (N, M, K) float32."""
    fitting = [axes for axes in wanted.axes if len(axes) == output.ndim]
    if not fitting:
        expected = " or ".join(str(len(axes)) for axes in wanted.axes)
        raise ModelError(
            f"output {name}: found shape {list(output.shape)}, expected {expected} axes: state another layout "
            "with --detector"
        )
    axes = fitting[0]
    if output.dtype in (np.uint8, np.int8) and quantization is not None:
        output = _dequantized(output, quantization)
    numbers: npt.NDArray[np.float32] = output.astype(np.float32, copy=False)
    if "h" in axes:
        images, columns = numbers.shape[:2]
        return numbers.reshape(images, columns, -1).transpose(0, 2, 1)
    if axes.startswith("1"):
        numbers = numbers.reshape(1, *numbers.shape[2:])
    order = {"NKM": (0, 2, 1)}.get(axes)
    if order is not None:
        return numbers.transpose(order)
    if not axes.startswith(("N", "1")):
        numbers = numbers[None]
    if "M" not in axes:
        return numbers.reshape(len(numbers), 1, 1)
    return numbers if "K" in axes else numbers[..., None]


def _dequantized(output: AnyArray, quantization: Quantization) -> FloatArray:
    """The real values of integers, float32."""
    return (output.astype(np.float32) - np.float32(quantization.zero_point)) * np.float32(quantization.scale)


def _cut(spec: DetectorSpec, wanted: LayoutOutput, name: str, rows: FloatArray) -> dict[ColumnPart, FloatArray]:
    """The columns of one output by part."""
    layout, start = spec.layout, 0
    parts: dict[ColumnPart, FloatArray] = {}
    for part in wanted.columns:
        width = _width(spec, layout, part, wanted.columns, rows.shape[2])
        parts[part] = rows[..., start : start + width]
        start += width
    if start != rows.shape[2]:
        raise ModelError(
            f"output {name}: found {rows.shape[2]} columns, expected {start} in the layout {layout.name}: state "
            "another layout with --detector"
        )
    return parts


def _width(
    spec: DetectorSpec, layout: DetectorLayout, part: ColumnPart, columns: Sequence[ColumnPart], total: int
) -> int:
    """The number of columns of a part in an output of `total` columns."""
    width = layout.width(part)
    if width is not None:
        return width
    fixed = sum(layout.width(other) or 0 for other in columns)
    rest = spec.rest if "rest" in columns else 0
    if part == "rest":
        return total - fixed if "classes" not in columns else rest
    return total - fixed - rest if spec.classes is None else spec.classes + layout.backgrounds
