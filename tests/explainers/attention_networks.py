"""Small transformers that keep their attention matrices, exported and instrumented, and the formulas in ten lines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from torch import nn

from onnxplain.contract import Preprocessing

Reading = Literal["class token", "two tokens", "patches", "all"]
SIZE_HW, GRID_HW, PATCH, CLASSES = (12, 20), (3, 5), 4, 6
PREPROCESSING = Preprocessing("rgb", 1 / 64, (2.0,) * 3, (1.0,) * 3, "stretch")
LEADING: dict[Reading, int] = {"class token": 1, "two tokens": 2, "patches": 3, "all": 0}
READ: dict[Reading, slice] = {
    "class token": slice(0, 1),
    "two tokens": slice(0, 2),
    "patches": slice(3, 18),
    "all": slice(0, 15),
}


class Block(nn.Module):
    """Attention of explicit matrices, which `kept` gets, and a perceptron, each behind a normalization."""

    def __init__(self, width: int, heads: int, *, merged: bool) -> None:
        super().__init__()
        self.heads, self.merged = heads, merged
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.kept: torch.Tensor | None = None
        self.ended: torch.Tensor | None = None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[N, T, D] → [N, T, D]."""
        count, length, width = tokens.shape
        parts = self.qkv(self.norm1(tokens)).reshape(count, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if self.merged:
            # As torch's own attention was exported once: [N · heads, T, d].
            q, k, v = (each.reshape(count * self.heads, length, width // self.heads) for each in (q, k, v))
        self.kept = torch.softmax(q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5, dim=-1)
        mixed = self.kept @ v
        if self.merged:
            mixed = mixed.reshape(count, self.heads, length, width // self.heads)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(count, length, width))
        self.ended = tokens + self.mlp(self.norm2(tokens))
        return self.ended


class Transformer(nn.Module):
    """A vision transformer of 12 × 20 pixels and 3 × 5 patches, with a head that reads one token or a mean."""

    def __init__(self, reading: Reading = "class token", *, merged: bool = False, boxes: bool = False) -> None:
        super().__init__()
        width = 8
        self.reading: Reading = reading
        self.embed = nn.Conv2d(3, width, PATCH, PATCH)
        self.leading = nn.Parameter(torch.randn(1, LEADING[reading], width))
        self.places = nn.Parameter(0.3 * torch.randn(1, LEADING[reading] + 15, width))
        self.blocks = nn.ModuleList(Block(width, 2, merged=merged) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head, self.other = nn.Linear(width, CLASSES), nn.Linear(width, CLASSES)
        self.box = nn.Linear(width, 4) if boxes else None

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits, and a box that is the mean of the patches where there is one."""
        patches = self.embed(image).flatten(2).transpose(1, 2)
        leading = [self.leading.expand(len(image), -1, -1)] if LEADING[self.reading] else []
        tokens = torch.cat([*leading, patches], 1) + self.places
        for block in self.blocks:
            tokens = block(tokens)
        logits = self.read(self.norm(tokens))
        return logits if self.box is None else (logits, self.box(tokens[:, LEADING[self.reading] :].mean(1)))

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits from the normalized tokens."""
        if self.reading == "class token":
            return self.head(tokens[:, 0])
        if self.reading == "two tokens":
            return (self.head(tokens[:, 0]) + self.other(tokens[:, 1])) / 2
        return self.head(tokens[:, LEADING[self.reading] :].mean(1))

    def seen(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """All numbers of the outputs side by side, and the matrices of the blocks, [N, heads, T, T]."""
        outputs = self(image)
        matrices = [block.kept for block in self.blocks]
        assert all(each is not None for each in matrices)
        return torch.cat(outputs, 1) if isinstance(outputs, tuple) else outputs, matrices


def make_transformer(reading: Reading = "class token", *, merged: bool = False, boxes: bool = False) -> Transformer:
    """A network with random weights, the same at every call."""
    torch.manual_seed(0)
    network = Transformer(reading, merged=merged, boxes=boxes).eval()
    for part in network.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.Linear):
            part.weight.data *= 2
    return network


def export(network: nn.Module, path: Path, *, batch: Literal["1", "dynamic"], dynamo: bool = False) -> Path:
    """Write a plain file."""
    names = ["logits", "box"] if getattr(network, "box", None) is not None else ["logits"]
    sample, file = torch.rand(2 if dynamo and batch == "dynamic" else 1, 3, *SIZE_HW), io.BytesIO()
    if dynamo:
        shapes = ({0: torch.export.Dim("N")},) if batch == "dynamic" else None
        torch.onnx.export(network, (sample,), path, dynamo=True, input_names=["image"], dynamic_shapes=shapes)
        return path
    torch.onnx.export(
        network, (sample,), file, dynamo=False, input_names=["image"], output_names=names, opset_version=17,
        dynamic_axes={"image": {0: "N"}} if batch == "dynamic" else {},
    )  # fmt: skip
    path.write_bytes(file.getvalue())
    return path


def optimise(path: Path) -> None:
    """Rewrite the file as ONNX Runtime optimises it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    Path(options.optimized_model_filepath).replace(path)


def autograd(network: Transformer, pixels: np.ndarray, entry: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A and ∂y/∂A of every block for one image (3, H, W), float64 (heads, T, T)."""
    try:
        outputs, matrices = network.double().seen(torch.from_numpy(pixels[None]).double())
        gradients = torch.autograd.grad(outputs[0, entry], matrices)
    finally:
        network.float()
    size = matrices[0].shape[-1]
    shaped = [[each.detach().numpy().reshape(-1, size, size) for each in part] for part in (matrices, gradients)]
    return shaped[0], shaped[1]


def legrad(network: Transformer, pixels: np.ndarray, entry: int, sign: int = 1) -> np.ndarray:
    """Bousselham et al. 2024: the head on each block, its gradient at the attention of that block; float64 (T,)."""
    network = network.double()
    network(torch.from_numpy(pixels[None]).double())
    layers = []
    for block in network.blocks:
        answer = sign * network.read(network.norm(block.ended))[0, entry]
        (gradient,) = torch.autograd.grad(answer, block.kept, retain_graph=True)
        size = gradient.shape[-1]
        layers.append(gradient.clamp(min=0).reshape(-1, size, size).mean((0, 1)))
    network.float()
    return torch.stack(layers).mean(0).numpy()


def rollout(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Abnar & Zuidema 2020: the whole product."""
    found = np.eye(matrices[0].shape[-1])
    for matrix in matrices:
        found = (0.5 * matrix.mean(0) + 0.5 * np.eye(len(found))) @ found
    return found


def relevance(matrices: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Chefer et al. 2021, equations 5 and 6."""
    found = np.eye(matrices[0].shape[-1])
    for matrix, gradient in zip(matrices, gradients, strict=True):
        found = found + np.clip(matrix * gradient, 0, None).mean(0) @ found
    return found
