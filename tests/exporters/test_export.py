"""What `export` makes of PyTorch modules that are not a classifier or a localizer, and of options."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, VerificationError
from onnxplain.exporters import export
from onnxplain.exporters.gradient import rules
from onnxplain.exporters.gradient.rules import RULES, Gradients, Site
from tests.exporters.graphs import open_session
from tests.exporters.torch_models import tiny_net


class Outputs(nn.Module):
    """A module that returns what a function makes of the image."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: torch.Tensor) -> Any:
        return self.function(image)


def _logits(image: torch.Tensor) -> torch.Tensor:
    return image.mean((2, 3))


Row = tuple[Callable[[], nn.Module], Mapping[str, Any], str]
REFUSED: Mapping[str, Row] = {
    "a layer that is not there": (
        tiny_net,
        {"layers": ["layer4"]},
        r"'layer4': not found in the module, expected one of its parts: 0, 1",
    ),
    "paths and auto": (
        tiny_net,
        {"layers": ["2", "auto"]},
        "expected either module paths only, or auto and shares only",
    ),
    "a layer that is no map": (tiny_net, {"layers": ["5"]}, "5: found an output that is no map leading to the outputs"),
    "a map as output": (
        lambda: Outputs(lambda x: x * 2),
        {},
        r"found outputs logits \[batch, 3, 8, 8\], .* state --head logits:mask",
    ),
    "a text": (lambda: Outputs(lambda x: "cat"), {}, r"found module outputs str for 3 images, expected a tensor"),
    "a tuple in a tuple": (lambda: Outputs(lambda x: ((_logits(x),), x)), {}, "found module outputs tuple"),
    "one row for all images": (lambda: Outputs(lambda x: _logits(x).mean()), {}, r"found module outputs \[\(\)\]"),
    "heads without a layer": (
        lambda: Outputs(lambda x: {"first": _logits(x), "second": x.amax((2, 3))}),
        {},
        "no feature map of the image leads to the heads first, second; rise works on this file",
    ),
    "labels of another number": (tiny_net, {"labels": ["a"]}, "found 1, but the model has 3 classes"),
}


@pytest.mark.parametrize(("make", "options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(make: Callable[[], nn.Module], options: Mapping[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match=says):
        export(make(), tmp_path / "model.onnx", input_size_hw=(8, 8), **options)
    assert not list(tmp_path.iterdir())


def test_a_batch_fixed_by_the_module_is_refused(tmp_path: Path) -> None:
    class OfThree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(image)).mean((2, 3)) + torch.ones(3, 3)

    with pytest.raises(VerificationError, match="'dynamic batch' failed"):
        export(OfThree(), tmp_path / "model.onnx", input_size_hw=(8, 8))
    assert not list(tmp_path.iterdir())


def test_a_wrong_rule_is_caught_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(at: Site, g: Any) -> Gradients:
        return RULES["Relu"](at, at.branch.Mul(g, 2.0))

    monkeypatch.setattr(rules, "RULES", {**RULES, "Relu": wrong})
    with pytest.raises(VerificationError, match="gradient agrees with"):
        export(tiny_net(), tmp_path / "model.onnx", input_size_hw=(8, 8), layers=["1"])
    assert not list(tmp_path.iterdir())


def test_gray_images_and_required_inputs(tmp_path: Path) -> None:
    network = tiny_net()
    network[0] = nn.Conv2d(1, 4, 3)
    report = export(
        network.eval(),
        tmp_path / "model.onnx",
        input_size_hw=(8, 10),
        preprocessing=Preprocessing("gray", 1.0, (0,), (1,)),
        labels=["a", "b", "c"],
        required_inputs=True,
    )
    session = open_session(report.path)
    assert [value.name for value in session.get_inputs()] == ["image", "target", "explain"]
    assert session.get_inputs()[0].shape[1:] == [1, 8, 10]
    assert isinstance(session.get_inputs()[0].shape[0], str)
    assert report.checks.layers[0].reference == "torch.autograd"
    feeds = {"image": np.ones((2, 1, 8, 10), np.float32), "target": np.array([0, 2]), "explain": np.array([True])}
    (gradient,) = session.run([report.spec.layers[0].gradients], feeds)
    assert np.asarray(gradient).shape[0] == 2


def test_the_module_is_let_go(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    weight = weakref.ref(next(module.parameters()))
    export(module, tmp_path / "model.onnx", input_size_hw=(8, 8))
    del module
    gc.collect()
    assert weight() is None
