"""The CAM family against the same formulas in PyTorch, on networks that `export` has written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from onnxplain.explainers import METHODS, build
from onnxplain.exporters import export
from onnxplain.runtime import Engine
from tests.explainers.kinds import feature_formulas
from tests.explainers.laying import lay
from tests.explainers.test_contract_of_methods import NEED_ASKING, NEED_NO_LAYER
from tests.exporters.torch_models import residual_net

Scalar = Callable[[torch.Tensor], torch.Tensor]
BOX_X2 = 7


class VGG(nn.Module):
    """Convolutions, pooling, and three linear layers on the flattened maps; 32 × 48 pixels, 5 classes and a box."""

    input_size_hw = (32, 48)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 12, 16)
        blocks = [
            [nn.Conv2d(maps_in, maps_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            for maps_in, maps_out in pairwise(widths)
        ]
        self.features = nn.Sequential(*(layer for block in blocks for layer in block))
        self.tail = nn.Sequential(nn.Flatten(), nn.Linear(16 * 4 * 6, 20), nn.ReLU(), nn.Linear(20, 9))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answers = self.tail(self.features(image))
        return answers[:, :5], answers[:, 5:]


@dataclass(frozen=True)
class Model:
    """A network in PyTorch, and the engine of its exported file."""

    network: nn.Module
    engine: Engine

    def observe(self, pixels_nchw: np.ndarray, layer: str, scalar: Scalar) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a layer, and the gradient of a function of all answers (N, 9), both float64 (N, K, h, w)."""
        kept: list[torch.Tensor] = []
        part = dict(self.network.named_modules())[layer]
        handle = part.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        answers = torch.cat(self.network(torch.from_numpy(pixels_nchw).double()), dim=1)
        handle.remove()
        (gradient,) = torch.autograd.grad(scalar(answers), kept[0])
        return kept[0].detach(), gradient

    def answers(self, pixels_nchw: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat(self.network(torch.from_numpy(pixels_nchw).double()), dim=1)


LAYERS = {"residual": ("stem", "stage2", "stage3"), "vgg": ("features.3", "features.7", "features.8")}
PAIRS = [(name, layer) for name, layers in LAYERS.items() for layer in layers]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    torch.manual_seed(3)
    folder: Path = tmp_path_factory.mktemp("family")
    written = {}
    for name, network in {"residual": residual_net(boxes=True), "vgg": VGG().eval()}.items():
        path = folder / f"{name}.onnx"
        export(network, path, input_size_hw=network.input_size_hw, layers=LAYERS[name])
        written[name] = Model(network.double(), Engine(path, threads=1))
    return written


def photos(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 5, 7)))
    smooth = functional.interpolate(coarse, size=(41, 50), mode="bilinear")
    return list(smooth.permute(0, 2, 3, 1).numpy().astype(np.uint8))


def select(targets: list[int]) -> Scalar:
    return lambda answers: answers[range(len(targets)), targets].sum()


def grad_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1)


def grad_cam_plus_plus(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    alpha = g**2 / (2 * g**2 + a.sum(dim=(2, 3), keepdim=True) * g**3)
    weights = (torch.where(g == 0, 0, alpha) * g.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * a).sum(dim=1)


def xgrad_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    shares = a / a.sum(dim=(2, 3), keepdim=True)
    return ((shares.nan_to_num() * g).sum(dim=(2, 3), keepdim=True) * a).sum(dim=1)


def hires_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return (g * a).sum(dim=1)


def layer_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return (g.relu() * a).sum(dim=1)


def eigen_grad_cam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return feature_formulas.eigen_cam(a * g)


FORMULAS = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "xgrad-cam": xgrad_cam,
    "hires-cam": hires_cam,
    "layer-cam": layer_cam,
    **feature_formulas.FORMULAS,
    "eigen-grad-cam": eigen_grad_cam,
}


def assert_maps_equal(found: list[np.ndarray], expected: torch.Tensor) -> None:
    for raw, reference in zip(found, expected.numpy(), strict=True):
        assert np.abs(reference).max() > 0
        np.testing.assert_allclose(raw, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize(("name", "layer"), PAIRS)
@pytest.mark.parametrize("method", FORMULAS)
def test_the_raw_map_is_the_formula_in_torch(models: dict[str, Model], method: str, name: str, layer: str) -> None:
    model, targets = models[name], [0, 1, 2, 3, 4, BOX_X2]
    images = photos(len(targets))
    explanations = build(method, model.engine, layer=layer)(images, targets)
    features, gradients = model.observe(model.engine.preprocess(images), layer, select(targets))
    assert_maps_equal([explanation.raw for explanation in explanations], FORMULAS[method](features, gradients))


@pytest.mark.parametrize("name", LAYERS)
def test_grad_cam_plus_plus_has_the_derivatives_of_the_exponential(models: dict[str, Model], name: str) -> None:
    """The closed form's g, g² and g³ are, up to exp(y), what differentiating exp(y) three times at each cell gives."""
    model, layer, image, target = models[name], LAYERS[name][-1], photos(1)[0], 3
    pixels = model.engine.preprocess(image)
    (features,), _ = model.observe(pixels, layer, select([target]))

    def score(maps_nkhw: torch.Tensor) -> torch.Tensor:
        if name == "vgg":
            return model.network.tail(maps_nkhw)[:, target].exp()
        return model.network.classifier(maps_nkhw.mean((2, 3)))[:, target].exp()

    # Row i of a batch moves cell i alone.
    step = torch.zeros(features.numel(), dtype=torch.float64, requires_grad=True)
    value = score(features + torch.diag(step).unflatten(1, features.shape))
    derivatives = []
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), step, create_graph=True)
        derivatives.append(value.detach().view(features.shape))
    d1, d2, d3 = derivatives
    alpha = d2 / (2 * d2 + features.sum((1, 2), keepdim=True) * d3)
    weights = (torch.where(d2 == 0, 0, alpha) * d1.relu()).sum((1, 2))
    expected = torch.einsum("k,khw->hw", weights, features) / score(features[None])
    raw = build("grad-cam++", model.engine, layer=layer)(image, target).raw
    assert_maps_equal([raw], expected.detach()[None])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("target", [None, 1, BOX_X2])
