"""The table of layouts: one row per way in which detectors lay out their outputs."""

from __future__ import annotations

from collections.abc import Mapping

from onnxplain.contract.detectors.layout import ColumnPart, DetectorLayout, LayoutOutput, OperatorRule
from onnxplain.contract.preprocessing import PRESETS, Preprocessing

_UNIT = Preprocessing("rgb", 1 / 255, resize="letterbox")
_UNIT_STRETCHED = Preprocessing("rgb", 1 / 255, resize="stretch")
_IMAGENET_STRETCHED = Preprocessing("rgb", 1 / 255, PRESETS["imagenet"].mean, PRESETS["imagenet"].std, resize="stretch")
_BGR_CORNER = Preprocessing("bgr", resize="letterbox-corner")
_NANODET_MEAN, _NANODET_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
_NO_CONV = OperatorRule(none_of=("Conv",))
_NO_ACTIVATION = OperatorRule(none_of=("Sigmoid", "Softmax"))
_SIGMOID = OperatorRule(all_of=("Sigmoid",))
# Cells of Ultralytics' heads: the usual three levels, with a coarser or a finer one, and the two of YOLOv3-tiny.
_YOLO_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_YOLO = r"output0?(:0)?|predictions|detections?"


def _named(pattern: str, axes: tuple[str, ...], *columns: ColumnPart, optional: bool = False) -> LayoutOutput:
    """An output that its name tells."""
    return LayoutOutput(columns, axes, pattern, named=True, optional=optional)


