"""Real files and photos: what the preprocessing must be for a right answer, end to end."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from onnxplain.contract import PRESETS, Preprocessing
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.runtime import Engine, load_image
from onnxplain.runtime.scores import softmax
from tests.exporters.graphs import open_session


@cache
def imagenet_names(assets: Path) -> tuple[str, ...]:
    entries = json.loads((assets / "images" / "imagenet_classes.json").read_text())
    return tuple(entry["name"] for entry in entries)


SQUEEZENET = ("squeezenet_fp16_winml.onnx", {"preprocessing": PRESETS["caffe"]}, ())
MOBILENET_FLOAT = ("mobilenet_v1_0.25_128_float.onnx", {}, ("background",))
MOBILENET_QDQ = ("mobilenet_v1_0.5_160_qdq.onnx", {}, ("background",))


@pytest.mark.parametrize("model", [SQUEEZENET, MOBILENET_FLOAT, MOBILENET_QDQ], ids=lambda model: model[0])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("winml_kitten.png", ("tabby", "tiger cat", "Egyptian cat")),
        ("coral_parrot.jpg", ("macaw",)),
        ("ort_goldfish.jpg", ("goldfish",)),
        ("ort_daisy.jpg", ("fly", "bee", "daisy")),
    ],
)
def test_imagenet_top_1(assets, model, image, words):
    name, options, before = model
    engine = Engine(assets / "models" / name, labels=[*before, *imagenet_names(assets)], threads=2, **options)
    (prediction,) = engine.predict(assets / "images" / image)
    assert prediction.label.startswith(words), prediction.top(3)
    assert prediction.score > 0.25
    assert prediction.scores.sum() == pytest.approx(1, abs=2e-2)


def test_both_animals_of_one_photo(assets):
    name, options, _ = SQUEEZENET
    stretched = Preprocessing(**{**vars(options["preprocessing"]), "resize": "stretch"})
    engine = Engine(assets / "models" / name, preprocessing=stretched)
    (prediction,) = engine.predict(assets / "images" / "both_dogcat.png")
    assert {243, 242, 282, 281, 285} & {class_id for class_id, _, _ in prediction.top(2)}


@pytest.mark.parametrize(
    ("name", "options", "layout", "size_hw", "classes", "role"),
    [
        ("vww_96_float.onnx", {}, "nhwc", (96, 96), 2, "scores"),
        ("cifar10_resnet20_ts_op11.onnx", {}, "nchw", (32, 32), 10, "logits"),
        ("cifar10_resnet20_dynamo_op18.onnx", {}, "nchw", (32, 32), 10, "logits"),
        ("cifar10_pytorch_winml.onnx", {}, "nchw", (32, 32), 10, "logits"),
        ("mnist_cntk.onnx", {}, "nchw", (28, 28), 10, "logits"),
        ("paddle_ppocr_cls.onnx", {"input_size_hw": (48, 192)}, "nchw", (48, 192), 2, "scores"),
        ("squeezenet_fp16_winml.onnx", {}, "nchw", (224, 224), 1000, "scores"),
        ("mobilenet_v1_0.25_128_float.onnx", {}, "nhwc", (128, 128), 1001, "scores"),
        ("mobilenet_v1_0.5_160_qdq.onnx", {}, "nhwc", (160, 160), 1001, "scores"),
    ],
)
def test_what_real_files_tell_about_themselves(assets, name, options, layout, size_hw, classes, role):
    spec = Engine(assets / "models" / name, **options).spec
    assert (spec.input.layout, spec.input.size_hw, spec.classes) == (layout, size_hw, classes)
    assert getattr(spec.outputs, role) is not None
    assert spec.input.assumed


@pytest.mark.parametrize(
    ("name", "size_hw"),
    [
        ("vww_96_float.onnx", None),
        ("cifar10_resnet20_ts_op11.onnx", None),
        ("cifar10_pytorch_winml.onnx", None),
        ("mnist_cntk.onnx", None),
        ("paddle_ppocr_cls.onnx", (48, 192)),
        ("squeezenet_fp16_winml.onnx", None),
        ("mobilenet_v1_0.25_128_float.onnx", None),
    ],
)
def test_scores_are_the_files_own_outputs_bit_for_bit(assets, name, size_hw):
    engine = Engine(assets / "models" / name, threads=1, input_size_hw=size_hw)
    session = open_session(assets / "models" / name)
    (image,) = session.get_inputs()
    height, width = engine.spec.input.size_hw
    for photo in np.random.default_rng(5).integers(0, 256, (2, height, width, 3), np.uint8):
        pixels = engine.preprocess(photo)
        given = pixels if engine.input_layout == "nchw" else pixels.transpose(0, 2, 3, 1)
        (own,) = session.run(
            [engine.spec.outputs.scores or engine.spec.outputs.logits], {image.name: given.astype(engine.input_dtype)}
        )
        # Integers are shares of their sum.
        shares = own / own.sum(dtype=np.float32) if own.dtype == np.uint8 else own
        expected = np.asarray(shares, np.float32).reshape(1, -1)
        if engine.spec.outputs.scores is None:
            expected = softmax(expected)
        (prediction,) = engine.predict(photo)
        np.testing.assert_array_equal(prediction.scores, expected[0])
        np.testing.assert_array_equal(engine.answers(photo)[0][0].scores, expected[0])


@pytest.mark.parametrize(("name", "layout"), [("FastestDet.onnx", "fastestdet"), ("ultraface_RFB-320.onnx", "ssd")])
def test_detectors_are_no_classifiers(assets, name, layout):
    engine = Engine(assets / "models" / name)
    assert engine.spec.detector.layout_name == layout
    with pytest.raises(UnsupportedError, match="found a detector"):
        engine.predict(assets / "images" / "winml_dog.jpg")


def test_an_open_size_is_asked_for(assets):
    with pytest.raises(ModelError, match="expected a fixed size"):
        Engine(assets / "models" / "paddle_ppocr_cls.onnx")


def test_every_photo_can_be_read(assets):
    photos = [path for path in (assets / "images").iterdir() if path.suffix != ".json"]
    assert len(photos) == 18
    for path in photos:
        image = load_image(path)
        assert image.ndim == 3
        assert image.std() > 10
