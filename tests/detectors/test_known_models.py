"""Real files against other libraries' answers: OpenCV's FaceDetectorYN, and results that their authors publish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from onnxplain import Engine, load_image
from onnxplain.contract.detectors import read_outputs, recognise
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.runtime import Detections

COCO = {1: "bicycle", 2: "car", 16: "dog", 22: "zebra", 23: "giraffe"}


@pytest.mark.parametrize("size_hw", [(320, 448), (352, 512)], ids=str)
def test_yunet_finds_what_opencv_finds(assets: Path, size_hw: tuple[int, int]) -> None:
    """Without scaling: the photo is cut to the input's size, as both take it."""
    path, (height, width) = assets / "detectors" / "face_detection_yunet.onnx", size_hw
    photo = load_image(assets / "images" / "coral_face.jpg")[:height, :width]
    photo = cv2.copyMakeBorder(photo, 0, height - photo.shape[0], 0, width - photo.shape[1], cv2.BORDER_CONSTANT)
    detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), 0.5, 0.3)
    _, faces = detector.detect(np.ascontiguousarray(photo[..., ::-1]))
    assert len(faces) >= 2
    (found,) = Engine(path, input_size_hw=size_hw).detect(photo, min_score=0.5, iou=0.3)
    assert len(found) == len(faces)
    order = np.argsort(-faces[:, 14])
    np.testing.assert_allclose(found.confidence, faces[order, 14], atol=1e-3)
    corners = np.hstack([faces[order, :2], faces[order, :2] + faces[order, 2:4]])
    np.testing.assert_allclose(found.xyxy, corners.clip(0, [width, height] * 2), atol=0.05)


PUBLISHED = {
    "darknet_dog.jpg": {
        "dog": (0.77, (123, 205, 322, 537)),
        "car": (0.78, (465, 75, 689, 171)),
        "bicycle": (0.73, (130, 132, 569, 427)),
    },
    "darknet_giraffe.jpg": {"giraffe": (0.95, (163, 32, 438, 434)), "zebra": (0.87, (290, 199, 423, 445))},
}  # fmt: skip


@pytest.mark.parametrize("photo", PUBLISHED)
def test_fastestdet_finds_the_animals(assets: Path, photo: str) -> None:
    """The scores of FastestDet's own program; the boxes are where the objects are, drawn by eye."""
    engine = Engine(assets / "models" / "FastestDet.onnx")
    (found,) = engine.detect(assets / "images" / photo)
    for name, (score, box) in PUBLISHED[photo].items():
        best = next(index for index in range(len(found)) if COCO.get(int(found.class_id[index])) == name)
        assert found.confidence[best] == pytest.approx(score, abs=0.015)
        assert overlap(found.xyxy[best], box) > 0.6


# Faces of the photo, drawn by eye.
FACES = [(135, 88, 222, 200), (262, 52, 345, 170), (440, 120, 489, 184), (6, 100, 50, 160)]
FACE_DETECTORS = {
    "models/ultraface_RFB-320.onnx": (None, 0.6, 4),
    "detectors/blazeface.onnx": (None, 0.6, 3),
    "detectors/face_detection_yunet.onnx": ((320, 320), 0.6, 4),
}


@pytest.mark.parametrize("model", FACE_DETECTORS)
def test_detectors_of_faces_find_the_same_faces(assets: Path, model: str) -> None:
    """Three layouts, three ways of resizing: the boxes must agree in pixels of the photo."""
    size_hw, min_score, count = FACE_DETECTORS[model]
    (found,) = Engine(assets / model, input_size_hw=size_hw).detect(
        assets / "images" / "coral_face.jpg", min_score=min_score
    )
    assert len(found) == count
    for box in found.xyxy:
        assert max(overlap(box, face) for face in FACES) > 0.6


@pytest.mark.parametrize(
    "model", ["models/FastestDet.onnx", "models/ultraface_RFB-320.onnx", "detectors/blazeface.onnx"]
)
def test_images_of_different_sizes_at_once(assets: Path, model: str) -> None:
    """Files whose batch is fixed to 1 too: each image's detections are those that it has alone."""
    engine = Engine(assets / model)
    paths = [assets / "images" / name for name in ("coral_face.jpg", "darknet_dog.jpg", "coral_owl.jpg")]
    together = engine.detect(paths)
    for path, found in zip(paths, together, strict=True):
        assert_same(found, engine.detect(path)[0])


class OnePhoto(CalibrationDataReader):
    """A photo, prepared as the engine does it, to calibrate a quantization."""

    def __init__(self, engine: Engine, photo: Path) -> None:
        self._feeds = iter([{engine.spec.input.name: engine.preprocess(photo)}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def test_a_quantized_fastestdet(assets: Path, tmp_path: Path) -> None:
    """uint8 by uint8, which all processors multiply exactly: layout, classes and boxes stay."""
    source, photo = assets / "models" / "FastestDet.onnx", assets / "images" / "darknet_dog.jpg"
    whole, eight = Engine(source), QuantType.QUInt8
    quantize_static(
        source,
        tmp_path / "q.onnx",
        OnePhoto(whole, photo),
        quant_format=QuantFormat.QDQ,
        activation_type=eight,
        weight_type=eight,
    )
    engine = Engine(tmp_path / "q.onnx")
    assert engine.spec.detector is not None
    assert engine.spec.detector.layout_name == "fastestdet"
    (found,), (expected,) = engine.detect(photo), whole.detect(photo)
    best = expected.class_id.tolist().index(16)
    same = found.class_id.tolist().index(16)
    assert overlap(found.xyxy[same], tuple(expected.xyxy[best])) > 0.8
    assert found.confidence[same] == pytest.approx(expected.confidence[best], abs=0.1)


@pytest.mark.parametrize(
    "path", ["models/FastestDet.onnx", "models/ultraface_RFB-320.onnx", "detectors/blazeface.onnx"]
)
def test_exporters_and_runtime_tell_the_same_layout(assets: Path, path: str) -> None:
    engine = Engine(assets / path)
    outputs = read_outputs(read_graph_end(ir.load(assets / path).graph, None))
    found = recognise(outputs, engine.spec.input.size_hw)
    assert engine.spec.detector is not None
    assert found == replace(engine.spec.detector, labels=())


def assert_same(found: Detections, expected: Detections) -> None:
    np.testing.assert_array_equal(found.candidate, expected.candidate)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-2)


def overlap(box: np.ndarray, other: tuple[float, ...]) -> float:
    x1, y1, x2, y2 = (float(side) for side in box)
    sides = min(x2, other[2]) - max(x1, other[0]), min(y2, other[3]) - max(y1, other[1])
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / ((x2 - x1) * (y2 - y1) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
