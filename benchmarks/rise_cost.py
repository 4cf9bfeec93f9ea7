"""What RISE costs beside the model's own forward passes, in time and in memory.

Run it with `make bench-rise-cost` (minutes, on an idle machine). Time: a whole explanation over as many raw forward
passes of the same session, in batches of the same size on bound memory: "scores" is the part that makes masked copies
and reads the scores, "RISE" all of it, from the photo to the map. Medians of paired ratios with their 95 % intervals.
Memory: the largest resident set of a process that explains one photo with so many masks.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.pairs import compare
from onnxplain import Engine
from onnxplain.contract import PRESETS
from onnxplain.explainers import RISE
from onnxplain.explainers.rise.black_box import open_black_box
from onnxplain.explainers.rise.masked_scores import open_masked_scores
from onnxplain.explainers.rise.masks import MaskGeometry
from onnxplain.explainers.rise.samplers import IndependentSampler
from onnxplain.runtime.batch_size import best_batch_size

MODELS = Path(__file__).parents[2] / "shared" / "assets" / "models"
MOBILENET = MODELS / "mobilenet_v1_0.25_128_float.onnx"
SQUEEZENET = MODELS / "squeezenet_fp16_winml.onnx"
PHOTO = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


def engines(threads: int) -> Iterator[tuple[str, Engine, int]]:
    """(name, engine, its share of the masks) of each network."""
    if MOBILENET.exists():
        yield "MobileNetV1 0.25, 128, uint8 NHWC", Engine(MOBILENET, threads=threads), 1
    if SQUEEZENET.exists():
        yield "SqueezeNet, 224, float16", Engine(SQUEEZENET, threads=threads, preprocessing=PRESETS["caffe"]), 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        # In a process of its own: PyTorch's threads would run beside the measured ones.
        subprocess.run([sys.executable, "-m", "benchmarks.rise_cost", "--write-resnet50", str(path)], check=True)
        yield "ResNet-50, 224, float32", Engine(path, threads=threads), 8


def write_resnet50(path: Path) -> None:
    import torch

    from benchmarks.networks import ResNet50
    from onnxplain.exporters import export

    torch.manual_seed(0)
    export(ResNet50().eval(), path, input_size_hw=(224, 224), layers=["layer4"])


def measure_time(engine: Engine, masks: int, pairs: int) -> list[str]:
    """Batch size, milliseconds per forward pass, and the two ratios."""
    size = best_batch_size(engine)
    bound = engine.bind([engine.class_output])
    batch = engine.input_buffer(size)
    batch[...] = np.random.default_rng(0).uniform(0, 255 if batch.dtype == np.uint8 else 1, batch.shape)

    def forward(evaluations: int = masks) -> None:
        for _ in range(round(evaluations / size)):
            bound.bind(engine.spec.input.name, batch)
            bound.run(size)
            bound.fetch()

    black_box = open_black_box(engine, None, "mean")
    geometry = MaskGeometry(black_box.input_size_hw)
    scores = open_masked_scores(black_box, black_box.look(PHOTO), geometry, None)
    sampler = IndependentSampler(geometry)
    draws = [sampler.draw(start, min(start + 64, masks)) for start in range(0, masks, 64)]
    scoring = compare(lambda: [scores(draw) for draw in draws], forward, pairs)
    rise = RISE(engine, masks=masks)
    whole = compare(lambda: rise(PHOTO), lambda: forward(masks + 1), pairs)
    milliseconds = scoring.reference_milliseconds / masks
    return [
        str(size),
        f"{milliseconds:.2f}",
        *(f"{r.median:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in (scoring, whole)),
    ]


def explain_and_print_peak(masks: int) -> None:
    RISE(Engine(MOBILENET), masks=masks)(PHOTO)
    unit = 1024 if sys.platform == "darwin" else 1  # kilobytes, but bytes on macOS
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit)


def peak_mebibytes(masks: int) -> float:
    command = [sys.executable, "-m", "benchmarks.rise_cost", "--peak", str(masks)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--masks", type=int, default=800, help="for MobileNetV1; a quarter for SqueezeNet, an eighth for ResNet-50"
    )
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 4_000, 16_000], metavar="MASKS")
    parser.add_argument("--write-resnet50", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write_resnet50 is not None:
        return write_resnet50(arguments.write_resnet50)
    if arguments.peak is not None:
        return explain_and_print_peak(arguments.peak)

    print(
        f"{platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}, numpy {np.__version__}, "
        f"{arguments.pairs} pairs\n"
    )
    if MOBILENET.exists() and arguments.memory:
        # First, since Linux counts the parent's memory at the fork into a child's peak.
        print_row("masks (MobileNetV1)", "peak memory, MiB", "over the first")
        print_row(*["---"] * 3)
        peaks = [peak_mebibytes(masks) for masks in arguments.memory]
        for masks, peak in zip(arguments.memory, peaks, strict=True):
            print_row(f"{masks:,}", f"{peak:.1f}", f"{peak / peaks[0]:.3f}")
        print()
    print_row("network", "masks", "batch", "forward, ms", "scores / forward", "RISE / forward")
    print_row(*["---"] * 6)
    for name, engine, share in engines(arguments.threads):
        masks = arguments.masks // share
        print_row(name, str(masks), *measure_time(engine, masks, arguments.pairs))


if __name__ == "__main__":
    main()
