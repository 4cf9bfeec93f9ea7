"""An image that was prepared ahead is the image: every call gives the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine, explain
from onnxplain.contract import Preprocessing
from onnxplain.runtime.image import is_image
from onnxplain.runtime.images.pixels import picture_of
from onnxplain.runtime.images.prepared import PreparedImage
from tests.models import ExplainableModel

IMAGE = np.random.default_rng(4).integers(0, 256, (13, 21, 3), dtype=np.uint8)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    preprocessing = Preprocessing(scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3), resize="letterbox")
    return Engine(ExplainableModel().write(tmp_path / "model.onnx", preprocessing=preprocessing), threads=1)


def test_a_prepared_image_is_the_image(engine: Engine) -> None:
    prepared = engine.prepare_image(IMAGE)
    assert is_image(prepared)
    assert engine.prepare_image(prepared) is prepared
    np.testing.assert_array_equal(engine.read(prepared), IMAGE)
    np.testing.assert_array_equal(picture_of(prepared, IMAGE.shape[:2]), IMAGE)
    one, other = engine.prepare([IMAGE, IMAGE]), engine.prepare([prepared, IMAGE])
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.frames == other.frames
    np.testing.assert_array_equal(engine.predict([IMAGE])[0].scores, engine.predict([prepared])[0].scores)


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "smooth-grad-cam++", "score-cam", "rise"])
def test_explanations_of_a_prepared_image_are_those_of_the_image(method: str, engine: Engine) -> None:
    options = {"masks": 32} if method == "rise" else {}
    one, other = (explain(engine, image, method, **options) for image in (IMAGE, engine.prepare_image(IMAGE)))
    np.testing.assert_array_equal(one.heatmap, other.heatmap)
    np.testing.assert_array_equal(one.raw, other.raw)
    np.testing.assert_array_equal(one.picture(), other.picture())


def test_for_another_model_it_is_prepared_again(engine: Engine, tmp_path: Path) -> None:
    other = Engine(ExplainableModel().write(tmp_path / "other.onnx", preprocessing=Preprocessing()), threads=1)
    prepared = engine.prepare_image(IMAGE)
    again = other.prepare_image(prepared)
    assert isinstance(again, PreparedImage)
    assert again is not prepared
    np.testing.assert_array_equal(again.input, other.prepare(IMAGE).pixels[0])
