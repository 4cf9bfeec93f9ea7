"""A small convolutional network as a plain ONNX file, in the forms that files come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

CLASSES, MAPS, SIZE_HW = 5, 6, (8, 6)
RNG = np.random.default_rng(12)
WEIGHTS = RNG.normal(size=(CLASSES, MAPS)).astype(np.float32)
CONSTANTS: Mapping[str, np.ndarray] = {
    "kernel1": RNG.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
    "kernel2": RNG.normal(0, 0.3, (MAPS, 4, 3, 3)).astype(np.float32),
    "weights": WEIGHTS,
    "bias": RNG.normal(size=CLASSES).astype(np.float32),
    "corner_weights": RNG.normal(0, 0.2, (4, MAPS * SIZE_HW[0] * SIZE_HW[1])).astype(np.float32),
}
node = onnx.helper.make_node


def plain_model(
    *,
    softmax: bool = False,
    box: bool = False,
    batch: int | str = "batch",
    size_hw: tuple[int | str, int | str] = SIZE_HW,
    opset: int = 18,
    ir_version: int = 10,
    listed_initializers: bool = False,
    more_nodes: Sequence[onnx.NodeProto] = (),
    more_outputs: Sequence[onnx.ValueInfoProto] = (),
    renamed: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """image → Conv → Relu ``early`` → Conv → Relu ``late`` → global average pooling → Gemm ``logits``.

    `softmax`: the only class output is ``scores``. `box`: a second output ``box`` [N, 4] from a linear head on
    ``late``. `renamed` maps names of values to others.
    """
    nodes = [
        node("Conv", ["image", "kernel1"], ["conv1"], pads=[1, 1, 1, 1]),
        node("Relu", ["conv1"], ["early"]),
        node("Conv", ["early", "kernel2"], ["conv2"], pads=[1, 1, 1, 1]),
        node("Relu", ["conv2"], ["late"], name="last_relu"),
        node("GlobalAveragePool", ["late"], ["pooled"]),
        node("Flatten", ["pooled"], ["means"]),
        node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
    ]
    outputs = [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [batch, CLASSES])]
    if softmax:
        nodes.append(node("Softmax", ["logits"], ["scores"], axis=1))
        outputs[0].name = "scores"
    constants = dict(CONSTANTS)
    if box:
        nodes += [node("Flatten", ["late"], ["cells"]), node("Gemm", ["cells", "corner_weights"], ["box"], transB=1)]
        outputs.append(onnx.helper.make_tensor_value_info("box", onnx.TensorProto.FLOAT, [batch, 4]))
    else:
        del constants["corner_weights"]
    inputs = [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, 3, *size_hw])]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    if listed_initializers:
        inputs += [
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            for tensor in initializers
        ]
    graph = onnx.helper.make_graph([*nodes, *more_nodes], "small", inputs, [*outputs, *more_outputs], initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version)
    for old, new in (renamed or {}).items():
        _rename(model.graph, old, new)
    onnx.checker.check_model(model)
    return model


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for step in graph.node:
        step.input[:] = [new if name == old else name for name in step.input]
        step.output[:] = [new if name == old else name for name in step.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        if value.name == old:
            value.name = new


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model and return its path."""
    path.write_bytes(model.SerializeToString())
    return path
