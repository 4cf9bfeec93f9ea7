"""Networks as ONNX files, instrumented, and their gradients by torch.autograd."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from onnxplain import Engine
from onnxplain.exporters import ExportReport, instrument
from tests.detectors.gradients.backbone import Detector, Scalars

AnyDetector = TypeVar("AnyDetector", bound=Detector)


@dataclass(frozen=True, eq=False)
class Instrumented:
    """A network, the plain file and the explainable file of it."""

    network: Detector
    plain: Path
    report: ExportReport

    @property
    def others(self) -> dict[str, np.ndarray]:
        """The inputs besides the image."""
        return {name: value.numpy() for name, value in self.network.other_inputs.items()}

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.report.path, threads=1)


def make_network(kind: type[Detector], seed: int = 0) -> Detector:
    """Random weights that tell candidates apart."""
    torch.manual_seed(seed)
    network = kind()
    for name, parameter in network.named_parameters():
        is_head = not name.startswith(("stem", "deeper", "pool", "down", "last"))
        torch.nn.init.normal_(parameter, std=0.4 if is_head else 0.25)
    return network.eval()


def write_network(network: Detector, path: Path) -> Path:
    """The network as a plain ONNX file with a batch of one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *network.size_hw), *network.other_inputs.values()),
            str(path),
            input_names=["images", *network.other_inputs],
            output_names=list(network.output_names),
            opset_version=17,
            dynamo=False,
        )
    return path


def instrument_network(kind: type[Detector], folder: Path, **options: object) -> Instrumented:
    network = make_network(kind)
    plain = write_network(network, folder / "plain.onnx")
    report = instrument(plain, folder / "explainable.onnx", detector=network.layout, **options)
    return Instrumented(network, plain, report)


def gradients_of_torch(
    network: Detector, pixels: np.ndarray, targets: Sequence[tuple[int, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each level its map [K, h, w], and the gradients of the targets (candidate, column), [T, K, h, w]; float64."""
    double = in_double(network)
    levels = double.levels(torch.from_numpy(pixels).double())
    return gradients_of(double.scalars(levels), levels, targets)


def in_double(network: AnyDetector) -> AnyDetector:
    """A copy that computes in float64."""
    double = type(network)()
    double.load_state_dict(network.state_dict())
    return double.double().eval()


def gradients_of(
    scalars: Scalars, levels: Sequence[torch.Tensor], targets: Sequence[tuple[int, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same for scalars that are known already."""
    table = torch.cat([scalars.classes, scalars.corners], 1)
    found: list[list[np.ndarray]] = []
    for candidate, column in targets:
        gradients = torch.autograd.grad(table[candidate, column], levels, retain_graph=True, materialize_grads=True)
        found.append([gradient[0].numpy() for gradient in gradients])
    return [
        (level[0].detach().numpy(), np.stack([each[position] for each in found]))
        for position, level in enumerate(levels)
    ]
