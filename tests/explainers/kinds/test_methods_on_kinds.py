"""Every method of the table on every kind of head: it agrees with its formula in torch, or refuses by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import METHODS, Explanation, build
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.needs import OF_ATTENTION
from onnxplain.explainers.rise.samplers import IndependentSampler
from tests.explainers.kinds import feature_formulas, hiding_formulas, pixel_formulas
from tests.explainers.kinds.kind_networks import CELLS, GRID, KINDS, SIDE, Explained, open_kind, photo
from tests.explainers.laying import lay
from tests.explainers.test_family import eigen_grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, xgrad_cam

OPTIONS = {
    "rise": {"masks": 40, "seed": 3, "estimator": "paper"},
    "augmented-grad-cam": {"copies": 1, "mode": "mean"},
    "smooth-grad-cam++": {"samples": 3, "noise": 0.1},
    "finer-cam": {"references": 2, "strength": 0.7},
    **hiding_formulas.OPTIONS,
    **pixel_formulas.OPTIONS,
}
# The networks of the kinds have no attention; see test_attention_methods.py.
ON_MAPS = [name for name, method in METHODS.items() if method.needs not in OF_ATTENTION]
# A difference of two scores gives the difference of their maps.
LINEAR = (
    *("cam", "grad-cam", "hires-cam", "xgrad-cam", "score-cam", "recipro-cam", "rise"),
    *("occlusion", "shap", "lime"),
    *("input-x-gradient", "integrated-gradients", "grad-shap"),
)
# Their map says how much, not in which direction.
UNSIGNED = ("sobol", "hsic", "saliency", "smooth-grad", "var-grad")
# Methods that refuse kinds of heads, and what they say; all other pairs of method and kind work.
REFUSED = {
    "cam": ("curved", "cam: needs global average pooling . linear head"),
    "finer-cam": ("values embedding mask box one", "finer-cam: (needs|found target).*(classes|class)"),
    "score-cam": ("box", "score-cam: found target box:2, expected a class"),
    "recipro-cam": ("box", "recipro-cam: found target box:2, expected a class"),
    "rise": ("box", "rise: found target box:2, expected a class"),
    **{name: ("box", f"{name}: found target box:2, expected a class") for name in hiding_formulas.FORMULAS},
}


def refusal(method: str, name: str) -> str | None:
    """What a method says of a kind; None if it works."""
    kind = KINDS[name]
    if method not in REFUSED:
        return None
    refused, message = REFUSED[method]
    if method == "cam":
        return None if kind.cam else message
    return message if kind.kind in refused.split() or name.split()[0] in refused.split() else None


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Explained]:
    return {name: open_kind(name, tmp_path_factory.mktemp("kind")) for name in KINDS}


def cam(e: Explained) -> torch.Tensor:
    weights = e.network.head.linear.weight[e.kind.entry]
    return (weights[:, None, None] * e.maps()[0]).sum(0)


def grad_cam(e: Explained) -> torch.Tensor:
    maps, gradient = e.gradient()
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0]


def augmented(e: Explained) -> torch.Tensor:
    """Of one copy, the image itself: the Grad-CAM after ReLU, over its maximum, laid over the input."""
    positive = grad_cam(e).relu()
    return lay((positive / positive.max())[None], e.engine.spec.layers[-1], (SIDE, SIDE), (SIDE, SIDE))[0]


def smooth(e: Explained) -> torch.Tensor:
    """α from the means of g, g² and g³ over noisy copies of the input."""
    pixels = e.pixels().float()
    powers = []
    for copy in range(3):
        noise = np.random.default_rng((0, copy)).standard_normal(pixels.shape[1:], np.float32)
        deviation = 0.1 * (pixels.max() - pixels.min())
        maps = e.network.features((pixels + deviation * torch.from_numpy(noise)).double()).detach().requires_grad_()
        (g,) = torch.autograd.grad(e.y(maps).sum(), maps)
        powers.append(torch.stack([g[0], g[0] ** 2, g[0] ** 3]))
    first, second, third = torch.stack(powers).mean(0)
    maps = e.maps()[0]
    alpha = second / (2 * second + third * maps.sum((1, 2), keepdim=True))
    return ((torch.where(second == 0, 0, alpha) * first.relu()).sum((1, 2), keepdim=True) * maps).sum(0)


def finer(e: Explained) -> torch.Tensor:
    values = e.network.head(e.maps())[0]
    others = (values - values[e.kind.entry]).abs().argsort()[1:3]
    maps, gradient = e.gradient()
    contrast = gradient - 0.7 * sum(e.gradient(int(other))[1] for other in others) / 2
    return (contrast.mean((2, 3), keepdim=True) * maps).sum(1)[0]


def score_cam(e: Explained) -> torch.Tensor:
    maps = e.maps()[0]
    laid = lay(maps, e.engine.spec.layers[-1], (SIDE, SIDE), (SIDE, SIDE))
    low, high = laid.amin((1, 2), keepdim=True), laid.amax((1, 2), keepdim=True)
    masks = torch.where(high > low, (laid - low) / (high - low), 0)
    copies, blank = e.pixels() * masks[:, None], torch.zeros_like(e.pixels())
    increase = e.shown(e.network.features(copies)) - e.shown(e.network.features(blank))
    increase[maps.amax((1, 2)) == maps.amin((1, 2))] = 0
    return (increase[:, None, None] * maps).sum(0)


def ablation_cam(e: Explained) -> torch.Tensor:
    maps = e.maps()
    without = maps.repeat(maps.shape[1], 1, 1, 1)
    for channel in range(len(without)):
        without[channel, channel] = 0
    complete = e.y(maps)
    return (((complete - e.y(without)) / complete.abs())[:, None, None] * maps[0]).sum(0)


def recipro_cam(e: Explained) -> torch.Tensor:
    alone = torch.eye(CELLS).reshape(CELLS, 1, GRID, GRID).double()
    return e.shown(e.maps() * alone).reshape(GRID, GRID)


def rise(e: Explained) -> torch.Tensor:
    """Petsiuk et al. 2018, equation 6."""
    bank = IndependentSampler(MaskGeometry((SIDE, SIDE)), seed=3)
    masks = torch.from_numpy(bank.geometry.render(bank.draw(0, 40))).double()
    scores = e.shown(e.network.features(e.pixels() * masks[:, None]))
    return (scores[:, None, None] * masks).sum(0) / (0.5 * 40)


def of_gradient(formula: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Explained], torch.Tensor]:
    return lambda e: formula(*e.gradient())[0]


REFERENCES: dict[str, Callable[[Explained], torch.Tensor]] = {
    "cam": cam,
    "grad-cam": grad_cam,
    "augmented-grad-cam": augmented,
    "grad-cam++": of_gradient(grad_cam_plus_plus),
    "xgrad-cam": of_gradient(xgrad_cam),
    "hires-cam": of_gradient(hires_cam),
    "layer-cam": of_gradient(layer_cam),
    "smooth-grad-cam++": smooth,
    **{name: lambda e, f=f: f(e.maps())[0] for name, f in feature_formulas.FORMULAS.items()},
    "eigen-grad-cam": of_gradient(eigen_grad_cam),
    "finer-cam": finer,
    "score-cam": score_cam,
    "ablation-cam": ablation_cam,
    "recipro-cam": recipro_cam,
    "rise": rise,
    **{
        name: lambda e, formula=formula: torch.from_numpy(formula(e))
        for name, formula in hiding_formulas.FORMULAS.items()
    },
    **pixel_formulas.FORMULAS,
}


def explain(method: str, e: Explained, target: object = None, **options: object) -> Explanation:
    """The explanation of the kind's target, with what it needs."""
    chosen = e.kind.target if target is None else target
    return build(method, e.engine, **{**OPTIONS.get(method, {}), **options})(e.image, chosen, **e.beside)


