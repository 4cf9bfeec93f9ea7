"""Augmented Grad-CAM: cost of the super-resolution compared with the network and with the published optimiser.

Run it with `make bench-augmented`. Network: ResNet-50 at 224 (randomly initialised), 100 copies, on ONNX Runtime, and
the solver on its maps. Published optimiser: 200 steps of Adam with every copy warped at every step,
reimplemented in PyTorch, on maps of two blobs. Both objectives are of the sparse problem with one point per cell.
With `--wsol`, the boxes instead (see wsol.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from skimage import data

from benchmarks.studies.networks import ResNet50
from benchmarks.studies.wsol import compare_boxes
from onnxplain import Engine
from onnxplain.explainers import AugmentedGradCAM
from onnxplain.explainers.augmented.downsampling import build_downsampling, choose_points
from onnxplain.explainers.augmented.published_optimiser import ADAM_STEPS, descend
from onnxplain.explainers.augmented.random_copies import RandomCopies
from onnxplain.explainers.augmented.super_resolution import SuperResolution, solve
from onnxplain.exporters import export

SIZE_HW, COPIES = (224, 224), 100
PUBLISHED_WEIGHTS = (0.002 * COPIES, 0.0001 * COPIES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--wsol", type=Path, metavar="MODEL.onnx", help="an instrumented ImageNet classifier")
    parser.add_argument("--images", type=int, default=80, help="with --wsol: how many")
    arguments = parser.parse_args()
    if arguments.wsol is not None:
        compare_boxes(arguments.wsol, arguments.images, arguments.threads)
        return
    torch.set_num_threads(arguments.threads)
    print(
        f"{platform.processor() or platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}, "
        f"{COPIES} copies of {SIZE_HW[0]} × {SIZE_HW[1]}, median of {arguments.repeat}"
    )
    measure_share(arguments.threads, arguments.repeat)
    print("The published optimiser against ours, published weights, one point per cell, maps of two blobs")
    for grid_hw in ((7, 7), (14, 14)):
        measure_published(grid_hw, arguments.repeat)


def measure_share(threads: int, repeat: int) -> None:
    """The solver's time as a share of the network's time, on the network's own maps and on maps of two blobs."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        export(ResNet50().eval(), path, input_size_hw=SIZE_HW, layers=["layer4"])
        engine = Engine(path, threads=threads)
        layer = engine.resolve_layer(None)
        print("ResNet-50: seconds in ONNX Runtime (only features are needed), seconds of the rest, their ratio")
        for points in (choose_points(SIZE_HW, layer.size_hw), 4, 1):
            explainer = AugmentedGradCAM(engine, points=points)
            report = explainer(data.astronaut(), 0).report
            network, rest = np.median([split_call(explainer) for _ in range(repeat)], axis=0)
            shares = f"{network:.2f}, {rest:.2f}, {100 * rest / network:.0f} %"
            print(f"  {points} × {points} points: {shares}, {report.summary()}")
            problem = blobs_problem(layer.size_hw, points, balanced_weights(layer.size_hw))
            solving = seconds(lambda given=problem: solve(given), repeat)
            print(f"    the solver on maps of two blobs: {solving:.2f}, {100 * solving / network:.0f} %")


def split_call(explainer: AugmentedGradCAM) -> tuple[float, float]:
    """Seconds of one call in `Engine.run`, and in everything else: warping, weighting, solving."""
    engine, spent = explainer.engine, []
    run = engine.run

    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            spent.append(time.perf_counter() - start)

    engine.run = timed
    try:
        start = time.perf_counter()
        explainer(data.astronaut(), 0)
        whole = time.perf_counter() - start
    finally:
        del engine.run
    return sum(spent), whole - sum(spent)


