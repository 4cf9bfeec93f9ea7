"""What attention is refused, by name, and which tokens a head reads."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.explainers import build
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.explainers.attention_networks import PREPROCESSING

pytestmark = pytest.mark.filterwarnings("ignore")
WIDTH, SIDE = 4, 4


class Odd(nn.Module):
    """One layer of attention over 4 × 4 patches that `mix` computes, and a head that `read` computes."""

    def __init__(self, mix: Callable[..., torch.Tensor], read: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Conv2d(3, WIDTH, 2, 2), nn.Linear(WIDTH, 3 * WIDTH)
        self.mix, self.read = mix, read
        self.head = nn.LazyLinear(5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        return self.head(self.read(tokens + self.mix(*self.qkv(tokens).chunk(3, -1))))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.transpose(-2, -1), -1) @ v


def among_all(*parts: torch.Tensor) -> torch.Tensor:
    return attend(*(each.unsqueeze(1) for each in parts)).squeeze(1)


def in_windows(*parts: torch.Tensor) -> torch.Tensor:
    """Windows of 2 × 4 tokens."""
    mixed = attend(*(each.reshape(-1, 1, 8, WIDTH) for each in parts))
    return mixed.reshape(-1, 16, WIDTH)


def from_fewer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Keys and values of 2 × 2 places."""
    small = [
        nn.functional.avg_pool2d(each.transpose(1, 2).reshape(-1, WIDTH, SIDE, SIDE), 2).flatten(2).transpose(1, 2)
        for each in (k, v)
    ]
    return among_all(q, *small)


def among_channels(*parts: torch.Tensor) -> torch.Tensor:
    q, k, v = (each.transpose(1, 2).unsqueeze(1) for each in parts)
    return attend(q, k, v).squeeze(1).transpose(1, 2)


def twice_apart(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return among_all(q, k, v) + among_all(k, q, v)


class Crossing(Odd):
    """Two layers; the head reads what the first gives beside what the second gives."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        first = self.mix(*self.qkv(tokens).chunk(3, -1))
        second = self.mix(*self.qkv(tokens + first).chunk(3, -1))
        return self.head(self.read(2 * first - second))


class Early(Odd):
    """The head reads the patches too, beside what the attention gives."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        return self.head(self.read(self.mix(*self.qkv(tokens).chunk(3, -1))) + self.read(tokens))


def mean(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.mean(1)


def written(folder: Path, network: nn.Module) -> Path:
    torch.manual_seed(0)
    network(torch.rand(1, 3, 8, 8))
    file = io.BytesIO()
    torch.onnx.export(
        network.eval(), (torch.rand(1, 3, 8, 8),), file, dynamo=False, input_names=["image"], opset_version=17
    )
    (folder / "plain.onnx").write_bytes(file.getvalue())
    return folder / "plain.onnx"


def fused(folder: Path) -> Path:
    """Attention that ONNX Runtime's optimiser for transformers wrote."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["maps"], strides=[2, 2]),
        helper.make_node("Reshape", ["maps", "shape"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node(
            "MultiHeadAttention", ["tokens"] * 3, ["mixed"], "attention", domain="com.microsoft", num_heads=2
        ),
        helper.make_node("ReduceMean", ["mixed"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "weights"], ["logits"]),
    ]
    constants = {
        "kernel": rng.normal(size=(WIDTH, 3, 2, 2)).astype(np.float32),
        "shape": np.array([0, WIDTH, 16]),
        "weights": rng.normal(size=(WIDTH, 5)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "plain.onnx")
    return folder / "plain.onnx"


def convolutions(folder: Path) -> Path:
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.Softmax(-1)
    return written(folder, nn.Sequential(*layers))


REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (convolutions, "found no attention, expected a transformer"),
    (fused, "found MultiHeadAttention 'attention', a fused operator"),
    (lambda folder: written(folder, Odd(in_windows, mean)), "found Softmax .*, which works within windows"),
    (lambda folder: written(folder, Odd(from_fewer, mean)), "found Softmax .* of 16 tokens that take from 4 others"),
    (lambda folder: written(folder, Odd(among_channels, mean)), "found Softmax .*, whose tokens form no grid"),
    (lambda folder: written(folder, Odd(twice_apart, mean)), "found Softmax .*, which does not follow the attention"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_other_attention_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ModelError, match=f"^layer attention: {message}") as refused:
        instrument(make(tmp_path), tmp_path / "out.onnx", layers=["attention"], preprocessing=PREPROCESSING)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.onnx").exists()


# A number for each token.
SHARES, SHOWN = torch.linspace(0.5, 1.5, 16)[:, None], (torch.arange(16) > 3)[:, None]
BY_PLACE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "each at its own place": lambda tokens: tokens.flatten(1),
    "weighed by a factor": lambda tokens: (tokens * SHARES).sum(1),
    "weighed by a divisor": lambda tokens: (tokens / SHARES).sum(1),
    "chosen": lambda tokens: torch.where(SHOWN, tokens, torch.zeros(1)).sum(1),
}


@pytest.mark.parametrize("read", BY_PLACE)
def test_a_head_that_reads_tokens_by_their_places_is_refused(tmp_path: Path, read: str) -> None:
    plain = written(tmp_path, Odd(among_all, BY_PLACE[read]))
    instrument(plain, tmp_path / "out.onnx", layers=["attention"], preprocessing=PREPROCESSING)
    engine = Engine(tmp_path / "out.onnx", threads=1)
    assert engine.spec.attention.reads == (None,)
    with pytest.raises(UnsupportedError, match=r"^attention-rollout: found the head .* which does not read one token"):
        build("attention-rollout", engine)(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("network", [Crossing, Early])
def test_a_head_that_reads_more_than_a_block_is_not_read_on_others(tmp_path: Path, network: type[Odd]) -> None:
    plain = written(tmp_path, network(among_all, mean))
    instrument(plain, tmp_path / "out.onnx", layers=["attention"], preprocessing=PREPROCESSING)
    engine = Engine(tmp_path / "out.onnx", threads=1)
    assert not engine.spec.attention.layerwise
    with pytest.raises(UnsupportedError, match=r"^legrad: needs .* leaves it out where blocks do not end alike"):
        build("legrad", engine)
    found = build("grad-x-attention", engine)(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    assert found.status == "ok"
