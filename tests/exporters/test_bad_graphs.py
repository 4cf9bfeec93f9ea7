"""Graphs that contradict themselves: ModelError. An error of the package on a valid graph stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from onnxplain.errors import ModelError
from onnxplain.exporters import instrument, survey
from onnxplain.exporters.file.bad_graph import refuses_bad_graphs
from tests.exporters.onnx_models import plain_model, save


def no_such_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 255


def attribute_without_type(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.attribute).attribute[0].ClearField("type")


def scalar_of_several_numbers(model: onnx.ModelProto) -> None:
    next(each for each in model.graph.initializer if len(each.dims) == 1).ClearField("dims")


@pytest.mark.parametrize("call", [lambda path: instrument(path, path.with_name("out.onnx")), survey])
@pytest.mark.parametrize("damage", [no_such_type, attribute_without_type, scalar_of_several_numbers])
def test_a_graph_that_is_none(
    damage: Callable[[onnx.ModelProto], None], call: Callable[[Path], object], tmp_path: Path
) -> None:
    model = plain_model()
    damage(model)
    with pytest.raises(Exception, match=r".") as caught:
        call(save(model, tmp_path / "model.onnx"))
    assert type(caught.value).__module__ == "onnxplain.errors"
    assert len(str(caught.value).splitlines()) == 1


def test_a_fault_of_the_package_is_not_hidden(tmp_path: Path) -> None:
    @refuses_bad_graphs
    def fail(source: Path) -> None:
        raise KeyError(source)

    with pytest.raises(KeyError):
        fail(save(plain_model(), tmp_path / "good.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="found a graph that is not valid or too large \\(KeyError"):
        fail(tmp_path / "bad.onnx")
