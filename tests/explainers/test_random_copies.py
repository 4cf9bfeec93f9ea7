from __future__ import annotations

import math

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.augmented.random_copies import RandomCopies, count_from_centres, warp_copies

SIZE_HW = (60, 90)
ALL = {"rotation": 1.2, "translation": 0.3, "zoom": 1.5, "mirror": True}


def parts(transform: np.ndarray) -> dict[str, float]:
    """Angle, size, flip and shift (in pixels) of one copy, read off its inverse."""
    forward = np.linalg.inv(transform[:, :2])
    offset = -forward @ transform[:, 2]
    centre = np.array(SIZE_HW[::-1]) / 2
    size = math.sqrt(abs(np.linalg.det(forward)))
    flip = np.sign(np.linalg.det(forward))
    turn = forward @ np.diag([flip, 1]) / size
    shift = forward @ centre + offset - centre
    return {"angle": math.atan2(turn[1, 0], turn[0, 0]), "size": size, "flip": flip, "x": shift[0], "y": shift[1]}


def test_the_first_copy_is_the_image_itself() -> None:
    np.testing.assert_array_equal(RandomCopies(3, **ALL).draw(SIZE_HW)[0], [[1, 0, 0], [0, 1, 0]])


def test_a_copy_depends_on_the_seed_and_its_number_alone() -> None:
    many = RandomCopies(30, **ALL, seed=4).draw(SIZE_HW)
    np.testing.assert_array_equal(RandomCopies(7, **ALL, seed=4).draw(SIZE_HW), many[:7])
    assert not np.isclose(RandomCopies(30, **ALL, seed=5).draw(SIZE_HW)[1:], many[1:]).all(axis=(1, 2)).any()


@pytest.mark.parametrize(
    ("without", "changes"),
    [
        ({"rotation": 0}, {"angle": 0}),
        ({"translation": 0}, {"x": 0, "y": 0}),
        ({"zoom": 1}, {"size": 1}),
        ({"mirror": False}, {"flip": 1}),
    ],
)
def test_an_option_changes_nothing_but_its_own_part(without: dict, changes: dict) -> None:
    before, after = (RandomCopies(20, **(ALL | changed), seed=1).draw(SIZE_HW) for changed in ({}, without))
    for old, new in zip(before, after, strict=True):
        assert parts(new) == pytest.approx(parts(old) | changes, abs=1e-9)


def test_parts_fill_their_ranges_evenly() -> None:
    drawn = [parts(transform) for transform in RandomCopies(2001, **ALL).draw(SIZE_HW)[1:]]
    for name, limit in (("angle", 1.2), ("x", 0.3 * 90), ("y", 0.3 * 60)):
        values = np.array([part[name] for part in drawn]) / limit
        assert np.abs(values).max() <= 1 + 1e-9
        np.testing.assert_allclose(np.quantile(values, [0.1, 0.5, 0.9]), [-0.8, 0, 0.8], atol=0.06)
    sizes = np.log([part["size"] for part in drawn]) / math.log(1.5)
    np.testing.assert_allclose(np.quantile(sizes, [0.1, 0.5, 0.9]), [-0.8, 0, 0.8], atol=0.06)
    assert np.mean([part["flip"] for part in drawn]) == pytest.approx(0, abs=0.06)


def test_defaults_are_the_published_ones() -> None:
    drawn = RandomCopies()
    assert (drawn.copies, drawn.rotation, drawn.translation * 224) == (100, 0.5, 30)
    assert (drawn.zoom, drawn.mirror) == (1, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": 0}, "^copies: found 0, expected at least 1"),
        ({"rotation": -0.1}, "^rotation: found -0.1, expected radians from 0 to π"),
        ({"rotation": math.nan}, "^rotation: found nan"),
        ({"rotation": 30}, "^rotation: found 30"),
        ({"translation": -0.1}, "^translation: found -0.1, expected a share"),
        ({"translation": 1}, "^translation: found 1, expected a share .* shows nothing"),
        ({"zoom": 0.5}, "^zoom: found 0.5, expected a factor of at least 1"),
        ({"zoom": math.inf}, "^zoom: found inf"),
        ({"seed": -1}, "^seed: found -1"),
        ({"seed": 2**64}, "^seed: found"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        RandomCopies(**options)


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_the_image_at_the_transformed_pixel_centres(channels: int) -> None:
    height, width = SIZE_HW
    y, x = np.mgrid[:height, :width] + 0.5
    planes = np.stack([0.3 * x - 0.2 * y + 5, x * y / 400, np.full(SIZE_HW, 7.0)])[:channels]
    transforms = RandomCopies(6, **ALL, seed=2).draw(SIZE_HW)
    fill = np.array([-3.0, 50.0, 7.0])[:channels]
    copies = warp_copies(planes.astype(np.float32), transforms, fill.astype(np.float32))
    assert (copies.dtype, copies.shape) == (np.float32, (6, channels, height, width))
    for copy, transform in zip(copies, transforms, strict=True):
        at_x, at_y = (row[0] * x + row[1] * y + row[2] for row in transform)
        inside = (at_x > 1) & (at_x < width - 1) & (at_y > 1) & (at_y < height - 1)
        outside = (at_x < -1) | (at_x > width + 1) | (at_y < -1) | (at_y > height + 1)
        expected = np.stack([0.3 * at_x - 0.2 * at_y + 5, at_x * at_y / 400, np.full(SIZE_HW, 7.0)])[:channels]
        # OpenCV places samples on a grid of 1/32 pixel.
        np.testing.assert_allclose(copy[:, inside], expected[:, inside], atol=0.02)
        np.testing.assert_allclose(copy[:, outside], np.broadcast_to(fill[:, None], copy[:, outside].shape))
    np.testing.assert_array_equal(copies[0], planes.astype(np.float32))


def test_opencv_counts_from_the_centres_of_pixels() -> None:
    transform = RandomCopies(2, **ALL).draw(SIZE_HW)[1]
    centre = np.array([12, 31])
    expected = transform @ [*(centre + 0.5), 1] - 0.5
    np.testing.assert_allclose(count_from_centres(transform) @ [*centre, 1], expected)
