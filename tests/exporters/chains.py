"""Shape arithmetic between an image and a tensor that is cut, tiled, padded or reshaped by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

node = onnx.helper.make_node
IMAGE = (6, 4, 10)
ZERO = onnx.numpy_helper.from_array(np.zeros(1, np.int64))


@dataclass(frozen=True)
class Chain:
    """Nodes between ``image`` [N, 6, 4, 10] and ``y``; ``shape`` is the image's shape, ``n`` its N as [1]."""

    name: str
    nodes: Sequence[onnx.NodeProto]
    constants: Mapping[str, object]
    folded: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    dims: Mapping[str, tuple[int | str, ...]] | None = None

    def model(self, batch: int | str = "N", size: tuple[int | str, ...] = IMAGE) -> onnx.ModelProto:
        constants = {"zero": [0], "one": [1], "two": [2], "three": [3], "minus": [-1], **self.constants}
        start = [node("Shape", ["image"], ["shape"]), node("Gather", ["shape", "zero"], ["n"])]
        graph = onnx.helper.make_graph(
            [*start, *self.nodes],
            "chain",
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, *size])],
            [onnx.ValueInfoProto(name="y")],
            [
                onnx.numpy_helper.from_array(np.asarray(value, getattr(value, "dtype", np.int64)), name)
                for name, value in constants.items()
            ],
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def read(name: str, axis: str) -> onnx.NodeProto:
    return node("Gather", ["shape", axis], [name])


CHAINS = (
    Chain(
        "chunk",
        [
            read("c", "one"),
            node("Add", ["c", "one"], ["more"]),
            node("Div", ["more", "two"], ["half"]),
            node("Slice", ["image", "half", "c", "one"], ["y"]),
        ],
        {},
        folded=("c", "half"),
        dims={"y": ("N", 3, 4, 10)},
    ),
    Chain(
        "class token",
        [
            node("Concat", ["n", "minus", "minus"], ["asked"], axis=0),
            node("Equal", ["asked", "minus"], ["free"]),
            node("Where", ["free", "ones", "asked"], ["target"]),
            node("Expand", ["token", "target"], ["tokens"]),
            node("Reshape", ["image", "map"], ["grid"]),
            node("Concat", ["grid", "tokens"], ["all"], axis=1),
            node("Shape", ["all"], ["all_shape"]),
            node("Gather", ["all_shape", "one"], ["count"]),
            node("Sub", ["count", "one"], ["last"]),
            node("Slice", ["all", "last", "count", "one"], ["y"]),
        ],
        {"ones": [1, 1, 1], "token": np.ones((1, 1, 40), np.float32), "map": [0, 0, 40]},
        folded=("count", "last"),
        computed=("asked", "target"),
        dims={"tokens": ("N", 1, 40), "all": ("N", 7, 40), "y": ("N", 1, 40)},
    ),
    Chain(
        "windows",
        [
            node("Mul", ["n", "two"], ["count"]),
            node("Concat", ["count", "rest"], ["target"], axis=0),
            node("Reshape", ["image", "target"], ["windows"]),
            node("Shape", ["windows"], ["window_shape"]),
            node("Gather", ["window_shape", "two"], ["size"]),
            node("Slice", ["windows", "one", "size", "two"], ["y"]),
        ],
        {"rest": [3, 4, 10]},
        folded=("size",),
        computed=("count", "target"),
        dims={"windows": ("2*N", 3, 4, 10), "y": ("2*N", 3, 3, 10)},
    ),
    Chain(
        "pads without a Shape",
        [
            node("ConstantOfShape", ["six"], ["zeros"], value=ZERO),
            node("Concat", ["ends", "zeros"], ["flat"], axis=0),
            node("Reshape", ["flat", "pairs"], ["rows"]),
            node("Slice", ["rows", "minus", "far", "zero", "minus"], ["turned"]),
            node("Transpose", ["turned"], ["columns"], perm=[1, 0]),
            node("Reshape", ["columns", "minus"], ["line"]),
            node("Cast", ["line"], ["pads"], to=onnx.TensorProto.INT64),
            node("Pad", ["image", "pads"], ["y"]),
        ],
        {"six": [6], "ends": [1, 2], "pairs": [4, 2], "far": [-(2**63)]},
        folded=("pads",),
        dims={"y": ("N", 6, 4, 13)},
    ),
    Chain(
        "Range and Tile",
        [
            read("w", "three"),
            node("Squeeze", ["w"], ["width"]),
            node("Range", ["first", "width", "step"], ["places"]),
            node("Gather", ["image", "places"], ["picked"], axis=3),
            node("Concat", ["one", "one", "one", "two"], ["times"], axis=0),
            node("Tile", ["picked", "times"], ["y"]),
        ],
        {"first": np.array(0), "step": np.array(3)},
        folded=("places", "times"),
        dims={"picked": ("N", 6, 4, 4), "y": ("N", 6, 4, 8)},
    ),
    Chain(
        "N // 4",
        [node("Div", ["n", "four"], ["part"]), node("Slice", ["image", "part", "three", "one"], ["y"])],
        {"four": [4]},
        computed=("part",),
    ),
    Chain(
        "N // 16, moved",
        [
            node("Div", ["n", "many"], ["part"]),
            node("Concat", ["part", "three"], ["both"], axis=0),
            node("Gather", ["both", "zero"], ["start"]),
            node("Slice", ["image", "start", "three", "one"], ["y"]),
        ],
        {"many": [16]},
        computed=("part", "both", "start"),
    ),
    Chain(
        "N == 1",
        [
            node("Equal", ["n", "one"], ["alone"]),
            node("Cast", ["alone"], ["part"], to=onnx.TensorProto.INT64),
            node("Slice", ["image", "part", "three", "one"], ["y"]),
        ],
        {},
        computed=("alone", "part"),
    ),
    Chain(
        "min(N, 2)",
        [node("Min", ["n", "two"], ["part"]), node("Slice", ["image", "zero", "part", "one"], ["y"])],
        {},
        computed=("part",),
    ),
    Chain(
        "the size of what N // 16 cuts",
        [
            node("Div", ["n", "many"], ["part"]),
            node("Slice", ["image", "part", "three", "one"], ["cut"]),
            node("Shape", ["cut"], ["cut_shape"]),
            node("Gather", ["cut_shape", "one"], ["size"]),
            node("Slice", ["image", "zero", "size", "one"], ["y"]),
        ],
        {"many": [16]},
        computed=("part", "cut_shape", "size"),
    ),
)