def measure_published(grid_hw: tuple[int, int], repeat: int) -> None:
    """Seconds and objectives with the published weights, one point per cell, on maps of two blobs."""
    problem = blobs_problem(grid_hw, 1, PUBLISHED_WEIGHTS)
    start = time.perf_counter()
    heatmap = descend_with_warps(grid_hw)
    warping, published = time.perf_counter() - start, problem.objective(heatmap)
    sparse = seconds(lambda: descend(problem), repeat)
    solution = solve(problem)
    ours = seconds(lambda: solve(problem), repeat)
    steps = next(count for count in lengths() if solve(problem, max_iterations=count).objective < published)
    overtaking = seconds(lambda: solve(problem, max_iterations=steps), repeat)
    print(
        f"{grid_hw[0]} × {grid_hw[1]} cells, {ADAM_STEPS} steps of Adam: objective {published:.1f} in {warping:.1f} s "
        f"(the same steps on the sparse matrix: {problem.objective(descend(problem)):.1f} in {sparse:.2f} s)\n"
        f"  ours: {solution.objective:.1f}, gap {100 * solution.gap:.1f} %, {solution.iterations} iterations in "
        f"{ours:.2f} s, {warping / ours:.0f} times faster; below Adam's objective after {steps} iterations, "
        f"{1000 * overtaking:.0f} ms, {sparse / overtaking:.0f} times faster than Adam on the same matrix"
    )


def balanced_weights(grid_hw: tuple[int, int]) -> tuple[float, float]:
    """The explainer's own weights at 224 × 224: the published ones are for 14 × 14 cells."""
    share = grid_hw[0] * grid_hw[1] / 196
    return PUBLISHED_WEIGHTS[0] * share, PUBLISHED_WEIGHTS[1] * share


def lengths() -> Iterator[int]:
    """Numbers of iterations to try; each is about 10 % larger."""
    count = 1
    while True:
        yield count
        count += 1 + count // 10


def two_blobs() -> np.ndarray:
    """A heatmap float32 (H, W) in [0, 1]."""
    y, x = (np.mgrid[: SIZE_HW[0], : SIZE_HW[1]] + 0.5) / SIZE_HW[0]
    blobs = np.exp(-((x - 0.3) ** 2 + (y - 0.35) ** 2) / 0.01)
    return (blobs + 0.8 * np.exp(-((x - 0.7) ** 2 + (y - 0.65) ** 2) / 0.006)).astype(np.float32)


def blobs_maps(grid_hw: tuple[int, int]) -> np.ndarray:
    """Noisy maps float32 (L, h, w) of two blobs, each divided by its maximum."""
    camera = build_downsampling(RandomCopies(COPIES).draw(SIZE_HW), SIZE_HW, grid_hw, points=8)
    maps = (camera.matrix @ two_blobs().ravel()).reshape(camera.seen.shape)
    maps = np.maximum(maps + np.random.default_rng(0).normal(0, 0.05, maps.shape), 0) * camera.seen
    return (maps / maps.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def blobs_problem(grid_hw: tuple[int, int], points: int, weights: tuple[float, float]) -> SuperResolution:
    operator = build_downsampling(RandomCopies(COPIES).draw(SIZE_HW), SIZE_HW, grid_hw, points)
    return SuperResolution(
        operator.matrix[operator.seen.ravel()], blobs_maps(grid_hw)[operator.seen], SIZE_HW, *weights
    )


def descend_with_warps(grid_hw: tuple[int, int]) -> np.ndarray:
    """The published optimiser: warp all copies, downscale them bilinearly, differentiate, step."""
    transforms = torch.from_numpy(RandomCopies(COPIES).draw(SIZE_HW))
    maps = torch.from_numpy(blobs_maps(grid_hw))
    height, width = SIZE_HW
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
    grid = (torch.einsum("lij,yxj->lyxi", transforms, points) * 2 / torch.tensor([width, height]) - 1).float()
    heatmap = torch.zeros(SIZE_HW, requires_grad=True)
    optimiser = torch.optim.Adam([heatmap], lr=0.001)
    variation_weight, ridge = PUBLISHED_WEIGHTS
    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        copies = torch.nn.functional.grid_sample(
            heatmap.expand(COPIES, 1, height, width), grid, mode="bilinear", align_corners=False
        )
        small = torch.nn.functional.interpolate(copies, grid_hw, mode="bilinear", align_corners=False)[:, 0]
        variation = (heatmap[:, 1:] - heatmap[:, :-1]).abs().sum() + (heatmap[1:] - heatmap[:-1]).abs().sum()
        loss = ((small - maps) ** 2).sum() + variation_weight * variation + ridge * (heatmap**2).sum()
        loss.backward()
        optimiser.step()
    return heatmap.detach().clamp(min=0).numpy()


def seconds(action: Callable[[], object], repeat: int) -> float:
    """The median time of `repeat` calls, after one warm-up call."""
    action()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
