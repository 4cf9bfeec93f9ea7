"""Score-CAM, Ablation-CAM and Recipro-CAM against their formulas, written again in torch; what they run and refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from onnxplain.contract import Preprocessing
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError
from onnxplain.explainers import AblationCAM, Explainer, ReciproCAM, ScoreCAM, build
from onnxplain.explainers.cam.probing import Probe
from onnxplain.exporters import export
from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.batches import FEATURES_AT_ONCE
from onnxplain.runtime.tail import Tail
from tests.explainers.laying import lay
from tests.explainers.tiny_model import CHANNELS, CLASSES, GRID_HW, MakeModel
from tests.exporters.torch_models import ResidualNet, residual_net

CELLS = GRID_HW[0] * GRID_HW[1]
METHODS: dict[str, Callable[..., Explainer]] = {
    "score-cam": ScoreCAM,
    "ablation-cam": AblationCAM,
    "recipro-cam": ReciproCAM,
}


class PlainNet(nn.Module):
    """VGG-like: convolutions, a pool, and linear layers on all cells; the maps of `features` are explained."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 10, 3, padding=1), nn.ReLU()
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(640, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image))


class Reference:
    """A network in two parts, and the engine on its exported file."""

    def __init__(self, network: nn.Module, layer: str, path: Path) -> None:
        preprocessing = Preprocessing("rgb", 1 / 255, (0.5,) * 3, (0.25,) * 3, "stretch")
        export(network, path, input_size_hw=(32, 32), layers=[layer], preprocessing=preprocessing)
        self.engine, self.network = Engine(path), network

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        if isinstance(self.network, ResidualNet):
            return self.network.stage2(self.network.stage1(self.network.pool(self.network.stem(pixels))))
        return self.network.features(pixels)

    def answers(self, maps: torch.Tensor) -> torch.Tensor:
        if isinstance(self.network, ResidualNet):
            maps = self.network.stage3(maps)
            logits = self.network.classifier(maps.mean((2, 3)))
            return torch.cat([logits, torch.sigmoid(self.network.box(maps))], 1)
        return self.network.classifier(maps)


