"""The recipe: images, training loop, and the file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from onnxplain.data.digits.group_scenes import draw_group
from onnxplain.data.digits.scenes import DIGIT_LABELS
from onnxplain.data.digits.textures import Split
from onnxplain.data.inputs import model_inputs
from onnxplain.demo import MODEL
from onnxplain.exporters import instrument
from onnxplain.exporters.pytorch.module import trace
from onnxplain.runtime.geometry import make_frame
from onnxplain.training.backbone import SMALL_PREPROCESSING
from tools.digit_detector.loss import DetectionBatch, detection_loss
from tools.digit_detector.network import GridConfig, GridDetector

PREPROCESSING = replace(SMALL_PREPROCESSING, resize="letterbox")
"""Values as the localizer takes them, and the whole image as detectors of this layout see it."""
BACKBONE_SHARE = 0.25
EXPLAINED_LAYER = "relu_5"
"""The last map of the backbone, from which all levels come. The maps before the heads, which `auto` would take, have
their whole gradient in one cell, because the heads are convolutions of one cell."""


@dataclass(frozen=True)
class Recipe:
    """`images`: how many are drawn and shown, each once. `learning_rate`: the peak of one cycle; the backbone, which
    knows digits already, has a quarter of it."""

    images: int = 48_000
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    seed: int = 0

    @property
    def steps(self) -> int:
        """Number of batches."""
        return self.images // self.batch_size


def draw_batch(split: Split, first: int, count: int, seed: int, side: int) -> DetectionBatch:
    """Images `first` to `first + count` of a split as a batch for a network of that input size."""
    groups = [draw_group(split, index, seed=seed) for index in range(first, first + count)]
    images = model_inputs([group.image for group in groups], (side, side), PREPROCESSING)
    frames = [make_frame(group.image.shape[:2], (side, side), PREPROCESSING.resize) for group in groups]
    boxes = [frame.boxes_to_input(group.boxes_xyxy) for frame, group in zip(frames, groups, strict=True)]
    return DetectionBatch(
        torch.from_numpy(images),
        [torch.from_numpy(np.asarray(each, np.float32)) for each in boxes],
        [torch.from_numpy(group.class_ids) for group in groups],
    )


def train(recipe: Recipe, progress: Callable[[int, float, float], None]) -> GridDetector:
    """The trained network in eval mode. The same recipe, versions and thread count give the same weights.

    `progress` is called after every 50 batches with their number, the mean loss since the last call, and seconds.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module = GridDetector(GridConfig(len(DIGIT_LABELS)))
    load_backbone(module, MODEL)
    module.train().to(memory_format=torch.channels_last)
    backbone = list(module.features.parameters())
    others = [each for name, each in module.named_parameters() if not name.startswith("features.")]
    optimizer = torch.optim.AdamW([{"params": backbone}, {"params": others}], weight_decay=recipe.weight_decay)
    peaks = [recipe.learning_rate * BACKBONE_SHARE, recipe.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=recipe.steps, pct_start=0.1, cycle_momentum=False
    )
    started, losses = time.perf_counter(), []
    for step in range(recipe.steps):
        first = step * recipe.batch_size
        batch = draw_batch("train", first, recipe.batch_size, recipe.seed, module.config.side)
        optimizer.zero_grad()
        images = batch.images.contiguous(memory_format=torch.channels_last)
        loss = detection_loss(module, batch._replace(images=images))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) == 50 or step + 1 == recipe.steps:
            progress(step + 1, float(np.mean(losses)), time.perf_counter() - started)
            losses = []
    return module.eval()


def load_backbone(module: GridDetector, path: Path) -> None:
    """Give the network the convolutions of the localizer's file, in whose weights the normalisation is folded."""
    model = onnx.load(path)
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    layers = [layer for layer in module.features if isinstance(layer, nn.Conv2d)]
    for layer, node in zip(layers, convolutions, strict=False):
        layer.weight.data = torch.from_numpy(weights[node.input[1]].copy())
        layer.bias.data = torch.from_numpy(weights[node.input[2]].copy())


def write_file(module: GridDetector, path: Path) -> None:
    """Write the network as an explainable ONNX file with any batch size, with gradients at EXPLAINED_LAYER."""
    side = module.config.side
    proto = trace(module, (3, side, side), ()).proto
    for node in proto.graph.node:
        # What the exporter notes of each line of the source is a tenth of the file.
        del node.metadata_props[:]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(proto, plain)
        instrument(plain, path, layers=(EXPLAINED_LAYER,), labels=DIGIT_LABELS, preprocessing=PREPROCESSING, tail=False)
