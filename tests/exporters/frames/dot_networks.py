"""Small networks of position-moving operators, and where a bright dot shows in their maps.

Weights are positive, so a map is brightest where the windows see the dot. The reference is ONNX Runtime on the network
itself: nothing here computes a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from onnxplain.contract import Layout, MapFrame
from onnxplain.exporters.anatomy.anatomy import Anatomy, study
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.file.model_file import prepare

SIZE_HW = (48, 40)
CHANNELS = 4


@dataclass
class Net:
    """Nodes and constants, one behind the other; `value` is the last result.

    `enlarged`: how many times larger maps were made, along the axis where that is most.
    """

    layout: Layout = "nchw"
    size_hw: tuple[int, int] = SIZE_HW
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    value: str = "image"
    channels: int = 3
    enlarged: float = 1.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(4))

    def constant(self, content: object) -> str:
        array = np.asarray(content)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def add(self, operator: str, *inputs: str, source: str | None = None, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, [source or self.value, *inputs], names, **attributes))
        self.value = names[0]
        return self.value

    def conv(self, kernel: Sequence[int] = (3, 3), channels: int = CHANNELS, **attributes: Any) -> str:
        """Positive weights, highest in the middle of the window: there the dot shows."""
        rise = [np.minimum(np.arange(1, k + 1), np.arange(k, 0, -1)) for k in kernel]
        weights = np.outer(*rise) * self.rng.uniform(0.5, 1.5, (channels, self.channels, 1, 1))
        self.channels = channels
        return self.add("Conv", self.constant(weights.astype(np.float32)), **attributes)

    def model(self) -> onnx.ModelProto:
        """The network, its last value pooled to logits."""
        self.add("ReduceMean", self.ints(2, 3), keepdims=0)
        weights = self.rng.normal(size=(self.channels, 5)).astype(np.float32)
        self.nodes.append(helper.make_node("MatMul", [self.value, self.constant(weights)], ["logits"]))
        return self.finished()

    def finished_at(self, name: str) -> onnx.ModelProto:
        """The model as it is, its output a value of this name, shapes inferred."""
        model = self.finished()
        model.graph.output[0].name = name
        return onnx.shape_inference.infer_shapes(model)

    def finished(self) -> onnx.ModelProto:
        """The nodes as a model, whose output is named logits."""
        height, width = self.size_hw
        shape = ["N", 3, height, width] if self.layout == "nchw" else ["N", height, width, 3]
        graph = helper.make_graph(
            self.nodes,
            "dots",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
            [onnx.ValueInfoProto(name="logits")],
            self.constants,
        )
        graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def parts_of(model: onnx.ModelProto) -> Anatomy:
    """The anatomy of a model as it is instrumented."""
    return study(prepare(model).graph)


def run(model: onnx.ModelProto, layer: Layer, images: np.ndarray) -> np.ndarray:
    """The layer's maps, [n, h, w], summed over channels, of images [n, h, w, 3] in the model's own layout."""
    proto = onnx.ModelProto()
    proto.CopyFrom(ir.to_proto(prepare(model)))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name=layer.name))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    source = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feed = images.transpose(0, 3, 1, 2) if source == 3 else images
    maps: np.ndarray = session.run(None, {"image": np.ascontiguousarray(feed)})[0]
    return layer.arrangement.array_to_map(maps).sum(axis=1)


def furthest_miss(
    model: onnx.ModelProto, layer: Layer, size_hw: tuple[int, int], dots: int, seed: int, margin: int = 0
) -> float:
    """How far from a dot its map is brightest, in cells along the worse axis, at worst over random dots.

    A dot is drawn where the frame says that it is seen, `margin` pixels from the borders. Among cells of equal
    brightness their middle counts.
    """
    rng, frame = np.random.default_rng(seed), layer.frame
    places = [
        _somewhere(rng, frame, axis, side, layer.size_hw[axis], dots, margin) for axis, side in enumerate(size_hw)
    ]
    images = np.zeros((dots, *size_hw, 3), np.float32)
    for image, y, x in zip(images, *places, strict=True):
        image[y, x] = 1
    maps = run(model, layer, images)
    assert (maps.max(axis=(1, 2)) > 0).all(), "the map sees nothing of a dot inside its frame"
    worst = 0.0
    for heat, y, x in zip(maps, *places, strict=True):
        brightest = np.argwhere(heat >= heat.max() * (1 - 1e-5)).mean(axis=0)
        for axis, dot in enumerate((y, x)):
            found = frame.offset_hw[axis] + frame.scale_hw[axis] * (brightest[axis] + 0.5)
            worst = max(worst, abs(found - dot - 0.5) / max(frame.scale_hw[axis], 1.0))
    return worst


def _somewhere(
    rng: np.random.Generator, frame: MapFrame, axis: int, side: int, cells: int, count: int, margin: int
) -> np.ndarray:
    """Pixels that lie in the frame's cells, and in what it sees."""
    offset, scale = frame.offset_hw[axis], frame.scale_hw[axis]
    start = max(frame.seen_hw[axis][0], offset + scale / 2, margin)
    stop = min(frame.seen_hw[axis][1], offset + scale * (cells - 0.5), side - margin)
    return rng.integers(int(np.ceil(start)), max(int(np.floor(stop)), int(np.ceil(start)) + 1), count)
