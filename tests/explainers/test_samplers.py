from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.rise.samplers import REPLICATES, IndependentSampler, MaskSampler, SobolSampler, replicate_of

SAMPLERS = [IndependentSampler, SobolSampler]
SAMPLES = [
    sampler(geometry, seed)
    for sampler in SAMPLERS
    for geometry, seed in [
        (MaskGeometry((224, 224)), 0),
        (MaskGeometry((30, 47), grid=7, keep=0.3), 5),
        (MaskGeometry((3, 2), grid=1, keep=0.9), 2**64 - 1),
    ]
]


@pytest.mark.parametrize("sampler", SAMPLES, ids=str)
def test_a_mask_depends_on_seed_and_number_only(sampler: MaskSampler) -> None:
    whole = sampler.draw(0, 90)
    for start, stop in [(0, 1), (7, 8), (13, 90), (89, 90), (2, 40)]:
        part = sampler.draw(start, stop)
        np.testing.assert_array_equal(part.grids, whole.grids[start:stop])
        np.testing.assert_array_equal(part.shifts_yx, whole.shifts_yx[start:stop])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_masks_and_seeds_differ(sampler: type[MaskSampler]) -> None:
    geometry = MaskGeometry((64, 64))
    grids = sampler(geometry, 4).draw(0, 200).grids
    assert len(np.unique(grids, axis=0)) == 200
    assert (grids != sampler(geometry, 5).draw(0, 200).grids).mean() > 0.4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_shifts_are_uniform_within_one_cell_and_pixels_are_kept_as_often_as_asked(sampler: type[MaskSampler]) -> None:
    geometry = MaskGeometry((12, 40), grid=4, keep=0.3)
    draw = sampler(geometry, 9).draw(0, 6000)
    for axis, cell in enumerate(geometry.cell_hw):
        counts = np.bincount(draw.shifts_yx[:, axis], minlength=cell)
        assert len(counts) == cell
        np.testing.assert_allclose(counts / 6000, 1 / cell, atol=5 * np.sqrt(1 / cell / 6000))
    np.testing.assert_allclose(geometry.render(draw).mean(axis=0), 0.3, atol=5 * np.sqrt(0.21 / 6000))


def test_sobol_masks_are_opposite_pairs_at_the_same_shift() -> None:
    draw = SobolSampler(MaskGeometry((30, 47)), 3).draw(0, 128)
    np.testing.assert_array_equal(draw.grids[0::2], ~draw.grids[1::2])
    np.testing.assert_array_equal(draw.shifts_yx[0::2], draw.shifts_yx[1::2])


def test_each_replicate_is_every_other_sobol_point_with_digits_flipped() -> None:
    sampler = SobolSampler(MaskGeometry((30, 47), grid=4, keep=0.4), 3)
    points = (qmc.Sobol(18, scramble=False).random(32)[::2] * 2**30).astype(np.int64)
    uniform = sampler._uniform(0, 16 * 2 * REPLICATES)
    for replicate in range(REPLICATES):
        own = uniform[0::2][replicate_of(np.arange(0, 256, 2)) == replicate]
        flips = np.floor(own * 2**30).astype(np.int64) ^ points
        assert (flips == flips[0]).all()
    assert len(np.unique(uniform[0:16:2, 0])) == REPLICATES


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(sampler: type[MaskSampler], seed: int) -> None:
    with pytest.raises(OnnxplainError, match=r"^seed: found .* expected"):
        sampler(MaskGeometry((8, 8)), seed)


def test_a_grid_with_more_cells_than_sobol_has_dimensions_is_refused() -> None:
    SobolSampler(MaskGeometry((200, 200), grid=145))
    with pytest.raises(OnnxplainError, match=r"^grid: found 146, expected at most 145 .* estimator=\"paper\""):
        SobolSampler(MaskGeometry((200, 200), grid=146))
