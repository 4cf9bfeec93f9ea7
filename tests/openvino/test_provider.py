"""Explainable files on the OpenVINO provider answer as on the CPU provider of the same ONNX Runtime.

onnxruntime-openvino cannot be installed beside onnxruntime, so both providers run in an environment of their own, that
of the benchmarks: `make test-openvino` builds it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import quantization

from benchmarks.client import ROOT
from benchmarks.environments import environment
from onnxplain.exporters import instrument
from tests.exporters import test_quantized_networks as networks
from tests.exporters.onnx_models import plain_model, save

pytestmark = pytest.mark.openvino
float_network = networks.float_network
ANSWERS = Path(__file__).with_name("answers.py")
QDQ = quantization.QuantFormat.QDQ
# The largest difference of any output, relative to its largest value. Found: 6e-7 for float32 (gates that flip are
# none), 4e-7 for the small quantized networks. Of a file of `assets`, logits and early gradients: 1e-6 and 6e-7 for
# float32; 1.5e-5 and 5e-2 for float16, which OpenVINO computes in float32; 1.9e-2 and 4e-2 for int8.
ALLOWED = 5e-6
# The same where a value near 0 opens the gate of a ReLU on one side alone, which depends on the processor: in real
# networks the gradients of one of the two images may.
FLIPPED = 1e-1
ASSETS: Mapping[str, float] = {
    "cifar10_resnet20_dynamo_op18": 5e-6,
    "mobilenet_v1_0.25_128_float": 2e-5,
    "squeezenet_fp16_winml": 1e-1,
    "mobilenet_v1_0.5_160_qdq": 1e-1,
}


@pytest.fixture(scope="module")
def files(float_network: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every form of file that is written."""
    folder = tmp_path_factory.mktemp("files")
    plain, box, fixed = (
        save(model, folder / f"source_{index}")
        for index, model in enumerate((plain_model(), plain_model(box=True), plain_model(batch=1)))
    )
    quantized = folder / "source_quantized"
    networks._static(QDQ)(float_network, quantized)
    instrument(plain, folder / "two layers.onnx", layers=["early", "late"])
    instrument(plain, folder / "required.onnx", required_inputs=True)
    instrument(plain, folder / "no gate.onnx", gate=False)
    instrument(box, folder / "box.onnx", box="box")
    instrument(fixed, folder / "fixed.onnx", batch="fixed")
    instrument(quantized, folder / "quantized.onnx", layers=["early", "middle", "late"])
    model = onnx.load(folder / "two layers.onnx")
    model.metadata_props[0].value = model.metadata_props[0].value.replace("two layers.tail.onnx", "external.tail.onnx")
    onnx.save(model, folder / "external.onnx", save_as_external_data=True, location="external.bin", size_threshold=100)
    (folder / "external.tail.onnx").write_bytes((folder / "two layers.tail.onnx").read_bytes())
    return [path for path in sorted(folder.glob("*.onnx")) if not path.name.endswith(".tail.onnx")]


def answers(provider: str, paths: list[Path], folder: Path) -> dict[str, np.ndarray]:
    """What that provider answers (`answers.py`)."""
    found = environment("onnxplain-openvino")
    if found.reason is not None:
        pytest.fail(f"{found.reason}: run make test-openvino")
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PYTHONPATH": str(ROOT)}
    out = folder / f"{provider}.npz"
    command = [str(part) for part in (found.python, ANSWERS, provider, out, *paths)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        return dict(arrays)


def assert_alike(paths: list[Path], allowed: Mapping[str, float], folder: Path) -> None:
    expected, found = (answers(provider, paths, folder) for provider in ("cpu", "openvino"))
    assert found.keys() == expected.keys()
    assert not [str(value) for name, value in found.items() if name.endswith(":error")]
    for name, reference in expected.items():
        assert found[name].shape == reference.shape, name
        assert (reference.size == 0) == (":closed" in name and not name.startswith("no gate:")), name
        if reference.size:
            differences = np.abs(found[name] - reference).reshape(len(reference), -1).max(axis=1)
            errors = differences / np.abs(reference).max()
            network, _, value = name.partition(":")
            flips = network in allowed and value.startswith("gradients")
            assert (errors.min() if flips else errors.max()) <= allowed.get(network, ALLOWED), name
            assert errors.max() <= FLIPPED, name


def test_every_form_of_file(files: list[Path], tmp_path: Path) -> None:
    assert len(files) == 7
    assert_alike(files, {}, tmp_path)


def test_real_networks(assets: Path, tmp_path: Path) -> None:
    for name in ASSETS:
        instrument(assets / "models" / f"{name}.onnx", tmp_path / f"{name}.onnx", layers=["50%", "auto"])
    assert_alike([tmp_path / f"{name}.onnx" for name in ASSETS], ASSETS, tmp_path)


def test_a_file_with_a_constant_among_its_outputs_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    instrument(save(plain_model(), tmp_path / "plain"), path)
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name="bias"))
    save(model, path)
    (error,) = answers("openvino", [path], tmp_path).values()
    assert "found the constants bias among the outputs" in str(error)
