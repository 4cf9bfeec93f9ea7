"""What every library is given: the network, an image, and the masks, noise and points that onnxplain draws."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onnxplain.contract import Preprocessing
from onnxplain.explainers.hiding.hsic import balanced_bits
from onnxplain.explainers.hiding.lime import random_bits
from onnxplain.explainers.hiding.sobol import shifted_points
from onnxplain.explainers.masked.players import grid_labels
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.references.network import SIDE, Network, as_given

TARGET, SEED = 1, 3
SIZE_HW = (SIDE, SIDE)
PHOTO = np.random.default_rng(6).integers(0, 256, (*SIZE_HW, 3), np.uint8)
PREPROCESSING = Preprocessing("rgb", 1 / 255, (0.5,) * 3, (0.25,) * 3, "stretch")
SAMPLES, NOISE = 20, 0.15
WINDOW, STRIDE = 8, 4
FEW, CELLS, COPIES, FEATURES, DESIGNS = 9, 16, 200, 4, 8


@dataclass(frozen=True)
class Given:
    """The engine of onnxplain, the plain file of the same network, and the arrays in `path`."""

    engine: Engine
    model: Path
    path: Path


def write(folder: Path) -> Given:
    """Write everything."""
    torch.manual_seed(4)
    network = Network().eval()
    # Answers that change a lot with what is hidden.
    network.head[3].weight.data *= 4
    model = folder / "network.onnx"
    names = {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *SIZE_HW),),
            model,
            dynamo=False,
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            **names,
        )
    instrument(model, folder / "explainable.onnx", layers=["input", "auto"], preprocessing=PREPROCESSING)
    engine = Engine(folder / "explainable.onnx", ["cpu"])
    image = engine.preprocess(PHOTO)
    draws = [np.random.default_rng((SEED, copy)) for copy in range(SAMPLES)]
    points, bits = shifted_points(DESIGNS, 2 * CELLS, SEED), balanced_bits(COPIES, CELLS, SEED)
    grid = round(CELLS**0.5)
    shown = grid_labels(SIZE_HW, CELLS)
    scores = [float(engine.scores(image * row[shown].astype(np.float32))[0, TARGET]) for row in bits]
    arrays = {
        **as_given(network),
        "image": image,
        "target": np.array(TARGET),
        "noise": np.stack([each.standard_normal(image.shape[1:], np.float32) for each in draws]),
        "deviation": np.array(NOISE * (image.max() - image.min())),
        "shares": np.array([np.random.default_rng((SEED, copy)).random() for copy in range(SAMPLES)]),
        "window": np.array(WINDOW),
        "stride": np.array(STRIDE),
        "few cells": grid_labels(SIZE_HW, FEW),
        "cells": grid_labels(SIZE_HW, CELLS),
        # The whole image is lime's first sample.
        "lime bits": np.concatenate([np.ones((1, CELLS), bool), random_bits(COPIES - 1, CELLS, SEED)]),
        "features": np.array(FEATURES),
        "sobol designs": _in_blocks(points).reshape(-1, grid, grid, 1),
        "hsic bits": bits,
        "hsic width": _median_distance(np.array(scores)),
    }
    np.savez(folder / "given.npz", **arrays)
    return Given(engine, model, folder / "given.npz")


def _in_blocks(points: np.ndarray) -> np.ndarray:
    """A of all designs, B of all, then for each player A with the player of B."""
    first, second = points[:, :CELLS], points[:, CELLS:]
    replaced = []
    for player in range(CELLS):
        block = first.copy()
        block[:, player] = second[:, player]
        replaced.append(block)
    return np.concatenate([first, second, *replaced])


def _median_distance(scores: np.ndarray) -> np.ndarray:
    apart = np.abs(scores[:, None] - scores[None])
    return np.sqrt(np.median(apart[apart > 0] ** 2))
