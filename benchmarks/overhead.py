"""What the gradient branches cost: the explainable graph against the original, on the same session options.

Run it with `make bench`. Closed: `explain` false, only the original outputs fetched. Open: `explain` true at
the automatic layer, features and gradients fetched as well. Every figure is the median of paired ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.networks import ResNet50
from benchmarks.pairs import compare
from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.exporters import export, instrument
from onnxplain.exporters.torch_module import OUTPUT_NAMES

ASSETS = Path(__file__).parents[2] / "shared" / "assets" / "models"
FILES = (
    "squeezenet_fp16_winml.onnx",
    "mobilenet_v1_0.25_128_float.onnx",
    "mobilenet_v1_0.5_160_qdq.onnx",
    "vww_96_float.onnx",
    "cifar10_resnet20_ts_op11.onnx",
)


def models(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """(name, original file, explainable file) of each network."""
    torch.manual_seed(0)
    explainable, original = folder / "resnet50.onnx", folder / "resnet50_plain.onnx"
    network = ResNet50().eval()
    export(network, explainable, input_size_hw=(224, 224), layers=["layer4"])
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 224, 224),),
        str(original),
        dynamo=True,
        input_names=["image"],
        output_names=[OUTPUT_NAMES[0]],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=18,
        external_data=False,
        verbose=False,
    )
    yield "ResNet-50, 224", original, explainable
    for name in FILES:
        if (ASSETS / name).exists():
            instrument(ASSETS / name, folder / name)
            yield name.removesuffix(".onnx"), ASSETS / name, folder / name


def session(path: Path, threads: int) -> ort.InferenceSession:
    """Both sides get the same options; spinning pools would slow each other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def image_feed(original: ort.InferenceSession) -> dict[str, np.ndarray]:
    """One random image of the model's shape and type."""
    (entry,) = original.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    rng = np.random.default_rng(0)
    kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}
    dtype = np.dtype(kinds[entry.type])
    values = rng.integers(0, 256, shape) if dtype == np.uint8 else rng.standard_normal(shape)
    return {entry.name: values.astype(dtype)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}, "
        f"onnx {onnx.__version__}, {arguments.pairs} pairs, batch 1, ratios to the original graph [95 % interval]"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, original_path, explainable_path in models(Path(folder)):
            original, explainable = (session(path, arguments.threads) for path in (original_path, explainable_path))
            feed = image_feed(original)
            outputs = [output.name for output in original.get_outputs()]
            added = [o.name for o in explainable.get_outputs() if o.name.startswith(("features/", "gradients/"))]
            open_feed = {**feed, TARGET_INPUT: np.array([1]), EXPLAIN_INPUT: np.array([True])}

            def plain(run=original.run, outputs=outputs, feed=feed) -> object:
                return run(outputs, feed)

            start = compare(plain, plain, 10)
            repeat = max(1, round(20 / start.milliseconds))
            closed = compare(lambda run=explainable.run, o=outputs, f=feed: run(o, f), plain, arguments.pairs, repeat)
            opened = compare(
                lambda run=explainable.run, o=outputs + added, f=open_feed: run(o, f), plain, arguments.pairs, repeat
            )
            print(f"{name}\n  closed {closed}\n  open   {opened}", flush=True)


if __name__ == "__main__":
    main()
