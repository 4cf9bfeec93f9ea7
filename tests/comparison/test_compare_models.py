"""The comparison as a library: what is explained in both models, and that an interruption ends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.comparison.compare_models import plan_comparison
from onnxplain.demo import IMAGES, MODEL
from onnxplain.explainers.method_report import MethodReport
from onnxplain.explanations.open_model import OpenedModel
from tests.explanations.conftest import RecordedProgress
from tests.models import ExplainableModel


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenedModel, OpenedModel]:
    """A model, and the same with its labels in another order."""
    path = ExplainableModel().write(tmp_path_factory.mktemp("models") / "model.onnx")
    names = ("a", "b", "c", "d", "e")
    # Class i of the first model is called as class 4 - i of the second.
    return (
        OpenedModel(Engine(path, labels=names), ()),
        OpenedModel(Engine(path, labels=names[::-1]), ()),
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return path


def test_targets_are_matched_by_label(opened: tuple[OpenedModel, OpenedModel], photo: Path) -> None:
    comparison = plan_comparison(*opened, ["hires-cam"], ["b", "box:1"], lambda _: {})
    (image,) = comparison.images([photo], RecordedProgress())
    assert [(first.target, second.target) for _, first, second in image.explanations] == [(1, 3), (6, 6)]
    (prediction,) = opened[0].engine.predict(photo)
    assert image.drift.answer.changed is (prediction.class_id != 2)
    expected = prediction.scores[::-1] - prediction.scores
    assert image.drift.answer.largest == pytest.approx(float(np.abs(expected).max()))
    assert image.boxes_xyxy == (prediction.box_xyxy, prediction.box_xyxy)


def test_the_second_seed_is_the_noise() -> None:
    options: dict[str, Any] = {"masks": 20, "batch_size": 10, "seed": 4}
    model = OpenedModel(Engine(MODEL), ())
    comparison = plan_comparison(model, model, ["rise", "hires-cam"], ["4"], lambda _: options)
    (image,) = comparison.images([IMAGES / "4-on-grass.png"], RecordedProgress())
    rise, hires = image.drift.maps
    assert rise.drift.correlation == pytest.approx(1)
    assert rise.noise is not None and rise.noise.correlation is not None and rise.noise.correlation < 0.999
    assert hires.noise is None
    assert not rise.beyond_noise


class Stopped(MethodReport):
    """What a method says that the user stopped early."""

    interrupted = True

    def as_json(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return "interrupted"


class StoppedExplainer:
    """Explains as another explainer does, and says that it was stopped."""

    def __init__(self, explainer: Any) -> None:
        self._explainer = explainer

    def for_targets(self, image: Any, targets: Any) -> Any:
        return [replace(each, report=Stopped()) for each in self._explainer.for_targets(image, targets)]


@pytest.mark.parametrize("part", ["first", "second", "reseeded"])
def test_an_interruption_ends_the_comparison(part: str, opened: tuple[OpenedModel, OpenedModel], photo: Path) -> None:
    comparison = plan_comparison(*opened, ["rise"], ["a"], lambda _: {"masks": 20, "batch_size": 10})
    pair = comparison.pairs[0]
    stopped = replace(pair, **{part: StoppedExplainer(getattr(pair, part))})
    with pytest.raises(KeyboardInterrupt):
        list(replace(comparison, pairs=(stopped,)).images([photo], RecordedProgress()))