def test_smooth_grad_cam_plus_plus_averages_the_powers_over_noisy_copies(
    models: dict[str, Model], name: str, target: int | None
) -> None:
    model, layer, image, samples = models[name], LAYERS[name][1], photos(1)[0], 11
    pixels = model.engine.preprocess(image)
    index = int(model.answers(pixels)[0, :5].argmax()) if target is None else target
    features, _ = model.observe(pixels, layer, select([index]))
    powers = torch.zeros(3, *features.shape, dtype=torch.float64)
    for copy in range(samples):
        noise = np.random.default_rng((7, copy)).standard_normal(pixels.shape[1:], np.float32)
        noisy = pixels + np.float32(0.2) * (pixels.max() - pixels.min()) * noise
        _, gradient = model.observe(noisy, layer, select([index]))
        powers += torch.stack([gradient, gradient**2, gradient**3]) / samples
    first, second, third = powers
    alpha = second / (2 * second + features.sum(dim=(2, 3), keepdim=True) * third)
    weights = (alpha.nan_to_num() * first.relu()).sum(dim=(2, 3), keepdim=True)
    explainer = build("smooth-grad-cam++", model.engine, layer=layer, samples=samples, noise=0.2, seed=7)
    explanation = explainer(image, target)
    assert_maps_equal([explanation.raw], (weights * features).sum(dim=1))
    assert (explanation.target, explanation.evaluations) == (index, samples + 1)
    others = [explainer(image, target).raw, build("smooth-grad-cam++", model.engine, layer=layer)(image, target).raw]
    np.testing.assert_array_equal(others[0], explanation.raw)
    assert not np.array_equal(others[1], explanation.raw)


@pytest.mark.parametrize(("name", "layer"), PAIRS)
@pytest.mark.parametrize(("references", "strength"), [(1, 1.0), (2, 0.6), (9, 0.5), (3, 0.0)])
def test_finer_cam_is_grad_cam_of_the_contrast(
    models: dict[str, Model], name: str, layer: str, references: int, strength: float
) -> None:
    model, targets = models[name], [0, 2, 4]
    images = photos(len(targets))
    pixels = model.engine.preprocess(images)

    def contrast(answers: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row, target in zip(answers[:, :5], targets, strict=True):
            distances = (row - row[target]).abs().tolist()
            others = sorted(set(range(5)) - {target}, key=distances.__getitem__)
            total = total + row[target] - strength * row[others[:references]].mean()
        return total

    explainer = build("finer-cam", model.engine, layer=layer, references=references, strength=strength)
    explanations = explainer(images, targets)
    assert_maps_equal(
        [explanation.raw for explanation in explanations], grad_cam(*model.observe(pixels, layer, contrast))
    )
    assert [explanation.evaluations for explanation in explanations] == [2] * 3
    assert [explanation.target for explanation in explanations] == targets


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", ["layer-cam", "grad-cam", "eigen-cam"])
def test_fused_layers_are_the_largest_of_the_normalised_maps(models: dict[str, Model], method: str, name: str) -> None:
    model, layers, targets = models[name], LAYERS[name], [2, BOX_X2]
    images = photos(len(targets))
    pixels = model.engine.preprocess(images)
    maps = []
    for layer in layers:
        positive = FORMULAS[method](*model.observe(pixels, layer, select(targets))).relu()
        # A layer may say nothing for the target: 0 / 0.
        maps.append((positive / positive.amax(dim=(1, 2), keepdim=True)).nan_to_num())
    finest = max(tuple(positive.shape[1:]) for positive in maps)
    spec = model.engine.spec
    entries = [next(entry for entry in spec.layers if entry.name == layer) for layer in layers]
    spread = [lay(m, entry, spec.input.size_hw, finest) for m, entry in zip(maps, entries, strict=True)]
    expected = torch.stack(spread).amax(dim=0)
    for layer in ("all", list(layers), (*layers[::-1], layers[0])):
        explanations = build(method, model.engine, layer=layer)(images, targets)
        for explanation, reference in zip(explanations, expected.numpy(), strict=True):
            np.testing.assert_allclose(explanation.raw, reference, atol=1e-4)
            assert explanation.layer == ", ".join(layers)
            assert explanation.evaluations == 3
            assert explanation.status == "ok"


@pytest.mark.parametrize("method", sorted(METHODS.keys() - NEED_NO_LAYER - NEED_ASKING))
def test_one_target_or_several_make_no_difference(models: dict[str, Model], method: str) -> None:
    engine, image, targets = models["residual"].engine, photos(1)[0], [3, None, 0, 3]
    if METHODS[method].needs.met(engine.spec):
        explainer = build(method, engine)
        for together, target in zip(explainer.for_targets(image, targets), targets, strict=True):
            alone = explainer(image, target)
            assert (together.target, together.status, together.score) == (
                alone.target,
                alone.status,
                pytest.approx(alone.score),
            )
            np.testing.assert_allclose(together.raw, alone.raw, rtol=1e-4, atol=1e-5 * np.abs(alone.raw).max())
