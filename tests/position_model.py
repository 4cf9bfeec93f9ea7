"""A classifier that sees where its pixels are, for any type, layout and batch of its input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxplain.contract import Layout, Preprocessing
from onnxplain.runtime import Engine

CLASSES = 4
DTYPES = ("float32", "float16", "uint8", "float64")
LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")
# Pixels reach the float models as −1 … 1, the uint8 model as they are.
FLOAT_INPUT = Preprocessing(scale=1 / 127.5, mean=(1.0,) * 3, std=(1.0,) * 3, resize="stretch")
BYTE_INPUT = Preprocessing(resize="stretch")


def open_position_model(
    path: Path,
    *,
    dtype: str = "float32",
    layout: Layout = "nchw",
    batch: int | str = "N",
    size_hw: tuple[int, int] = (13, 22),
    preprocessing: Preprocessing | None = None,
) -> Engine:
    """``logits = W · pixels``, W random: each pixel and channel counts differently."""
    height, width = size_hw
    preprocessing = preprocessing or (BYTE_INPUT if dtype == "uint8" else FLOAT_INPUT)
    channels = preprocessing.channel_count
    weights = np.random.default_rng(5).normal(size=(channels * height * width, CLASSES))
    weights *= (0.002 if dtype == "uint8" else 0.2) / np.sqrt(len(weights) / 100)
    order = [0, 3, 1, 2] if layout == "nhwc" else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=order),
        helper.make_node("Flatten", ["nchw"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    shape = [batch, height, width, channels] if layout == "nhwc" else [batch, channels, height, width]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "positions",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return Engine(path, threads=1, preprocessing=preprocessing, layout=layout)
