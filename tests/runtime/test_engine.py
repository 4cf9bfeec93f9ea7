from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from scipy.special import softmax

from onnxplain.contract import PRESETS, BoxSpec, Preprocessing
from onnxplain.errors import ImageError, ModelError, OnnxplainError, UnsupportedError
from onnxplain.runtime import Engine, make_frame
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE
from onnxplain.runtime.sessions.session import run_session
from tests.models import (
    CLASSES,
    UINT8_WEIGHTS,
    WEIGHTS,
    ExplainableModel,
    reference_logits,
    write_classifier,
    write_localizer,
    write_uint8_classifier,
)

RNG = np.random.default_rng(11)
IMAGES = [RNG.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in [(20, 30), (9, 7), (64, 64)] * 4]
MODEL = ExplainableModel()


def probe_batch(count: int, size_hw: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, *size_hw)).astype(np.float32)


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("count", [1, 4, 7, 2 * IMAGES_AT_ONCE + 1])
@pytest.mark.parametrize("softmax_only", [False, True])
def test_scores_whatever_the_batch_size(tmp_path, batch, count, softmax_only):
    engine = Engine(write_classifier(tmp_path / "model.onnx", batch=batch, softmax=softmax_only))
    pixels = probe_batch(count)
    scores = engine.scores(pixels)
    assert engine.fixed_batch == (None if batch == "N" else batch)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, softmax(reference_logits(pixels), axis=1), atol=1e-6)


@pytest.mark.parametrize(("batch", "sizes"), [("N", [8, 8, 3]), (1, [1] * 19), (4, [4] * 5)])
def test_chunks(tmp_path, monkeypatch, batch, sizes):
    seen = []

    def spy(session, path, names, feed):
        seen.append(len(feed["image"]))
        return run_session(session, path, names, feed)

    engine = Engine(write_classifier(tmp_path / "model.onnx", batch=batch))
    monkeypatch.setattr("onnxplain.runtime.part_run.run_session", spy)
    assert len(engine.scores(probe_batch(19))) == 19
    assert seen == sizes


def test_float16_model(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx", dtype=TensorProto.FLOAT16))
    pixels = probe_batch(3)
    scores = engine.scores(pixels)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, softmax(reference_logits(pixels), axis=1), atol=2e-3)


def test_uint8_nhwc_model(tmp_path):
    engine = Engine(write_uint8_classifier(tmp_path / "model.onnx"))
    pixels = engine.preprocess(IMAGES[:3])
    assert pixels.shape == (3, 3, 8, 8)
    assert pixels.max() > 100
    expected = softmax(reference_logits(pixels, UINT8_WEIGHTS), axis=1)
    np.testing.assert_allclose(engine.scores(pixels), expected, atol=1 / 256)


