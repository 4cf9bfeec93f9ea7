"""Gradients in the files of other exporters against torch.autograd: architecture × exporter × batch.

A few run every day, all with ``make test-networks``; ``python -m tests.networks.exported`` prints the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from tests.networks.architectures import ARCHITECTURES
from tests.networks.exported import BATCHES, EXPORTERS, Exporter, FileBatch, compare, is_exported
from tests.networks.table import Network, build

# Class tokens, windows and chunk, in each form of a TorchScript file.
EVERYDAY: frozenset[tuple[str, Exporter, FileBatch]] = frozenset(
    {
        ("vit", "TorchScript 17", "1"),
        ("ViT of timm", "TorchScript 17", "dynamic"),
        ("DeiT of timm", "TorchScript 17", "4"),
        ("swin", "TorchScript 12", "1"),
        ("swin", "TorchScript 17", "dynamic"),
        ("YOLO's C2f", "TorchScript 17", "1"),
        ("YOLO's C2f", "TorchScript 12", "dynamic"),
        ("ViT of transformers", "Optimum", "dynamic"),
        ("ViT of timm", "ORT extended", "dynamic"),
        ("vit", "ORT extended", "4"),
        ("shufflenet-v2", "onnxslim", "1"),
    }
)


@pytest.fixture(scope="module")
def module(request: pytest.FixtureRequest) -> Iterator[tuple[Network, nn.Module]]:
    """One network at a time."""
    yield request.param, build(request.param)


def _marks(name: str, exporter: Exporter, batch: FileBatch) -> list[pytest.MarkDecorator]:
    return [] if (name, exporter, batch) in EVERYDAY else [pytest.mark.networks]


def _cells() -> list[object]:
    return [
        pytest.param(
            network,
            exporter,
            batch,
            id=f"{network.name}, {exporter}, {batch}",
            marks=_marks(network.name, exporter, batch),
        )
        for network in ARCHITECTURES
        for exporter in EXPORTERS
        for batch in BATCHES
        if is_exported(network.name, exporter, batch)
    ]


@pytest.mark.parametrize(("module", "exporter", "batch"), _cells(), indirect=["module"])
def test_gradients(module: tuple[Network, nn.Module], exporter: Exporter, batch: FileBatch, tmp_path: Path) -> None:
    network, parts = module
    outcome = compare(network, parts, exporter, batch, tmp_path)
    assert outcome.agrees(network.gated), outcome
    assert outcome.batch in (None, 1 if batch == "1" else 4)


def test_everyday_cells_exist() -> None:
    names = {network.name for network in ARCHITECTURES}
    assert all(name in names and is_exported(*cell) for cell in EVERYDAY for name in cell[:1])
    assert len(names) == len(ARCHITECTURES) >= 25
