"""The methods of attention beside their papers' formulas on the matrices and gradients of torch, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from onnxplain import explain
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import build
from onnxplain.explanations.open_model import default_method
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.explainers.attention_networks import (
    CLASSES,
    GRID_HW,
    LEADING,
    PREPROCESSING,
    READ,
    SIZE_HW,
    Reading,
    Transformer,
    autograd,
    export,
    legrad,
    make_transformer,
    optimise,
    relevance,
    rollout,
)
from tests.exporters.graphs import open_session

pytestmark = pytest.mark.filterwarnings("ignore")
PHOTO = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)


FORMULAS = {"attention-rollout": lambda matrices, gradients: rollout(matrices), "grad-x-attention": relevance}

METHODS = (*FORMULAS, "legrad")


def explainable(folder: Path, network: nn.Module, batch: Literal["1", "dynamic"] = "dynamic", **options) -> Engine:
    plain = export(network, folder / "plain.onnx", batch=batch, dynamo=options.pop("dynamo", False))
    if options.pop("optimised", False):
        optimise(plain)
    instrument(plain, folder / "out.onnx", layers=["attention"], preprocessing=PREPROCESSING, **options)
    return Engine(folder / "out.onnx", threads=1)


def expected(network: Transformer, pixels: np.ndarray, method: str, entry: int, sign: int = 1) -> np.ndarray:
    if method == "legrad":
        return legrad(network, pixels, entry, sign)[LEADING[network.reading] :].reshape(GRID_HW)
    matrices, gradients = autograd(network, pixels, entry)
    whole = FORMULAS[method](matrices, [sign * each for each in gradients])
    return whole[READ[network.reading]].mean(0)[LEADING[network.reading] :].reshape(GRID_HW)


FILES: list[object] = [
    ("class token", {"merged": True}),
    ("two tokens", {"batch": "1"}),
    ("patches", {"batch": "1", "optimised": True}),
    pytest.param("patches", {"batch": "1", "dynamo": True}, marks=pytest.mark.networks),
    ("patches", {"gate": False}),
]


@pytest.mark.parametrize(("reading", "options"), FILES, ids=str)
def test_maps_are_those_of_the_formulas(tmp_path: Path, reading: Reading, options: dict) -> None:
    others = {name: value for name, value in options.items() if name != "merged"}
    network = make_transformer(reading, merged=options.get("merged", False))
    engine = explainable(tmp_path, network, **others)
    attention = engine.spec.attention
    assert (attention.size_hw, attention.tokens_before, attention.tokens_after) == (GRID_HW, LEADING[reading], 0)
    assert attention.reads == ((READ[reading].start, READ[reading].stop),)
    pixels = engine.preprocess([PHOTO])[0]
    # ONNX Runtime has fused the end of a block with the next normalization.
    assert attention.layerwise == ("optimised" not in options)
    for method in METHODS if attention.layerwise else FORMULAS:
        for found, entry in zip(build(method, engine)(PHOTO, [2, CLASSES - 1]), (2, CLASSES - 1), strict=True):
            reference = expected(network, pixels, method, entry)
            np.testing.assert_allclose(found.raw, reference, atol=2e-5 * np.ptp(reference))
            assert (found.raw.shape, found.layer, found.evaluations) == (GRID_HW, "attention", 1)
            assert (found.status, found.heatmap.shape) == ("ok", SIZE_HW)


@pytest.fixture(scope="module")
def localizer(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Classes that read the class token, and a box that reads the mean of the patches."""
    folder = tmp_path_factory.mktemp("localizer")
    return explainable(folder, make_transformer(boxes=True), box="box", tail=False)


def test_each_head_has_its_rows_and_each_target_its_sign(localizer: Engine) -> None:
    assert localizer.spec.attention.reads == ((0, 1), (1, 16))
    pixels, network = localizer.preprocess([PHOTO])[0], make_transformer(boxes=True)
    method = build("grad-x-attention", localizer)
    against = method(PHOTO, f"not:{CLASSES - 2}")
    reference = expected(network, pixels, "grad-x-attention", CLASSES - 2, sign=-1)
    np.testing.assert_allclose(against.raw, reference, atol=2e-5 * np.ptp(reference))
    matrices, gradients = autograd(network, pixels, CLASSES + 3)
    reference = relevance(matrices, gradients)[1:].mean(0)[1:].reshape(GRID_HW)
    np.testing.assert_allclose(method(PHOTO, "box:3").raw, reference, atol=2e-5 * np.ptp(reference))
    ones = [autograd(network, pixels, entry)[1] for entry in (1, 4)]
    reference = relevance(matrices, [one - other for one, other in zip(*ones, strict=True)])[0, 1:].reshape(GRID_HW)
    np.testing.assert_allclose(method(PHOTO, 1, against=4).raw, reference, atol=2e-5 * np.ptp(reference))
    with pytest.raises(
        UnsupportedError,
        match=r"^attention-rollout: found not:, expected a target alone: the map is the same for every target",
    ):
        build("attention-rollout", localizer)(PHOTO, "not:1")


