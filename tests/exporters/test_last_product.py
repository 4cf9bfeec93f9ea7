"""A gradient begun at a row of the last weights is what a one-hot cotangent brings there by the general rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from onnxplain.exporters import instrument
from onnxplain.exporters.writing import seeds
from tests.exporters.graphs import open_session, relative_error
from tests.exporters.torch_models import images

CLASSES, MAPS, SIZE_HW = 7, 4, (6, 5)
RNG = np.random.default_rng(3)
CONSTANTS = {
    "kernel": RNG.normal(0, 0.4, (MAPS, 3, 3, 3)),
    "rows": RNG.normal(size=(CLASSES, MAPS)),
    "columns": RNG.normal(size=(MAPS, CLASSES)),
    "filters": RNG.normal(size=(CLASSES, MAPS, 1, 1)),
    "windows": RNG.normal(size=(CLASSES, MAPS, 3, 3)),
    "bias": RNG.normal(size=CLASSES),
    "box_rows": RNG.normal(size=(4, MAPS)),
    "flat": np.array([0, CLASSES]),
}
POOLED = "pooled = GlobalAveragePool(maps)\nmeans = Flatten(pooled)\n"
AVERAGED = "class_means = GlobalAveragePool(class_maps)\nlogits = Flatten(class_means)"
RECTIFIED = f"before = Conv(maps, filters, bias)\nclass_maps = Relu(before)\n{AVERAGED}"

# What follows `maps`, and whether the gradient begins at a row of the weights.
HEADS = {
    "Gemm": (f"{POOLED} logits = Gemm<transB = 1>(means, rows, bias)", True),
    "Gemm of columns, scaled": (f"{POOLED} logits = Gemm<alpha = 0.5>(means, columns, bias)", True),
    "MatMul": (f"{POOLED} logits = MatMul(means, columns)", True),
    "MatMul of transposed rows": (f"{POOLED} turned = Transpose(rows)\nlogits = MatMul(means, turned)", True),
    "1 x 1 convolution of means": (f"{POOLED} tall = Conv(pooled, filters, bias)\nlogits = Flatten(tall)", True),
    "class maps": (f"class_maps = Conv(maps, filters, bias)\n{AVERAGED}", True),
    "class maps behind a Relu": (RECTIFIED, True),
    "class maps without bias": (f"before = Conv(maps, filters)\nclass_maps = Relu(before)\n{AVERAGED}", True),
    "class maps, reshaped": (RECTIFIED.replace("Flatten(class_means)", "Reshape(class_means, flat)"), True),
    "a sum behind the product": (f"{POOLED} y = MatMul(means, columns)\nlogits = Add(y, bias)", False),
    "a Relu behind the mean": (f"{RECTIFIED.replace('logits', 'y')}\nlogits = Relu(y)", False),
    "windows of 3 x 3": (f"class_maps = Conv<pads = [1, 1, 1, 1]>(maps, windows, bias)\n{AVERAGED}", False),
    "a sum written as a bias": (
        f"{POOLED} y = MatMul(means, columns)\nlogits = Gemm<transB = 1>(means, rows, y)",
        False,
    ),
    "a padded pool": (
        "pooled = AveragePool<kernel_shape = [6, 5], pads = [2, 2, 0, 0], strides = [7, 7]>(maps)\n"
        "means = Flatten(pooled)\nlogits = Gemm<transB = 1>(means, rows, bias)",
        True,
    ),
    "class maps, a padded pool": (
        "class_maps = Conv(maps, filters, bias)\n"
        "class_means = AveragePool<kernel_shape = [6, 5], pads = [2, 2, 0, 0], strides = [7, 7]>(class_maps)\n"
        "logits = Flatten(class_means)",
        False,
    ),
    "pads and strides that keep the size": (
        f"class_maps = Conv<pads = [3, 3, 3, 2], strides = [2, 2]>(maps, filters, bias)\n{AVERAGED}",
        False,
    ),
    "strides": (f"class_maps = Conv<strides = [2, 2]>(maps, filters, bias)\n{AVERAGED}", False),
}
BOX = "corners_pooled = GlobalAveragePool(maps)\ncorners = Flatten(corners_pooled)\n"


def write_model(path: Path, head: str, *, box: bool = False, dtype: str = "float") -> Path:
    """image → Conv → Relu ``maps`` → the head; with `box` a linear head for boxes as well."""
    outputs = f"{dtype}[N, {CLASSES}] logits" + (f", {dtype}[N, 4] box" if box else "")
    more = f"{BOX} box = Gemm<transB = 1>(corners, box_rows)" if box else ""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 17]>
        network ({dtype}[N, 3, {SIZE_HW[0]}, {SIZE_HW[1]}] image) => ({outputs}) {{
            convolved = Conv<pads = [1, 1, 1, 1]>(image, kernel)
            maps = Relu(convolved)
            {head}
            {more}
        }}""")
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & set(CONSTANTS)):
        kind = np.int64 if name == "flat" else {"float": np.float32, "float16": np.float16}[dtype]
        model.graph.initializer.append(onnx.numpy_helper.from_array(CONSTANTS[name].astype(kind), name))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def gradients(path: Path, layer: str, targets: list[int], dtype: type = np.float32) -> np.ndarray:
    fed = {
        "image": images(len(targets), SIZE_HW).astype(dtype),
        "target": np.array(targets),
        "explain": np.array([True]),
    }
    return np.asarray(open_session(path).run([f"gradients/{layer}"], fed)[0])


