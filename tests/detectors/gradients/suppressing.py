"""A file that suppresses boxes itself: a network of YOLOv8, and behind it NonMaxSuppression with its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import torch
from torch import Tensor

from tests.detectors.gradients.backbone import Scalars
from tests.detectors.gradients.files import make_network, write_network
from tests.detectors.gradients.yolo_networks import YoloDense

# Boxes per class, largest overlap, smallest score.
NUMBERS = {"most": np.int64(4), "iou": np.float32(0.4), "least": np.float32(0.05), "one": np.array([1])}
NODES = (
    oh.make_node("NonMaxSuppression", ["corners", "scores", "most", "iou", "least"], ["selected"]),
    oh.make_node("Split", ["selected"], ["image", "kind", "cell"], axis=1),
    oh.make_node("Concat", ["image", "cell"], ["place"], axis=1),
    oh.make_node("GatherND", ["corners", "place"], ["boxes"]),
    oh.make_node("GatherND", ["scores", "selected"], ["flat"]),
    oh.make_node("Unsqueeze", ["flat", "one"], ["found"]),
    oh.make_node("Cast", ["kind"], ["kinds"], to=onnx.TensorProto.FLOAT),
    oh.make_node("Cast", ["image"], ["images_of"], to=onnx.TensorProto.FLOAT),
    oh.make_node("Concat", ["images_of", "boxes", "kinds", "found"], ["output"], axis=1),
)


class Suppressing(YoloDense):
    """Boxes as corners, and scores."""

    layout = "end2end-batch"
    output_names = ("corners", "scores")

    def head(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        scalars = self.scalars(levels)
        return scalars.corners[None], scalars.classes.sigmoid().T[None]

    def of_rows(self, levels: list[Tensor], rows: np.ndarray) -> Scalars:
        """The scalars of the rows [n, 7] that suppression left: each is the cell with this box."""
        every = self.scalars(levels)
        boxes = torch.from_numpy(rows[:, 1:5]).to(every.corners.dtype)
        cells = torch.cdist(boxes, every.corners).argmin(1)
        kinds = torch.from_numpy(rows[:, 5].astype(np.int64))
        return Scalars(every.classes[cells, kinds][:, None], every.corners[cells])


def write_suppressing(path: Path) -> Suppressing:
    """The file of the layout ``end2end-batch``: as many rows as the image has."""
    network = make_network(Suppressing)
    model = onnx.load(write_network(network, path))
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in NUMBERS.items()]
    del model.graph.output[:]
    model.graph.node.extend(NODES)
    model.graph.initializer.extend(constants)
    model.graph.output.append(oh.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["n", 7]))
    onnx.save(model, path)
    return network
