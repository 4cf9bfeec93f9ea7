"""Networks as other exporters write them, instrumented, and their gradients beside torch.autograd.

`python -m tests.networks.exported` prints the matrix: architecture × exporter × batch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx
import onnxruntime
import onnxslim
import pytest
import torch
from torch import nn

from onnxplain.contract import PreprocessingParts
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session
from tests.exporters.torch_models import images
from tests.networks.activations import activations
from tests.networks.reference import autograd, cosine, relative_error
from tests.networks.table import CLASSES, Network, build

Exporter = Literal["dynamo", "TorchScript 12", "TorchScript 17", "Optimum", "ORT basic", "ORT extended", "onnxslim"]
FileBatch = Literal["1", "4", "dynamic"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)
BATCHES: tuple[FileBatch, ...] = ("1", "dynamic", "4")
# The last three rewrite a file of TorchScript 17.
LEVELS = {
    "ORT basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "ORT extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}
# Optimum leaves every axis open and gives them these names.
OPTIMUM_AXES = {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"}

LAST_TOLERANCE = 1e-4
SMOOTH_TOLERANCE = 1e-3
COSINE = 0.999
INPUTS = 3

# What torch itself cannot write: a pool to 7x7 of an open size; aten::unflatten at opset 12; BEiT's table of positions;
# Swin's padding.
NOT_EXPORTED: frozenset[tuple[str, Exporter]] = frozenset(
    {("vgg", "Optimum"), ("vit", "TorchScript 12"), ("BEiT", "dynamo"), ("Swin of transformers", "dynamo")}
)
# The layer is a copy that only the keys read; by its values the reference finds the map that the queries read too.
NOT_COMPARABLE: frozenset[tuple[str, Exporter, FileBatch]] = frozenset({("SegFormer", "onnxslim", "1")})


def is_exported(name: str, exporter: Exporter, batch: FileBatch = "dynamic") -> bool:
    """Whether there is such a file that can be compared. Optimum's batch is always open."""
    if (name, exporter, batch) in NOT_COMPARABLE:
        return False
    return (name, exporter) not in NOT_EXPORTED and (exporter != "Optimum" or batch == "dynamic")


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    `batch` that the written file takes, None for any number. Of the map at 50 % and of the last map: the median
    relative error over the images, and the median cosine.
    """

    batch: int | None
    errors: tuple[float, float]
    cosines: tuple[float, float]
    notes: tuple[str, ...]

    def agrees(self, gated: bool) -> bool:
        """Whether the gradients are torch's: the last map's always, the middle one's but for gates that flip."""
        middle = self.cosines[0] > COSINE and (gated or self.errors[0] < SMOOTH_TOLERANCE)
        return middle and self.errors[1] < LAST_TOLERANCE


