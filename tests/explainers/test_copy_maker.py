from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.explainers.masked import copy_maker, masks
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.cell_masks import CellMasks
from onnxplain.explainers.masked.copy_maker import choose_maker, make_on_device, make_on_host
from onnxplain.explainers.masked.mask_chain import CHAINED_DTYPES
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import lay_out
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry, multiply
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.runtime import make_frame
from onnxplain.runtime.preprocess import to_model
from onnxplain.runtime.sessions.binding import BoundSession
from onnxplain.runtime.sessions.session import open_session
from tests.explainers.test_masked_scores import PHOTO, draw_masks, masked_copies
from tests.position_model import LAYOUTS, open_position_model
from tools import mask_graphs

SIZES_HW = ((16, 40), (13, 22), (5, 3))


def read_back(tmp_path: Path, copies, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A batch that lies on the device, as numpy sees it: through a graph that hands it on."""
    value = onnx.helper.make_tensor_value_info
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "same", [value("x", kind, shape)], [value("y", kind, shape)])
    path = tmp_path / "same.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    bound = BoundSession(open_session(path, ["cpu"], 1), path, ["y"])
    bound.bind("x", copies)
    bound.run(shape[0])
    return bound.fetch()[0]


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", CHAINED_DTYPES)
def test_host_and_device_make_the_copies_of_the_formula(tmp_path, dtype, layout, size_hw) -> None:
    engine = open_position_model(tmp_path / "model.onnx", dtype=dtype, layout=layout, size_hw=size_hw)
    view = open_black_box(engine, None, "blur").look(PHOTO)
    geometry = MaskGeometry(size_hw, grid=4, keep=0.6)
    image = lay_out(view, layout, engine.input_dtype)
    host, device = make_on_host(engine, image, geometry), make_on_device(engine, image, geometry)
    for count in (2, 6, 6, 2):
        draw = draw_masks(geometry, count, seed=count)
        painted = host(draw).copy()
        chained = read_back(tmp_path, device(draw), painted.shape, dtype)
        expected = to_model(masked_copies(view, geometry.render(draw)), layout, dtype)
        assert painted.dtype == chained.dtype == dtype
        assert painted.shape == chained.shape == expected.shape
        # One unit in the last place of float16, one step of uint8 where a half was rounded.
        tolerance = {"float32": 1e-6, "float16": 1e-3, "uint8": 1}[dtype]
        for found in (painted, chained):
            np.testing.assert_allclose(found.astype(float), expected.astype(float), atol=tolerance)
        if dtype == "uint8":
            assert np.mean(painted != chained) < 0.001


NUMBERS = np.arange(3 * 256, dtype=np.float32).reshape(3, 16, 16) % 256


@pytest.mark.parametrize(
    ("pixels", "hidden", "toss"),
    [
        pytest.param(NUMBERS, NUMBERS / 2, False, id="an image hides all"),
        pytest.param(NUMBERS / 2, np.full((3, 1, 1), 3, np.float32), True, id="a colour hides nothing"),
    ],
)
def test_halves_are_rounded_to_even_on_either_side(tmp_path, pixels, hidden, toss) -> None:
    """Under one cell for the whole image a copy shows the pixels or the fill, here 0, 1/2, 1, 3/2 …"""
    size_hw = (16, 16)
    engine = open_position_model(tmp_path / "model.onnx", dtype="uint8", size_hw=size_hw)
    geometry = MaskGeometry(size_hw, grid=1)
    draw = MaskDraw(np.full((1, 1, 1), toss), np.zeros((1, 2), np.int64))
    image = lay_out(View(pixels, hidden, make_frame(size_hw, size_hw, "stretch")), "nchw", np.dtype(np.uint8))
    painted = make_on_host(engine, image, geometry)(draw)
    chained = read_back(tmp_path, make_on_device(engine, image, geometry)(draw), painted.shape, "uint8")
    np.testing.assert_array_equal(painted[0], np.rint(NUMBERS / 2))
    np.testing.assert_array_equal(painted, chained)


@pytest.mark.parametrize(("left", "right"), [((7, 3), (3, 9)), ((224, 8), (8, 672)), ((64, 64), (64, 4200))])
def test_products_stay_below_the_size_at_which_blas_takes_threads(monkeypatch, left, right) -> None:
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=shape).astype(np.float32) for shape in (left, right)]
    sizes, matmul = [], np.matmul

    def spy(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
        sizes.append(a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, out=out)

    monkeypatch.setattr(masks.np, "matmul", spy)
    found = multiply(*factors)
    np.testing.assert_allclose(found, factors[0].astype(float) @ factors[1], rtol=1e-4, atol=1e-4)
    assert max(sizes) < max(2**18, right[0] * right[1] + 1)


def test_painting_keeps_to_its_scratch_memory() -> None:
    """Copies in the layout NHWC of float32 are made in the caller's array, and nothing of it is kept."""
    pixels = np.ones((3, 6, 6), np.float32)
    view = View(pixels, 0 * pixels, make_frame((6, 6), (6, 6), "stretch"))
    geometry = MaskGeometry((6, 6), grid=2)
    painter = MaskPainter(lay_out(view, "nhwc", np.dtype(np.float32)), geometry)
    first, second = np.empty((2, 6, 6, 3), np.float32), np.empty((1, 6, 6, 3), np.float32)
    draw = draw_masks(geometry, 2)
    painter.paint(draw, first)
    painter.paint(draw.part(1, 2), second)
    np.testing.assert_array_equal(first[..., 0], geometry.render(draw))
    np.testing.assert_array_equal(second[0], first[1])


@pytest.mark.parametrize("form", mask_graphs.NODES)
@pytest.mark.parametrize("dtype", CHAINED_DTYPES)
def test_the_graphs_are_those_that_the_script_writes(dtype, form) -> None:
    path = mask_graphs.FOLDER / f"{form}{dtype}.onnx"
    assert onnx.load(path) == mask_graphs.build(dtype, form)
    assert path.stat().st_size < 5000


def test_no_other_file_lies_among_the_graphs() -> None:
    assert sorted(path.name for path in mask_graphs.FOLDER.iterdir()) == sorted(
        f"{form}{dtype}.onnx" for form in mask_graphs.NODES for dtype in CHAINED_DTYPES
    )


@pytest.mark.parametrize(
    ("dtype", "memory", "form", "chosen"),
    [
        ("float32", "cpu", "products", "host"),
        ("float16", "cpu", "products", "device"),
        ("float16", "cpu", "cells", "host"),
        ("uint8", "cpu", "products", "host"),
        ("float32", "cuda", "products", "device"),
        ("float16", "cuda", "cells", "device"),
        ("float64", "cpu", "products", "host"),
        ("float64", "cuda", "products", "host"),
    ],
)
def test_which_maker_is_taken(tmp_path, monkeypatch, dtype, memory, form, chosen) -> None:
    engine = open_position_model(tmp_path / "model.onnx", dtype=dtype)
    view = open_black_box(engine, None, "mean").look(PHOTO)
    monkeypatch.setattr(copy_maker, "memory_of", lambda providers: memory)
    monkeypatch.setattr(copy_maker, "make_on_host", lambda *arguments: "host")
    monkeypatch.setattr(copy_maker, "make_on_device", lambda *arguments: "device")
    size_hw = engine.spec.input.size_hw
    forms = {"products": MaskGeometry(size_hw), "cells": CellMasks(np.zeros(size_hw, np.int64), 1)}
    assert choose_maker(engine, view, forms[form]) == chosen
