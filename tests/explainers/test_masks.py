from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masks import RandomMasks

BANKS = [
    RandomMasks((224, 224)),
    RandomMasks((30, 47), grid=7, keep=0.3, seed=5),
    RandomMasks((5, 90), grid=8, keep=0.5, seed=2**64 - 1),
    RandomMasks((3, 2), grid=1, keep=0.9, seed=1),
]


@pytest.mark.parametrize("bank", BANKS, ids=str)
def test_masks_are_the_grids_enlarged_by_torch_and_cut_at_their_shift(bank: RandomMasks) -> None:
    draw = bank.draw(3, 9)
    masks = bank.render(draw)
    (height, width), (cell_height, cell_width) = bank.input_size_hw, bank.cell_hw
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(draw.grids[:, None]).double(),
        size=((bank.grid + 1) * cell_height, (bank.grid + 1) * cell_width),
        mode="bilinear",
        align_corners=False,
    )[:, 0].numpy()
    for mask, whole, (y, x) in zip(masks, enlarged, draw.shifts_yx, strict=True):
        np.testing.assert_allclose(mask, whole[y : y + height, x : x + width], atol=2e-6)
    assert masks.shape == (6, height, width)
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6


@pytest.mark.parametrize("bank", BANKS, ids=str)
def test_a_mask_depends_on_seed_and_number_only(bank: RandomMasks) -> None:
    whole = bank.draw(0, 50)
    for start, stop in [(0, 1), (7, 8), (13, 50), (49, 50)]:
        part = bank.draw(start, stop)
        np.testing.assert_array_equal(part.grids, whole.grids[start:stop])
        np.testing.assert_array_equal(part.shifts_yx, whole.shifts_yx[start:stop])


def test_masks_and_seeds_differ() -> None:
    grids = RandomMasks((64, 64), seed=4).draw(0, 200).grids
    assert len(np.unique(grids, axis=0)) == 200
    assert (grids != RandomMasks((64, 64), seed=5).draw(0, 200).grids).mean() > 0.4


def test_shifts_are_uniform_within_one_cell_and_pixels_are_kept_as_often_as_asked() -> None:
    bank = RandomMasks((12, 40), grid=4, keep=0.3, seed=9)
    draw = bank.draw(0, 6000)
    for axis, cell in enumerate(bank.cell_hw):
        counts = np.bincount(draw.shifts_yx[:, axis], minlength=cell)
        assert len(counts) == cell
        np.testing.assert_allclose(counts / 6000, 1 / cell, atol=5 * np.sqrt(1 / cell / 6000))
    np.testing.assert_allclose(bank.render(draw).mean(axis=0), 0.3, atol=5 * np.sqrt(0.21 / 6000))


def test_weighted_sum_is_the_sum_of_weighted_masks() -> None:
    bank = RandomMasks((31, 18), grid=5, seed=2)
    draw = bank.draw(0, 40)
    weights = np.random.default_rng(0).normal(size=40)
    sums = np.zeros((*bank.cell_hw, 5, 5))
    for weight, grid, (y, x) in zip(weights, draw.grids, draw.shifts_yx, strict=True):
        sums[y, x] += weight * grid
    expected = sum(weight * mask for weight, mask in zip(weights, bank.render(draw), strict=True))
    np.testing.assert_allclose(bank.weighted_sum(sums), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"grid": 0}, "grid"),
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.0}, "keep"),
        ({"keep": float("nan")}, "keep"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict[str, float], word: str) -> None:
    with pytest.raises(OnnxplainError, match=f"^{word}: found .* expected"):
        RandomMasks((8, 8), **options)  # type: ignore[arg-type]
