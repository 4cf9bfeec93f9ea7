"""Fuse the maps of several layers: deep layers recognise objects, shallow layers locate them more precisely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import INPUT_LAYER, MapFrame
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import bilinear_matrix, cell_matrix, spans_of
from onnxplain.runtime.target import resolve_layer

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, ModelSpec

ALL_LAYERS = "all"


def resolve_layers(spec: ModelSpec, layer: str | Sequence[str] | None) -> tuple[LayerSpec, ...]:
    """The layers that a user asks for, in the order of the graph, each once.

    `layer`: a name, a unique part of a name, or None for the last layer; a list of these; or "all", which leaves out
    the input. Raises UnsupportedError for a file without layers, OnnxplainError for an empty list, an unknown or an
    ambiguous name.
    """
    if layer == ALL_LAYERS and spec.layers:
        return tuple(entry for entry in spec.layers if entry.name != INPUT_LAYER)
    asked = [layer] if isinstance(layer, str) or layer is None else layer
    if not asked:
        names = ", ".join(entry.name for entry in spec.layers)
        raise OnnxplainError(f'layer: found an empty list, expected "all" or some of {names}')
    chosen = [resolve_layer(spec, name) for name in asked]
    return tuple(entry for entry in spec.layers if entry in chosen)


def fuse_maps(
    maps_per_layer: Sequence[FloatArray],
    frames: Sequence[MapFrame | None] = (),
    input_size_hw: tuple[int, int] | None = None,
) -> FloatArray:
    """``F = max over l of ReLU(M_l) / max(ReLU(M_l))``, the fusion of LayerCAM (Jiang et al. 2021, section III).

    `maps_per_layer`: for each layer float32 (N, h_l, w_l), signed; `frames`: where each lies in the input of
    `input_size_hw`, None, as by default, spread over the whole of it. Returns float32 (N, h, w) in [0, 1], spread over
    the whole input in cells as fine as the finest, to which the maps are brought by bilinear, half-pixel exact
    interpolation; what a layer does not see is 0 there. A layer with nothing
    positive adds nothing; NaN or infinity in a layer makes the image's whole map NaN. The paper first passes the maps
    of shallow layers through tanh(2 ·); here every layer counts alike.
    """
    if input_size_hw is not None and any(frames):
        finest = [
            (frame or MapFrame.over(input_size_hw, maps.shape[1:])).scale_hw
            for frame, maps in zip(frames, maps_per_layer, strict=True)
        ]
        size_hw = [
            max(1, round(side / min(scales)))
            for side, scales in zip(input_size_hw, zip(*finest, strict=True), strict=True)
        ]
        height, width = size_hw
        fused: FloatArray = np.maximum.reduce(
            [
                _place(_normalise(maps), frame, input_size_hw, (height, width))
                for maps, frame in zip(maps_per_layer, frames, strict=True)
            ]
        )
        return fused
    height, width = (max(maps.shape[axis] for maps in maps_per_layer) for axis in (1, 2))
    fused = np.maximum.reduce([_resample(_normalise(maps), (height, width)) for maps in maps_per_layer])
    return fused


def _normalise(maps_nhw: FloatArray) -> FloatArray:
    positive = np.maximum(maps_nhw, 0)
    largest = positive.max(axis=(1, 2), keepdims=True)
    normalised = np.divide(positive, largest, out=np.zeros_like(positive), where=largest > 0)
    finite = np.isfinite(maps_nhw).all(axis=(1, 2), keepdims=True)
    return np.where(finite, normalised, np.float32(np.nan))


def _place(
    maps_nhw: FloatArray, frame: MapFrame | None, input_size_hw: tuple[int, int], size_hw: tuple[int, int]
) -> FloatArray:
    """The maps where they lie, on a grid that is spread over the whole input."""
    down, across = (
        cell_matrix(cells, (side / cells, 0.0), own, side, span)
        for cells, side, own, span in zip(size_hw, input_size_hw, maps_nhw.shape[1:], spans_of(frame), strict=True)
    )
    placed: FloatArray = (down @ maps_nhw @ across.T).astype(np.float32)
    return placed


def _resample(maps_nhw: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    (rows, row_count), (columns, column_count) = zip(maps_nhw.shape[1:], size_hw, strict=True)
    down = bilinear_matrix(row_count, rows, rows / row_count, 0.0)
    across = bilinear_matrix(column_count, columns, columns / column_count, 0.0)
    resampled: FloatArray = (down @ maps_nhw @ across.T).astype(np.float32)
    return resampled
