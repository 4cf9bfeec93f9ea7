"""Small networks that differ in how they end: what follows the last product, as text, and which outputs there are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser

HEADER = '<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
# image → Conv → Relu `maps` [N, 8, 8, 8] → mean → `means` [N, 8] → Gemm `y` [N, 6].
TRUNK = """
convolved = Conv<strides = [4, 4], pads = [1, 1, 1, 1]>(image, kernel)
maps = Relu(convolved)
pooled = GlobalAveragePool(maps)
means = Flatten(pooled)
y = Gemm(means, weights, bias)
"""
# A map of 5 classes at the size of the image, [N, 5, 32, 32].
DECODER = """
scoremaps = Conv(maps, pointwise)
m = Resize<mode = "linear">(scoremaps, , resizing)
"""
RNG = np.random.default_rng(16)


def _random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.4, shape).astype(np.float32)


CONSTANTS: Mapping[str, np.ndarray] = {
    "kernel": _random(8, 3, 4, 4),
    "weights": _random(8, 6),
    "bias": _random(6),
    "two": _random(8, 2),
    "four": _random(8, 4),
    "one": _random(8, 1),
    "pair": np.array([[1, 2], [0, 1], [-1, 1], [3, 0]], np.float32),
    "pointwise": _random(5, 8, 1, 1),
    "single": _random(1, 8, 1, 1),
    "resizing": np.array([1, 1, 4, 4], np.float32),
    "hundred": np.array(100, np.float32),
    "warmth": np.array([2.5], np.float32),
    "small": np.array(1e-6, np.float32),
    "most": np.array(1, np.float32),
    "square": np.array(2, np.float32),
    "three": np.array([3], np.int64),
    "last": np.array([-1], np.int64),
    "first": np.array([1], np.int64),
    "twice": np.array([2], np.int64),
    "zeros": np.array([0], np.int64),
    "end": np.array([1000], np.int64),
    "rows": np.array([0, 64, 5], np.int64),
    "columns": np.array([0, 64, 1], np.int64),
    "boxes": np.array([0, 64, 4], np.int64),
    "step": np.array(0.05, np.float32),
    "unit": np.array(1 / 256, np.float32),
    "middle": np.array(128, np.uint8),
    "lowest": np.array(0, np.uint8),
    "like": _random(1, 6),
    "half": np.array(0.5, np.float32),
}


def end_model(
    end: str, outputs: str, *, opset: int = 18, image: str = "float[N, 3, 32, 32] image", decoder: bool = False
) -> onnx.ModelProto:
    """The trunk, the decoder if asked for, and the nodes of `end`. `outputs`: ``float[N, 6] p, int64[N] k``."""
    text = f"{HEADER.format(opset=opset)} g ({image}) => ({outputs}) {{ {TRUNK} {DECODER if decoder else ''} {end} }}"
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    known = [onnx.numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in used]
    model.graph.initializer.extend(known)
    return model
