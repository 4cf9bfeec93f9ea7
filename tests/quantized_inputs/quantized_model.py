"""A small classifier on an image of integers, and its float twin on the real values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, MAPS = 12, 4, 6
_TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


@dataclass(frozen=True)
class QuantizedModel:
    """`reader`: the operator that reads the image, ``DequantizeLinear`` or ``QLinearConv``."""

    dtype: str
    zero_point: int
    scale: float
    layout: str = "nchw"
    reader: str = "DequantizeLinear"
    stored: str = "raw"

    @property
    def kernel(self) -> np.ndarray:
        """Weights (K, 3, 3, 3): multiples of 1/64, of at most 30 steps, so that no processor saturates."""
        return np.random.default_rng(1).integers(-30, 31, (MAPS, 3, 3, 3)).astype(np.float32) / 64

    @property
    def head(self) -> np.ndarray:
        """Weights (K, C)."""
        return np.random.default_rng(2).normal(size=(MAPS, CLASSES)).astype(np.float32)

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest real value."""
        ends = np.iinfo(self.dtype)
        return (ends.min - self.zero_point) * self.scale, (ends.max - self.zero_point) * self.scale

    def integers(self, real: np.ndarray) -> np.ndarray:
        """q = round(real / scale) + zero point, clipped: the formula of QuantizeLinear."""
        ends = np.iinfo(self.dtype)
        return np.clip(np.rint(real / self.scale) + self.zero_point, ends.min, ends.max).astype(self.dtype)

    def write(self, path: Path) -> Path:
        """The model that takes integers."""
        zero = np.array(self.zero_point, self.dtype)
        stored = {"scale": np.float32(self.scale), "zero": zero, "head": self.head}
        nodes, image = [], "image"
        if self.layout == "nhwc":
            nodes.append(helper.make_node("Transpose", [image], ["moved"], perm=[0, 3, 1, 2]))
            image = "moved"
        if self.reader == "DequantizeLinear":
            stored["kernel"] = self.kernel
            nodes += [
                helper.make_node("DequantizeLinear", [image, "scale", "zero"], ["real"]),
                helper.make_node("Conv", ["real", "kernel"], ["before"], pads=[1] * 4),
            ]
        else:
            quarter = np.float32(0.25)
            stored |= {"kernel": np.rint(self.kernel * 64).astype(np.int8), "step": np.float32(1 / 64)}
            stored |= {"none": np.int8(0), "out": quarter, "middle": np.array(zero.dtype.type(5))}
            operands = [image, "scale", "zero", "kernel", "step", "none", "out", "middle"]
            nodes += [
                helper.make_node("QLinearConv", operands, ["integers"], pads=[1] * 4),
                helper.make_node("DequantizeLinear", ["integers", "out", "middle"], ["before"]),
            ]
        self._save(path, nodes, stored, _TYPES[self.dtype])
        return path

    def write_twin(self, path: Path) -> Path:
        """The same model on the real values, float32 [N, 3, H, W]."""
        nodes = [helper.make_node("Conv", ["image", "kernel"], ["before"], pads=[1] * 4)]
        QuantizedModel("uint8", 0, 1.0)._save(
            path, nodes, {"kernel": self.kernel, "head": self.head}, TensorProto.FLOAT
        )
        return path

    def _save(self, path: Path, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], elem: int) -> None:
        nodes = [
            *nodes,
            helper.make_node("Relu", ["before"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        ]
        tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
        if self.stored == "listed":
            tensors = [_listed(tensor) for tensor in tensors]
        constants = []
        if self.stored == "nodes":
            constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
            tensors = []
        shape = ["N", 3, SIDE, SIDE] if self.layout == "nchw" else ["N", SIDE, SIDE, 3]
        graph = helper.make_graph(
            [*constants, *nodes],
            "quantized",
            [helper.make_tensor_value_info("image", elem, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
            tensors,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _listed(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The same tensor with its numbers in a list, not as bytes."""
    array = numpy_helper.to_array(tensor)
    return helper.make_tensor(tensor.name, tensor.data_type, array.shape, array.flatten().tolist())