def test_the_tables_are_whole() -> None:
    assert set(REFERENCES) == set(ON_MAPS)
    assert {kind.kind for kind in KINDS.values()} == {"classes", "labels", "values", "embedding", "mask", "box"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", ON_MAPS)
def test_a_method_on_a_kind(opened: dict[str, Explained], method: str, name: str) -> None:
    e, message = opened[name], refusal(method, name)
    if message is not None:
        with pytest.raises(UnsupportedError, match=f"^{message}") as refused:
            explain(method, e)
        assert "\n" not in str(refused.value)
        assert "grad-cam" in str(refused.value)
        return
    explanation = explain(method, e)
    expected = REFERENCES[method](e).detach().numpy()
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(
        explanation.raw / scale, expected / scale, atol=3e-4 if method != "augmented-grad-cam" else 0.02
    )
    assert explanation.head == e.engine.spec.numbering.entry(explanation.target).head.name
    assert [answer.head for answer in explanation.answers] == list(e.engine.spec.heads)
    shown = float(e.shown(e.maps(), 0 if e.kind.kind == "box" else None).detach())
    if e.kind.kind == "box":
        assert explanation.label == explanation.prediction.label
        assert explanation.score == pytest.approx(explanation.prediction.score)
    else:
        assert explanation.score == pytest.approx(shown, abs=1e-5)
    assert (explanation.prediction is None) == (e.kind.kind not in ("classes", "box"))


@pytest.mark.parametrize(
    "name", [name for name, kind in KINDS.items() if kind.kind in ("classes", "labels", "mask", "box")]
)
@pytest.mark.parametrize("method", [name for name in ON_MAPS if name not in (*feature_formulas.FORMULAS, "finer-cam")])
def test_why_this_rather_than_that(opened: dict[str, Explained], method: str, name: str) -> None:
    """Methods that are linear in gradient or score: the difference of the two maps. Others: what the gradient is of."""
    e = opened[name]
    if refusal(method, name) is not None or e.engine.spec.heads[-1].entries < 2:
        return
    other = {1: 2, "box:2": "box:0"}[e.kind.target]
    found = build(method, e.engine, **OPTIONS.get(method, {}))(e.image, e.kind.target, against=other, **e.beside)
    assert found.target_name.endswith(f"rather than {e.engine.target_name(e.engine.resolve_target(other))}")
    reversed_ = build(method, e.engine, **OPTIONS.get(method, {}))(e.image, other, against=e.kind.target, **e.beside)
    if method in LINEAR:
        ours, theirs = explain(method, e).raw, explain(method, e, other).raw
        scale = np.abs(ours).max() + np.abs(theirs).max()
        np.testing.assert_allclose(found.raw / scale, (ours - theirs) / scale, atol=1e-6)
        np.testing.assert_allclose(reversed_.raw / scale, -found.raw / scale, atol=1e-6)
    assert np.array_equal(found.raw, reversed_.raw) == (method in UNSIGNED)


@pytest.mark.parametrize("name", ["classes", "curved labels", "values", "embedding", "mask", "box"])
@pytest.mark.parametrize("method", [name for name in ON_MAPS if name not in feature_formulas.FORMULAS])
def test_the_evidence_against(opened: dict[str, Explained], method: str, name: str) -> None:
    e = opened[name]
    if refusal(method, name) is not None:
        return
    if method in UNSIGNED:
        with pytest.raises(UnsupportedError, match=f"^{method}: found not:, expected a target alone.*grad-cam$"):
            explain(method, e, f"not:{e.kind.target}")
        return
    found, plain = explain(method, e, f"not:{e.kind.target}"), explain(method, e)
    assert found.target_name == f"not {plain.target_name}"
    assert (found.target, found.label, found.score) == (plain.target, plain.label, plain.score)
    if method in (*LINEAR, "finer-cam"):
        np.testing.assert_array_equal(found.raw, -plain.raw)
    else:
        assert not np.array_equal(found.raw, plain.raw)


@pytest.mark.parametrize("method", [*feature_formulas.FORMULAS, "finer-cam"])
def test_what_compares_nothing_refuses_it(opened: dict[str, Explained], method: str) -> None:
    e = opened["curved classes"]
    with pytest.raises(UnsupportedError, match=f"^{method}: found against, expected a target alone.*grad-cam"):
        build(method, e.engine)(e.image, 1, against=2)


def test_a_method_of_someone_elses_takes_targets_alone(opened: dict[str, Explained]) -> None:
    from onnxplain.explainers import ActivationMapExplainer, Explainer

    class Mine(ActivationMapExplainer):
        name = "mine"
        uses_gradients = False

        def weigh(self, activations):
            return activations.features.mean(axis=1)

    class Theirs(Explainer):
        name = "theirs"

        def __init__(self, engine) -> None:
            self.engine = engine

        def _explain_all(self, images, targets):
            return [self.engine.resolve_target(target) for target in targets]

    e = opened["classes"]
    with pytest.raises(UnsupportedError, match=r"^mine: found against"):
        Mine(e.engine)(e.image, 1, against=2)
    with pytest.raises(UnsupportedError, match=r"^theirs: found against, expected a target alone"):
        Theirs(e.engine)(e.image, 1, against=2)
    with pytest.raises(OnnxplainError, match=r"^target: found 'not:1', expected a target without not:"):
        Theirs(e.engine)(e.image, "not:1")


def test_differences_take_one_forward_pass(opened: dict[str, Explained], monkeypatch: pytest.MonkeyPatch) -> None:
    e, seen = opened["curved classes"], []
    run = e.engine.run

    def count(batch: np.ndarray, names: list[str], target: np.ndarray | None = None, *rest: object, **given: object):
        seen.append(target)
        return run(batch, names, target, *rest, **given)

    monkeypatch.setattr(e.engine, "run", count)
    build("grad-cam", e.engine)([e.image, e.other], [0, 1], against=3)
    assert [list(target) for target in seen] == [[0, 3], [1, 3]]


def test_the_cosine_is_that_of_torch(opened: dict[str, Explained]) -> None:
    e = opened["embedding"]
    vectors = e.network.head(e.network.features(torch.cat([e.pixels(), e.pixels(photo(5))])))
    found = build("grad-cam", e.engine)(e.image, like=photo(5))
    assert found.score == pytest.approx(
        float(functional.cosine_similarity(vectors[:1], vectors[1:]).detach()), abs=1e-6
    )
    assert found.target_name == "e like another image"
