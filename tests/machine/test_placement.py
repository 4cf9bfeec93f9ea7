"""Where nodes run: on a provider that takes none, and on real plug-ins where they are installed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from onnxplain.cli.main import cli
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.machine.placement import find_placement
from onnxplain.machine.providers import CPU
from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.session import open_session
from tests.exporters.onnx_models import plain_model, save

# It is in every wheel of onnxruntime and takes no node of its own: all fall back.
AZURE = "AzureExecutionProvider"
needs_azure = pytest.mark.skipif(AZURE not in onnxruntime.get_available_providers(), reason=f"no {AZURE} in this build")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save(plain_model(batch=1), tmp_path / "plain.onnx")
    for name, gate in {"gate": True, "no_gate": False}.items():
        instrument(tmp_path / "plain.onnx", tmp_path / f"{name}.onnx", layers=["early"], gate=gate, batch="fixed")
    return tmp_path


def inspected(*words: object) -> str:
    result = CliRunner().invoke(cli, ["inspect", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def operators(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators(attribute.g)


@pytest.mark.parametrize("provider", ["cpu", pytest.param("azure", marks=needs_azure)])
def test_every_node_is_placed_once_in_branches_too(files: Path, provider: str) -> None:
    plain, gate = (
        find_placement(open_session(files / name, [provider], None, record_placement=True))
        for name in ("plain.onnx", "gate.onnx")
    )
    assert {node.provider for node in plain + gate} == {CPU}
    assert Counter(node.operator for node in plain) == Counter(operators(onnx.load(files / "plain.onnx").graph))
    gates = list(operators(onnx.load(files / "gate.onnx").graph)).count("If")
    assert [node.operator for node in gate].count("If") == gates > 0
    assert any(node.name.startswith("onnxplain/0/then/") for node in gate)


@needs_azure
def test_inspect_lists_what_falls_back(files: Path) -> None:
    text = inspected(files / "plain.onnx", "--provider", "azure")
    assert "nodes by provider: azure 0, cpu 7" in text
    assert "these run on the CPU provider:" in text and "GlobalAveragePool" in text
    tree = json.loads(inspected(files / "plain.onnx", "--provider", "azure", "--json"))["placement"]
    assert tree["nodes"] == {AZURE: 0, CPU: 7}
    assert Counter(node["operator"] for node in tree["on_cpu"])["Conv"] == 2
    assert "these run on" not in inspected(files / "plain.onnx", "--provider", "cpu")
    assert "nodes by provider" not in inspected(files / "plain.onnx")


def test_an_older_onnx_runtime_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", object)
    with pytest.raises(OnnxplainError, match=r"^onnxruntime: found .*, expected 1\.24 or newer"):
        find_placement(None)


@pytest.mark.parametrize("name", ["gate", "no_gate"])
def test_qualcomms_simulator_answers_as_the_cpu(files: Path, name: str) -> None:
    pytest.importorskip("onnxruntime_qnn", reason="pip install onnxruntime-qnn")
    path, images = files / f"{name}.onnx", list(np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8))
    placed = Counter(node.provider for node in find_placement(open_session(path, ["qnn"], None, record_placement=True)))
    assert placed["QNNExecutionProvider"] >= 9
    found, expected = (Engine(path, [provider]).activations(images, [1, 2]) for provider in ("qnn", "cpu"))
    for one, other in ((found.features, expected.features), (found.gradients, expected.gradients)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())
