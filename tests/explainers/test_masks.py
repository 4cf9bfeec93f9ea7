from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.masks import ALL_PIXELS, MaskGeometry
from onnxplain.explainers.rise.samplers import IndependentSampler

GEOMETRIES = [
    MaskGeometry((224, 224)),
    MaskGeometry((30, 47), grid=7, keep=0.3),
    MaskGeometry((5, 90)),
    MaskGeometry((3, 2), grid=1, keep=0.9),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_masks_are_the_grids_enlarged_by_torch_and_cut_at_their_shift(geometry: MaskGeometry) -> None:
    draw = IndependentSampler(geometry, seed=5).draw(3, 9)
    masks = geometry.render(draw)
    (height, width), (cell_height, cell_width) = geometry.input_size_hw, geometry.cell_hw
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(draw.grids[:, None]).double(),
        size=((geometry.grid + 1) * cell_height, (geometry.grid + 1) * cell_width),
        mode="bilinear",
        align_corners=False,
    )[:, 0].numpy()
    for mask, whole, (y, x) in zip(masks, enlarged, draw.shifts_yx, strict=True):
        np.testing.assert_allclose(mask, whole[y : y + height, x : x + width], atol=2e-6)
    assert masks.shape == (6, height, width)
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6


@pytest.mark.parametrize("pixels", [ALL_PIXELS, (slice(3, 30, 4), slice(2, 17, 5))])
def test_weighted_sum_is_the_sum_of_weighted_masks(pixels: tuple[slice, slice]) -> None:
    geometry = MaskGeometry((31, 18), grid=5)
    draw = IndependentSampler(geometry, seed=2).draw(0, 40)
    weights = np.random.default_rng(0).normal(size=(2, 3, 40))
    sums = np.zeros((2, 3, *geometry.cell_hw, 5, 5))
    for number, (grid, (y, x)) in enumerate(zip(draw.grids, draw.shifts_yx, strict=True)):
        sums[:, :, y, x] += weights[:, :, number, None, None] * grid
    expected = np.einsum("abn,nyx->abyx", weights, geometry.render(draw))[..., pixels[0], pixels[1]]
    np.testing.assert_allclose(geometry.weighted_sum(sums, pixels), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"grid": 0}, "grid"), ({"keep": 0.0}, "keep"), ({"keep": 1.0}, "keep"), ({"keep": float("nan")}, "keep")],
)
def test_parameters_out_of_range_are_refused(options: dict[str, float], word: str) -> None:
    with pytest.raises(OnnxplainError, match=f"^{word}: found .* expected"):
        MaskGeometry((8, 8), **options)
