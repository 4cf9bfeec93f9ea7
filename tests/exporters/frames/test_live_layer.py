"""`auto`, shares and the star of `inspect` never mean a map whose gradient is zero by the graph's structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from onnxplain.errors import ModelError
from onnxplain.exporters import ExportReport, export, instrument, survey
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from tests.exporters.frames.dot_networks import Net, parts_of
from tests.exporters.onnx_models import save
from tests.exporters.test_tokens import GRID_HW, SIZE_HW, WIDTH, Transformer

TARGET = 2


class RowsLinear(nn.Module):
    """A linear layer as optimisers write it: the tokens of all images as rows of one Gemm."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.linear(x.reshape(-1, x.shape[-1]))
        return rows.reshape(-1, x.shape[1], rows.shape[-1])


def _transformer(form: str) -> Transformer:
    torch.manual_seed(3)
    network = Transformer(1, "class token").eval()
    if form == "rows":
        for block in network.blocks:
            block.attention.out, block.attention.qkv = map(RowsLinear, (block.attention.out, block.attention.qkv))
            block.mlp[0], block.mlp[2] = RowsLinear(block.mlp[0]), RowsLinear(block.mlp[2])
    return network


def _gradients(network: Transformer, path: str, images: torch.Tensor, target: int) -> np.ndarray:
    """∂logit/∂tokens of a module's output by autograd, without the class token: [N, K, h, w]."""
    kept: list[torch.Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = network(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), kept[0])
    return gradient[:, 1:].transpose(1, 2).reshape(len(images), WIDTH, *GRID_HW).numpy()


@pytest.fixture(scope="module", params=["tokens", "rows"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Transformer, ExportReport]:
    network = _transformer(request.param)
    path = tmp_path_factory.mktemp("live") / f"{request.param}.onnx"
    return network, export(network, path, input_size_hw=SIZE_HW, tail=False)


def _found(path: Path, gradients: str, images: torch.Tensor) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    targets = np.full(len(images), TARGET)
    feed = {"image": images.numpy(), "target": targets, "explain": np.array([True])}
    found: np.ndarray = session.run([gradients], feed)[0]
    return found


def test_auto_takes_a_live_layer_of_a_class_token_transformer(exported: tuple[Transformer, ExportReport]) -> None:
    network, report = exported
    images = torch.randn(2, 3, *SIZE_HW)
    assert not _gradients(network, "blocks.1", images, TARGET).any(), "the last block's patches lead nowhere"
    (layer,) = report.spec.layers
    expected = _gradients(network, "blocks.1.norm1", images, TARGET)
    found = _found(report.path, layer.gradients, images)
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def test_no_dead_map_is_automatic(exported: tuple[Transformer, ExportReport], tmp_path: Path) -> None:
    """The gradient of every map that may be chosen is not zero, by autograd; neither is that of what a share means."""
    _, report = exported
    plain = tmp_path / "plain.onnx"
    onnx.save(_plain(report.path), plain)
    (chosen,) = [candidate for candidate in survey(plain) if candidate.chosen]
    assert chosen.name == report.spec.layers[0].name
    (layer,) = instrument(plain, tmp_path / "again.onnx", layers=["100%"], tail=False).spec.layers
    assert np.abs(_found(tmp_path / "again.onnx", layer.gradients, torch.randn(1, 3, *SIZE_HW))).max() > 0


def _plain(path: Path) -> onnx.ModelProto:
    proto = onnx.load(path)
    earlier = earlier_spec(proto)
    assert earlier is not None
    return strip_instrumentation(proto, earlier)


def _two_heads() -> tuple[onnx.ModelProto, dict[str, str]]:
    """A trunk, and two branches of which each gives half of the logits."""
    net = Net()
    names = {"trunk": net.conv(pads=[1] * 4, channels=6)}
    halves = []
    for branch in ("left", "right"):
        net.value, net.channels = names["trunk"], 6
        names[branch] = net.conv(pads=[1] * 4, channels=8)
        net.add("ReduceMean", net.ints(2, 3), keepdims=0)
        halves.append(net.add("MatMul", net.constant(np.ones((8, 2), np.float32))))
    net.nodes.append(onnx.helper.make_node("Concat", halves, ["logits"], axis=1))
    return net.finished(), names


def test_a_map_that_half_of_the_logits_see_is_not_automatic(tmp_path: Path) -> None:
    model, names = _two_heads()
    report = instrument(save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx", tail=False)
    assert [layer.name for layer in report.spec.layers] == [names["trunk"]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_not_automatic(channels: int) -> None:
    net = Net()
    features = net.conv(pads=[1] * 4, channels=6)
    net.conv((1, 1), channels=channels)
    anatomy = parts_of(net.model())
    assert [layer.name for layer in anatomy.layers if layer.automatic] == [features]


def test_without_a_live_layer_auto_says_so(tmp_path: Path) -> None:
    """Both branches, and no trunk: each map leads to half of the logits."""
    model, names = _two_heads()
    trunk = next(node for node in model.graph.node if node.output[0] == names["trunk"])
    for node in model.graph.node:
        for number, source in enumerate(node.input):
            if source == names["trunk"]:
                node.input[number] = "image"
    model.graph.node.remove(trunk)
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[1] = "narrow"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "narrow"))
    with pytest.raises(ModelError, match="no feature map"):
        instrument(save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx", tail=False)
