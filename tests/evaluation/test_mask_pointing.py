"""The pointing game on masks: the formulas, and data sets of label maps on heads of masks, classes and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from onnxplain.contract import Preprocessing
from onnxplain.data import open_dataset
from onnxplain.data.class_mask import TruePixels
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.evaluation import evaluate
from onnxplain.evaluation.metrics.mask_pointing import energy_in_mask, mask_hit
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine

SIDE = 32
NAMES = ("background", "blue", "red")
RGB = {"blue": (30, 30, 230), "red": (230, 30, 30)}
PLACES = [("blue", 0, 0), ("red", 20, 20), ("blue", 20, 0), ("red", 0, 20)]


def write_masks(folder: Path, *, names: bool = True) -> Path:
    """Grey images with a blue or a red square in a corner, and label maps as palette images with an unlabelled edge."""
    for number, (name, top, left) in enumerate(PLACES):
        image, mask = np.full((SIDE, SIDE, 3), 128, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        mask[top : top + 12, left : left + 12] = 255
        mask[top + 1 : top + 11, left + 1 : left + 11] = NAMES.index(name)
        image[mask > 0] = RGB[name]
        for part, pixels, suffix in (("JPEGImages", image, "bmp"), ("SegmentationClass", mask, "png")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels)
            if part == "SegmentationClass":
                picture.putpalette([value % 251 for value in range(768)])
            picture.save(folder / part / f"{number}.{suffix}")
    if names:
        (folder / "SegmentationClass" / "classes.txt").write_text("\n".join(NAMES))
    return folder


def write_colours(path: Path, kind: str, *, labels: tuple[str, ...] | None = None) -> Engine:
    """Feature maps of blue and red; `kind`: how the answer is made from them."""
    kernel = np.zeros((2, 3, 4, 4), np.float32)
    kernel[0, 2] = kernel[1, 0] = 1 / 16
    kernel[:, 1] = -1 / 16
    first = 1 if kind == "mask" else 0
    weights = np.zeros((2 + first, 2, 1, 1), np.float32)
    weights[first, 0] = weights[first + 1, 1] = 8
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["cells"], strides=[4, 4]),
        helper.make_node("Relu", ["cells"], ["features"]),
        helper.make_node("Conv", ["features", "weights"], ["class_maps"]),
    ]
    if kind == "mask":
        nodes.append(helper.make_node("Softmax", ["class_maps"], ["answer"], axis=1))
        shape = ["N", 3, 8, 8]
    else:
        end = "Softmax" if kind == "classes" else "Sigmoid"
        nodes += [
            helper.make_node("GlobalAveragePool", ["class_maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
            helper.make_node(end, ["logits"], ["answer"]),
        ]
        shape = ["N", 2]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    preprocessing = Preprocessing("rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3, "stretch")
    written = path.with_suffix(".explainable.onnx")
    instrument(path, written, preprocessing=preprocessing, labels=NAMES[1 - first :] if labels is None else labels)
    return Engine(written)


def by_definition(heat: np.ndarray, truth: TruePixels, tolerance: float) -> bool:
    """The pointing game, pixel by pixel."""
    cells = [(row, column) for row in range(heat.shape[0]) for column in range(heat.shape[1])]
    row, column = max((cell for cell in cells if truth.known[cell]), key=lambda cell: heat[cell])
    away = min(np.hypot(row - y, column - x) for y, x in cells if truth.shown[y, x])
    return bool(away == 0 or away < tolerance)


@pytest.mark.parametrize("tolerance", [0, 3])
def test_the_pointing_game_and_the_energy_by_the_definition(tolerance: float) -> None:
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(40):
        heat = rng.random((9, 13), np.float32)
        labels = rng.choice(3, (9, 13), p=[0.85, 0.05, 0.1])
        truth = TruePixels(labels == 1, labels != 2)
        hits.append(mask_hit(heat, truth, tolerance))
        assert hits[-1] == by_definition(heat, truth, tolerance)
        inside = sum(heat[cell] for cell in np.ndindex(heat.shape) if truth.shown[cell])
        assert energy_in_mask(heat, truth) == pytest.approx(inside / heat[truth.known].sum(), rel=1e-5)
    assert 0 < sum(hits) < 40


def test_maps_without_a_hottest_pixel_miss() -> None:
    known = np.ones((4, 4), bool)
    truth = TruePixels(np.eye(4, dtype=bool), known)
    assert not mask_hit(np.zeros((4, 4)), truth)
    assert energy_in_mask(np.zeros((4, 4)), truth) == 0
    assert not mask_hit(np.eye(4), TruePixels(np.zeros((4, 4), bool), known))
    # Hot only where nothing is labelled.
    assert not mask_hit(np.eye(4), TruePixels(np.eye(4)[::-1].astype(bool), ~np.eye(4, dtype=bool)))


@pytest.mark.parametrize(
    ("heat", "message"),
    [(np.zeros((4, 5)), "found shape"), (np.full((4, 4), np.nan), "NaN"), (np.full((4, 4), -1.0), "negative")],
)
def test_bad_heat_is_refused(heat: np.ndarray, message: str) -> None:
    truth = TruePixels(np.eye(4, dtype=bool), np.ones((4, 4), bool))
    with pytest.raises(OnnxplainError, match=message):
        energy_in_mask(heat, truth)


@pytest.mark.parametrize("kind", ["mask", "classes", "labels"])
def test_heads_that_look_at_the_object_hit_its_mask(kind: str, tmp_path: Path) -> None:
    """Heat is where the colour is, so every hit is known; the centre is in no mask."""
    dataset = open_dataset(write_masks(tmp_path / "data"), strict=True)
    found = evaluate(write_colours(tmp_path / "model.onnx", kind), dataset, output=tmp_path / "results")
    assert found.images == len(PLACES)
    assert found.value("methods", "grad-cam", "mask_pointing") == 1
    assert found.value("methods", "grad-cam", "mask_pointing_near") == 1
    assert found.value("methods", "grad-cam", "mask_energy") > 0.6
    assert found.value("baselines", "center_gaussian", "mask_pointing") == 0
    assert found.value("baselines", "center_gaussian", "mask_energy") < 0.2
    tree = found.to_json()
    assert tree["intervals"]["methods"]["grad-cam"]["mask_pointing"] == [1, 1]
    assert tree["counts"]["methods"]["grad-cam"]["mask_pointing"] == len(PLACES)
    assert tree["methods"]["grad-cam"]["pointing"] is None
    assert tree["reasons"]["methods"]["grad-cam"]["pointing"] == "no image has a true box"
    # The folder is complete: the same numbers without a second measurement.
    again = evaluate(Engine(tmp_path / "model.explainable.onnx"), dataset, output=tmp_path / "results")
    assert again.to_json() == tree


def test_label_maps_count_classes_as_a_head_of_masks_does(tmp_path: Path) -> None:
    dataset = open_dataset(write_masks(tmp_path / "data", names=False), strict=True)
    assert dataset.labels == ("1", "2")
    found = evaluate(write_colours(tmp_path / "mask.onnx", "mask"), dataset)
    assert found.value("methods", "grad-cam", "mask_pointing") == 1
    with pytest.raises(OnnxplainError, match=r"found masks without names of classes.*classes\.txt"):
        evaluate(write_colours(tmp_path / "classes.onnx", "classes"), dataset)


def test_what_compares_one_class_is_left_out_or_refused(tmp_path: Path) -> None:
    dataset = open_dataset(write_masks(tmp_path / "data"))
    engine = write_colours(tmp_path / "model.onnx", "mask")
    found = evaluate(engine, dataset).to_json()
    assert found["classification"]["top1"] is None
    assert "or a mask" in found["reasons"]["classification"]["top1"]
    with pytest.raises(UnsupportedError, match="found faithfulness for a head of kind mask, expected localization"):
        evaluate(engine, dataset, metrics="faithfulness")
