"""What Xplique answers: python answers_xplique.py GIVEN.npz OUT.npz MODEL.onnx"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import tensorflow as tf
from scores import open_scores
from xplique.attributions import HsicAttributionMethod, SobolAttributionMethod
from xplique.attributions.global_sensitivity_analysis import BinaryEstimator, JansenEstimator
from xplique.attributions.global_sensitivity_analysis.kernels import Kernel
from xplique.attributions.global_sensitivity_analysis.replicated_designs import ReplicatedSampler
from xplique.attributions.global_sensitivity_analysis.samplers import Sampler


class _Masks:
    """Draws the masks that are given."""

    def __init__(self, masks: np.ndarray) -> None:
        self.binary, self.masks = True, masks

    def __call__(self, *_sizes: int) -> tf.Tensor:
        return tf.constant(self.masks, tf.float32)


class GivenDesigns(_Masks, ReplicatedSampler):
    """For Sobol: all of A, all of B, then all of C for each player."""


class GivenMasks(_Masks, Sampler):
    """For HSIC."""


class Indices(JansenEstimator):
    """Keeps the indices: the map is enlarged by bicubic interpolation."""

    def __call__(self, *arguments: Any) -> tf.Tensor:
        self.kept = super().__call__(*arguments)
        return self.kept


class Dependences(BinaryEstimator):
    """Keeps the values. `width`: of the kernel of the scores; None: Xplique's, the median score."""

    def __init__(self, width: float | None) -> None:
        super().__init__()
        self.width = width

    def output_kernel_func(self, X: tf.Tensor, Y: tf.Tensor) -> tf.Tensor:
        if self.width is None:
            return super().output_kernel_func(X, Y)
        return Kernel.from_string("rbf")(X, Y, width=tf.constant(self.width, tf.float32))

    def __call__(self, *arguments: Any) -> tf.Tensor:
        self.kept = super().__call__(*arguments)
        return self.kept


def main(source: str, destination: str, model: str) -> None:
    """Write a number per player."""
    with np.load(source) as arrays:
        given = dict(arrays)
    image, scores = given["image"].transpose(0, 2, 3, 1), open_scores(model)
    target = np.eye(3, dtype=np.float32)[[int(given["target"])]]
    designs, bits = given["sobol designs"], given["hsic bits"]
    players = bits.shape[1]
    grid, found = round(players**0.5), {}

    indices = Indices()
    count = len(designs) // (players + 2)
    SobolAttributionMethod(scores, grid, count, GivenDesigns(designs), indices)(image, target)
    found["sobol"] = indices.kept
    for name, width in (("hsic", float(given["hsic width"])), ("hsic, its own width", None)):
        values = Dependences(width)
        HsicAttributionMethod(scores, grid, len(bits), GivenMasks(bits), values)(image, target)
        # Xplique divides by n, the paper and onnxplain by (n − 1)².
        found[name] = values.kept * len(bits) / (len(bits) - 1) ** 2
    np.savez(destination, **{name: np.asarray(values).ravel() for name, values in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
