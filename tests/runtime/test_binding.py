from __future__ import annotations

import numpy as np
import pytest

from onnxplain.contract import GRAY_PRESETS
from onnxplain.errors import ModelError
from onnxplain.runtime import Engine
from onnxplain.runtime.preprocess import to_model
from onnxplain.runtime.sessions.binding import DeviceArray, memory_of
from tests.models import ExplainableModel, write_uint8_classifier
from tests.position_model import CLASSES, DTYPES, LAYOUTS, open_position_model

GRAY = GRAY_PRESETS["raw"]
PHOTOS = list(np.random.default_rng(2).integers(0, 256, (6, 30, 40, 3), np.uint8))


def host_array(array: np.ndarray) -> DeviceArray:
    return DeviceArray("cpu", array.dtype, array.shape, array.ctypes.data)


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrap", [np.asarray, host_array])
def test_bound_memory_gives_what_run_gives(tmp_path, dtype, layout, batch, wrap) -> None:
    engine = open_position_model(tmp_path / "model.onnx", dtype=dtype, layout=layout, batch=batch)
    pixels = engine.preprocess(PHOTOS)
    buffer = engine.input_buffer(len(PHOTOS))
    buffer[...] = to_model(pixels, layout, dtype)
    bound = engine.bind([engine.class_output])
    rows = []
    for start in range(0, len(PHOTOS), 2):
        bound.bind("image", wrap(buffer)[start : start + 2])
        bound.run(2)
        rows += bound.fetch()
    np.testing.assert_array_equal(engine.class_scores(np.concatenate(rows)), engine.scores(pixels))


def test_an_array_on_the_host_is_read_where_it_lies(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    buffer = engine.input_buffer(3)
    bound = engine.bind([engine.class_output])
    bound.bind("image", buffer)
    bound.run(3)
    (before,) = bound.fetch()
    buffer[1] = 0.5
    bound.run(3)
    (after,) = bound.fetch()
    assert not before.any(), "a later run must not touch what was fetched"
    np.testing.assert_array_equal(after.any(axis=1), [False, True, False])


def test_the_number_of_images_may_change_from_run_to_run(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    pixels = engine.preprocess(PHOTOS)
    bound = engine.bind([engine.class_output])
    for count in (1, 6, 6, 2):
        bound.bind("image", pixels[:count])
        bound.run(count)
        (logits,) = bound.fetch()
        assert logits.shape == (count, CLASSES)
        np.testing.assert_array_equal(engine.class_scores(logits), engine.scores(pixels[:count]))


@pytest.mark.parametrize("required_inputs", [False, True])
@pytest.mark.parametrize("batch", ["N", 2])
def test_the_controls_of_an_explainable_file_are_bound(tmp_path, required_inputs, batch) -> None:
    path = ExplainableModel().write(tmp_path / "model.onnx", batch=batch, required_inputs=required_inputs)
    engine = Engine(path)
    pixels = engine.preprocess(PHOTOS[:2])
    names = [engine.class_output, "box", "gradients/fine"]
    bound = engine.bind(names)
    bound.bind("image", pixels)
    bound.run(2)
    logits, box, gradients = bound.fetch()
    for found, expected in zip([logits, box], engine.run(pixels, names[:2]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(gradients) == 0, "the gates must be closed"


def test_an_output_stays_where_it_was_made_and_feeds_another_session(tmp_path) -> None:
    """The box head's output, (N, 4), read in place as if it were an image of 4 numbers."""
    engine = Engine(ExplainableModel().write(tmp_path / "model.onnx"))
    bound = engine.bind(["box"])
    bound.bind("image", engine.preprocess(PHOTOS[:3]))
    bound.run(3)
    box = bound.first_in_place(np.dtype(np.float32))
    assert (box.device, box.shape) == ("cpu", (3, 4))
    reader = open_position_model(tmp_path / "reader.onnx", size_hw=(2, 2), layout="nhwc", preprocessing=GRAY)
    reading = reader.bind([reader.class_output])
    reading.bind("image", box.reshaped((3, 2, 2, 1))[1:3])
    reading.run(2)
    pixels = bound.fetch()[0].reshape(3, 1, 2, 2)[1:3]
    np.testing.assert_array_equal(reading.fetch()[0], reader.run(pixels, [reader.class_output])[0])


def test_rows_and_shapes_of_a_device_array() -> None:
    array = DeviceArray("cuda", np.dtype(np.float16), (5, 3, 2), 1000)
    assert array[1:3] == DeviceArray("cuda", np.dtype(np.float16), (2, 3, 2), 1000 + 12)
    assert array[3:9].shape == (2, 3, 2)
    assert array.reshaped((5, 6)).pointer == 1000
    with pytest.raises(ValueError, match=r"found shape \(5, 3, 2\)"):
        array.reshaped((5, 7))


@pytest.mark.parametrize("shape", [(1, 9, 9, 3), (1, 8, 8)])
def test_what_the_graph_does_not_take_is_one_line(tmp_path, shape) -> None:
    engine = Engine(write_uint8_classifier(tmp_path / "model.onnx"))
    bound = engine.bind([engine.class_output])
    with pytest.raises(ModelError, match=r"^[^\n]*model\.onnx: ONNX Runtime failed while running[^\n]*$"):
        bound.bind("image", np.zeros(shape, np.uint8))
        bound.run(1)


def test_an_unknown_input_is_one_line(tmp_path) -> None:
    engine = Engine(write_uint8_classifier(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime failed"):
        engine.bind([engine.class_output]).bind("picture", np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("providers", "memory"),
    [
        (["CPUExecutionProvider"], "cpu"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda"),
        (["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"], "cuda"),
        (["CoreMLExecutionProvider", "CPUExecutionProvider"], "cpu"),
    ],
)
def test_where_providers_compute(providers, memory) -> None:
    assert memory_of(providers) == memory
