"""Token models: the map is found behind class, distillation and register tokens, on grids that are not square."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from onnxplain.exporters import export
from onnxplain.exporters.writing.verdicts import NoTail, TailFault, TailVerdict

SIZE_HW, PATCH, WIDTH, BLOCKS = (48, 32), 8, 16, 2
GRID_HW = (SIZE_HW[0] // PATCH, SIZE_HW[1] // PATCH)

Readout = Literal["class token", "mean of patches"]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) with `extra` tokens before the patches."""

    def __init__(self, extra: int, readout: Readout) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.extra = nn.Parameter(torch.randn(1, extra, WIDTH))
        self.position = nn.Parameter(torch.randn(1, extra + GRID_HW[0] * GRID_HW[1], WIDTH) / 10)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head, self.readout = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5), readout

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(image.shape[0], -1, -1), patches], 1) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.readout == "class token" else x[:, self.extra.shape[1] :].mean(1))


def _network(extra: int, readout: Readout) -> Transformer:
    torch.manual_seed(extra)
    return Transformer(extra, readout).eval()


def _reference(network: Transformer, path: str, images: torch.Tensor, targets: list[int]) -> tuple[np.ndarray, ...]:
    """Features and gradients of a block's module by autograd, tokens cut and folded by hand."""
    kept: list[torch.Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = network(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(sum(logits[row, target] for row, target in enumerate(targets)), kept[0])
    extra = network.extra.shape[1]

    def fold(tokens: torch.Tensor) -> np.ndarray:
        return tokens[:, extra:].transpose(1, 2).reshape(len(images), WIDTH, *GRID_HW).detach().numpy()

    return fold(kept[0]), fold(gradient)


@pytest.mark.parametrize(
    ("extra", "readout", "path"),
    [
        (1, "class token", "blocks.1.norm1"),
        (2, "class token", "blocks.1.norm1"),
        (5, "class token", "blocks.1.norm1"),
        (0, "mean of patches", "norm"),
        (1, "mean of patches", "norm"),
    ],
)
def test_auto_is_the_last_map_that_the_logits_read_whole(extra: int, readout: Readout, path: str, tmp_path: Path):
    network = _network(extra, readout)
    report = export(network, tmp_path / "model.onnx", input_size_hw=SIZE_HW)
    (layer,) = report.spec.layers
    assert (layer.channels, layer.size_hw) == (WIDTH, GRID_HW)
    no_tail = NoTail(TailFault.MORE_TOKENS, layer.name, tokens=extra)
    assert report.tail == (TailVerdict(fault=no_tail) if extra else TailVerdict("model.tail.onnx"))
    images, targets = torch.randn(3, 3, *SIZE_HW), [4, 0, 2]
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {"image": images.numpy(), "target": np.array(targets), "explain": np.array([True])}
    features, gradients = session.run([layer.features, layer.gradients], feed)
    expected_features, expected_gradients = _reference(network, path, images, targets)
    np.testing.assert_allclose(features, expected_features, rtol=1e-4, atol=1e-5)
    scale = np.linalg.norm(expected_gradients)
    assert np.linalg.norm(gradients - expected_gradients) <= 1e-4 * scale


def test_named_modules_of_tokens_are_maps(tmp_path: Path):
    paths = ["embed", "blocks.0", "blocks.0.norm2", "blocks.1.norm1"]
    report = export(_network(1, "class token"), tmp_path / "model.onnx", input_size_hw=SIZE_HW, layers=paths)
    assert {layer.name for layer in report.spec.layers} == set(paths)
    for check, layer in zip(report.checks.layers, report.spec.layers, strict=True):
        assert check.reference == "torch.autograd"
        assert check.relative_error < 1e-4
        assert layer.size_hw == GRID_HW
