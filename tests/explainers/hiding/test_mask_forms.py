"""Masks of cells and products: the copies of their formula, on the host and on the device, in every layout and type."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.cell_masks import CellMasks
from onnxplain.explainers.masked.copy_maker import choose_maker, make_on_device, make_on_host
from onnxplain.explainers.masked.inpainting import inpaint
from onnxplain.explainers.masked.mask_chain import CHAINED_DTYPES
from onnxplain.explainers.masked.mask_form import MaskForm
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import lay_out
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.masked.product_masks import ProductDraw, ProductMasks
from onnxplain.explainers.masked.window_masks import WindowDraw, WindowMasks
from onnxplain.runtime import make_frame
from onnxplain.runtime.preprocess import to_model
from tests.explainers.test_copy_maker import read_back
from tests.explainers.test_masked_scores import PHOTO, masked_copies
from tests.position_model import LAYOUTS, open_position_model

SIZE_HW = (13, 22)
RNG = np.random.default_rng(8)


def cells():
    labels = RNG.integers(0, 6, SIZE_HW)
    # Label 5 is no cell: always shown.
    form, shown = CellMasks(labels, 5), RNG.random((6, 5)).astype(np.float32)
    expected = np.concatenate([shown, np.ones((6, 1))], axis=1)[:, labels]
    return form, form.draw(shown), expected


def gaussians():
    y, x = np.arange(SIZE_HW[0])[:, None], np.arange(SIZE_HW[1])[None]
    centres, widths = RNG.random((5, 2)) * SIZE_HW, 2 + 4 * RNG.random(5)
    rows = np.stack([np.exp(-((y[:, 0] - cy) ** 2) / w**2) for (cy, _), w in zip(centres, widths, strict=True)])
    columns = np.stack([np.exp(-((x[0] - cx) ** 2) / w**2) for (_, cx), w in zip(centres, widths, strict=True)])
    draw = ProductDraw(rows[:, :, None].astype(np.float32), columns[:, None].astype(np.float32))
    exact = [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / w**2) for (cy, cx), w in zip(centres, widths, strict=True)]
    return ProductMasks(SIZE_HW), draw, np.stack(exact)


def windows():
    spans = np.array([[0, 4, 0, 5], [9, 13, 20, 22], [3, 4, 7, 8], [0, 13, 0, 22]])
    expected = np.ones((len(spans), *SIZE_HW))
    for mask, (top, bottom, left, right) in zip(expected, spans, strict=True):
        mask[top:bottom, left:right] = 0
    return WindowMasks(SIZE_HW), WindowDraw(spans), expected


def whole_cells():
    labels = RNG.integers(0, 6, SIZE_HW)
    form, shown = CellMasks(labels, 5), RNG.random((6, 5)) < 0.5
    return form, form.draw(shown), np.concatenate([shown, np.ones((6, 1), bool)], axis=1)[:, labels].astype(float)


def many_cells():
    """More than a table of eight bits holds."""
    form, shown = CellMasks(np.arange(286).reshape(SIZE_HW), 280), RNG.random((5, 280)) < 0.5
    form = CellMasks(form.labels.clip(max=280), 280)
    return form, form.draw(shown), np.concatenate([shown, np.ones((5, 1), bool)], axis=1)[:, form.labels].astype(float)


@pytest.mark.parametrize("make", [cells, gaussians, windows, whole_cells, many_cells])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", CHAINED_DTYPES)
def test_host_and_device_make_the_copies_of_the_formula(tmp_path, dtype, layout, make) -> None:
    form, draw, masks = make()
    engine = open_position_model(tmp_path / "model.onnx", dtype=dtype, layout=layout, size_hw=SIZE_HW)
    view = open_black_box(engine, None, "blur").look(PHOTO)
    image = lay_out(view, layout, engine.input_dtype)
    host, device = make_on_host(engine, image, form), make_on_device(engine, image, form)
    padded = np.concatenate([masks, *[masks[-1:]] * (7 - len(masks))])
    for part, chosen in ((draw, masks), (draw.part(1, 3), masks[1:3]), (draw.padded(7), padded)):
        expected = to_model(masked_copies(view, chosen), layout, dtype)
        painted = host(part).copy()
        chained = read_back(tmp_path, device(part), painted.shape, dtype)
        tolerance = {"float32": 1e-6, "float16": 1e-3, "uint8": 1}[dtype]
        for found in (painted, chained):
            assert (found.dtype, found.shape) == (np.dtype(dtype), expected.shape)
            np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), atol=tolerance)


@pytest.mark.parametrize("make", [windows, whole_cells, many_cells])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int8"])
def test_copies_that_are_cut_out_have_the_bits_of_painted_ones(dtype, channels, layout, make, monkeypatch) -> None:
    """Pixels below the fill give −0 where the fill is 0, and halves are rounded."""
    form, draw, _ = make()
    height, width = SIZE_HW
    for hidden in (np.zeros((channels, 1, 1)), np.full((channels, 1, 1), 3.25), RNG.random((channels, height, width))):
        pixels = 90 * RNG.random((channels, height, width)) - (30 if dtype not in ("uint8",) else 0)
        view = View(pixels.astype(np.float32), hidden.astype(np.float32), make_frame(SIZE_HW, SIZE_HW, "stretch"))
        image = lay_out(view, layout, np.dtype(dtype))
        shape = (channels, height, width) if layout == "nchw" else (height, width, channels)
        cut, painted = (np.full((len(draw), *shape), 7, dtype) for _ in range(2))
        MaskPainter(image, form).paint(draw, cut)
        with monkeypatch.context() as patch:
            patch.setattr(type(form), "cutter", MaskForm.cutter)
            MaskPainter(image, form).paint(draw, painted)
        assert cut.tobytes() == painted.tobytes()


def test_cells_that_show_in_part_are_not_cut_out() -> None:
    form, draw, _ = cells()
    assert form.cutter()(draw) is None


def test_inpainting_is_that_of_opencv_channel_by_channel(tmp_path) -> None:
    form, _, _ = windows()
    spans = np.array([[2, 7, 3, 9], [0, 13, 0, 22], [5, 5, 5, 5]])
    draw = WindowDraw(spans)
    engine = open_position_model(tmp_path / "model.onnx", size_hw=SIZE_HW)
    view = open_black_box(engine, None, "inpaint").look(PHOTO)
    assert view.inpainted
    some, every, none = choose_maker(engine, view, form)(draw)
    hidden = np.zeros(SIZE_HW, np.uint8)
    hidden[2:7, 3:9] = 1
    expected = np.stack([cv2.inpaint(channel, hidden, 3, cv2.INPAINT_NS) for channel in view.pixels])
    np.testing.assert_allclose(some, expected, atol=1e-6)
    np.testing.assert_array_equal(some[:, hidden == 0], view.pixels[:, hidden == 0])
    np.testing.assert_allclose(every, np.broadcast_to(view.hidden, every.shape), atol=1e-6)
    np.testing.assert_array_equal(none, view.pixels)


def test_a_smooth_surface_is_inpainted_smoothly() -> None:
    """A ramp with a hole is closed to within a few percent, whatever its unit."""
    ramp = np.tile(np.linspace(-3, 5, 40, dtype=np.float32), (1, 30, 1))
    mask = np.ones((30, 40), np.float32)
    mask[10:18, 15:23] = 0
    assert np.abs(inpaint(ramp, np.zeros((1, 1, 1), np.float32), mask) - ramp).max() < 0.4


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_another_image_is_what_hides(tmp_path, resize) -> None:
    other = RNG.integers(0, 256, (50, 30, 3), np.uint8)
    preprocessing = Preprocessing(mean=(128,) * 3, std=(64,) * 3, resize=resize)
    engine = open_position_model(tmp_path / "model.onnx", size_hw=SIZE_HW, preprocessing=preprocessing)
    view = open_black_box(engine, None, other).look(PHOTO)
    np.testing.assert_array_equal(view.hidden, engine.preprocess(other)[0])
    np.testing.assert_array_equal(view.pixels, engine.preprocess(PHOTO)[0])


def test_another_image_hides_from_a_callable() -> None:
    other = RNG.integers(0, 256, (*SIZE_HW, 3), np.uint8)
    view = open_black_box(lambda batch: batch.mean((2, 3)), SIZE_HW, other).look(PHOTO)
    np.testing.assert_allclose(view.hidden, other.transpose(2, 0, 1), atol=1e-3)


@pytest.mark.parametrize(
    "fill", ["photo.jpg", np.zeros((4, 4)), True, (True, 1, 2)], ids=["path", "array", "bool", "bools"]
)
def test_what_is_no_fill(fill) -> None:
    with pytest.raises(OnnxplainError, match=r'^fill: found .*(\n.*)*, expected "mean", "blur", "inpaint", a colour'):
        open_black_box(lambda batch: batch.mean((2, 3)), SIZE_HW, fill)
