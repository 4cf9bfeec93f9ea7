"""Methods that a user writes outside the package, on the model that ships with it, against a few lines of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from onnxplain.demo import MODEL, read_samples
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import METHODS, ActivationMapExplainer, Explainer, Explanation, GradCAM
from onnxplain.explainers.needs import TAIL, Need
from onnxplain.runtime import Engine, load_image
from tests.explainers.tiny_model import MakeModel


class MeanActivation(ActivationMapExplainer):
    name = "mean-activation"
    uses_gradients = False

    def weigh(self, activations):
        return activations.features.mean(1)


class OldMeanActivation(ActivationMapExplainer):
    name = "old-mean-activation"
    uses_gradients = False

    def _weigh(self, activations):
        return activations.features.mean(1)


@dataclass(frozen=True)
class PowerMean(ActivationMapExplainer):
    power: float = 2.0

    name: ClassVar[str] = "power-mean"
    uses_gradients: ClassVar[bool] = False

    def weigh(self, activations):
        return (activations.features**self.power).mean(1) ** (1 / self.power)


class OldHalf(GradCAM):
    """The hook by its former name, over a method of the package that has it by its present one."""

    name = "old-half"

    def _weigh(self, activations):
        return super()._weigh(activations) / 2


class OldFormula:
    def _weigh(self, activations):
        return activations.features.mean(1)


class MixedIn(OldFormula, ActivationMapExplainer):
    name = "mixed-in"
    uses_gradients = False


class Half(GradCAM):
    name = "half"

    def weigh(self, activations):
        return super().weigh(activations) / 2


class OldQuarter(OldHalf):
    name = "old-quarter"

    def _weigh(self, activations):
        return super()._weigh(activations) / 2


@dataclass(frozen=True)
class Centre(Explainer):
    """No base but `Explainer`: hot in the middle, whatever the image."""

    engine: Engine
    radius: int = 3

    name: ClassVar[str] = "centre"

    def _explain_all(self, images: Sequence[Any], targets: Sequence[Any]) -> list[Explanation]:
        explanations = GradCAM(self.engine)(list(images), list(targets))
        return [self._centred(explanation) for explanation in explanations]

    def _centred(self, explanation: Explanation) -> Explanation:
        heatmap = np.zeros_like(explanation.heatmap)
        y, x = heatmap.shape[0] // 2, heatmap.shape[1] // 2
        heatmap[y - self.radius : y + self.radius, x - self.radius : x + self.radius] = 1
        return replace(explanation, heatmap=heatmap, method=self.name)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(MODEL, threads=1)


def enlarge(map_hw: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear between the centres of cells, the border cells repeated outwards."""
    for axis, size in enumerate(size_hw):
        cells = map_hw.shape[axis]
        places = (np.arange(size) + 0.5) * cells / size - 0.5
        map_hw = np.apply_along_axis(lambda line, at=places: np.interp(at, np.arange(len(line)), line), axis, map_hw)
    return map_hw


def features_of(engine: Engine, image: Any) -> np.ndarray:
    return engine.activations(image, gradients=False).features[0].astype(np.float64)


@pytest.mark.parametrize(
    ("make", "expected_raw"),
    [
        (MeanActivation, lambda features: features.mean(0)),
        (OldMeanActivation, lambda features: features.mean(0)),
        (MixedIn, lambda features: features.mean(0)),
        (PowerMean, lambda features: np.sqrt((features**2).mean(0))),
        (lambda engine: PowerMean(engine, power=4), lambda features: (features**4).mean(0) ** 0.25),
    ],
)
def test_a_users_map_is_numpys(engine: Engine, make, expected_raw) -> None:
    for record in read_samples()[:3]:
        explainer = make(engine)
        explanation = explainer(record.image)
        raw = expected_raw(features_of(engine, record.image))
        heatmap = enlarge(np.maximum(raw, 0), load_image(record.image).shape[:2])
        np.testing.assert_allclose(explanation.raw, raw, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(explanation.heatmap, heatmap / heatmap.max(), atol=1e-4)
        assert (explanation.method, explanation.status) == (explainer.name, "ok")
        assert explanation.label == engine.predict(record.image)[0].label
        assert explainer.name not in METHODS


@pytest.mark.parametrize(("make", "share"), [(Half, 0.5), (OldHalf, 0.5), (OldQuarter, 0.25)])
def test_a_method_of_the_package_is_changed_by_either_name_of_the_hook(engine: Engine, make, share: float) -> None:
    image = read_samples()[0].image
    np.testing.assert_allclose(make(engine)(image).raw, share * GradCAM(engine)(image).raw, rtol=1e-6)
    together = make(engine).for_targets(image, [0, 1])
    assert [explanation.method for explanation in together] == [make.name] * 2


def test_a_plain_explainer_needs_nothing_but_a_name(engine: Engine) -> None:
    image = read_samples()[0].image
    explanation = Centre(engine, radius=5)(image)
    height, width = explanation.heatmap.shape
    assert explanation.heatmap.sum() == 100
    assert explanation.heatmap[height // 2, width // 2] == 1
    assert [each.method for each in Centre(engine)([image, image])] == ["centre"] * 2
    assert Centre(engine).accepts("box:0")


def test_options_are_what_the_constructor_takes_behind_the_engine() -> None:
    assert MeanActivation.option_names() == ("layer",)
    assert PowerMean.option_names() == ("layer", "power")
    assert Centre.option_names() == ("radius",)


def test_a_class_carries_its_needs(make_model: MakeModel) -> None:
    class Tailed(MeanActivation):
        name = "tailed"
        needs = TAIL

    class Impossible(MeanActivation):
        name = "impossible"
        needs = Need("a miracle", lambda spec: False, "there is none")

    with pytest.raises(
        UnsupportedError,
        match=r"^mean-activation: needs an instrumented layer.*: rise, occlusion, shap, lime, sobol, hsic, aise$",
    ):
        MeanActivation(make_model(instrumented=False).engine)
    with pytest.raises(UnsupportedError, match=r"^tailed: needs a tail file, but .*: cam, grad-cam, "):
        Tailed(make_model(tail=False).engine)
    with pytest.raises(UnsupportedError, match=r"^impossible: needs a miracle, but there is none; methods that work"):
        Impossible(make_model().engine)
    Tailed(make_model().engine)


@pytest.mark.parametrize(
    ("base", "body", "message"),
    [
        (
            ActivationMapExplainer,
            {"name": "mine"},
            r"^Mine: found no method weigh\(activations\), expected one: define it",
        ),
        (ActivationMapExplainer, {"weigh": MeanActivation.weigh}, '^Mine: found no name, .*name = "my-method"'),
        (MeanActivation, {"needs": "a layer"}, "^Mine: found needs 'a layer', expected a Need"),
    ],
)
def test_a_class_that_lacks_something_says_what(engine: Engine, base: type, body: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        type("Mine", (base,), body)(engine)


def test_the_example_of_the_documentation_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    _, section = page.split("## A method of your own\n")
    _, code = section.split("```python\n")
    names: dict[str, Any] = {}
    exec(code.partition("```")[0], names)
    assert names["explanation"].method == "mean-activation"
    assert names["explanation"].status == "ok"
