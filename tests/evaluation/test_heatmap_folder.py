from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.heatmap_folder import heat_over_image, heatmap_path, read_heatmap, write_heatmap
from onnxplain.evaluation.metrics.max_box_accuracy import level_overlaps

SIZE_HW = (120, 90)
BOXES = np.array([[10, 20, 70, 100]], np.float32)


def smooth_heatmap(size_hw: tuple[int, int]) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(7).random(size_hw, np.float32), (0, 0), 8)
    return (noise - noise.min()) / np.ptp(noise)


def test_a_written_heatmap_is_the_benchmarks(tmp_path: Path) -> None:
    path = write_heatmap(tmp_path / "maps", "val2/0/bird.JPEG", smooth_heatmap(SIZE_HW))
    assert path == tmp_path / "maps" / "val2" / "0" / "bird.JPEG.npy"
    saved = np.load(path)
    assert saved.dtype == np.float32 and saved.shape == (224, 224)
    assert saved.min() == 0 and saved.max() == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("size_hw", [SIZE_HW, (224, 224)])
def test_a_heatmap_read_back_scores_as_before(size_hw: tuple[int, int], tmp_path: Path) -> None:
    heatmap = smooth_heatmap(size_hw)
    write_heatmap(tmp_path, "a", heatmap)
    before = level_overlaps(heatmap, BOXES, size_hw)
    after = level_overlaps(read_heatmap(tmp_path, "a", size_hw), BOXES, size_hw)
    np.testing.assert_array_equal(before.largest, after.largest)
    np.testing.assert_array_equal(before.any_region, after.any_region)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size_hw", [(224, 224), SIZE_HW])
def test_maps_of_any_float_type_and_of_either_size_are_read(
    kind: type, size_hw: tuple[int, int], tmp_path: Path
) -> None:
    heatmap = (smooth_heatmap(size_hw) * 5 - 2).astype(kind)
    np.save(tmp_path / "a.npy", heatmap)
    found = read_heatmap(tmp_path, "a", SIZE_HW)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, heatmap)


def save_pickle(path: Path) -> None:
    np.save(path, np.array([{"code": "runs"}], object), allow_pickle=True)


def save_huge_header(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})


def save_archive(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), heat=np.eye(3))
    path.with_suffix(".npz").rename(path)


BAD_FILES = {
    "missing": (lambda path: None, "found no heatmap"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "found no numpy array"),
    "text": (lambda path: path.write_text("0.1 0.2"), "found no numpy array"),
    "archive": (save_archive, "found no numpy array"),
    "torn": (lambda path: path.write_bytes(npy_bytes()[:-100]), "found no numpy array"),
    "huge": (save_huge_header, "found no numpy array"),
    "pickle": (save_pickle, "found no numpy array"),
    "integers": (
        lambda path: np.save(path, np.ones((224, 224), np.uint8)),
        r"found uint8 \(224, 224\), expected float",
    ),
    "complex": (lambda path: np.save(path, np.ones((224, 224), complex)), "found complex128"),
    "size": (lambda path: np.save(path, np.ones((90, 120))), r"found float64 \(90, 120\), .* 120 × 90"),
    "axes": (lambda path: np.save(path, np.ones((1, 224, 224))), r"found float64 \(1, 224, 224\), expected"),
    "nan": (lambda path: np.save(path, np.full((224, 224), np.nan)), "found NaN or infinity"),
    "infinity": (lambda path: np.save(path, np.full(SIZE_HW, np.inf)), "found NaN or infinity"),
}


def npy_bytes() -> bytes:
    stream = io.BytesIO()
    np.save(stream, smooth_heatmap((224, 224)))
    return stream.getvalue()


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_heatmap_is_named(name: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[name]
    make(tmp_path / "a.npy")
    with pytest.raises(OnnxplainError, match=rf"^{tmp_path}/a\.npy: {message}") as caught:
        read_heatmap(tmp_path, "a", SIZE_HW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image_id", ["", "../a", "x/../../a", "/etc/a", "a\0b", ".."])
def test_no_id_leads_out_of_the_folder(image_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    for action in (
        lambda: heatmap_path(folder, image_id),
        lambda: read_heatmap(folder, image_id, SIZE_HW),
        lambda: write_heatmap(folder, image_id, smooth_heatmap(SIZE_HW)),
    ):
        with pytest.raises(OnnxplainError, match=r"found image id .* expected a name inside"):
            action()
    assert sorted(tmp_path.rglob("*")) == [folder]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OnnxplainError, match=r"file: cannot be created"):
        write_heatmap(tmp_path / "file", "a", smooth_heatmap(SIZE_HW))


def test_heat_over_the_image_is_stretched_and_spans_its_range() -> None:
    ramp = np.linspace(-3, 5, 224)[None].repeat(224, 0)
    heat = heat_over_image(ramp, (10, 448))
    assert heat.dtype == np.float32 and heat.shape == (10, 448)
    assert heat.min() == 0 and heat.max() == 1
    # Half-pixel centres: pixel 2k + 1 and 2k + 2 lie a quarter beside the centres of cells k and k + 1.
    cells = np.linspace(0, 1, 224)
    np.testing.assert_allclose(heat[4, 1:-1:2], 0.75 * cells[:-1] + 0.25 * cells[1:], atol=1e-5)


@pytest.mark.parametrize("size_hw", [(224, 224), SIZE_HW])
def test_a_constant_heatmap_is_no_heat(size_hw: tuple[int, int]) -> None:
    np.testing.assert_array_equal(heat_over_image(np.full((224, 224), 0.7), size_hw), np.zeros(size_hw))
