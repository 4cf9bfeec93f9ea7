"""Detectors: what decoding and suppression cost beside the network, and `Engine.detect` beside its parts.

Run it with `python -m benchmarks.studies.detectors`. The network has the multiply-adds of YOLOv8n at 640 × 640 (4.4
billion) and its output, 8,400 candidates of 80 classes. Its answer is fixed: 20 objects with 40 candidates each above
the threshold. Everything is timed in turns, so that other work on the machine meets all alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnxplain import Engine
from onnxplain.runtime.detection.columns import read_columns
from onnxplain.runtime.detection.decode import decode_candidates
from onnxplain.runtime.detection.nms import suppress

SIDE, CANDIDATES, CLASSES, OBJECTS, PER_OBJECT = 640, 8400, 80, 20, 40
# Channels, stride and number of convolutions of 3 × 3 at each stage: 4.4 billion multiply-adds in all.
STAGES = ((16, 2, 1), (32, 2, 2), (64, 2, 8), (128, 2, 8), (256, 2, 2))
PHOTO_HW = (720, 1280)
Array = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        macs = write_network(path)
        print(
            f"{platform.processor() or platform.machine()}, {arguments.threads} threads, onnxruntime "
            f"{ort.__version__}, {macs / 1e9:.2f} billion multiply-adds, {CANDIDATES} candidates of {CLASSES} "
            f"classes, median of {arguments.rounds} rounds"
        )
        measure(path, arguments.rounds, arguments.threads)


def measure(path: Path, rounds: int, threads: int) -> None:
    engine = Engine(path, threads=threads)
    photo = np.random.default_rng(0).integers(0, 256, (*PHOTO_HW, 3), np.uint8)
    # The engine's own session: the idle threads of a second one would take time from the first.
    session = engine._session
    spec, pixels = engine.spec.detector, engine.preprocess(photo)
    assert spec is not None
    (output,) = session.run(None, {"images": pixels})

    def answer() -> npt.NDArray[np.int64]:
        (columns,) = read_columns(spec, {"output0": output})
        found = decode_candidates(spec, columns, (SIDE, SIDE), 0.25)
        return suppress(found.boxes_xyxy, found.scores, found.class_ids, 0.45)

    works: dict[str, Callable[[], object]] = {
        "letterbox": lambda: engine.preprocess(photo),
        "session run": lambda: session.run(None, {"images": pixels}),
        "decode and suppress": answer,
        "detect": lambda: engine.detect(photo),
    }
    times = timed(works, rounds)
    for name, seconds in times.items():
        print(f"  {name:<22}{statistics.median(seconds) * 1000:8.2f} ms")
    together = [first + second for first, second in zip(times["letterbox"], times["session run"], strict=True)]
    print(f"  detect / (letterbox + session run)     {ratio(times['detect'], together):.3f}")
    print(f"  decode and suppress / session run      {ratio(times['decode and suppress'], times['session run']):.3f}")
    print(f"  detections: {len(engine.detect(photo)[0])}, candidates above the threshold: {OBJECTS * PER_OBJECT}")


def timed(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round; the first two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 2):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return {name: seconds[2:] for name, seconds in times.items()}


def ratio(seconds: list[float], others: list[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(one / other for one, other in zip(seconds, others, strict=True))


def write_network(path: Path) -> int:
    """Write the network; returns its multiply-adds. Boxes and scores are constants plus 0 · the last map's mean."""
    rng, node = np.random.default_rng(0), helper.make_node
    nodes, constants, macs = [], [], 0
    value, channels, side = "images", 3, SIDE
    for stage, (width, stride, count) in enumerate(STAGES):
        for index in range(count):
            name, step = f"c{stage}_{index}", stride if index == 0 else 1
            side //= step
            kernel = rng.normal(0, 0.05, (width, channels, 3, 3)).astype(np.float32)
            constants.append(numpy_helper.from_array(kernel, f"{name}/w"))
            nodes += [
                node("Conv", [value, f"{name}/w"], [name], strides=[step, step], pads=[1, 1, 1, 1]),
                node("Sigmoid", [name], [f"{name}/s"]),
                node("Mul", [name, f"{name}/s"], [f"{name}/a"]),
            ]
            macs += kernel.size * side * side
            value, channels = f"{name}/a", width
    boxes, logits = answer_of_the_network(rng)
    for key, array in {"zero": np.float32(0), "one": np.float32(1), "boxes": boxes, "logits": logits}.items():
        constants.append(numpy_helper.from_array(array, key))
    nodes += [
        node("ReduceMean", [value], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["boxes", "nothing"], ["moved"]),
        node("Mul", ["moved", "one"], ["scaled"]),
        node("Add", ["logits", "nothing"], ["raised"]),
        node("Sigmoid", ["raised"], ["scores"]),
        node("Concat", ["scaled", "scores"], ["output0"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + CLASSES, CANDIDATES])]
    graph = helper.make_graph(nodes, "detector", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return macs


def answer_of_the_network(rng: np.random.Generator) -> tuple[Array, Array]:
    """Boxes (1, 4, M) and class logits (1, C, M)."""
    boxes = np.full((1, 4, CANDIDATES), 8, np.float32)
    logits = np.full((1, CLASSES, CANDIDATES), -9, np.float32)
    chosen = rng.permutation(CANDIDATES)[: OBJECTS * PER_OBJECT].reshape(OBJECTS, PER_OBJECT)
    for candidates in chosen:
        centre, size = rng.uniform(150, 490, 2), rng.uniform(40, 120, 2)
        boxes[0, :2, candidates] = centre + rng.normal(0, 3, (PER_OBJECT, 2))
        boxes[0, 2:, candidates] = size
        logits[0, rng.integers(CLASSES), candidates] = rng.uniform(-0.5, 2, PER_OBJECT)
    return boxes, logits


if __name__ == "__main__":
    main()
