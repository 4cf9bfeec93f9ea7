"""All boxes of a 224 × 224 heatmap: MaxBoxAcc's thousand thresholds, and the stable threshold, in milliseconds.

Run it with `python -m benchmarks.studies.box_levels`. White noise is the worst case (a region every few pixels, at
every level), but no heatmap looks like it. The other rows are like the maps of methods: a class activation map of 7 × 7
or 14 × 14 cells, a smooth map with several blobs, and a map with some noise. With `--wsol`, it prints the boxes
of Grad-CAM at fixed thresholds and at the stable threshold instead (see wsol.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.studies.wsol import compare_thresholds
from onnxplain.evaluation.metrics.max_box_accuracy import SCOREMAP_HW, level_overlaps
from onnxplain.explainers.stable_threshold import stable_threshold

BOXES = np.array([[40.0, 50.0, 150.0, 180.0], [120.0, 10.0, 200.0, 90.0]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--wsol", type=Path, metavar="MODEL.onnx", help="an instrumented ImageNet classifier")
    parser.add_argument("--images", type=int, default=160, help="with --wsol: how many")
    arguments = parser.parse_args()
    if arguments.wsol is not None:
        compare_thresholds(arguments.wsol, arguments.images, arguments.threads)
        return
    machine = platform.processor() or platform.machine()
    print(f"{machine}, OpenCV {cv2.__version__}, milliseconds: median of {arguments.repeat}, fastest")
    print(f"  {'map':12} {'all thresholds':>16} {'stable':>16}")
    for name, heatmap in make_maps().items():
        overlaps = time_calls(lambda given=heatmap: level_overlaps(given, BOXES, SCOREMAP_HW), arguments.repeat)
        stable = time_calls(lambda given=heatmap: stable_threshold(given), arguments.repeat)
        print(f"  {name:12} {overlaps:>16} {stable:>16}", flush=True)


def make_maps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.random(SCOREMAP_HW, np.float32)
    maps = {
        f"CAM {cells} × {cells}": cv2.resize(rng.random((cells, cells), np.float32) ** 2, SCOREMAP_HW)
        for cells in (7, 14)
    }
    maps |= {"blobs": cv2.GaussianBlur(noise, (0, 0), 16), "grain": cv2.GaussianBlur(noise, (0, 0), 4), "noise": noise}
    return {name: (heatmap - heatmap.min()) / np.ptp(heatmap) for name, heatmap in maps.items()}


def time_calls(action: Callable[[], object], repeat: int) -> str:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - start))
    return f"{np.median(times):.1f}, {min(times):.1f}"


if __name__ == "__main__":
    main()