def test_a_file_with_attention_is_explained_by_it_unless_a_map_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ONNXPLAIN_CACHE", str(tmp_path / "cache"))
    path = export(make_transformer(), tmp_path / "plain.onnx", batch="dynamic")
    assert explain(path, PHOTO).method == "grad-cam"
    assert explain(path, PHOTO, layer="attention").method == "grad-x-attention"
    instrument(path, tmp_path / "both.onnx", layers=["auto", "attention"], preprocessing=PREPROCESSING)
    engine = Engine(tmp_path / "both.onnx")
    for source in (engine, tmp_path / "both.onnx"):
        assert explain(source, PHOTO).method == "grad-x-attention"
        assert explain(source, PHOTO, layer=engine.spec.layers[0].name).method == "grad-cam"
    assert default_method(replace(engine.spec, attention=replace(engine.spec.attention, reads=(None,)))) == "grad-cam"


class Embedding(nn.Module):
    """The network's numbers as a vector of length one."""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.network(image), dim=-1)


def test_a_head_that_is_compared_is_read_on_each_layer(tmp_path: Path) -> None:
    network, other = make_transformer("patches"), PHOTO[::-1].copy()
    engine = explainable(tmp_path, Embedding(network))
    assert engine.spec.head.kind == "embedding"
    seen, like = (torch.from_numpy(each[None]).double() for each in engine.preprocess([PHOTO, other]))
    network = network.double()
    wanted = network(like).detach()[0]
    answer = functional.cosine_similarity(network(seen), wanted[None])[0]
    matrices = [block.kept for block in network.blocks]
    gradients = torch.autograd.grad(answer, matrices, retain_graph=True)
    reference = relevance(*([each.detach().numpy()[0] for each in part] for part in (matrices, gradients)))
    layers = []
    for block, matrix in zip(network.blocks, matrices, strict=True):
        said = functional.cosine_similarity(network.read(network.norm(block.ended)), wanted[None])[0]
        layers.append(torch.autograd.grad(said, matrix, retain_graph=True)[0].clamp(min=0)[0].mean((0, 1)).numpy())
    whole = {"grad-x-attention": reference[READ["patches"]].mean(0), "legrad": np.mean(layers, axis=0)}
    for method, tokens in whole.items():
        found = build(method, engine)(PHOTO, like=other)
        np.testing.assert_allclose(found.raw, tokens[3:].reshape(GRID_HW), atol=5e-5 * np.ptp(tokens[3:]))


def test_images_of_a_call_are_as_one_by_one(localizer: Engine) -> None:
    photos = [PHOTO, PHOTO[::-1].copy()]
    for method in METHODS:
        together = build(method, localizer)(photos, [1, None])
        for found, image, target in zip(together, photos, (1, None), strict=True):
            np.testing.assert_array_equal(found.raw, build(method, localizer)(image, target).raw)


def test_the_model_answers_as_before_and_a_closed_gate_computes_nothing(localizer: Engine) -> None:
    plain, session = (open_session(localizer.path.parent / name) for name in ("plain.onnx", "out.onnx"))
    feeds, names = {"image": localizer.preprocess([PHOTO])}, ["logits", "box"]
    for one, other in zip(plain.run(names, feeds), session.run(names, feeds), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    attention = localizer.spec.attention
    kinds = [attention.outputs[0], *(each[0].gradients for each in (attention.layers, attention.layerwise_layers))]
    for gates in ([False], [True], [True, False, False], [False, True, False], [False, True, True]):
        found = session.run(kinds, {**feeds, "explain_attention": np.array(gates)})
        assert [len(each) for each in found] == [int(gate) for gate in (gates * 3)[:3]]
    # The other gates stay closed: `explain` and `explain_attention` know nothing of each other.
    (layer,) = localizer.spec.layers
    found = session.run([attention.outputs[0], layer.gradients], {**feeds, "explain": np.array([True])})
    assert [len(each) for each in found] == [0, 1]


def test_attention_is_no_layer_of_other_methods(localizer: Engine, tmp_path: Path) -> None:
    (layer,) = [each.name for each in localizer.spec.layers]
    assert {build("grad-cam", localizer, layer=each)(PHOTO).layer for each in (None, "all")} == {layer}
    with pytest.raises(OnnxplainError, match="'attention'"):
        build("grad-cam", localizer, layer="attention")
    with pytest.raises(OnnxplainError, match=r"^grad-x-attention: found option layer"):
        build("grad-x-attention", localizer, layer=layer)
    instrument(localizer.path, tmp_path / "again.onnx", preprocessing=PREPROCESSING, tail=False)
    again = Engine(tmp_path / "again.onnx")
    assert again.spec.attention is None
    with pytest.raises(UnsupportedError, match=r"^attention-rollout: needs the attention matrices .*--layer attention"):
        build("attention-rollout", again)


def test_a_plain_file_is_instrumented_on_the_way(tmp_path: Path) -> None:
    plain = export(make_transformer("all"), tmp_path / "plain.onnx", batch="1")
    found = explain(plain, PHOTO, method="attention-rollout", target=1)
    assert (found.method, found.layer, found.raw.shape) == ("attention-rollout", "attention", GRID_HW)
