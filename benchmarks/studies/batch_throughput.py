"""Throughput of `onnxplain batch` in one process beside a bare loop over the engine, and its memory.

python -m benchmarks.studies.batch_throughput [--network resnet50] [--images 64] [--rounds 3] [--threads 1]

The bare loop runs the same network with its gradients on one ready batch of eight, again and again: no image is read,
no map is made, nothing is written. Both take turns. Three times are counted: wall time, which says little on a machine
that does other work; this process's processor time; and the processor time of the thread that runs the model, which is
the wall time on a machine where a core is free for the other threads. What a batch takes before its ninth image is
its start, and is counted by itself.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.studies.networks import MobileNetV2, ResNet50
from onnxplain import Engine
from onnxplain.batch.plan import AT_ONCE
from onnxplain.batch.run_batch import BatchRequest, PlanChoice, run_batch
from onnxplain.batch.stores.output import LocalOutput
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import plan_questions
from onnxplain.exporters import export

NETWORKS = {"resnet50": ResNet50, "mobilenet-v2": MobileNetV2}
PHOTO_SIZE_WH = (500, 375)
CLOCKS: Mapping[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
    "model thread's": time.thread_time,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    model, photos = folder / "model.onnx", write_photos(folder / "photos", options.images)
    export(NETWORKS[options.network]().eval(), model, input_size_hw=(224, 224), tail=False)
    engine = Engine(model, threads=options.threads)
    few = folder / "few.csv"
    few.write_text("\n".join(["image", *map(str, sorted(photos.iterdir())[:AT_ONCE])]), encoding="utf-8")
    runs: dict[str, list[tuple[float, ...]]] = {"bare": [], "start": [], "whole": []}
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    for turn in range(options.rounds + 1):
        runs["bare"].append(timed(lambda: run_bare(engine, options.images)))
        for name, source in (("start", few), ("whole", photos)):
            out = folder / f"out-{turn}-{name}"
            runs[name].append(timed(lambda source=source, out=out: run_whole(engine, source, out, options.threads)))
            shutil.rmtree(out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"round {turn}: peak {peak:.0f} MB, load {os.getloadavg()[0]:.1f}", flush=True)
    # The first round warms up.
    for place, clock in enumerate(CLOCKS):
        bare, start, whole = (1000 * min(each[place] for each in runs[name][1:]) for name in runs)
        loop, batch = bare / options.images, (whole - start) / (options.images - AT_ONCE)
        print(
            f"{options.network}, {options.threads} threads, {clock} time: bare loop {loop:.1f} ms, batch {batch:.1f} "
            f"ms per image, {loop / batch:.2f} of its throughput; start {start - AT_ONCE * loop:.0f} ms"
        )


def write_photos(folder: Path, count: int) -> Path:
    """Photos of 500 × 375 pixels as JPEG, all different."""
    folder.mkdir()
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    for number in range(count):
        photo = Image.fromarray(sources[number % len(sources)]).resize(PHOTO_SIZE_WH).rotate(number)
        photo.save(folder / f"{number:05d}.jpg", quality=90)
    return folder


def timed(work: Callable[[], object]) -> tuple[float, ...]:
    """Seconds of each clock."""
    before = [clock() for clock in CLOCKS.values()]
    work()
    return tuple(clock() - began for clock, began in zip(CLOCKS.values(), before, strict=True))


def run_bare(engine: Engine, images: int) -> None:
    batch = np.zeros((AT_ONCE, 3, *engine.spec.input.size_hw), np.float32)
    layer = engine.spec.layers[-1]
    names = [*engine.head_outputs, layer.features, layer.gradients]
    for _ in range(0, images, AT_ONCE):
        engine.run(batch, names, explain=layer.name)


def run_whole(engine: Engine, source: Path, out: Path, threads: int) -> None:
    methods = ("grad-cam",)
    request = BatchRequest(
        OpenedModel(engine, methods),
        OpenOptions(threads=threads),
        plan_questions(engine, methods, (), {}),
        str(source),
        LocalOutput(out),
        PlanChoice(256, threads),
    )
    run_batch(request, lambda moment: None)


if __name__ == "__main__":
    main()