_ROWS = (
    DetectorLayout(
        "yolo-dense",
        "Ultralytics YOLO v3u, v5u, v8, v9, 11, 12",
        (
            LayoutOutput(
                ("box", "classes", "rest"), ("NKM",), _YOLO, ends=OperatorRule(("Sigmoid",), none_of=("Conv",))
            ),
        ),
        _UNIT,
        "cxcywh",
        strides=_YOLO_LEVELS,
        ultralytics=True,
    ),
    DetectorLayout(
        "yolo-anchor",
        "YOLOv5 (its repository), YOLOv7 with --grid, YOLOv4",
        (LayoutOutput(("box", "objectness", "classes", "rest"), ("NMK",), _YOLO, ends=_NO_CONV),),
        _UNIT,
        "cxcywh",
        strides=_YOLO_LEVELS,
        per_cell=(3,),
        ultralytics=True,
    ),
    DetectorLayout(
        "yolox",
        "YOLOX",
        (
            LayoutOutput(
                ("box", "objectness", "classes"), ("NMK",), _YOLO, ends=OperatorRule(("Sigmoid",), first=("Conv",))
            ),
        ),
        _BGR_CORNER,
        "grid-exp",
        strides=((8, 16, 32), (8, 16, 32, 64)),
    ),
    DetectorLayout(
        "yolox-decoded",
        "YOLOX with --decode_in_inference, YOLOv6",
        (
            LayoutOutput(
                ("box", "objectness", "classes"), ("NMK",), _YOLO, ends=OperatorRule(first=("Mul", "ScatterND"))
            ),
        ),
        _BGR_CORNER,
        "cxcywh",
        strides=((8, 16, 32), (8, 16, 32, 64)),
    ),
    DetectorLayout(
        "end2end",
        "YOLOv10, YOLO26, Ultralytics exports with nms=True",
        (
            LayoutOutput(
                ("box", "score", "class_id", "rest"), ("NMK",), _YOLO, ends=OperatorRule(none_of=("Conv", "Sigmoid"))
            ),
        ),
        _UNIT,
        "xyxy",
        any_count=True,
        nms=False,
        graph_holds=("TopK", "NonMaxSuppression"),
        ultralytics=True,
    ),
    DetectorLayout(
        "end2end-batch",
        "YOLOv7 with --end2end --max-wh",
        (LayoutOutput(("image", "box", "class_id", "score"), ("MK",), _YOLO),),
        _UNIT,
        "xyxy",
        any_count=True,
        nms=False,
        one_image=True,
        graph_holds=("NonMaxSuppression",),
    ),
    DetectorLayout(
        "detr",
        "DETR, YOLOS, Table Transformer of transformers",
        (_named(r"logits", ("NMK",), "classes"), _named(r"pred_boxes", ("NMK",), "box")),
        _IMAGENET_STRETCHED,
        "cxcywh",
        normalized=True,
        activation="softmax",
        background="last",
        any_count=True,
        nms=False,
        graph_lacks=("GridSample", "TopK"),
        model_types=("detr", "yolos", "table-transformer"),
    ),
    DetectorLayout(
        "rt-detr",
        "RT-DETR, D-FINE, Conditional and Deformable DETR of transformers",
        (_named(r"logits", ("NMK",), "classes"), _named(r"pred_boxes", ("NMK",), "box")),
        _UNIT_STRETCHED,
        "cxcywh",
        normalized=True,
        activation="sigmoid",
        any_count=True,
        nms=False,
        model_types=("rt_detr", "rt_detr_v2", "d_fine", "conditional_detr", "deformable_detr", "dab-detr", "deta"),
    ),
    DetectorLayout(
        "rf-detr",
        "RF-DETR of Roboflow",
        (_named(r"labels", ("NMK",), "classes"), _named(r"dets", ("NMK",), "box")),
        _IMAGENET_STRETCHED,
        "cxcywh",
        normalized=True,
        activation="sigmoid",
        any_count=True,
        nms=False,
    ),
    DetectorLayout(
        "rt-detr-deploy",
        "RT-DETR and D-FINE of their repositories, with the input orig_target_sizes",
        (
            _named(r"labels", ("NM",), "class_id"),
            _named(r"boxes", ("NMK",), "box"),
            _named(r"scores", ("NM",), "score"),
        ),
        _UNIT_STRETCHED,
        "xyxy",
        any_count=True,
        nms=False,
    ),
    DetectorLayout(
        "rt-detr-ultralytics",
        "RT-DETR of Ultralytics",
        (LayoutOutput(("box", "classes"), ("NMK",), _YOLO, ends=OperatorRule(only=("Sigmoid",))),),
        _UNIT_STRETCHED,
        "cxcywh",
        normalized=True,
        any_count=True,
        nms=False,
        graph_holds=("TopK",),
        ultralytics=True,
    ),
    DetectorLayout(
        "nanodet",
        "NanoDet, one output per level",
        (
            LayoutOutput(("classes",), ("NMK", "MK"), r"cls_pred.*", per_level=True, ends=_SIGMOID),
            LayoutOutput(("box",), ("NMK", "MK"), r"(dis|bbox|reg)_pred.*", per_level=True),
        ),
        Preprocessing("bgr", 1.0, _NANODET_MEAN, _NANODET_STD, resize="letterbox"),
        "ltrb-bins",
        box_columns=32,
        cell_centre=0.5,
        strides=((8, 16, 32),),
    ),
    DetectorLayout(
        "nanodet-plus",
        "NanoDet-Plus",
        (LayoutOutput(("classes", "box"), ("NMK",), _YOLO, ends=OperatorRule(first=("Sigmoid",))),),
        Preprocessing("bgr", 1.0, _NANODET_MEAN, _NANODET_STD, resize="stretch"),
        "ltrb-bins",
        box_columns=32,
        strides=((8, 16, 32, 64),),
    ),
    DetectorLayout(
        "yunet",
        "YuNet of the OpenCV Zoo",
        (
            LayoutOutput(("classes",), ("NMK",), r"cls_\d+", named=True, per_level=True),
            LayoutOutput(("objectness",), ("NMK",), r"obj_\d+", named=True, per_level=True),
            LayoutOutput(("box",), ("NMK",), r"bbox_\d+", named=True, per_level=True),
            LayoutOutput(("rest",), ("NMK",), r"kps_\d+", named=True, rest=10, per_level=True, optional=True),
        ),
        _BGR_CORNER,
        "grid-exp",
        powers=(0.5, 0.5),
        strides=((8, 16, 32),),
        labels=("face",),
    ),
    DetectorLayout(
        "fastestdet",
        "FastestDet",
        (
            LayoutOutput(
                ("objectness", "box", "classes"), ("NKhw",), ends=OperatorRule(("Softmax",), first=("Sigmoid",))
            ),
        ),
        Preprocessing("bgr", 1 / 255, resize="stretch"),
        "tanh-grid",
        normalized=True,
        powers=(0.6, 0.4),
        strides=((16,),),
    ),
    DetectorLayout(
        "ssd",
        "SSD with decoded boxes, such as UltraFace",
        (
            LayoutOutput(
                ("classes",), ("NMK",), r"(.*_)?(scores?|confidences?)", named=True, ends=OperatorRule(("Softmax",))
            ),
            LayoutOutput(("box",), ("NMK",), r"(.*_)?(boxes|locations?)", named=True, ends=_NO_CONV),
        ),
        Preprocessing("rgb", 1.0, (127.0,), (128.0,), resize="stretch"),
        "xyxy",
        normalized=True,
        background="first",
        any_count=True,
        graph_lacks=("NonMaxSuppression", "TopK"),
    ),
    DetectorLayout(
        "blazeface",
        "BlazeFace of MediaPipe, for faces near the camera",
        (
            LayoutOutput(
                ("box", "rest"), ("NMK",), r"(.*_)?(regressors?|boxes)", rest=12, ends=OperatorRule(all_of=("Conv",))
            ),
            LayoutOutput(
                ("classes",), ("NMK",), r"(.*_)?(classificators|scores)", ends=OperatorRule(none_of=("Sigmoid",))
            ),
        ),
        Preprocessing("rgb", 1 / 127.5, (1.0,), (1.0,), resize="letterbox"),
        "anchor-offset",
        activation="sigmoid",
        strides=((8, 16), (16, 32)),
        per_cell=(2, 6),
        cell_centre=0.5,
        labels=("face",),
    ),
    DetectorLayout(
        "tensorflow",
        "TensorFlow object detection API",
        (
            _named(r"(.*/)?detection_boxes(:\d+)?", ("NMK",), "box"),
            _named(r"(.*/)?detection_scores(:\d+)?", ("NM",), "score"),
            _named(r"(.*/)?detection_classes(:\d+)?", ("NM",), "class_id"),
            _named(r"(.*/)?num_detections(:\d+)?", ("N", "NK"), "count", optional=True),
        ),
        Preprocessing("rgb", resize="stretch"),
        "yxyx",
        normalized=True,
        any_count=True,
        nms=False,
        first_class=1,
        gradients=False,
    ),
    DetectorLayout(
        "torchvision",
        "SSD, SSDlite, RetinaNet, FCOS and Faster R-CNN of torchvision",
        (
            _named(r"boxes", ("MK",), "box"),
            _named(r"labels", ("M",), "class_id"),
            _named(r"scores", ("M",), "score"),
        ),
        _UNIT_STRETCHED,
        "xyxy",
        any_count=True,
        nms=False,
        first_class=1,
        one_image=True,
        gradients=False,
    ),
    DetectorLayout(
        "openvino",
        "OpenVINO DetectionOutput",
        (LayoutOutput(("image", "class_id", "score", "box"), ("11MK",), ends=_NO_ACTIVATION),),
        Preprocessing("bgr", resize="stretch"),
        "xyxy",
        normalized=True,
        any_count=True,
        nms=False,
        one_image=True,
        gradients=False,
    ),
)

LAYOUTS: Mapping[str, DetectorLayout] = {row.name: row for row in _ROWS}
"""All layouts by name."""
