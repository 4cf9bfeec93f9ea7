"""Gradients of whole networks, at their first, middle and last maps, against torch.autograd in float64.

The shallow ones run every day, the whole ones with ``make test-networks``.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import pytest
from torch import nn

from onnxplain.contract import METADATA_KEY, ModelSpec
from onnxplain.exporters import export
from tests.exporters.graphs import open_session
from tests.exporters.torch_models import images
from tests.networks.activations import activations
from tests.networks.reference import autograd, cosine, relative_error
from tests.networks.table import CLASSES, SHALLOW, WHOLE, Network, build

FIRST, MIDDLE, LAST = 0, 1, 2
LAST_LAYER_TOLERANCE = 1e-4
SMOOTH_TOLERANCE = 1e-3
COSINE = 0.999
INPUTS = 3

# Residual sums, channel shuffle, attention. test_exported_files has windows, test_backbone MobileNetV3; the others, and
# all at their real size, have a make target of their own.
EVERYDAY = {"resnet", "shufflenet-v2", "vit"}
NETWORKS = (*SHALLOW, *WHOLE)
GATED = [network for network in NETWORKS if network.gated]
TARGETS = pytest.mark.parametrize("targets", [[3], [5, CLASSES - 1]], ids=["one image", "two images"])


def _rows(networks: Sequence[Network], smooth: bool) -> pytest.MarkDecorator:
    """The fixture `exported` for each of the networks."""
    rows = [
        pytest.param((network, smooth), id=network.name, marks=[] if network.name in EVERYDAY else pytest.mark.networks)
        for network in networks
    ]
    return pytest.mark.parametrize("exported", rows, indirect=True, scope="module")


@dataclass(frozen=True)
class Comparison:
    """The gradient in the file and torch's, of one layer; `makers` are the parts of the module that give it out."""

    makers: list[str]
    error: float
    cosine: float


@dataclass(frozen=True)
class Exported:
    """A network, in float64 now, and the explainable file made of it; `layers` are first, middle and last."""

    network: Network
    module: nn.Module
    session: ort.InferenceSession
    layers: tuple[str, ...]

    def compare(self, targets: list[int], seed: int) -> list[Comparison]:
        """Each layer's gradients for seeded images with the given targets."""
        batch, wanted = images(len(targets), self.network.size_hw, seed), np.array(targets)
        names = [f"{role}/{layer}" for layer in self.layers for role in ("features", "gradients")]
        feeds = {"image": batch, "target": wanted, "explain": np.array([True])}
        arrays = [np.asarray(array) for array in self.session.run(names, feeds)]
        references = autograd(self.module, batch, wanted, arrays[::2])
        return [
            Comparison(makers, relative_error(found, reference), cosine(found, reference))
            for (makers, reference), found in zip(references, arrays[1::2], strict=True)
        ]


@pytest.fixture(scope="module")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """A network as it is, or with smooth functions for its gates; one at a time is kept in memory."""
    network, smooth = request.param
    # The graphs of the network before are full of cycles, and hold its weights until they are collected.
    gc.collect()
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    with activations(smooth):
        module = build(network)
        export(module, path, input_size_hw=network.size_hw, layers=("0%", "50%", "auto"))
        session = open_session(path)
        path.unlink()
        spec = ModelSpec.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        assert len(spec.layers) == LAST + 1
        yield Exported(network, module.double(), session, tuple(layer.name for layer in spec.layers))


@TARGETS
@_rows(NETWORKS, smooth=False)
def test_last_map(exported: Exported, targets: list[int]) -> None:
    last = exported.compare(targets, seed=2)[LAST]
    assert exported.network.last in last.makers
    assert last.error < LAST_LAYER_TOLERANCE


@_rows(NETWORKS, smooth=False)
def test_first_and_middle_map(exported: Exported) -> None:
    runs = [exported.compare([3, CLASSES - 2], seed) for seed in range(INPUTS)]
    for layer in (FIRST, MIDDLE):
        assert np.median([run[layer].cosine for run in runs]) > COSINE
        if not exported.network.gated:
            assert np.median([run[layer].error for run in runs]) < SMOOTH_TOLERANCE


@TARGETS
@_rows(GATED, smooth=True)
def test_all_maps_behind_smooth_gates(exported: Exported, targets: list[int]) -> None:
    assert max(layer.error for layer in exported.compare(targets, seed=4)) < SMOOTH_TOLERANCE
