"""The outputs of one file per layout, as its family exports them: names, shapes, operators at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxplain.contract.detectors import DetectorHints, GraphOutput, GraphOutputs


@dataclass(frozen=True)
class Fake:
    """A file of a layout: the input's size, outputs (name, shape, operators at the end, type), operators in it."""

    size_hw: tuple[int, int]
    outputs: tuple[tuple[str, tuple[int | str, ...], tuple[str, ...]], ...]
    classes: int | None
    candidates: int | None
    operators: tuple[str, ...] = ()
    dtypes: Mapping[str, str] | None = None
    hints: DetectorHints = field(default_factory=DetectorHints)

    @property
    def end(self) -> GraphOutputs:
        dtypes = self.dtypes or {}
        outputs = tuple(
            GraphOutput(name, dtypes.get(name, "float32"), shape, ends) for name, shape, ends in self.outputs
        )
        everywhere = {"Conv", *self.operators, *(name for _, _, ends in self.outputs for name in ends)}
        return GraphOutputs(outputs, frozenset(everywhere))


_LEVELS = {8: 1600, 16: 400, 32: 100}

FAKES: Mapping[str, Fake] = {
    "yolo-dense": Fake((640, 640), (("output0", (1, 84, 8400), ("Mul", "Sigmoid")),), 80, 8400),
    "yolo-anchor": Fake((640, 640), (("output", (1, 25200, 85), ("Mul", "Slice")),), 80, 25200),
    "yolox": Fake((416, 416), (("output", (1, 3549, 85), ("Conv", "Sigmoid")),), 80, 3549),
    "yolox-decoded": Fake((416, 416), (("output", (1, 3549, 85), ("Mul", "Slice")),), 80, 3549),
    "end2end": Fake((640, 640), (("output0", (1, 300, 6), ("GatherElements", "TopK", "Mod")),), None, 300, ("TopK",)),
    "end2end-batch": Fake(
        (640, 640), (("output", ("n", 7), ("Gather", "GatherND")),), None, None, ("NonMaxSuppression",)
    ),
    "detr": Fake(
        (800, 800),
        (("logits", (1, 100, 92), ("Add",)), ("pred_boxes", (1, 100, 4), ("Sigmoid",))),
        91,
        100,
        hints=DetectorHints(model_type="detr"),
    ),
    "rt-detr": Fake(
        (640, 640), (("logits", (1, 300, 80), ("Add",)), ("pred_boxes", (1, 300, 4), ("Sigmoid",))), 80, 300, ("TopK",)
    ),
    "rf-detr": Fake((560, 560), (("dets", (1, 300, 4), ("Mul",)), ("labels", (1, 300, 91), ("Add",))), 91, 300),
    "rt-detr-deploy": Fake(
        (640, 640),
        (
            ("labels", (1, 300), ("Mod",)),
            ("boxes", (1, 300, 4), ("GatherElements",)),
            ("scores", (1, 300), ("TopK",)),
        ),
        None,
        300,
        ("TopK", "GridSample"),
        {"labels": "int64"},
    ),
    "rt-detr-ultralytics": Fake((640, 640), (("output0", (1, 300, 84), ("Sigmoid",)),), 80, 300, ("TopK",)),
    "nanodet": Fake(
        (320, 320),
        (
            *((f"cls_pred_stride_{stride}", (1, count, 80), ("Sigmoid",)) for stride, count in _LEVELS.items()),
            *((f"dis_pred_stride_{stride}", (1, count, 32), ("Conv",)) for stride, count in _LEVELS.items()),
        ),
        80,
        2100,
    ),
    "nanodet-plus": Fake((416, 416), (("output", (1, 3598, 112), ("Sigmoid", "Split")),), 80, 3598),
    "yunet": Fake(
        (320, 320),
        tuple(
            (f"{name}_{stride}", (1, count, columns), (end,))
            for name, columns, end in (
                ("cls", 1, "Sigmoid"),
                ("obj", 1, "Sigmoid"),
                ("bbox", 4, "Conv"),
                ("kps", 10, "Conv"),
            )
            for stride, count in _LEVELS.items()
        ),
        1,
        2100,
    ),
    "fastestdet": Fake((352, 352), (("758", (1, 85, 22, 22), ("Sigmoid", "Conv", "Softmax")),), 80, 484),
    "ssd": Fake((240, 320), (("scores", (1, 4420, 2), ("Softmax",)), ("boxes", (1, 4420, 4), ("Sub", "Add"))), 1, 4420),
    "blazeface": Fake((128, 128), (("output", (1, 896, 16), ("Conv",)), ("519", (1, 896, 1), ("Conv",))), 1, 896),
    "tensorflow": Fake(
        (300, 300),
        (
            ("detection_boxes:0", (1, 100, 4), ("Loop",)),
            ("detection_scores:0", (1, 100), ("Loop",)),
            ("detection_classes:0", (1, 100), ("Add",)),
            ("num_detections:0", (1,), ("Loop",)),
        ),
        None,
        100,
        ("NonMaxSuppression", "TopK"),
    ),
    "torchvision": Fake(
        (320, 320),
        (("boxes", ("n", 4), ("Gather",)), ("labels", ("n",), ("Gather",)), ("scores", ("n",), ("Gather",))),
        None,
        None,
        ("NonMaxSuppression", "TopK"),
        {"labels": "int64"},
    ),
    "openvino": Fake((300, 300), (("detection_out", (1, 1, 200, 7), ("DetectionOutput",)),), None, 200),
}
"""By name of the layout."""
