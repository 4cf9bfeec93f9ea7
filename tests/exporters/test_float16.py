"""`instrument --float16`: half the size, and the answers and gradients of the float32 file within float16's error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from onnxplain.errors import ModelError, VerificationError
from onnxplain.explainers import METHODS, explain, supported
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.explainers.test_contract_of_methods import NEED_ATTENTION
from tests.exporters import test_quantized_networks as networks
from tests.exporters.onnx_models import SIZE_HW, plain_model, save

float_network = networks.float_network
# float16 has 11 binary digits: 5e-4 for each rounding, and a few roundings on the way.
ALLOWED = 3e-3
IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), np.uint8))
FORMS: Mapping[str, Mapping[str, object]] = {
    "gate": {},
    "no gate": {"gate": False},
    "required inputs": {"required_inputs": True},
    "a box": {"box": "box"},
    "a fixed batch": {"batch": "fixed"},
}


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("form", "opset"), [("gate", 13), *((form, 18) for form in FORMS)])
def test_answers_and_gradients_are_those_of_the_float32_file(tmp_path: Path, form: str, opset: int) -> None:
    plain = plain_model(box="box" in form, batch=1 if form == "a fixed batch" else "batch", opset=opset)
    save(plain, tmp_path / "plain.onnx")
    engines = {}
    for narrow in (False, True):
        path = tmp_path / f"{narrow}.onnx"
        report = instrument(tmp_path / "plain.onnx", path, layers=["early", "late"], float16=narrow, **FORMS[form])
        assert (report.checks.float16_error is not None) == narrow
        assert any(step.startswith("float16: ") for step in report.steps) == narrow
        engines[narrow] = Engine(path, ["cpu"])
    wide, half = engines[False], engines[True]
    targets = [0, wide.spec.classes + 2 if wide.spec.box else 3]
    assert half.input_dtype == np.float32
    assert [head.name for head in half.spec.heads] == [head.name for head in wide.spec.heads]
    for layer in wide.spec.layers:
        found, expected = (engine.activations(IMAGES, targets, layer.name) for engine in (half, wide))
        assert found.gradients is not None and expected.gradients is not None and expected.gradients.any()
        assert 0 < relative(found.features, expected.features) < ALLOWED
        assert relative(found.gradients, expected.gradients) < ALLOWED
        assert relative(found.entries, expected.entries) < ALLOWED
        assert found.gradients.dtype == np.float32, "the branch computes in float32"
    assert 0 < relative(half.cam_weights(), wide.cam_weights()) < 1e-3


def stored(path: Path) -> tuple[int, int]:
    """The bytes of float32 and of float16 weights in a file."""
    sizes = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for tensor in onnx.load(path).graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += onnx.numpy_helper.to_array(tensor).nbytes
    return sizes[onnx.TensorProto.FLOAT], sizes[onnx.TensorProto.FLOAT16]


def test_weights_take_half_the_space_and_every_method_works(tmp_path: Path) -> None:
    save(plain_model(), tmp_path / "plain.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "wide.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "half.onnx", layers=["input", "auto"], float16=True)
    (wide, none), (left, half) = stored(tmp_path / "wide.onnx"), stored(tmp_path / "half.onnx")
    assert (none, left) == (0, 0)
    assert 2 * half == wide
    engine = Engine(tmp_path / "half.onnx", ["cpu"])
    assert set(supported(engine)) == set(METHODS) - NEED_ATTENTION
    for method in ("cam", "grad-cam", "ablation-cam", "rise", "integrated-gradients"):
        assert explain(engine, IMAGES[0], method, target=1).raw.any()


def test_weights_that_are_inputs_and_an_earlier_instrumentation(tmp_path: Path) -> None:
    save(plain_model(listed_initializers=True, ir_version=3, opset=8), tmp_path / "old.onnx")
    instrument(tmp_path / "old.onnx", tmp_path / "wide.onnx")
    instrument(tmp_path / "wide.onnx", tmp_path / "again.onnx", float16=True)
    instrument(tmp_path / "old.onnx", tmp_path / "half.onnx", float16=True)
    for name in ("again", "half"):
        assert stored(tmp_path / f"{name}.onnx")[0] == 0, name


def test_what_is_refused(tmp_path: Path) -> None:
    save(plain_model(), tmp_path / "plain.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "half.onnx", float16=True)
    with pytest.raises(ModelError, match="found no float32 weights, expected some to convert: leave out --float16"):
        instrument(tmp_path / "half.onnx", tmp_path / "again.onnx", float16=True)
    large = plain_model()
    for tensor in large.graph.initializer:
        if tensor.name == "kernel2":
            enlarged = onnx.numpy_helper.to_array(tensor) * np.float32(1e6)
            tensor.CopyFrom(onnx.numpy_helper.from_array(enlarged, tensor.name))
    save(large, tmp_path / "large.onnx")
    with pytest.raises(
        VerificationError, match=r"output 'logits' differs .*in float16 numbers above 65504 overflow: leave out"
    ):
        instrument(tmp_path / "large.onnx", tmp_path / "x.onnx", float16=True)
    assert not (tmp_path / "x.onnx").exists()


def test_a_quantized_network_has_nothing_to_convert(tmp_path: Path, float_network: Path) -> None:
    networks._static(networks.QDQ)(float_network, tmp_path / "quantized.onnx")
    with pytest.raises(ModelError, match="found no float32 weights"):
        instrument(tmp_path / "quantized.onnx", tmp_path / "half.onnx", float16=True)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("cifar10_resnet20_dynamo_op18", 2e-3),
        # Its ReLU6 gates flip; the outputs are eight-bit numbers.
        ("mobilenet_v1_0.25_128_float", 6e-2),
    ],
)
def test_real_networks(assets: Path, tmp_path: Path, name: str, allowed: float) -> None:
    source = assets / "models" / f"{name}.onnx"
    reports = [instrument(source, tmp_path / f"{half}.onnx", float16=half) for half in (False, True)]
    wide, half = (Engine(report.path, ["cpu"]) for report in reports)
    height, width = wide.spec.input.size_hw
    channels = wide.spec.input.preprocessing.channel_count
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8).squeeze()
    found, expected = (engine.activations(image, 1) for engine in (half, wide))
    assert found.gradients is not None and expected.gradients is not None
    assert relative(found.gradients, expected.gradients) < allowed
    assert relative(found.features, expected.features) < 1e-2
    if source.stat().st_size > 500_000:
        assert reports[1].path.stat().st_size < 0.55 * reports[0].path.stat().st_size


def test_answers_that_float16_changes_are_refused(tmp_path: Path) -> None:
    from onnxplain.contract import ModelSpec
    from onnxplain.exporters.checks.float16_check import check_float16
    from onnxplain.exporters.file.float16 import to_float16

    save(plain_model(), tmp_path / "plain.onnx")
    spec: ModelSpec = instrument(tmp_path / "plain.onnx", tmp_path / "x.onnx").spec
    wide = onnx.load(tmp_path / "plain.onnx")
    narrow, count = to_float16(wide)
    assert count == 4
    assert 0 < check_float16(wide, narrow, spec) < ALLOWED
    for tensor in narrow.graph.initializer:
        if tensor.name == "weights":
            moved = onnx.numpy_helper.to_array(tensor) * np.float16(1.2)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
    with pytest.raises(VerificationError, match=r"'same answers in float16' failed: output 'logits' differs by"):
        check_float16(wide, narrow, spec)
