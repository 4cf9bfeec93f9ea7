"""What is read of a file without the package onnx, compared with what onnx reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.contract import METADATA_KEY
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.model_facts import external_files, hash_files, model_files, read_facts
from tests.models import ExplainableModel, write_classifier

ROOT = Path(__file__).parents[2]


def external(name: str, location: str, **others: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"offset": "0", "location": location, **others}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def write_everywhere(path: Path) -> Path:
    """Tensors in other files, in each place where a model can hold a tensor."""
    node = helper.make_node
    sparse = onnx.SparseTensorProto(dims=[3])
    sparse.values.CopyFrom(external("sparse", "g.bin"))
    sparse.indices.CopyFrom(external("", "h.bin"))
    inner = helper.make_graph(
        [node("Constant", [], ["c"], value=external("c", "c.bin"))], "inner", [], [], [external("b", "b.bin")]
    )
    outer = helper.make_graph([node("If", ["q"], ["i"], then_branch=inner, else_branch=inner)], "outer", [], [])
    nodes = [
        node("If", ["q"], ["r"], then_branch=outer, else_branch=outer),
        node("Own", [], ["o"], domain="own", tensors=[external("d", "d.bin"), external("a", "a.bin")], graphs=[inner]),
        node("Constant", [], ["s"], sparse_value=sparse),
    ]
    graph = helper.make_graph(nodes, "g", [], [], [external("a", "a.bin", length="12"), external("e", "sub/e.bin")])
    function = helper.make_function(
        "own", "F", [], ["y"], [node("Constant", [], ["y"], value=external("y", "f.bin"))], []
    )
    model = helper.make_model(
        graph,
        producer_name="maker",
        producer_version="1.2",
        ir_version=9,
        opset_imports=[helper.make_opsetid("ai.onnx", 17), helper.make_opsetid("own", 3)],
        functions=[function],
    )
    path.write_bytes(model.SerializeToString())
    return path


def test_external_files_are_found_everywhere(tmp_path):
    path = write_everywhere(tmp_path / "model.onnx")
    facts = read_facts(path)
    assert sorted(external_files(path)) == sorted([*(f"{letter}.bin" for letter in "abcdfgh"), "sub/e.bin"])
    assert (facts.ir_version, facts.opsets, facts.producer) == (9, {"": 17, "own": 3}, "maker 1.2")
    (tmp_path / "a.bin").write_bytes(b"A")
    (tmp_path / "b.bin").mkdir()
    assert model_files(path) == (path, tmp_path / "a.bin")
    assert hash_files(model_files(path)) == hashlib.sha256(path.read_bytes() + b"A").hexdigest()


def check(path: Path) -> None:
    facts, proto = read_facts(path), onnx.load(path, load_external_data=False)
    assert facts.ir_version == proto.ir_version
    assert facts.opsets == {("" if e.domain == "ai.onnx" else e.domain): e.version for e in proto.opset_import}
    assert facts.producer == f"{proto.producer_name} {proto.producer_version}".strip()
    assert facts.explainable == any(entry.key == METADATA_KEY for entry in proto.metadata_props)
    assert external_files(path) == ()


def test_the_facts_of_small_files(tmp_path):
    check(write_classifier(tmp_path / "plain.onnx"))
    check(ExplainableModel().write(tmp_path / "explainable.onnx"))
    assert read_facts(tmp_path / "explainable.onnx").explainable
    check(ROOT / "onnxplain" / "demo" / "digits.onnx")


def test_the_facts_of_public_files(assets):
    for path in sorted((assets / "models").glob("*.onnx")):
        check(path)


def test_a_metadata_key_of_another_tool_is_none(tmp_path):
    proto = onnx.load(write_classifier(tmp_path / "plain.onnx"))
    helper.set_model_props(proto, {"onnxplain_tail": "x", "names": METADATA_KEY})
    onnx.save(proto, tmp_path / "plain.onnx")
    assert not read_facts(tmp_path / "plain.onnx").explainable


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"\x00" * 40, b"{}", b"\x08\x07", b"\xff" * 30],
    ids=lambda content: repr(content)[:20],
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"other\.onnx"):
        read_facts(tmp_path / "other.onnx")


def test_every_truncation_is_refused_or_harmless(tmp_path):
    whole = write_classifier(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "part.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            assert not read_facts(path).explainable
            assert external_files(path) == ()
        except ModelError:
            continue


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_what_cannot_be_read_is_refused(name, tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_facts(tmp_path / name)