def test_preprocess_by_hand(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"), preprocessing=PRESETS["caffe"])
    image = np.full((40, 60, 3), (10, 20, 30), np.uint8)
    expected = np.broadcast_to(np.reshape([30 - 104, 20 - 117, 10 - 123], (1, 3, 1, 1)), (1, 3, 8, 8))
    np.testing.assert_allclose(engine.preprocess(image), expected)


def test_prepare_keeps_originals_and_frames(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    path = tmp_path / "image.png"
    Image.fromarray(IMAGES[0]).save(path)
    batch = engine.prepare([path, str(path), Image.fromarray(IMAGES[0]), IMAGES[0]])
    for image, frame, pixels in zip(batch.images, batch.frames, batch.pixels, strict=True):
        np.testing.assert_array_equal(image, IMAGES[0])
        assert frame == make_frame((20, 30), (8, 8), "crop")
        np.testing.assert_array_equal(pixels, batch.pixels[0])


@pytest.mark.parametrize("count", [1, 3, 11])
def test_predict(tmp_path, count):
    labels = [f"label {index}" for index in range(CLASSES)]
    engine = Engine(write_classifier(tmp_path / "model.onnx"), labels=labels)
    images = IMAGES[:count]
    expected = softmax(reference_logits(engine.preprocess(images)), axis=1)
    predictions = engine.predict(images)
    assert len(predictions) == count
    for prediction, scores in zip(predictions, expected, strict=True):
        assert prediction.class_id == scores.argmax()
        assert prediction.label == labels[scores.argmax()]
        assert prediction.score == pytest.approx(scores.max(), abs=1e-6)
        assert prediction.box_xyxy is None
        assert prediction.box_source is None
        np.testing.assert_allclose(prediction.scores, scores, atol=1e-6)


def test_predict_one_image_gives_a_list_of_one(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    assert len(engine.predict(IMAGES[0])) == 1


@pytest.mark.parametrize(
    ("box_format", "units", "raw"),
    [
        ("cxcywh", "normalized", (0.5, 0.5, 0.5, 0.25)),
        ("xywh", "normalized", (0.25, 0.375, 0.5, 0.25)),
        ("xyxy", "normalized", (0.25, 0.375, 0.75, 0.625)),
        ("cxcywh", "pixels", (80, 40, 80, 20)),
        ("xywh", "pixels", (40, 30, 80, 20)),
        ("xyxy", "pixels", (40, 30, 120, 50)),
    ],
)
@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("stretch", (50, 75, 150, 125)),
        # 200 × 200 in an input of 80 × 160: scale 0.4, 40 pixels of border left and right.
        ("letterbox", (0, 75, 200, 125)),
        # Scale 160 / 0.875 / 200 makes 182.9, so 182 × 182 pixels (0.91): 11 are cut on the left, 51 above.
        ("crop", (51 / 0.91, 81 / 0.91, 131 / 0.91, 101 / 0.91)),
    ],
)
def test_boxes_in_pixels_of_the_original(tmp_path, box_format, units, raw, resize, expected):
    path = write_localizer(
        tmp_path / "model.onnx",
        raw,
        BoxSpec(box_format, units),
        size_hw=(80, 160),
        preprocessing=Preprocessing(resize=resize),
    )
    (prediction,) = Engine(path).predict(np.zeros((200, 200, 3), np.uint8))
    assert prediction.box_source == "head"
    assert prediction.box_xyxy == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("required_inputs", [False, True])
@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize("layer", ["fine", "coarse"])
def test_activations(tmp_path, required_inputs, batch, layer):
    engine = Engine(MODEL.write(tmp_path / "model.onnx", batch=batch, required_inputs=required_inputs))
    images = IMAGES[:11]
    targets = [index % (CLASSES + 4) for index in range(11)]
    activations = engine.activations(images, targets, layer)
    pixels = engine.preprocess(images)
    logits = reference_logits(pixels)
    features = pixels if layer == "fine" else pixels.reshape(11, 3, 3, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(activations.features, features, rtol=1e-5)
    np.testing.assert_allclose(activations.logits, logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(activations.gradients, MODEL.jacobian(layer)[targets], atol=1e-7)
    np.testing.assert_allclose(activations.scores, softmax(activations.logits, axis=1), atol=1e-6)
    assert activations.target.tolist() == targets
    assert activations.layer.name == layer
    assert [frame.image_size_hw for frame in activations.frames] == [image.shape[:2] for image in images]


def test_activations_of_the_predicted_class(tmp_path):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    activations = engine.activations(IMAGES[:5])
    assert activations.layer.name == "coarse"
    assert activations.target.tolist() == activations.logits.argmax(axis=1).tolist()
    np.testing.assert_array_equal(activations.gradients, MODEL.jacobian("coarse")[activations.target])


def test_activations_without_gradients_leave_the_gates_closed(tmp_path):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    activations = engine.activations(IMAGES[:2], "one", gradients=False)
    assert activations.gradients is None
    assert activations.target.tolist() == [1, 1]


def test_only_the_asked_for_layer_is_explained(tmp_path):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    names = ["gradients/fine", "gradients/coarse", "logits"]
    pixels = probe_batch(10, MODEL.size_hw)
    for explain, rows in ((None, (0, 0)), ("fine", (10, 0)), ("coarse", (0, 10))):
        fine, coarse, logits = engine.run(pixels, names, explain=explain)
        assert (len(fine), len(coarse), len(logits)) == (*rows, 10)
        assert fine.shape[1:] == (3, 6, 8)


@pytest.mark.parametrize("target", [None, 1, "one"])
def test_one_target_serves_all_images(tmp_path, target):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    assert len(engine.activations(IMAGES[:3], target).target) == 3


def test_cam_weights(tmp_path):
    for batch in ("N", 2):
        engine = Engine(MODEL.write(tmp_path / f"{batch}.onnx", batch=batch))
        weights = engine.cam_weights()
        np.testing.assert_array_equal(weights, WEIGHTS)
        assert not weights.flags.writeable


def test_what_a_plain_file_cannot_do_is_refused(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    for call in (
        lambda: engine.activations(IMAGES[0]),
        lambda: engine.cam_weights(),
        lambda: engine.run(probe_batch(1), ["logits"], np.array([1])),
        lambda: engine.run(probe_batch(1), ["logits"], explain="layer"),
    ):
        with pytest.raises(UnsupportedError, match="run `onnxplain instrument` first"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda engine: engine.scores(probe_batch(2, (9, 8))), r"expected \(N, 3, 6, 8\)"),
        (lambda engine: engine.scores(probe_batch(2, (6, 8))[0]), r"expected \(N, 3, 6, 8\)"),
        (lambda engine: engine.scores(probe_batch(2, (6, 8))[:0]), "N ≥ 1"),
        (lambda engine: engine.predict([]), "found an empty list"),
        (lambda engine: engine.predict(None), "found NoneType, expected an image or a list"),
        (lambda engine: engine.activations(IMAGES[:3], [0, 1]), "found 2 targets for 3 images"),
        (lambda engine: engine.activations(IMAGES[:2], 9), "target: found 9"),
        (lambda engine: engine.activations(IMAGES[:2], layer="x"), "layer: found 'x'"),
        (lambda engine: engine.run(probe_batch(1, (6, 8)), ["logits"], np.array([9])), "target: found 9"),
        (lambda engine: engine.run(probe_batch(1, (6, 8)), ["logits"], np.array([-2])), "target: found -2"),
        (lambda engine: engine.run(probe_batch(2, (6, 8)), ["logits"], np.array([0, 0, 0])), "one integer per image"),
        (lambda engine: engine.run(probe_batch(1, (6, 8)), ["logits"], np.array([], np.int64)), "expected integers"),
    ],
)
def test_bad_calls_are_refused(tmp_path, call, message):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    with pytest.raises(OnnxplainError, match=message):
        call(engine)


def test_a_failing_run_is_one_line(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"ONNX Runtime failed.*no_such_output") as caught:
        engine.run(probe_batch(1), ["no_such_output"])
    assert "\n" not in str(caught.value)


def test_onnxruntime_itself_prints_nothing(tmp_path, capfd):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    engine.predict(IMAGES[:2])
    with pytest.raises(ModelError):
        engine.run(probe_batch(1, MODEL.size_hw), ["no_such_output"])
    with pytest.raises(ModelError, match="ONNX Runtime failed"):
        run_session(engine._session, engine.path, ["logits"], {"image": probe_batch(1, (5, 5))})
    (tmp_path / "model.onnx").write_bytes(b"broken")
    with pytest.raises(ModelError):
        Engine(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_bad_image_in_a_list_is_named(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    with pytest.raises(ImageError, match=r"nothing\.png: found no such file"):
        engine.predict([IMAGES[0], tmp_path / "nothing.png"])


def test_non_finite_pixels_give_non_finite_scores_and_no_warning(tmp_path):
    engine = Engine(write_classifier(tmp_path / "model.onnx"))
    pixels = probe_batch(2)
    pixels[0] = np.nan
    scores = engine.scores(pixels)
    assert np.isnan(scores[0]).all()
    assert np.isfinite(scores[1]).all()


def test_threads_may_share_an_engine(tmp_path):
    engine = Engine(MODEL.write(tmp_path / "model.onnx"))
    targets = [index % CLASSES for index in range(24)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda target: engine.activations(IMAGES[target], target), targets))
    for target, result in zip(targets, results, strict=True):
        np.testing.assert_array_equal(result.gradients[0], MODEL.jacobian("coarse")[target])
