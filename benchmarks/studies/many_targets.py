"""What several targets of one image cost: T targets at once, and as T copies of the image, beside one target.

Run it with `python -m benchmarks.studies.many_targets`. Networks at 224, randomly initialised, on ONNX Runtime:
the last map, and maps half way and at the start. Rounds alternate between the forms; a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.studies.networks import MobileNetV2, ResNet50
from onnxplain import Engine
from onnxplain.exporters import export

SIZE_HW = (224, 224)
NETWORKS = (ResNet50, MobileNetV2)
LAYERS = ("auto", "50%", "0%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}, "
        f"{arguments.targets} targets, median of {arguments.rounds} rounds"
    )
    print("network, layer: ms with one target; ratio of all at once, of as many images; largest relative difference")
    for network in NETWORKS:
        measure(network, arguments.targets, arguments.rounds, arguments.threads)


def measure(network: type[torch.nn.Module], count: int, rounds: int, threads: int) -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(network().eval(), path, input_size_hw=SIZE_HW, layers=LAYERS, tail=False)
        engine = Engine(path, threads=threads)
    image = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)
    copies, targets = np.repeat(image, count, axis=0), np.arange(count) * 7
    for layer in reversed(engine.spec.layers):

        def run(batch: np.ndarray, wanted: np.ndarray, explained: str = layer.name) -> np.ndarray:
            return engine.run(batch, [f"gradients/{explained}"], wanted, explained)[0]

        forms: tuple[Callable[[], np.ndarray], ...] = (
            lambda run=run: run(image, targets[:1]),
            lambda run=run: run(image, targets),
            lambda run=run: run(copies, targets),
        )
        _, at_once, one_by_one = (form() for form in forms)
        difference = np.abs(at_once - one_by_one).max() / np.abs(one_by_one).max()
        seconds = np.array([[_seconds(form) for form in forms] for _ in range(rounds)])
        one, ratios = np.median(seconds[:, 0]), np.median(seconds[:, 1:] / seconds[:, :1], axis=0)
        said = "many targets" if layer.many_targets else "one target at a time"
        print(
            f"{network.__name__}, {layer.name} {layer.channels} × {layer.size_hw[0]} × {layer.size_hw[1]} ({said}): "
            f"{1000 * one:.0f} ms; {ratios[0]:.2f}, {ratios[1]:.2f}; {difference:.1e}",
            flush=True,
        )


def _seconds(form: Callable[[], np.ndarray]) -> float:
    start = time.perf_counter()
    form()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