@pytest.fixture(scope="module", params=["residual localizer", "plain"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("probing") / "model.onnx"
    if request.param == "plain":
        return Reference(PlainNet().eval(), "features", path)
    return Reference(residual_net(boxes=True), "stage2", path)


def photo(seed: int = 0, size_hw: tuple[int, int] = (48, 40)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(0, 255, (1, 3, 5, 4)))
    pixels = functional.interpolate(coarse, size=size_hw, mode="bilinear")[0].permute(1, 2, 0).numpy()
    return np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)


def score_cam(model: Reference, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """Wang et al. 2020: C(A_k) = f(X ∘ H_k) − f(X_b), post-softmax, X_b zero of the normalised input."""
    (maps,) = model.features(pixels)

    def score(image: torch.Tensor) -> torch.Tensor:
        logits = model.answers(model.features(image))[:, : model.engine.spec.classes]
        return torch.softmax(logits, 1)[0, target]

    raw = torch.zeros(maps.shape[1:])
    for feature_map in maps:
        size_hw = model.engine.spec.input.size_hw
        mask = lay(feature_map[None], model.engine.spec.layers[-1], size_hw, size_hw)[None].float()
        if mask.max() == mask.min():
            continue
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        raw += (score(pixels * mask) - score(torch.zeros_like(pixels))) * feature_map
    return raw


def ablation_cam(model: Reference, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """Desai & Ramaswamy 2020: w_k = (y − y_k) / y, with y's absolute value."""
    maps = model.features(pixels)
    complete = model.answers(maps)[0, target]
    raw = torch.zeros(maps.shape[2:])
    for k in range(maps.shape[1]):
        ablated = maps.clone()
        ablated[:, k] = 0
        raw += (complete - model.answers(ablated)[0, target]) / complete.abs() * maps[0, k]
    return raw


def recipro_cam(model: Reference, pixels: torch.Tensor, target: int, *, gaussian: bool = False) -> torch.Tensor:
    """Byun & Lee 2022: the class's score where one position (or a 3 × 3 Gaussian around it) is kept."""
    maps = model.features(pixels)
    height, width = maps.shape[2:]
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16.0
    raw = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            mask = torch.zeros(1, 1, height, width)
            mask[0, 0, y, x] = 1
            if gaussian:
                mask = functional.conv2d(mask, kernel[None, None], padding=1)
            logits = model.answers(maps * mask)[:, : model.engine.spec.classes]
            raw[y, x] = torch.softmax(logits, 1)[0, target]
    return raw


FORMULAS: dict[str, tuple[Callable[[Engine], Explainer], Callable[..., torch.Tensor]]] = {
    "score-cam": (ScoreCAM, score_cam),
    "ablation-cam": (AblationCAM, ablation_cam),
    "recipro-cam": (ReciproCAM, recipro_cam),
    "recipro-cam, Gaussian": (
        lambda engine: ReciproCAM(engine, gaussian=True),
        lambda *arguments: recipro_cam(*arguments, gaussian=True),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_in_torch(reference: Reference, name: str) -> None:
    make, formula = FORMULAS[name]
    image = photo()
    pixels = torch.from_numpy(reference.engine.preprocess(image))
    # The last target is a box coordinate, where the network has a box head and the method takes one.
    count = reference.engine.spec.classes + (4 if name == "ablation-cam" and reference.engine.spec.box else 0)
    targets = [0, 3, count - 1]
    explanations = make(reference.engine).for_targets(image, targets)
    for target, explanation in zip(targets, explanations, strict=True):
        with torch.no_grad():
            expected = formula(reference, pixels, target).numpy()
        assert explanation.target == target
        np.testing.assert_allclose(explanation.raw, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_negative_score_does_not_turn_ablation_cam_round(make_model: MakeModel) -> None:
    """Behind pooling and a linear layer w_k is the map's share of the logit, of whatever sign the logit is."""
    model = make_model(kernel=np.ones((2, 3, 4, 4)), weights=np.array([[1, -3], [1, 3]]), labels=("low", "high"))
    image = photo()
    low, high = AblationCAM(model.engine).for_targets(image, ["low", "high"])
    (maps,) = model.features(model.engine.preprocess(image))
    logits = model.weights @ maps.mean((1, 2))
    assert logits[0] < 0 < logits[1]
    for explanation, weights, logit in zip((low, high), model.weights, logits, strict=True):
        expected = np.einsum("k,khw->hw", weights * maps.mean((1, 2)) / abs(logit), maps)
        np.testing.assert_allclose(explanation.raw, expected, rtol=1e-3, atol=1e-5)
    assert (low.status, high.status) == ("no_positive_evidence", "ok")


@pytest.mark.parametrize("name", METHODS)
def test_all_targets_of_an_image_share_its_evaluations(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    engine = make_model(power=2).engine
    seen = _count_rows(monkeypatch)
    explainer, image = METHODS[name](engine), photo()
    targets = [0, 1, None, 3]
    together = explainer.for_targets(image, targets)
    rows_together, seen["images"], seen["features"] = dict(seen), 0, 0
    one_by_one = [explainer(image, target) for target in targets]
    for shared, single in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(shared.raw, single.raw, rtol=1e-5, atol=1e-7)
        assert (shared.target, shared.status, shared.evaluations) == (single.target, single.status, single.evaluations)
    assert rows_together == {key: rows // len(targets) for key, rows in seen.items() if key != "largest"} | {
        "largest": seen["largest"]
    }
    assert sum(rows_together[key] for key in ("images", "features")) == together[0].evaluations


def _count_rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many images the model and how many feature maps the tail have seen, and the largest batch."""
    seen = {"images": 0, "features": 0, "largest": 0}
    engine_run, tail_outputs = Engine.run, Tail.outputs

    def note(kind: str, count: int) -> None:
        seen[kind] += count
        seen["largest"] = max(seen["largest"], count)

    def run(self, batch_nchw, *arguments, **options):
        note("images", len(batch_nchw))
        return engine_run(self, batch_nchw, *arguments, **options)

    def answers(self, features):
        note("features", len(features))
        return tail_outputs(self, features)

    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr(Tail, "outputs", answers)
    return seen


@pytest.mark.parametrize(
    ("name", "options", "images", "features", "largest"),
    [
        ("score-cam", {}, 2 + 5, 0, 5),
        ("score-cam", {"batch_size": 2}, 2 + 5, 0, 2),
        ("score-cam", {"maps": 3}, 2 + 3, 0, 3),
        ("score-cam", {"maps": 99}, 2 + 5, 0, 5),
        ("ablation-cam", {}, 1, 1 + CHANNELS, CHANNELS),
        ("recipro-cam", {}, 1, 1 + CELLS, FEATURES_AT_ONCE),
    ],
)
def test_memory_is_bounded_and_the_backbone_runs_no_more_than_said(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, name, options, images, features, largest
) -> None:
    explainer = build(name, make_model().engine, **options)
    seen = _count_rows(monkeypatch)
    explanation = explainer(photo(), 1)
    assert seen == {"images": images, "features": features, "largest": largest}
    assert explanation.evaluations == images + features


@pytest.mark.parametrize(
    ("name", "changes"), [("score-cam", CHANNELS), ("ablation-cam", CHANNELS), ("recipro-cam", CELLS)]
)
def test_progress_is_that_of_the_whole_call(make_model: MakeModel, name: str, changes: int) -> None:
    reports: list[tuple[int, int]] = []
    build(name, make_model().engine, progress=lambda *report: reports.append(report))([photo(1), photo(2)], 0)
    done, totals = zip(*reports, strict=True)
    assert set(totals) == {2 * changes}
    assert list(done) == sorted(set(done)) and done[-1] == 2 * changes and changes in done


def test_score_cam_takes_the_maps_that_vary_most_and_leaves_out_constant_ones(make_model: MakeModel) -> None:
    kernel = np.ones((3, 3, 4, 4)) * np.array([-1, 0.01, 1])[:, None, None, None]
    weights = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0]])
    engine = make_model(kernel=kernel, weights=weights).engine
    image = np.full((24, 32, 3), 200, np.uint8)
    image[:, :8] = 130
    everything, strongest = ScoreCAM(engine)(image, 0), ScoreCAM(engine, maps=1)(image, 0)
    assert (everything.evaluations, strongest.evaluations) == (4, 3)
    maps = engine.activations(image).features[0]
    share = strongest.raw[0, -1] / maps[2, 0, -1]
    np.testing.assert_allclose(strongest.raw, share * maps[2], rtol=1e-5)
    constant = ScoreCAM(engine)(np.full((24, 32, 3), 200, np.uint8), 0)
    assert (constant.evaluations, constant.status) == (2, "no_positive_evidence")


ONES = np.ones((2, 3, 4, 4))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("kernel", "weights", "status"),
    [
        (-ONES, np.ones((2, 2)), {"no_positive_evidence", "constant"}),
        (ONES, np.full((2, 2), np.nan), {"non_finite"}),
        (ONES * 1e38, np.full((2, 2), 1e38), {"non_finite", "no_positive_evidence", "constant"}),
    ],
)
def test_status(make_model: MakeModel, name: str, kernel, weights, status: set[str]) -> None:
    pixels = np.full((30, 50, 3), 255, np.uint8)
    pixels[:] = np.linspace(140, 255, 50, dtype=np.uint8)[None, :, None]
    engine = make_model(kernel=kernel, weights=weights, labels=("a", "b")).engine
    explanation = METHODS[name](engine)(pixels, 1)
    assert explanation.status in status
    assert not explanation.heatmap.any()


def _without_tail(make_model: MakeModel) -> Engine:
    return make_model(tail=False).engine


def _with_stale_tail(make_model: MakeModel) -> Engine:
    engine = make_model().engine
    path = engine.path.with_name(engine.spec.tail.file)
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tidy"))
    return Engine(engine.path)


def _with_lost_tail(make_model: MakeModel) -> Engine:
    engine = make_model().engine
    engine.path.with_name(engine.spec.tail.file).unlink()
    return Engine(engine.path)


@pytest.mark.parametrize("name", ["ablation-cam", "recipro-cam"])
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            _without_tail,
            UnsupportedError,
            "needs a tail file, but the file has none.*: cam, grad-cam, .*score-cam, rise, ",
        ),
        (_with_stale_tail, ModelError, "found tail tidy, expected tail tiny"),
        (_with_lost_tail, ModelError, "found no tail file, expected it in the folder of"),
    ],
)
def test_without_its_tail_a_method_is_refused(make_model: MakeModel, name, spoil, error, message: str) -> None:
    with pytest.raises(error, match=message):
        build(name, spoil(make_model))


@pytest.mark.parametrize("name", ["ablation-cam", "recipro-cam"])
@pytest.mark.parametrize("layer", ["stem", ["stem", "stage2"], "all"])
def test_another_layer_than_the_tails_is_refused(name: str, layer: str | Sequence[str], two_layers: Engine) -> None:
    with pytest.raises(UnsupportedError, match=rf"^{name}: found layer .*stem.*, expected stage2, .*tail file begins"):
        build(name, two_layers, layer=layer)
    build(name, two_layers, layer="stage2")


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("layers") / "model.onnx"
    export(residual_net(), path, input_size_hw=(32, 32), layers=["stem", "stage2"])
    return Engine(path)


def test_score_cam_takes_any_layer_and_fuses_several(two_layers: Engine) -> None:
    stem, both = ScoreCAM(two_layers, layer="stem")(photo(), 0), ScoreCAM(two_layers, layer="all")(photo(), 0)
    assert (stem.layer, both.layer) == ("stem", "stem, stage2")
    assert stem.evaluations < both.evaluations <= stem.evaluations + 2 + 16


@pytest.mark.parametrize(
    ("name", "options", "target", "error", "message"),
    [
        ("score-cam", {"maps": 0}, None, OnnxplainError, "maps: found 0, expected at least 1"),
        ("score-cam", {"batch_size": -1}, None, OnnxplainError, "batch_size: found -1, expected at least 1"),
        ("score-cam", {}, "box:0", UnsupportedError, "score-cam: found target box:0, expected a class"),
        ("recipro-cam", {}, "box:3", UnsupportedError, "recipro-cam: found target box:3, expected a class"),
        ("ablation-cam", {}, CLASSES + 4, OnnxplainError, "target: found 8"),
        ("ablation-cam", {"maps": 3}, None, OnnxplainError, "ablation-cam: found option maps, expected one of layer"),
    ],
)
def test_bad_input(make_model: MakeModel, name: str, options: dict, target, error, message: str) -> None:
    engine = make_model(box=True).engine
    with pytest.raises(error, match=message):
        build(name, engine, **options)([photo(), photo()], [0, target])


@pytest.mark.parametrize(("answers", "reference"), [((3,), (3,)), ((3, 4), (5,)), ((3, 4), (3, 4))])
def test_answers_and_their_reference_have_one_column_per_target(answers, reference) -> None:
    with pytest.raises(OnnxplainError, match=r"answers: found shape .*, expected \(M, T\) and \(T,\)"):
        Probe(np.zeros(answers), np.zeros(reference), evaluations=1)
