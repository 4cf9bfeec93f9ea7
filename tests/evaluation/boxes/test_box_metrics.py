"""Every number of a box's map, on maps whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from onnxplain.evaluation.boxes.box_curves import blur_strongly
from onnxplain.evaluation.boxes.box_metrics import BOX_METRICS
from onnxplain.evaluation.boxes.explained_box import BoxMap, FoundBox, box_gaussian
from tests.detectors.seeing import SIZE_HW
from tests.evaluation.boxes.seen import box_of, open_cells, photo_of

OWN, OTHER = 7, 12


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return open_cells(tmp_path_factory.mktemp("cells") / "model.onnx")


def box_map(engine, heat: np.ndarray, others=(OTHER,)) -> BoxMap:
    batch = engine.prepare([photo_of({OWN: 0.9, OTHER: 0.6})])
    boxes = [np.array([box_of(cell) for cell in cells], np.float32).reshape(-1, 4) for cells in ((OWN,), others)]
    found = FoundBox(engine.detector, *boxes, tuple(box_of(OWN)), 1, batch.pixels[0], batch.frames[0])
    return BoxMap(found, heat)


def heat_of(cells: dict[int, float]) -> np.ndarray:
    return photo_of(cells)[:, :, 0].astype(np.float32) / 255


def value(name: str, sample: BoxMap) -> float:
    return next(metric for metric in BOX_METRICS if metric.name == name).measure(sample)


@pytest.mark.parametrize(
    ("cells", "energy", "others", "pointing"),
    [
        ({OWN: 1.0}, 1.0, 0.0, True),
        ({OTHER: 1.0}, 0.0, 1.0, False),
        ({OWN: 1.0, OTHER: 1.0}, 0.5, 0.5, True),
        ({OWN: 0.2, OTHER: 0.6, 20: 1.0}, 1 / 9, 3 / 9, False),
        ({20: 1.0}, 0.0, 0.0, False),
        ({}, 0.0, 0.0, False),
    ],
)
def test_where_the_heat_is(engine, cells, energy, others, pointing) -> None:
    sample = box_map(engine, heat_of(cells))
    assert value("energy", sample) == pytest.approx(energy, abs=1e-5)
    assert value("energy_others", sample) == pytest.approx(others, abs=1e-5)
    assert value("pointing", sample) is pointing
    assert value("empty", sample) is (not cells)


def test_heat_where_the_own_box_overlaps_another_counts_as_own(engine) -> None:
    sample = box_map(engine, heat_of({OWN: 1.0}), others=(OWN,))
    assert (value("energy", sample), value("energy_others", sample)) == (1.0, 0.0)


def test_pointing_beside_the_box_is_no_hit(engine) -> None:
    """Other than the pointing game of whole images: 15 pixels beside a small box are another object."""
    heat = np.zeros(SIZE_HW, np.float32)
    x1, y1, _, _ = (int(side) for side in box_of(OWN))
    heat[y1, x1 - 1] = 1
    assert value("pointing", box_map(engine, heat)) is False
    heat[y1, x1 - 1], heat[y1, x1] = 0, 1
    assert value("pointing", box_map(engine, heat)) is True


def test_insertion_and_deletion_of_a_cell(engine) -> None:
    """The similarity is the brightness of the cell. Each of 28 steps changes 220 pixels, a cell has 256: if it is the
    hottest, it changes in the first two steps, if it is the coldest, in the last ones."""
    photo = photo_of({OWN: 0.9, OTHER: 0.6})[:, :, 0].astype(np.float64)
    x1, y1, x2, y2 = (int(side) for side in box_of(OWN))
    left = gaussian_filter(photo, SIZE_HW[0] / 8, mode="reflect")[y1:y2, x1:x2].mean() / photo[y1:y2, x1:x2].mean()
    assert 0.05 < left < 0.5
    first, last = heat_of({OWN: 1.0}), 1 - heat_of({OWN: 1.0})
    pixels, step, cell = photo.size, 220, 256
    done = np.minimum(np.arange(29) * step, pixels)
    quick, slow = (
        np.trapezoid(1 - (1 - left) * np.clip(done - before, 0, cell) / cell) / 28 for before in (0, pixels - cell)
    )
    assert value("deletion", box_map(engine, first)) == pytest.approx(quick, abs=0.005)
    assert value("deletion", box_map(engine, last)) == pytest.approx(slow, abs=0.005)
    assert value("insertion", box_map(engine, first)) == pytest.approx(slow, abs=0.005)
    assert value("insertion", box_map(engine, last)) == pytest.approx(quick, abs=0.005)


def test_the_blur_is_a_gaussian_of_an_eighth_of_the_side() -> None:
    image = np.random.default_rng(0).random((3, 48, 64), np.float32)
    expected = np.stack([gaussian_filter(channel.astype(np.float64), 6, mode="reflect") for channel in image])
    np.testing.assert_allclose(blur_strongly(image), expected, atol=0.005)


def test_the_baseline_knows_the_box_alone() -> None:
    heat = box_gaussian((100, 80), (20, 30, 60, 90))
    assert heat.dtype == np.float32
    assert heat.max() == 1
    centre = np.unravel_index(heat.argmax(), heat.shape)
    assert centre in {(59, 39), (59, 40), (60, 39), (60, 40)}
    # One sigma is a quarter of the side: 10 pixels along x, 15 along y.
    assert heat[60, 50] / heat[60, 40] == pytest.approx(np.exp(-(10.5**2 - 0.5**2) / 200), rel=1e-4)
    assert heat[75, 40] / heat[60, 40] == pytest.approx(np.exp(-(15.5**2 - 0.5**2) / 450), rel=1e-4)
    inside = heat[30:90, 20:60].sum() / heat.sum()
    assert inside == pytest.approx(0.9545**2, abs=0.005)
