"""KPCA-CAM and FEM: against scikit-learn, on answers known beforehand, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import KernelPCA

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import FEM, KPCACAM, build
from onnxplain.runtime.results import Activations
from tests.explainers.kinds import feature_formulas
from tests.explainers.tiny_model import CHANNELS, GRID_HW, MakeModel


def photo(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (33, 47, 3), dtype=np.uint8)


@pytest.fixture
def seen(make_model: MakeModel) -> Activations:
    """Activations of a real run, whose features the tests replace."""
    engine = make_model().engine
    return engine.activations([photo()], [0], engine.spec.layers[0].name, gradients=False)


def holding(seen: Activations, maps_nkhw: np.ndarray) -> Activations:
    """The same run with other features."""
    layer = replace(seen.layer, channels=maps_nkhw.shape[1], size_hw=maps_nkhw.shape[2:])
    return replace(seen, features=maps_nkhw, layer=layer)


def random_maps(channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).gamma(1, size=(1, channels, height, width)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"kernel": "rbf"}, {"gamma": 0.02}, {"kernel": "rbf", "gamma": 0.2}], ids=str)
@pytest.mark.parametrize("shape", [(5, 4, 7), (40, 2, 2), (3, 1, 2), (12, 18, 17)], ids=str)
def test_kpca_cam_is_scikit_learns_kernel_pca(
    make_model: MakeModel, seen: Activations, options: dict, shape: tuple[int, int, int]
) -> None:
    maps = random_maps(*shape)
    found = KPCACAM(make_model().engine, **options).weigh(holding(seen, maps))
    cells = maps[0].reshape(shape[0], -1).T.astype(np.float64)
    cells -= cells.mean(axis=0)
    kernel = KernelPCA(1, **{"kernel": "sigmoid", **options}, eigen_solver="dense")
    expected = kernel.fit_transform(cells).reshape(shape[1:])
    expected *= np.sign((expected * maps[0].sum(axis=0)).sum())
    np.testing.assert_allclose(found[0], expected, atol=1e-5 * np.abs(expected).max())
    if shape[2] == 7:
        ours = feature_formulas.kpca_cam(torch.from_numpy(maps).double(), **options)
        np.testing.assert_allclose(found, ours, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf"])
def test_a_small_gamma_makes_kpca_cam_linear(make_model: MakeModel, seen: Activations, kernel: str) -> None:
    """tanh(ε t + 1) and exp(−ε t) are straight lines for small ε: the first principal component of centred cells."""
    maps = random_maps(6, 5, 7)
    found = KPCACAM(make_model().engine, kernel=kernel, gamma=1e-6).weigh(holding(seen, maps))[0].ravel()
    centred = maps[0].reshape(6, 35).T - maps[0].mean(axis=(1, 2))
    component = np.linalg.svd(centred)[0][:, 0]
    assert abs(found @ component) / np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf"])
def test_two_groups_of_cells_have_one_value_each(make_model: MakeModel, seen: Activations, kernel: str) -> None:
    maps = np.zeros((1, 3, 4, 6), np.float32)
    maps[..., 4:] = np.array([2, 3, 1], np.float32)[None, :, None, None]
    (found,) = KPCACAM(make_model().engine, kernel=kernel).weigh(holding(seen, maps))
    np.testing.assert_allclose(found, np.where(np.arange(6) < 4, found[0, 0], -2 * found[0, 0])[None].repeat(4, 0))
    assert found[0, 0] < 0


@pytest.mark.parametrize("maps", [np.eye(9).reshape(1, 9, 3, 3), random_maps(40, 4, 4)], ids=["one each", "far apart"])
def test_without_a_first_component_kpca_cam_shows_nothing(
    make_model: MakeModel, seen: Activations, maps: np.ndarray
) -> None:
    """Every cell is equally unlike every other: any direction would be as good."""
    found = KPCACAM(make_model().engine, kernel="rbf", gamma=5.0).weigh(holding(seen, maps.astype(np.float32)))
    assert not found.any()


def test_fem_counts_a_map_where_it_is_rare(make_model: MakeModel, seen: Activations) -> None:
    """One cell of 16 at height c: mean c / 16, and √15 deviations above it; half of the cells: one deviation."""
    maps = np.zeros((1, 4, 4, 4), np.float32)
    maps[0, 0, 1, 2], maps[0, 1, 3, 3] = 8, 4
    maps[0, 2, :2] = 100
    maps[0, 3] = 0.1
    (found,) = FEM(make_model().engine).weigh(holding(seen, maps))
    expected = np.zeros((4, 4))
    expected[1, 2], expected[3, 3] = 8 / 16, 4 / 16
    np.testing.assert_array_equal(found, expected)
    (lower,) = FEM(make_model().engine, deviations=0.9).weigh(holding(seen, maps))
    expected[:2] += 50
    np.testing.assert_allclose(lower, expected)
    assert not FEM(make_model().engine, deviations=np.sqrt(15) + 1e-6).weigh(holding(seen, maps)).any()


@pytest.mark.parametrize("method", ["fem", "kpca-cam"])
def test_equal_cells_say_nothing(make_model: MakeModel, method: str) -> None:
    kernel = np.ones((CHANNELS, 3, 4, 4))
    explanation = build(method, make_model(kernel=kernel).engine)(np.full((24, 32, 3), 200, np.uint8))
    assert not explanation.raw.any()
    assert explanation.status == "no_positive_evidence"


@pytest.mark.parametrize("method", ["fem", "kpca-cam"])
def test_features_that_are_no_numbers_are_said(make_model: MakeModel, method: str) -> None:
    kernel = np.ones((CHANNELS, 3, 4, 4))
    kernel[0, 0, 0, 0] = np.nan
    explanation = build(method, make_model(kernel=kernel).engine)(photo(), 0)
    assert explanation.status == "non_finite"


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("fem", {"deviations": -1.0}, "^deviations: found -1.0, expected a number from 0 up, usually 1 to 3$"),
        ("kpca-cam", {"gamma": 0.0}, "^gamma: found 0.0, expected a number above 0, or None"),
        ("kpca-cam", {"kernel": "linear"}, "^kernel: found 'linear', expected one of sigmoid, rbf$"),
        ("fem", {"kernel": "rbf"}, "^fem: found option kernel, expected one of layer, deviations, test_time$"),
    ],
)
def test_what_cannot_be_is_refused(make_model: MakeModel, method: str, options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        build(method, make_model().engine, **options)


def test_a_layer_of_too_many_cells_is_refused_before_it_is_run(make_model: MakeModel) -> None:
    engine = make_model().engine
    (layer,) = engine.spec.layers
    assert layer.size_hw == GRID_HW
    engine.spec = replace(engine.spec, layers=(replace(layer, size_hw=(64, 65)),))
    with pytest.raises(UnsupportedError, match=r"^kpca-cam: found layer stem/relu of 64 × 65 cells.*4096.*eigen-cam$"):
        build("kpca-cam", engine)
    assert build("fem", engine).layer is None
