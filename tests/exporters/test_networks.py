"""Gradients of whole networks against torch.autograd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from onnxplain.contract import (
    CAM_WEIGHTS_OUTPUT,
    EXPLAIN_INPUT,
    METADATA_KEY,
    ModelSpec,
    features_output,
    gradients_output,
)
from onnxplain.exporters import export, instrument
from tests.exporters.graphs import open_session
from tests.exporters.torch_models import (
    ResidualNet,
    ResNet20,
    autograd,
    images,
    load_resnet20,
    residual_net,
    tiny_net,
)

LAST_LAYER_TOLERANCE = 1e-4
# Through many ReLUs float32 gradients are not stable elementwise: a gate near zero flips. Torch's own float32 is
# the yardstick there.
YARDSTICK_FACTOR = 3.0
LAYERS = ("stem", "stage1", "stage2", "stage3")


def relative_norm(found: np.ndarray, reference: np.ndarray) -> float:
    assert found.shape == reference.shape
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def run(session: ort.InferenceSession, batch: np.ndarray, targets: np.ndarray, layer: str) -> list[np.ndarray]:
    """Features and gradients of a layer, all gates open."""
    feeds = {session.get_inputs()[0].name: batch, "target": targets, "explain": np.array([True])}
    return [np.asarray(a) for a in session.run([features_output(layer), gradients_output(layer)], feeds)]


@pytest.fixture(scope="module")
def classifier() -> ResidualNet:
    return residual_net()


@pytest.fixture(scope="module")
def localizer() -> ResidualNet:
    return residual_net(boxes=True, seed=1)


@pytest.fixture(scope="module")
def classifier_session(classifier: ResidualNet, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    export(classifier, path, input_size_hw=(32, 32), layers=LAYERS)
    return open_session(path)


@pytest.fixture(scope="module")
def localizer_session(localizer: ResidualNet, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path = tmp_path_factory.mktemp("localizer") / "model.onnx"
    export(localizer, path, input_size_hw=(32, 32), layers=["stage2", "stage3"])
    return open_session(path)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("targets", [[3], [0, 4, 2], [1]], ids=["one image", "three images", "another class"])
def test_residual_network(
    classifier: ResidualNet, classifier_session: ort.InferenceSession, layer: str, targets: list[int]
) -> None:
    batch, wanted = images(len(targets), (32, 32)), np.array(targets)
    features, gradients = run(classifier_session, batch, wanted, layer)
    expected_features, exact = autograd(classifier, layer, batch, wanted, double=True)
    assert relative_norm(features, expected_features) < 1e-5
    allowed = LAST_LAYER_TOLERANCE
    if layer != "stage3":
        _, torchs_own = autograd(classifier, layer, batch, wanted)
        allowed = max(allowed, YARDSTICK_FACTOR * relative_norm(torchs_own, exact))
    assert relative_norm(gradients, exact) < allowed


@pytest.mark.parametrize("layer", ["stage2", "stage3"])
@pytest.mark.parametrize("target", range(ResidualNet.classes + 4))
def test_class_and_each_box_coordinate(
    localizer: ResidualNet, localizer_session: ort.InferenceSession, layer: str, target: int
) -> None:
    batch, wanted = images(1, (32, 32)), np.array([target])
    _, gradients = run(localizer_session, batch, wanted, layer)
    assert relative_norm(gradients, autograd(localizer, layer, batch, wanted, double=True)[1]) < LAST_LAYER_TOLERANCE


def test_class_and_box_targets_within_one_batch(
    localizer: ResidualNet, localizer_session: ort.InferenceSession
) -> None:
    batch, wanted = images(3, (32, 32)), np.array([2, ResidualNet.classes, ResidualNet.classes + 3])
    _, gradients = run(localizer_session, batch, wanted, "stage3")
    expected = autograd(localizer, "stage3", batch, wanted, double=True)[1]
    for row, reference in zip(gradients, expected, strict=True):
        assert relative_norm(row, reference) < LAST_LAYER_TOLERANCE


def test_cam_weights_are_grad_cams_up_to_the_number_of_positions(
    classifier: ResidualNet, classifier_session: ort.InferenceSession
) -> None:
    batch, targets = images(2, (32, 32)), np.array([4, 1])
    features, gradients = run(classifier_session, batch, targets, "stage3")
    weights = np.asarray(
        classifier_session.run([CAM_WEIGHTS_OUTPUT], {"image": batch, EXPLAIN_INPUT: np.array([True])})[0]
    )
    np.testing.assert_array_equal(weights, classifier.classifier.weight.detach().numpy())
    positions = features.shape[2] * features.shape[3]
    cam = np.einsum("nk,nkhw->nhw", weights[targets], features)
    grad_cam = np.einsum("nk,nkhw->nhw", gradients.mean((2, 3)), features)
    np.testing.assert_allclose(cam, positions * grad_cam, rtol=1e-4, atol=1e-5)
    everywhere = np.broadcast_to(weights[targets][:, :, None, None], features.shape)
    np.testing.assert_allclose(gradients * positions, everywhere, rtol=1e-4)


def test_export_leaves_the_module_as_found_and_names_no_source_file(tmp_path: Path) -> None:
    network = tiny_net().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export(network, tmp_path / "model.onnx", input_size_hw=(8, 8))
    assert all(module.training for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert b"stack_trace" not in (tmp_path / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def resnet20(assets: Path) -> ResNet20:
    return load_resnet20(assets / "models" / "cifar10_resnet20-12fca82f.th")


@pytest.fixture(scope="module", params=["ts_op11", "dynamo_op18"])
def resnet20_session(
    request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> ort.InferenceSession:
    """One of the two files that others exported from the checkpoint, with one exporter each."""
    path = tmp_path_factory.mktemp("resnet20") / "model.onnx"
    instrument(assets / "models" / f"cifar10_resnet20_{request.param}.onnx", path)
    return open_session(path)


@pytest.mark.parametrize("targets", [[3], [5, 0, 9]], ids=["one image", "three images"])
def test_trained_network_against_the_files_exported_from_it(
    resnet20: ResNet20, resnet20_session: ort.InferenceSession, targets: list[int]
) -> None:
    metadata = resnet20_session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    (layer,) = ModelSpec.from_json(metadata).layers
    batch, wanted = images(len(targets), (32, 32)), np.array(targets)
    if resnet20_session.get_inputs()[0].shape[0] == 1:
        rows = [run(resnet20_session, batch[i : i + 1], wanted[i : i + 1], layer.name) for i in range(len(targets))]
        features, gradients = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
    else:
        features, gradients = run(resnet20_session, batch, wanted, layer.name)
    expected_features, exact = autograd(resnet20, "layer3", batch, wanted, double=True)
    assert relative_norm(features, expected_features) < 1e-4
    assert relative_norm(gradients, exact) < LAST_LAYER_TOLERANCE
