from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxplain
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import CAM, METHODS, RISE, GradCAM
from tests.explainers.tiny_model import TinyModel, make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny_model(
        tmp_path_factory.mktemp("notebook") / "model.onnx", labels=("<b>cat</b>", "dog", "owl", "fox")
    )


def photo(size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def in_file(folder: Path) -> Path:
    Image.fromarray(photo()).save(folder / "photo.png")
    return folder / "photo.png"


@pytest.mark.parametrize("given", ["array", "path", "pil"])
def test_an_explanation_keeps_its_image_and_draws_itself(model: TinyModel, tmp_path: Path, given: str) -> None:
    image = {"array": photo(), "path": in_file(tmp_path), "pil": Image.fromarray(photo())}[given]
    explanation = GradCAM(model.engine)(image, target="dog")
    assert explanation.image is image
    explanation.save(tmp_path / "dog.png")
    with Image.open(tmp_path / "dog.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), explanation.picture())
    with Image.open(io.BytesIO(explanation._repr_png_() or b"")) as shown:
        np.testing.assert_array_equal(np.asarray(shown), explanation.picture())


def test_without_an_image_one_has_to_be_given(model: TinyModel) -> None:
    (explanation,) = GradCAM(model.engine)._explain_all([photo()], [None])
    with pytest.raises(OnnxplainError, match=r"^picture: found no image in the explanation, expected one"):
        explanation.picture()
    assert explanation.picture(photo()).shape[2] == 3
    assert explanation._repr_png_() is None
    assert "<pre>" in explanation._repr_html_()


def test_notebooks_show_results_and_lists_of_them(model: TinyModel) -> None:
    explanations = CAM(model.engine)([photo(), photo((30, 30))])
    predictions = model.engine.predict([photo(), photo((30, 30))])
    for results, picture in ((explanations, "<img "), (predictions, "<table>")):
        html = results._repr_html_()
        assert html.count(picture) == 2
        assert "<b>cat" not in html, "labels are text, not markup"
    (source, _) = re.findall(r'src="data:image/png;base64,([^"]+)"', explanations._repr_html_())
    with Image.open(io.BytesIO(base64.b64decode(source))) as shown:
        assert shown.format == "PNG"


def test_reprs_are_short(model: TinyModel) -> None:
    explanation, prediction = RISE(model.engine, masks=20)(photo()), model.engine.predict(photo())[0]
    for value in (explanation, prediction, model.engine):
        assert repr(value).startswith("<")
        assert len(repr(value)) < 160
    assert "rise" in repr(explanation)
    assert "model.onnx" in repr(model.engine)


def test_the_methods_are_named() -> None:
    assert onnxplain.methods() == tuple(METHODS)


def test_the_methods_that_a_file_supports_are_named(model: TinyModel) -> None:
    assert {"grad-cam", "rise"} <= set(onnxplain.methods(model.engine)) <= set(METHODS)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("GradCAM", "grad-cam"), ("grad_cam", "grad-cam"), ("Grad-CAM++", "grad-cam++"), ("GradCAMPlusPlus", "grad-cam++"),
     ("HiResCAM", "hires-cam"), ("RISE", "rise"), ("gradcan", "grad-cam")],
)  # fmt: skip
def test_other_spellings_are_understood_as_hints(model: TinyModel, typed: str, meant: str) -> None:
    with pytest.raises(OnnxplainError, match=rf"\(did you mean {re.escape(meant)}\?\)"):
        onnxplain.explain(model.engine, photo(), typed)
