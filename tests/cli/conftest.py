"""Small models and images on disk, and the command line to run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from onnxplain.cli.main import cli
from onnxplain.exporters import instrument
from tests.models import ExplainableModel, write_classifier

RunCommand = Callable[..., Result]


@pytest.fixture
def run() -> RunCommand:
    """Run one command line, words or a list of them, in this process."""

    def invoke(*words: object, may_fail: bool = False) -> Result:
        result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        # The last barrier turns an error that nothing caught into one line: in a test it is a fault.
        assert may_fail or "internal error" not in result.stderr
        # Tables are padded to the right of their last column; what is printed is not.
        assert [line for line in result.stdout.splitlines() if line.endswith(" ")] == []
        return result

    return invoke


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files.

    explainable.onnx is a localizer by hand with labels, plain.onnx gives logits alone; conv.onnx can be instrumented,
    instrumented.onnx is what becomes of it, at the layers map and convolved.
    """
    folder = tmp_path_factory.mktemp("models")
    ExplainableModel().write(folder / "explainable.onnx")
    write_classifier(folder / "plain.onnx")
    write_convolutional(folder / "conv.onnx")
    instrument(folder / "conv.onnx", folder / "instrumented.onnx", layers=["convolved", "map"], labels=list("vwxyz"))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three photos, a.png, b.jpg and c.PNG, and a text file beside them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, (name, size_hw) in enumerate({"a.png": (30, 40), "b.jpg": (50, 20), "c.PNG": (24, 24)}.items()):
        write_photo(folder / name, size_hw, seed)
    (folder / "notes.txt").write_text("no image")
    return folder


def write_photo(path: Path, size_hw: tuple[int, int] = (30, 40), seed: int = 0) -> Path:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(coarse).resize(size_hw[::-1], Image.Resampling.BILINEAR).save(path)
    return path


def write_convolutional(path: Path, *, box: bool = False) -> Path:
    """Conv, Relu, global average pooling, linear head of 5 classes, float [N, 3, 12, 16]; `box` adds a box head."""
    rng = np.random.default_rng(3)
    constants = {
        "kernel": rng.normal(size=(6, 3, 3, 3)).astype(np.float32),
        "weights": rng.normal(size=(5, 6)).astype(np.float32),
        "corners": rng.normal(size=(4, 6)).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        node("Relu", ["convolved"], ["map"]),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "weights"], ["logits"], transB=1),
        node("Gemm", ["flat", "corners"], ["where"], transB=1),
    ]
    tensor = helper.make_tensor_value_info
    outputs = [tensor("logits", TensorProto.FLOAT, ["N", 5]), tensor("where", TensorProto.FLOAT, ["N", 4])]
    if not box:
        nodes, outputs = nodes[:-1], outputs[:-1]
        del constants["corners"]
    graph = helper.make_graph(
        nodes,
        "convolutional",
        [tensor("image", TensorProto.FLOAT, ["N", 3, 12, 16])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path
