"""A gradient check that fails because an operator chose among equal values says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from onnxplain.errors import VerificationError
from onnxplain.exporters import export, instrument
from onnxplain.exporters.checks.tied_choices import describe_ties

SIDE, MAPS = 8, 4
Choose = Callable[[torch.Tensor], torch.Tensor]
ROWS: dict[str, tuple[Choose, str]] = {
    "topk": (lambda maps: maps.flatten(2).topk(60)[0], "TopK"),
    "smallest": (lambda maps: maps.flatten(2).topk(60, largest=False)[0], "TopK"),
    "max": (lambda maps: maps.max(dim=2)[0], "ReduceMax"),
    "min": (lambda maps: maps.min(dim=2)[0], "ReduceMin"),
}


class Chosen(nn.Module):
    """Logits of what is chosen of the maps; about half of their values are zero."""

    def __init__(self, choose: Choose, activation: nn.Module) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, MAPS, 3, padding=1), activation)
        self.choose = choose
        self.classes = nn.Linear(choose(torch.zeros(1, MAPS, SIDE, SIDE)).numel(), 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classes(self.choose(self.maps(image)).flatten(1))


def _module(choose: Choose, activation: nn.Module) -> Chosen:
    torch.manual_seed(15)
    module = Chosen(choose, activation).eval()
    convolution = module.maps[0]
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    convolution.bias.data -= 0.5
    return module


@pytest.mark.parametrize("name", ROWS)
def test_torch_chooses_others_among_equal_values(name: str, tmp_path: Path) -> None:
    choose, operator = ROWS[name]
    expected = f"torch.autograd' failed .*; {operator} .* chose among equal values, such as zeros .*: use amax or amin"
    with pytest.raises(VerificationError, match=expected):
        export(_module(choose, nn.ReLU()), tmp_path / "out.onnx", input_size_hw=(SIDE, SIDE))


@pytest.mark.parametrize("name", ROWS)
def test_without_equal_values_the_gradients_agree(name: str, tmp_path: Path) -> None:
    choose, _ = ROWS[name]
    report = export(_module(choose, nn.Tanh()), tmp_path / "out.onnx", input_size_hw=(SIDE, SIDE))
    assert report.checks.layers[0].reference == "torch.autograd"


def test_finite_differences_choose_others_too(tmp_path: Path) -> None:
    """ReduceMax divides the gradient among equal values; a finite difference sees one of them."""
    rng = np.random.default_rng(15)
    weights = {"w": (MAPS, 3, 3, 3), "b": (MAPS,), "g": (MAPS * SIDE, 3)}
    constants = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in weights.items()}
    constants |= {"b": np.full(MAPS, -0.5, np.float32), "rows": np.array([2])}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["a"]),
            helper.make_node("ReduceMax", ["a", "rows"], ["m"]),
            helper.make_node("Flatten", ["m"], ["f"]),
            helper.make_node("Gemm", ["f", "g"], ["logits"]),
        ],
        "largest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    plain = tmp_path / "plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), plain)
    with pytest.raises(VerificationError, match=r"differences' failed .*; ReduceMax .*: choose a layer behind it"):
        instrument(plain, tmp_path / "out.onnx")


VALUES = np.array([[3, 1, 1, 0], [5, 4, 2, 2]], np.float32)
# Operator, attributes, second input; whether one of what is chosen is there twice.
NODES = [
    ("TopK", {"axis": 1}, 1, False),
    ("TopK", {"axis": 1}, 2, True),
    ("TopK", {"axis": 1}, 4, True),
    ("TopK", {"axis": 1, "largest": 0}, 1, True),
    ("TopK", {"axis": 0}, 2, False),
    ("ReduceMax", {}, 1, False),
    ("ReduceMin", {}, 1, True),
    ("ReduceMin", {"keepdims": 0}, 0, False),
    ("ReduceMax", {}, None, False),
]


@pytest.mark.parametrize(("operator", "attributes", "second", "tied"), NODES)
def test_a_tie_is_told_from_the_values(
    operator: str, attributes: dict[str, int], second: int | None, tied: bool
) -> None:
    constants = [] if second is None else [numpy_helper.from_array(np.array([second]), "second")]
    outputs = ["y", "indices"] if operator == "TopK" else ["y"]
    node = helper.make_node(operator, ["x", *(each.name for each in constants)], outputs, name="it", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert bool(describe_ties(model, {"x": VALUES}, [operator])) is tied
    assert describe_ties(model, {"x": VALUES}, ["Relu"]) == ""
