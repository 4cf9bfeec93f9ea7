"""Small networks that differ between a map and the logits, for tests of several targets of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

CLASSES, MAPS, SIZE = 50, 8, 16
node = onnx.helper.make_node
POOL = node("MaxPool", ["late"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


@dataclass(frozen=True)
class Tail:
    """Nodes from ``late`` [N, 8, 16, 16] to ``end``, of that many values per image; weights are drawn by shape."""

    nodes: Sequence[onnx.NodeProto]
    width: int
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    integers: Mapping[str, Any] = field(default_factory=dict)


def attention(order: Sequence[int], tokens: Sequence[int]) -> list[onnx.NodeProto]:
    """One head over the 64 positions of a pooled map; `order` and `tokens` bring [N, 8, 64] to the tokens."""
    return [
        POOL,
        node("Reshape", ["pooled", "flat"], ["columns"]),
        node("Transpose", ["columns"], ["moved"], perm=order),
        node("LayerNormalization", ["moved", "gamma"], ["tokens"]),
        *(node("MatMul", ["tokens", name], [name.upper()]) for name in ("q", "k", "v")),
        *(node("Transpose", [name], [f"{name}_first"], perm=tokens) for name in ("Q", "K", "V")),
        node("Transpose", ["K_first"], ["K_turned"], perm=[0, 2, 1]),
        node("MatMul", ["Q_first", "K_turned"], ["products"]),
        node("Softmax", ["products"], ["shares"], axis=-1),
        node("MatMul", ["shares", "V_first"], ["mixed"]),
        node("ReduceMean", ["mixed", "axis"], ["end"], keepdims=0),
    ]


OF_ATTENTION: dict[str, Any] = {
    "width": MAPS,
    "weights": {"gamma": (MAPS,), "q": (MAPS, MAPS), "k": (MAPS, MAPS), "v": (MAPS, MAPS)},
    "integers": {"flat": [0, MAPS, 64], "axis": [1]},
}
TAILS: dict[str, Tail] = {
    "max pool": Tail([POOL, node("Flatten", ["pooled"], ["end"])], MAPS * 64),
    "concat": Tail(
        [
            node("Concat", ["late", "early"], ["both"], axis=1),
            node("GlobalMaxPool", ["both"], ["largest"]),
            node("Flatten", ["largest"], ["end"]),
        ],
        MAPS + 4,
    ),
    "attention": Tail(attention([0, 2, 1], [0, 1, 2]), **OF_ATTENTION),
    "top values": Tail(
        [
            node("Flatten", ["late"], ["cells"]),
            node("TopK", ["cells", "k"], ["best", "places"], axis=1),
            node("Softplus", ["best"], ["end"]),
        ],
        30,
        integers={"k": [30]},
    ),
    "excitation": Tail(
        [
            node("GlobalAveragePool", ["late"], ["means"]),
            node("Conv", ["means", "squeeze"], ["gates"]),
            node("Sigmoid", ["gates"], ["shares"]),
            node("Mul", ["late", "shares"], ["scaled"]),
            node("ReduceMax", ["scaled", "space"], ["end"], keepdims=0),
        ],
        MAPS,
        {"squeeze": (MAPS, MAPS, 1, 1)},
        {"space": [2, 3]},
    ),
}

# The batch shares an axis with windows, attention heads, or is behind axes that are indexed.
MERGED: dict[str, Tail] = {
    "windows": Tail(
        [
            node("Reshape", ["late", "cut"], ["windows"]),
            node("Softmax", ["windows"], ["shares"], axis=1),
            node("Reshape", ["shares", "whole"], ["end"]),
        ],
        MAPS * SIZE**2,
        integers={"cut": [-1, SIZE], "whole": [-1, MAPS * SIZE**2]},
    ),
    "moved windows with a mask": Tail(
        [
            node("Transpose", ["late"], ["last"], perm=[0, 2, 3, 1]),
            node("Slice", ["last", "two", "far", "rows"], ["lower"]),
            node("Slice", ["last", "zero", "two", "rows"], ["upper"]),
            node("Concat", ["lower", "upper"], ["moved"], axis=1),
            node("Reshape", ["moved", "grid"], ["grids"]),
            node("Transpose", ["grids"], ["grouped"], perm=[0, 1, 3, 2, 4, 5]),
            node("Reshape", ["grouped", "windowed"], ["windows"]),
            node("MatMul", ["windows", "q"], ["Q"]),
            node("Transpose", ["windows"], ["K"], perm=[0, 2, 1]),
            node("MatMul", ["Q", "K"], ["products"]),
            node("Reshape", ["products", "by_image"], ["products_by_image"]),
            node("Add", ["products_by_image", "mask"], ["masked"]),
            node("Reshape", ["masked", "by_window"], ["masked_by_window"]),
            node("Softmax", ["masked_by_window"], ["shares"], axis=-1),
            node("MatMul", ["shares", "windows"], ["mixed"]),
            node("Reshape", ["mixed", "whole"], ["tokens"]),
            node("ReduceMean", ["tokens", "one"], ["end"], keepdims=0),
        ],
        MAPS,
        {"q": (MAPS, MAPS), "mask": (16, 16, 16)},
        {
            "zero": [0],
            "two": [2],
            "far": [SIZE],
            "rows": [1],
            "grid": [-1, 4, 4, 4, 4, MAPS],
            "windowed": [-1, 16, MAPS],
            "by_image": [-1, 16, 16, 16],
            "by_window": [-1, 16, 16],
            "whole": [-1, SIZE**2, MAPS],
            "one": [1],
        },
    ),
    "heads behind a class token": Tail(
        [
            POOL,
            node("Reshape", ["pooled", "flat"], ["columns"]),
            node("Transpose", ["columns"], ["patches"], perm=[0, 2, 1]),
            node("Shape", ["patches"], ["images"], start=0, end=1),
            node("Concat", ["images", "ones"], ["sizes"], axis=0),
            node("Expand", ["token", "sizes"], ["token_per_image"]),
            node("Concat", ["token_per_image", "patches"], ["tokens_first"], axis=1),
            node("Transpose", ["tokens_first"], ["tokens"], perm=[1, 0, 2]),
            *(node("MatMul", ["tokens", name], [name.upper()]) for name in ("q", "k", "v")),
            *(node("Reshape", [name, "heads"], [f"{name}_heads"]) for name in ("Q", "K", "V")),
            *(
                node("Transpose", [f"{name}_heads"], [f"{name}_first"], perm=perm)
                for name, perm in (("Q", [1, 0, 2]), ("K", [1, 2, 0]), ("V", [1, 0, 2]))
            ),
            node("MatMul", ["Q_first", "K_first"], ["products"]),
            node("Softmax", ["products"], ["shares"], axis=-1),
            node("MatMul", ["shares", "V_first"], ["mixed"]),
            node("Transpose", ["mixed"], ["mixed_tokens"], perm=[1, 0, 2]),
            node("Reshape", ["mixed_tokens", "joined"], ["answers"]),
            node("Gather", ["answers", "first_token"], ["end"], axis=0),
        ],
        MAPS,
        {"q": (MAPS, MAPS), "k": (MAPS, MAPS), "v": (MAPS, MAPS), "token": (1, 1, MAPS)},
        {"flat": [0, MAPS, 64], "ones": [1, 1], "heads": [65, -1, 4], "joined": [65, -1, MAPS], "first_token": 0},
    ),
    "indexed cells": Tail(
        [
            node("Transpose", ["late"], ["cells"], perm=[2, 3, 0, 1]),
            node("GatherND", ["cells", "places"], ["chosen"]),
            node("Softplus", ["chosen"], ["bent"]),
            node("ReduceMean", ["bent", "axis"], ["end"], keepdims=0),
        ],
        MAPS,
        integers={"places": [[0, 0], [3, 5], [3, 5], [15, 15]], "axis": [0]},
    ),
}


def model(tail: Tail, batch: int | str = "N", *, unbatched: bool = False) -> onnx.ModelProto:
    """image → Conv, Relu ``early`` → Conv, Relu ``late`` → the tail → Gemm ``logits``."""
    rng = np.random.default_rng(4)
    shapes = {"w1": (4, 3, 3, 3), "w2": (MAPS, 4, 3, 3), "w3": (CLASSES, tail.width), **tail.weights}
    arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {name: np.array(values, np.int64) for name, values in tail.integers.items()}
    image = "image"
    nodes = []
    if unbatched:
        arrays["first"] = np.array([0])
        nodes, image = [node("Unsqueeze", ["image", "first"], ["batched"])], "batched"
    nodes += [
        node("Conv", [image, "w1"], ["c1"], pads=[1] * 4),
        node("Relu", ["c1"], ["early"]),
        node("Conv", ["early", "w2"], ["c2"], pads=[1] * 4),
        node("Relu", ["c2"], ["late"]),
        *tail.nodes,
        node("Gemm", ["end", "w3"], ["logits"], transB=1),
    ]
    shape = [3, SIZE, SIZE] if unbatched else [batch, 3, SIZE, SIZE]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1 if unbatched else batch, CLASSES])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
