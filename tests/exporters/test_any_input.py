"""Inputs that are no photos: other channels, all dimensions open, no batch axis, int8. Values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from onnxplain import Engine
from onnxplain.contract import PRESETS, PreprocessingParts
from onnxplain.errors import ModelError
from onnxplain.explainers import RISE, GradCAM
from onnxplain.exporters import instrument
from onnxplain.runtime.preprocess import warp_image

SIDE, CLASSES = 32, 5
RNG = np.random.default_rng(9)


class Network(nn.Module):
    """Two convolutions, a hidden layer, logits; it takes batches, or one image without a batch axis."""

    def __init__(self, channels: int, *, batched: bool = True) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(channels, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh())
        self.hidden, self.classes, self.batched = nn.Linear(8, 7), nn.Linear(7, CLASSES), batched

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        return self.classes(torch.tanh(self.hidden(maps.mean((2, 3)))))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.maps(image if self.batched else image.unsqueeze(0)))
        return logits if self.batched else logits.squeeze(0)

    def gradient(self, image_nchw: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
        """The maps of the last layer and d logit / d maps, by torch.autograd."""
        maps = self.maps(torch.from_numpy(image_nchw)).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.head(maps)[0, target], maps)
        return maps.detach().numpy(), gradient.numpy()


def write(path: Path, module: nn.Module, image: torch.Tensor, axes: dict[int, str] | None = None) -> Path:
    torch.onnx.export(
        module.eval(),
        (image,),
        path,
        dynamo=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes=None if axes is None else {"image": axes, "logits": {0: "batch"}},
    )
    return path


def network(channels: int, **options: Any) -> Network:
    torch.manual_seed(channels)
    return Network(channels, **options).eval()


def logits_of(path: Path, feed: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {session.get_inputs()[0].name: feed})[0])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [2, 4, 12])
def test_many_channels(channels: int, tmp_path: Path) -> None:
    module = network(channels)
    plain = write(tmp_path / "plain.onnx", module, torch.rand(1, channels, SIDE, SIDE), {0: "batch"})
    stated = PreprocessingParts(scale=0.5, mean=(0.1,), std=(2.0,), pixels="native", resize="stretch")
    instrument(plain, tmp_path / "out.onnx", preprocessing=stated)
    image = RNG.random((channels, SIDE, SIDE)).astype(np.float32)
    fed = ((image * 0.5 - 0.1) / 2)[None].astype(np.float32)
    maps, gradient = module.gradient(fed, 3)
    for engine in (Engine(tmp_path / "out.onnx"), Engine(plain, preprocessing=stated)):
        expected = softmax(logits_of(plain, fed)[0])
        # First and last channels are told apart by their number.
        for given in (image, image.transpose(1, 2, 0)):
            assert np.allclose(engine.predict(given)[0].scores, expected, atol=1e-5)
    engine = Engine(tmp_path / "out.onnx")
    assert str(engine.spec.input.origins.channels) == "read from the graph"
    activations = engine.activations(image, 3)
    assert activations.gradients is not None
    assert np.allclose(activations.features, maps, atol=1e-5)
    assert np.allclose(activations.gradients, gradient, atol=1e-6)
    explanation = RISE(engine, masks=16)(image)
    assert explanation.heatmap.shape == (SIDE, SIDE)
    assert explanation.overlay(image).shape == (SIDE, SIDE, 3)
    assert RISE(engine, masks=16, fill="blur")(image).heatmap.shape == (SIDE, SIDE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [1, 3])
def test_all_dimensions_open(channels: int, tmp_path: Path) -> None:
    """Optimum and transformers.js: pixel_values [batch_size, num_channels, height, width]."""
    module = network(channels)
    names = {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"}
    plain = write(tmp_path / "plain.onnx", module, torch.rand(1, channels, SIDE, SIDE), names)
    with pytest.raises(ModelError, match=r"height \(dimension 2, 'height'\).*--size HxW"):
        instrument(plain, tmp_path / "out.onnx")
    order: Any = {1: "gray", 3: "rgb"}[channels]
    stated = PreprocessingParts(preset="unit", channels=order, resize="stretch")
    report = instrument(plain, tmp_path / "out.onnx", preprocessing=stated, input_size_hw=(SIDE, SIDE))
    assert f"input fixed to [?, {channels}, {SIDE}, {SIDE}]" in report.steps
    photo = np.repeat(RNG.integers(0, 256, (SIDE, SIDE, 1), np.uint8), 3, axis=2)
    fed = (photo[..., :channels].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    activations = Engine(tmp_path / "out.onnx").activations(photo, 2)
    assert np.allclose(activations.gradients, module.gradient(fed, 2)[1], atol=1e-6)
    engine = Engine(plain, preprocessing=stated, input_size_hw=(SIDE, SIDE))
    assert np.allclose(engine.predict(photo)[0].scores, softmax(logits_of(plain, fed)[0]), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_one_image_without_a_batch_axis(tmp_path: Path) -> None:
    module = network(3, batched=False)
    plain, out = write(tmp_path / "plain.onnx", module, torch.rand(3, SIDE, SIDE)), tmp_path / "out.onnx"
    report = instrument(plain, out, preprocessing=PreprocessingParts(preset="unit", resize="stretch"))
    assert report.spec.input.layout == "chw"
    written, original = (onnx.load(path).graph for path in (out, plain))
    assert written.input[0] == original.input[0]
    assert written.output[0] == original.output[0]
    photos = [RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(2)]
    engine = Engine(out)
    activations = engine.activations(photos, [1, 4])
    for row, (photo, target) in enumerate(zip(photos, (1, 4), strict=True)):
        fed = (photo.transpose(2, 0, 1) / 255).astype(np.float32)
        maps, gradient = module.gradient(fed[None], target)
        assert activations.gradients is not None
        assert np.allclose(activations.features[row], maps[0], atol=1e-5)
        assert np.allclose(activations.gradients[row], gradient[0], atol=1e-6)
        expected = softmax(logits_of(plain, fed))
        for opened in (engine, Engine(plain, preprocessing=PRESETS["unit"])):
            frame = opened.prepare(photo).frames[0]
            seen = (warp_image(photo, frame).transpose(2, 0, 1) / 255).astype(np.float32)
            assert np.allclose(opened.predict(photo)[0].scores, softmax(logits_of(plain, seen)), atol=1e-5)
        assert np.allclose(engine.predict(photo)[0].scores, expected, atol=1e-5)
    assert len(GradCAM(engine)(photos)) == 2
    for opened in (engine, Engine(plain, preprocessing=PRESETS["unit"])):
        assert RISE(opened, masks=12)(photos[0]).heatmap.shape == (SIDE, SIDE)


def write_int8(path: Path) -> Path:
    """TFLite's form: int8 pixels [1, H, W, 3], zero point −128, dequantized to 0…1, then a float network."""
    kernel = RNG.normal(size=(8, 3, 3, 3)).astype(np.float32)
    head = RNG.normal(size=(8, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["real"]),
        helper.make_node("Transpose", ["real"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "kernel"], ["conv"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    stored = {"scale": np.float32(1 / 255), "zero": np.int8(-128), "kernel": kernel, "head": head}
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("image", TensorProto.INT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("stated", [None, PreprocessingParts(preset="raw", resize="stretch")])
def test_int8_is_pixel_minus_128(stated: PreprocessingParts | None, tmp_path: Path) -> None:
    plain, out = write_int8(tmp_path / "plain.onnx"), tmp_path / "out.onnx"
    instrument(plain, out, preprocessing=stated)
    photo = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for engine in (Engine(out), Engine(plain, preprocessing=stated)):
        frame = engine.prepare(photo).frames[0]
        fed = (warp_image(photo, frame).astype(np.int16) - 128).astype(np.int8)[None]
        assert np.allclose(engine.predict(photo)[0].scores, softmax(logits_of(plain, fed)[0]), atol=1e-5)
        assert RISE(engine, masks=12)(photo).heatmap.shape == (SIDE, SIDE)
    gradients = Engine(out).activations(photo, 2).gradients
    assert gradients is not None
    # Global average pooling and a product: d logit / d maps = head / (h · w).
    head = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(plain).graph.initializer}["head"]
    expected = np.broadcast_to(head[:, 2, None, None] / gradients[0, 0].size, gradients.shape[1:])
    assert np.allclose(gradients[0], expected, atol=1e-7)