def write(module: nn.Module, size_hw: tuple[int, int], exporter: Exporter, batch: FileBatch, path: Path) -> None:
    """Write the module as the exporter does, with a batch of 1, of 4, or of any number."""
    count = 4 if batch == "4" else 2 if batch == "dynamic" and exporter == "dynamo" else 1
    image = torch.rand(count, 3, *size_hw)
    with _quiet(), pytest.MonkeyPatch.context() as patch:
        if exporter == "TorchScript 12":
            # Opset 12 has no form of torch's fused attention.
            for part in module.modules():
                if hasattr(part, "fused_attn"):
                    patch.setattr(part, "fused_attn", False)
                if hasattr(part, "config"):
                    patch.setattr(part.config, "_attn_implementation", "eager")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim("N")},) if batch == "dynamic" else None
            torch.onnx.export(module, (image,), path, dynamo=True, input_names=["image"], dynamic_shapes=shapes)
            return
        axes = OPTIMUM_AXES if exporter == "Optimum" else {0: "N"} if batch == "dynamic" else {}
        torch.onnx.export(
            module,
            (image,),
            path,
            dynamo=False,
            opset_version=12 if exporter == "TorchScript 12" else 17,
            input_names=["image"],
            dynamic_axes={"image": axes},
        )
    if exporter == "onnxslim":
        onnx.save(onnxslim.slim(onnx.load(path)), path)
    elif exporter in LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = LEVELS[exporter]
        options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        Path(options.optimized_model_filepath).replace(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters warn that they are old or new, and print."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def compare(network: Network, module: nn.Module, exporter: Exporter, batch: FileBatch, folder: Path) -> Outcome:
    """Export, instrument at 50 % and auto, and compare with torch.autograd in float64; `module` is float32."""
    plain, explainable = folder / "plain.onnx", folder / "explainable.onnx"
    with activations(smooth=False):
        write(module, network.size_hw, exporter, batch, plain)
        size_hw = network.size_hw if exporter == "Optimum" else None
        parts = PreprocessingParts(channels="rgb") if exporter == "Optimum" else None
        report = instrument(
            plain, explainable, layers=("50%", "auto"), tail=False, input_size_hw=size_hw, preprocessing=parts
        )
        session = open_session(explainable)
        stated = session.get_inputs()[0].shape[0]
        fixed = stated if isinstance(stated, int) else None
        count = fixed or 2
        layers = report.spec.layers
        names = [name for layer in layers for name in (layer.features, layer.gradients)]
        targets = np.arange(count) * 5 % CLASSES
        exact = module.double()
        errors, cosines = [], []
        for seed in range(INPUTS):
            pixels = images(count, network.size_hw, seed)
            feeds = {"image": pixels, "target": targets, "explain": np.array([True])}
            arrays = [np.asarray(array) for array in session.run(names, feeds)]
            found = list(zip(autograd(exact, pixels, targets, arrays[::2]), arrays[1::2], strict=True))
            errors.append([relative_error(gradient, reference) for (_, reference), gradient in found])
            cosines.append([cosine(gradient, reference) for (_, reference), gradient in found])
        module.float()
    middle, last = np.median(errors, axis=0)
    near, nearest = np.median(cosines, axis=0)
    return Outcome(fixed, (float(middle), float(last)), (float(near), float(nearest)), report.notes)


def main(wanted: list[str]) -> None:
    """Print one line for each architecture and exporter."""
    from tests.networks.architectures import ARCHITECTURES

    good = 0
    rows = [row for row in ARCHITECTURES if not wanted or row.name in wanted]
    print("| architecture | exporter | " + " | ".join(BATCHES) + " |", flush=True)
    print("|---|---|" + "---|" * len(BATCHES), flush=True)
    for network in rows:
        whole = True
        module = build(network)
        for exporter in EXPORTERS:
            if not is_exported(network.name, exporter):
                print(f"| {network.name} | {exporter} |" + " torch cannot |" * len(BATCHES), flush=True)
                continue
            cells = []
            for batch in BATCHES:
                if not is_exported(network.name, exporter, batch):
                    cells.append("–")
                    continue
                start = time.perf_counter()
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        outcome = compare(network, module, exporter, batch, Path(folder))
                    agrees = outcome.agrees(network.gated)
                    kept = "" if outcome.batch is None else f", batch {outcome.batch}"
                    text = f"{'yes' if agrees else 'NO'} {outcome.errors[0]:.0e} {outcome.errors[1]:.0e}{kept}"
                    if outcome.notes:
                        print(network.name, exporter, batch, outcome.notes, file=sys.stderr)
                except Exception as error:
                    agrees = False
                    kind = "refused" if isinstance(error, (OnnxplainError, AssertionError)) else "not exported"
                    text = f"{kind}: {type(error).__name__}"
                    print(
                        network.name,
                        exporter,
                        batch,
                        type(error).__name__,
                        str(error).splitlines()[0][:400],
                        file=sys.stderr,
                    )
                    module.float()
                whole &= agrees
                cells.append(f"{text} ({time.perf_counter() - start:.0f} s)")
            print(f"| {network.name} | {exporter} | " + " | ".join(cells) + " |", flush=True)
        good += whole
    print(f"\n{good} of {len(rows)} through every exporter and batch", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
