"""A small vision transformer, trained on digit scenes and exported by torch's exporter.

Run it with `python -m benchmarks.studies.methods.digit_vit`; the study does it where the file is missing. It takes some
minutes on one core. The file is written into build/methods with its accuracy on test scenes beside it.

The stem starts from the first convolutions of the shipped localizer, and a second loss during training asks each patch
token how much of its patch is ink: without the two, many more scenes would be needed. The exported file holds the class
alone.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.studies.methods.models import DIGIT_MEAN, DIGIT_STD, DIGIT_VIT, FOLDER
from benchmarks.subject_models import export_plain
from onnxplain.data.digits.scenes import DIGIT_LABELS, draw_scene
from onnxplain.data.digits.textures import Split
from onnxplain.demo import MODEL as LOCALIZER

FACTS = FOLDER / "digit_vit.json"
SIDE, PATCH, WIDTH, HEADS, BLOCKS = 48, 4, 64, 4, 4
BATCH, STEPS, PEAK_RATE, WARM_UP, INK_WEIGHT = 32, 800, 1.5e-3, 100, 1.0
STEM_WIDTHS = ((3, 16, 2), (16, 16, 1), (16, 48, 2), (48, 48, 1))
TEST_SCENES = 1000


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
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


class DigitViT(nn.Module):
    """A vision transformer with a class token on features of convolutions: the hybrid of Dosovitskiy et al. 2021.

    Float32 (N, 3, 48, 48) to logits (N, 10); 12 × 12 patch tokens, four blocks of width 64, four heads.
    """

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(before, after, 3, stride, 1) for before, after, stride in STEM_WIDTHS]
        self.stem = nn.Sequential(*(part for each in convolutions for part in (each, nn.ReLU())))
        self.embed = nn.Conv2d(STEM_WIDTHS[-1][1], WIDTH, 1)
        tokens = 1 + (SIDE // PATCH) ** 2
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(DIGIT_LABELS))
        self.ink = nn.Linear(WIDTH, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(image)[:, 0])

    def tokens(self, image: torch.Tensor) -> torch.Tensor:
        """The class token and the patch tokens after the last block, (N, 145, 64)."""
        patches = self.embed(self.stem(image)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(image.shape[0], -1, -1), patches], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def load_stem(network: DigitViT) -> None:
    """The weights of the shipped localizer's first convolutions, whose batch normalisation is folded in."""
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(LOCALIZER).graph.initializer}
    with torch.no_grad():
        for number, convolution in enumerate(network.stem[::2]):
            name = f"module.features.{number}.0.weight"
            convolution.weight.copy_(torch.tensor(stored[name]))
            convolution.bias.copy_(torch.tensor(stored[f"{name}_bias"]))


def train(steps: int = STEPS, seed: int = 0) -> DigitViT:
    """A trained network in evaluation mode; it sees every scene once.

    The learning rate goes up in 100 steps, then down by half a cosine.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = DigitViT()
    load_stem(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    for step in range(steps):
        rate = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (1 + np.cos(np.pi * step / steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, labels, ink = draw_batch("train", step * BATCH, BATCH)
        tokens = network.tokens(images)
        loss = nn.functional.cross_entropy(network.head(tokens[:, 0]), labels)
        asked = nn.functional.binary_cross_entropy_with_logits(network.ink(tokens[:, 1:])[..., 0], ink)
        optimiser.zero_grad()
        (loss + INK_WEIGHT * asked).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {steps}, loss {loss.item():.3f}, ink {asked.item():.3f}", flush=True)
    return network.eval()


def draw_batch(split: Split, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scenes as float32 (N, 3, 48, 48), normalised, their labels, int64 (N,), and the ink per patch, (N, 144)."""
    scenes = [draw_scene(split, first + index, size_hw=(SIDE, SIDE)) for index in range(count)]
    pixels = np.stack([scene.record.load() for scene in scenes]).transpose(0, 3, 1, 2).astype(np.float32)
    labels = torch.tensor([DIGIT_LABELS.index(str(scene.record.label)) for scene in scenes])
    grid = SIDE // PATCH
    ink = np.stack([scene.ink_hw.reshape(grid, PATCH, grid, PATCH).mean(axis=(1, 3)).ravel() for scene in scenes])
    return torch.from_numpy((pixels / 255 - DIGIT_MEAN) / DIGIT_STD), labels, torch.from_numpy(ink)


def accuracy(network: DigitViT) -> float:
    """The share of right answers on test scenes, whose digits and textures are in no training scene."""
    right = 0
    with torch.no_grad():
        for first in range(0, TEST_SCENES, 100):
            images, labels, _ = draw_batch("test", first, 100)
            right += int((network(images).argmax(1) == labels).sum())
    return right / TEST_SCENES


def write_digit_vit() -> None:
    """Train, measure and export; the description is written last."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    network = train()
    right = accuracy(network)
    export_plain(network, (SIDE, SIDE), DIGIT_VIT)
    FACTS.write_text(json.dumps({"scenes": STEPS * BATCH, "accuracy": right}), encoding="utf-8")
    print(f"{STEPS * BATCH} scenes, accuracy {right:.1%} on {TEST_SCENES} test scenes", flush=True)


if __name__ == "__main__":
    write_digit_vit()
