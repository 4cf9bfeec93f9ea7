from __future__ import annotations

import numpy as np
import pytest

from onnxplain.explainers.masked.masks import ALL_PIXELS, MaskGeometry
from onnxplain.explainers.rise.principal_components import COMPONENTS, PrincipalComponents, find_components
from onnxplain.explainers.rise.samplers import IndependentSampler
from onnxplain.machine.small_products import small_product

GEOMETRIES = [
    MaskGeometry((24, 24), grid=4),
    MaskGeometry((14, 23), grid=3, keep=0.2),
    MaskGeometry((3, 2), grid=1),
    MaskGeometry((1, 9), grid=2),
]


def images(components: PrincipalComponents) -> np.ndarray:
    """φ_k, (K, H, W), one by one."""
    pairs = zip(components.rows_index, components.columns_index, strict=True)
    return np.array([np.outer(components.rows[:, a], components.columns[:, b]) for a, b in pairs])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_covariance_in_closed_form_is_that_of_drawn_masks(geometry: MaskGeometry) -> None:
    components = find_components(geometry, largest=geometry.input_size_hw[0] * geometry.input_size_hw[1])
    phi = images(components).reshape(len(components), -1)
    closed = (phi.T * components.variances) @ phi
    masks = geometry.render(IndependentSampler(geometry, seed=1).draw(0, 20_000)).reshape(20_000, -1)
    drawn = np.cov(masks.T, bias=True)
    np.testing.assert_allclose(closed, drawn, atol=6 * 0.25 / np.sqrt(20_000))
    assert np.abs(closed).max() > 0.5 * geometry.keep * (1 - geometry.keep)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_components_are_orthonormal_and_the_largest_come_first(geometry: MaskGeometry) -> None:
    components = find_components(geometry)
    phi = images(components).reshape(len(components), -1)
    assert len(components) <= COMPONENTS
    np.testing.assert_allclose(phi @ phi.T, np.eye(len(phi)), atol=1e-9)
    assert (np.diff(components.variances) <= 0).all()
    assert components.variances[-1] > 0


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_values_are_the_masks_projected_on_the_components(geometry: MaskGeometry) -> None:
    components = find_components(geometry)
    draw = IndependentSampler(geometry, seed=2).draw(0, 20)
    expected = np.einsum("nyx,kyx->nk", geometry.render(draw) - geometry.keep, images(components))
    np.testing.assert_allclose(components.values(draw), expected, atol=1e-5)


@pytest.mark.parametrize("pixels", [ALL_PIXELS, (slice(1, 20, 3), slice(0, 9, 2))])
def test_maps_are_weighted_sums_of_the_components(pixels: tuple[slice, slice]) -> None:
    components = find_components(GEOMETRIES[0])
    weights = np.random.default_rng(0).normal(size=(2, len(components)))
    expected = np.tensordot(weights, images(components), 1)[:, pixels[0], pixels[1]]
    np.testing.assert_allclose(components.maps(weights, pixels), expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 5, 7), (300, 40, 500), (600, 600, 2)])
def test_products_in_pieces_are_products(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, rows, inner)), rng.normal(size=(inner, columns))
    np.testing.assert_allclose(small_product(left, right), left @ right, atol=1e-10)
