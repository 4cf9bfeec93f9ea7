"""Several targets of one image in whole networks whose batch is merged with heads or windows, or indexed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxplain.contract import Batch
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session
from tests.exporters.torch_models import images
from tests.networks.architectures import ARCHITECTURES
from tests.networks.exported import Exporter, FileBatch, write
from tests.networks.reference import relative_error
from tests.networks.table import CLASSES, build

TARGETS = (1, 2, 7, 40)
TOLERANCE = 2e-6
NETWORKS = {
    network.name: network
    for network in ARCHITECTURES
    if network.name in ("vgg", "vit", "deit", "swin", "ViT of timm", "DeiT of timm", "swin of timm")
}
FORMS: dict[str, tuple[Exporter, FileBatch, Batch]] = {
    "open": ("TorchScript 17", "dynamic", "auto"),
    "of one, freed": ("TorchScript 17", "1", "auto"),
    "of one": ("TorchScript 17", "1", "fixed"),
}
EVERYDAY = {("vit", "open"), ("swin", "of one, freed")}
# In other networks a fixed batch of 1 is an axis of its own only behind some layers.
OWN_AXIS = {"vgg"}
CELLS = [
    pytest.param(name, form, id=f"{name}, {form}", marks=[] if (name, form) in EVERYDAY else [pytest.mark.networks])
    for name in NETWORKS
    for form in FORMS
]


@pytest.mark.parametrize(("name", "form"), CELLS)
def test_targets_at_once_are_as_one_by_one(name: str, form: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    exporter, batch, mode = FORMS[form]
    write(build(network), network.size_hw, exporter, batch, tmp_path / "plain.onnx")
    path = tmp_path / "out.onnx"
    spec = instrument(tmp_path / "plain.onnx", path, layers=("0%", "auto"), tail=False, batch=mode).spec
    if form != "of one" or name in OWN_AXIS:
        assert [layer.many_targets for layer in spec.layers] == [True, True]
    session, image = open_session(path), images(1, network.size_hw)

    def gradients(index: int, targets: np.ndarray) -> np.ndarray:
        explain = np.arange(len(spec.layers)) == index
        feeds = {"image": image, "target": targets, "explain": explain}
        return np.asarray(session.run([spec.layers[index].gradients], feeds)[0])

    targets = np.arange(max(TARGETS)) * 5 % CLASSES
    for index in [index for index, layer in enumerate(spec.layers) if layer.many_targets]:
        alone = np.concatenate([gradients(index, np.array([target])) for target in range(CLASSES)])
        for count in TARGETS:
            assert relative_error(gradients(index, targets[:count]), alone[targets[:count]]) < TOLERANCE
