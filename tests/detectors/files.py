"""Small ONNX files whose outputs hold known boxes, whatever the image is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.detectors.fakes import FAKES
from tests.detectors.written import WRITERS, Array, Known, blank, known_detections

SIZE_INPUT = "orig_target_sizes"

# What explains any detector, in the order of the table of methods.
BLACK_BOXES = ("rise", "occlusion", "shap", "lime", "sobol", "hsic", "aise")


def write_detector(path: Path, name: str, known: Sequence[Known] | None = None, *, batch: int | str | None = 1) -> Path:
    """A file of a layout, with its family's names: the outputs are constants plus 0 · the image's mean.

    `batch` None: the image input has no batch axis.
    """
    fake = FAKES[name]
    outputs = blank(fake)
    for each in known_detections(name) if known is None else known:
        WRITERS[name](outputs, fake, each)
    return write_constants(
        path,
        outputs,
        fake.size_hw,
        batch=batch,
        open_rows=[key for key, shape, _ in fake.outputs if shape[0] == "n"],
        with_size=name == "rt-detr-deploy",
    )


def write_constants(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    size_hw: tuple[int, int],
    *,
    batch: int | str | None = 1,
    open_rows: Sequence[str] = (),
    with_size: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file that returns these arrays. With `with_size` it has the second input that holds the image's size."""
    node = helper.make_node
    nodes = [node("ReduceMean", ["image"], ["mean"], keepdims=0), node("Mul", ["mean", "zero"], ["nothing"])]
    constants = [numpy_helper.from_array(np.float32(0), "zero")]
    declared = []
    for key, array in outputs.items():
        constants.append(numpy_helper.from_array(array, f"{key}/constant"))
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        nodes.append(node("Cast", ["nothing"], [f"{key}/nothing"], to=kind))
        nodes.append(node("Add", [f"{key}/constant", f"{key}/nothing"], [key]))
        shape = ["n", *array.shape[1:]] if key in open_rows else array.shape
        declared.append(helper.make_tensor_value_info(key, kind, shape))
    axis = [] if batch is None else [batch]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [*axis, 3, *size_hw])]
    if with_size:
        inputs.append(helper.make_tensor_value_info(SIZE_INPUT, TensorProto.INT64, [1, 2]))
    return save(path, nodes, inputs, declared, constants, metadata)


def write_yolo(
    path: Path,
    known: Sequence[Known],
    *,
    classes: int = 80,
    quantize: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """YOLOv8's end: Concat of scaled boxes and a Sigmoid. `quantize`: the one scale of its output in eight bits."""
    boxes, logits = np.zeros((1, 4, 2100), np.float32), np.full((1, classes, 2100), -12, np.float32)
    boxes[0, 2:] = 4
    for each in known:
        boxes[0, :, each.candidate] = each.cxcywh
        logits[0, each.class_id, each.candidate] = np.log(each.score / (1 - each.score))
    node = helper.make_node
    last = "output0" if quantize is None else "joined"
    nodes = [
        node("ReduceMean", ["image"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["boxes", "nothing"], ["anchored"]),
        node("Mul", ["anchored", "one"], ["scaled"]),
        node("Sigmoid", ["logits"], ["scores"]),
        node("Concat", ["scaled", "scores"], [last], axis=1),
    ]
    constants = [
        numpy_helper.from_array(array, name)
        for name, array in {"zero": np.float32(0), "one": np.float32(1), "boxes": boxes, "logits": logits}.items()
    ]
    kind = TensorProto.FLOAT
    if quantize is not None:
        kind = TensorProto.UINT8
        nodes.append(node("QuantizeLinear", ["joined", "step", "zero_point"], ["output0"]))
        constants += [
            numpy_helper.from_array(np.float32(quantize), "step"),
            numpy_helper.from_array(np.uint8(0), "zero_point"),
        ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 320, 320])]
    nodes.insert(0, node("Identity", ["images"], ["image"]))
    outputs = [helper.make_tensor_value_info("output0", kind, [1, 4 + classes, 2100])]
    return save(path, nodes, inputs, outputs, constants, metadata)


def write_with_suppression(path: Path, boxes: Array, scores: Array) -> Path:
    """torchvision's outputs: the rows that NonMaxSuppression leaves of boxes (M, 4) and scores (M,)."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["images"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["all_boxes", "nothing"], ["raised"]),
        node("NonMaxSuppression", ["raised", "all_scores", "most", "overlap"], ["kept"]),
        node("Gather", ["kept", "two"], ["rows"], axis=1),
        node("Squeeze", ["raised", "first"], ["flat_boxes"]),
        node("Squeeze", ["all_scores", "first_two"], ["flat_scores"]),
        node("Gather", ["flat_boxes", "rows"], ["boxes"]),
        node("Gather", ["flat_scores", "rows"], ["scores"]),
        node("Gather", ["all_labels", "rows"], ["labels"]),
    ]
    arrays = {
        "zero": np.float32(0),
        "all_boxes": boxes[None],
        "all_scores": scores[None, None],
        "all_labels": np.arange(1, len(boxes) + 1),
        "most": np.array([100]),
        "overlap": np.array([0.5], np.float32),
        "two": np.array(2),
        "first": np.array([0]),
        "first_two": np.array([0, 1]),
    }
    value = helper.make_tensor_value_info
    outputs = [
        value("boxes", TensorProto.FLOAT, ["n", 4]),
        value("labels", TensorProto.INT64, ["n"]),
        value("scores", TensorProto.FLOAT, ["n"]),
    ]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return save(path, nodes, [value("images", TensorProto.FLOAT, [3, 64, 96])], outputs, constants)


def write_with_sizes(path: Path, shares: Array) -> Path:
    """RT-DETR's deployed form: boxes are these shares (M, 4) times the width and height of the second input."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["images"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Cast", [SIZE_INPUT], ["sizes"], to=TensorProto.FLOAT),
        node("Concat", ["sizes", "sizes"], ["sides"], axis=1),
        node("Unsqueeze", ["sides", "one_axis"], ["each"]),
        node("Add", ["shares", "nothing"], ["moved"]),
        node("Mul", ["moved", "each"], ["boxes"]),
        node("Identity", ["all_labels"], ["labels"]),
        node("Identity", ["all_scores"], ["scores"]),
    ]
    count = len(shares)
    arrays = {
        "zero": np.float32(0),
        "one_axis": np.array([1]),
        "shares": shares[None],
        "all_labels": np.arange(count)[None],
        "all_scores": np.linspace(0.9, 0.5, count, dtype=np.float32)[None],
    }
    value = helper.make_tensor_value_info
    inputs = [
        value("images", TensorProto.FLOAT, [1, 3, 64, 96]),
        value(SIZE_INPUT, TensorProto.INT64, [1, 2]),
    ]
    outputs = [
        value("labels", TensorProto.INT64, [1, count]),
        value("boxes", TensorProto.FLOAT, [1, count, 4]),
        value("scores", TensorProto.FLOAT, [1, count]),
    ]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return save(path, nodes, inputs, outputs, constants)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto],
    metadata: Mapping[str, str] | None = None,
    domains: Sequence[str] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), "detector", list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


__all__ = [
    "save",
    "write_constants",
    "write_detector",
    "write_with_sizes",
    "write_with_suppression",
    "write_yolo",
]