def emitted(path: Path) -> set[str]:
    """The operators of the open branch."""
    (branch,) = [node for node in onnx.load(path).graph.node if node.output[0].startswith("gradients/")]
    return {node.op_type for node in branch.attribute[0].g.node}


@pytest.mark.parametrize("layer", ["maps", "convolved"])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize(("head", "begun_at_a_row"), HEADS.values(), ids=HEADS.keys())
def test_as_by_the_general_rules(tmp_path, monkeypatch, head, begun_at_a_row, box, layer) -> None:
    plain = write_model(tmp_path / "plain.onnx", head, box=box)
    found, general = tmp_path / "found.onnx", tmp_path / "general.onnx"
    options = {"layers": [layer], "box": "box" if box else None, "tail": False}
    instrument(plain, found, **options)
    monkeypatch.setattr(seeds, "find_last_product", lambda *_: None)
    instrument(plain, general, **options)
    # -1: the predicted class; from CLASSES on: the coordinates of the box.
    targets = [0, 3, -1, CLASSES - 1, 3, *([CLASSES, CLASSES + 3] if box else [])]
    expected = gradients(general, layer, targets)
    assert len(np.unique(expected)) > 10, "a gradient that says nothing"
    np.testing.assert_allclose(gradients(found, layer, targets), expected, rtol=1e-5, atol=1e-7)
    assert ("Gather" in emitted(found)) == begun_at_a_row
    assert "Gather" not in emitted(general)


def test_class_maps_are_not_convolved_with_the_weights_of_all_classes(tmp_path) -> None:
    instrument(write_model(tmp_path / "plain.onnx", RECTIFIED), tmp_path / "out.onnx", layers=["maps"], tail=False)
    assert not emitted(tmp_path / "out.onnx") & {"Conv", "ConvTranspose", "ScatterElements"}


@pytest.mark.parametrize("layer", ["before", "class_maps"])
def test_a_layer_behind_the_product(tmp_path, layer) -> None:
    """Its gradient is the one-hot share of the mean, not a row of the weights."""
    instrument(write_model(tmp_path / "plain.onnx", RECTIFIED), tmp_path / "out.onnx", layers=[layer], tail=False)
    found = gradients(tmp_path / "out.onnx", layer, [2])
    assert found.shape == (1, CLASSES, *SIZE_HW)
    share = 1 / (SIZE_HW[0] * SIZE_HW[1])
    assert set(np.unique(found)) <= {0.0, np.float32(share)}
    assert not found[0, np.arange(CLASSES) != 2].any()
    assert found[0, 2].any()


@pytest.mark.parametrize("head", ["Gemm", "class maps behind a Relu"])
def test_half_precision_weights(tmp_path, head) -> None:
    source = {kind: write_model(tmp_path / f"{kind}.onnx", HEADS[head][0], dtype=kind) for kind in ("float", "float16")}
    found = []
    for kind, dtype in (("float", np.float32), ("float16", np.float16)):
        out = tmp_path / f"{kind}.out.onnx"
        instrument(source[kind], out, layers=["maps"], tail=False)
        found.append(gradients(out, "maps", [1, 5], dtype))
    assert found[1].dtype == np.float32
    assert relative_error(found[1], found[0]) < 2e-3


@pytest.mark.parametrize("target", [CLASSES, -CLASSES - 9, 10**6])
def test_a_class_that_does_not_exist(tmp_path, target) -> None:
    instrument(write_model(tmp_path / "plain.onnx", RECTIFIED), tmp_path / "out.onnx", layers=["maps"], tail=False)
    if target < 0:
        expected = gradients(tmp_path / "out.onnx", "maps", [-1])
        np.testing.assert_array_equal(gradients(tmp_path / "out.onnx", "maps", [target]), expected)
        return
    with pytest.raises(Exception, match="out of data bounds"):
        gradients(tmp_path / "out.onnx", "maps", [target])
