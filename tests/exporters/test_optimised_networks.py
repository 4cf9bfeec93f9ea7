"""Networks that ONNX Runtime's optimisers have rewritten: attention, old opsets, integers with channels last."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from torch import nn

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.errors import ModelError
from onnxplain.exporters import instrument
from onnxplain.exporters.file.model_file import prepare
from tests.exporters.graphs import open_session, relative_error

functional = torch.nn.functional
WIDTH, HEADS, CLASSES = 16, 2, 5
EXTENDED, ALL = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Block(nn.Module):
    """A transformer block as people write it: q, k, v by three products."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.norms[0](x)
        q, k, v = (self._heads(product(normal)) for product in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5
        mixed = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = x + self.out(mixed.view(x.shape))
        return x + self.narrow(functional.gelu(self.wide(self.norms[1](x))))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)


class Transformer(nn.Module):
    """image [N, 3, 16, 16] → patches → two blocks → mean → logits."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, WIDTH, 4, 4), nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class Convolutional(nn.Module):
    """A small network with a residual and both kinds of pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.third, self.head = nn.Conv2d(16, 24, 1), nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.first(x)), 2)
        x = torch.relu(self.third(x + torch.relu(self.second(x))))
        return self.head(functional.avg_pool2d(x, 2).mean((2, 3)))


def exported(network: Callable[[], nn.Module], path: Path, opset: int = 17, size: int = 16) -> Path:
    torch.manual_seed(5)
    buffer = BytesIO()
    torch.onnx.export(
        network().eval(),
        (torch.zeros(1, 3, size, size),),
        buffer,
        dynamo=False,
        opset_version=opset,
        input_names=["image"],
        output_names=["logits"],
    )
    path.write_bytes(buffer.getvalue())
    return path


def optimised(source: Path, level: ort.GraphOptimizationLevel) -> Path:
    path = source.with_suffix(f".{int(level)}.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath = level, str(path)
    options.log_severity_level = 3
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return path


def kinds(path: Path) -> set[str]:
    """Operators that are not onnx's, or not of the file's opset."""
    proto = onnx.load(path)
    (opset,) = [entry.version for entry in proto.opset_import if entry.domain == ""]
    return {
        node.op_type
        for node in proto.graph.node
        if node.domain or not onnx.defs.has(node.op_type, max_inclusive_version=opset)
    }


def gradient_of_layer(path: Path, layer: str, size: int = 16) -> np.ndarray:
    image = np.random.default_rng(3).random((1, 3, size, size), np.float32)
    spec = instrument(path, path.with_suffix(".explainable.onnx"), layers=[layer], batch="fixed", tail=False).spec
    feeds = {"image": image, TARGET_INPUT: np.array([2]), EXPLAIN_INPUT: np.array([True])}
    return np.asarray(open_session(path.with_suffix(".explainable.onnx")).run([spec.layers[0].gradients], feeds)[0])


@pytest.mark.parametrize("opset", [13, 17])
def test_transformers_at_the_extended_level(opset: int, tmp_path: Path) -> None:
    """Below opset 17 the optimiser writes operators under the standard domain that onnx does not have there."""
    plain = exported(Transformer, tmp_path / "plain.onnx", opset)
    rewritten = optimised(plain, EXTENDED)
    expected = {"FusedMatMul", "Gelu", "SkipLayerNormalization"}
    assert kinds(rewritten) == expected | (
        {"LayerNormalization", "SimplifiedLayerNormalization"} if opset < 17 else set()
    )
    layer = "/patches/Conv_output_0"
    assert relative_error(gradient_of_layer(rewritten, layer), gradient_of_layer(plain, layer)) < 1e-5


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("kind", ["Attention", "MultiHeadAttention"])
def test_transformers_of_the_transformer_optimiser(kind: str, opset: int, tmp_path: Path) -> None:
    plain, rewritten = exported(Transformer, tmp_path / "plain.onnx", opset), tmp_path / "rewritten.onnx"
    options = FusionOptions("vit")
    options.use_multi_head_attention = kind == "MultiHeadAttention"
    optimizer.optimize_model(
        str(plain), "vit", HEADS, WIDTH, optimization_options=options, opt_level=0
    ).save_model_to_file(str(rewritten))
    assert {kind, "BiasGelu", "SkipLayerNormalization"} <= kinds(rewritten)
    layer = "/patches/Conv_output_0"
    assert relative_error(gradient_of_layer(rewritten, layer), gradient_of_layer(plain, layer)) < 1e-5


def test_dynamically_quantized_transformers(tmp_path: Path) -> None:
    plain = exported(Transformer, tmp_path / "plain.onnx")
    quantized = tmp_path / "quantized.onnx"
    # Weights in uint8, whose kernels compute the same on every processor.
    quantize_dynamic(plain, quantized, weight_type=QuantType.QUInt8)
    rewritten = optimised(quantized, EXTENDED)
    assert {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"} <= kinds(rewritten)
    layer = "/Transpose_output_0"
    assert relative_error(gradient_of_layer(rewritten, layer), gradient_of_layer(quantized, layer)) < 1e-5


class Images(CalibrationDataReader):
    """Four random images."""

    def __init__(self) -> None:
        self._left = iter([np.random.default_rng(i).random((1, 3, 32, 32), np.float32) for i in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image}


@pytest.mark.parametrize("quant_format", [QuantFormat.QDQ, QuantFormat.QOperator], ids=["QDQ", "QOperator"])
def test_quantized_networks_with_channels_last(quant_format: QuantFormat, tmp_path: Path) -> None:
    """The level ALL turns 8-bit convolutions to channels last; gradients are those of the level EXTENDED."""
    plain, quantized = exported(Convolutional, tmp_path / "plain.onnx", size=32), tmp_path / "quantized.onnx"
    quantize_static(
        plain,
        quantized,
        Images(),
        quant_format=quant_format,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
    )
    first, last = optimised(quantized, EXTENDED), optimised(quantized, ALL)
    assert {"QLinearConv", "NhwcMaxPool"} <= kinds(last)
    assert not {"QLinearConv", "NhwcMaxPool"} & kinds(first)
    # The first map is behind a convolution with channels last, and has another name there.
    for in_first, in_last in (("0%", "/first/Conv"), ("auto", "auto")):
        found, expected = gradient_of_layer(last, in_last, 32), gradient_of_layer(first, in_first, 32)
        assert relative_error(found, expected) < 1e-5


def test_memory_layouts_of_onnxruntime_are_refused_by_name(tmp_path: Path) -> None:
    rewritten = optimised(exported(Convolutional, tmp_path / "plain.onnx", size=32), ALL)
    domains = {node.domain for node in onnx.load(rewritten).graph.node}
    if "com.microsoft.nchwc" not in domains:
        pytest.skip("no blocked layout on this processor")
    with pytest.raises(ModelError, match=r"operator com\.microsoft\.nchwc\.\w+ at node .*ORT_ENABLE_EXTENDED"):
        prepare(onnx.load(rewritten))


@pytest.mark.parametrize("domain", ["com.microsoft.nchwc", "com.ms.internal.nhwc"])
def test_every_memory_layout_is_named(domain: str) -> None:
    node = onnx.helper.make_node("Conv", ["image", "w"], ["y"], domain=domain, name="the_node")
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 4, 4])
    graph = onnx.helper.make_graph([node], "graph", [value], [onnx.ValueInfoProto(name="y")])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(ModelError, match=rf"operator {domain}\.Conv at node 'the_node': found .*expected standard"):
        prepare(proto)
