"""The layer `input`: the gradient at the pixels, for every layout and type of the image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from onnxplain.contract import Preprocessing
from onnxplain.errors import ModelError
from onnxplain.explainers import GradCAM
from onnxplain.exporters import instrument, survey
from onnxplain.runtime import Engine

RAW = Preprocessing("rgb", 1.0, (0,) * 3, (1,) * 3, "stretch")
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 6, 3, padding=1)
    first.weight.data /= 64
    parts = [first, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(120, 4)]
    return nn.Sequential(*parts).eval()


def written(folder: Path, module: nn.Module, sample: torch.Tensor) -> Path:
    file, path = io.BytesIO(), folder / "plain.onnx"
    torch.onnx.export(
        module, (sample,), file, dynamo=False, input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}}, opset_version=18,
    )  # fmt: skip
    path.write_bytes(file.getvalue())
    return path


class Last(nn.Module):
    """The network for channels last, of float or uint8."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.inner(image.float().permute(0, 3, 1, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["nchw", "nhwc", "nhwc uint8"])
def test_the_gradient_is_autograds(tmp_path: Path, form: str) -> None:
    inner = network()
    if form == "nchw":
        plain = written(tmp_path, inner, torch.rand(1, 3, 16, 12))
    else:
        sample = torch.zeros(1, 16, 12, 3, dtype=torch.uint8 if "uint8" in form else torch.float32)
        plain = written(tmp_path, Last(inner), sample)
    instrument(plain, tmp_path / "out.onnx", layers=["input", "auto"], preprocessing=RAW)
    engine = Engine(tmp_path / "out.onnx", threads=1)
    assert (engine.spec.layers[0].name, len(engine.spec.layers)) == ("input", 2)
    seen = engine.activations(PHOTO, [2, 0], "input")
    pixels = torch.from_numpy(PHOTO.transpose(2, 0, 1)[None].copy()).float()
    for row, target in enumerate((2, 0)):
        leaf = pixels.clone().requires_grad_()
        (expected,) = torch.autograd.grad(inner(leaf)[0, target], leaf)
        np.testing.assert_array_equal(seen.features[row], pixels[0])
        np.testing.assert_allclose(seen.gradients[row], expected[0], atol=1e-5 * float(expected.abs().max()))
    # Spread over the whole input.
    assert engine.spec.frame_of(engine.spec.layers[0]) is None


@pytest.mark.filterwarnings("ignore")
def test_the_input_is_never_what_others_take_by_default(tmp_path: Path) -> None:
    plain = written(tmp_path, network(), torch.rand(1, 3, 16, 12))
    assert "input" not in [candidate.name for candidate in survey(plain)]
    for name, layers in {"alone": ["input"], "twice": ["input", "auto", "input"]}.items():
        instrument(plain, tmp_path / f"{name}.onnx", layers=layers, preprocessing=RAW)
    alone, twice = (Engine(tmp_path / f"{name}.onnx") for name in ("alone", "twice"))
    names = [layer.name for layer in alone.spec.layers]
    assert names == [layer.name for layer in twice.spec.layers]
    assert names[0] == "input" and len(names) == 2
    for layer in (None, "all"):
        assert GradCAM(alone, layer)(PHOTO).layer == names[1]
    without = tmp_path / "again.onnx"
    instrument(tmp_path / "alone.onnx", without, preprocessing=RAW)
    assert [layer.name for layer in Engine(without).spec.layers] == names[1:]


def test_an_image_without_a_batch_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["image", "axis"], ["batched"]),
        helper.make_node("Conv", ["batched", "kernel"], ["maps"]),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"]),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "axis": np.array([0]),
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "weights": rng.normal(size=(4 * 36, 5)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match=r"^layer input: found the input image without a batch axis"):
        instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", layers=["input"], preprocessing=RAW)
