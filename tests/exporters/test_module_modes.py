"""`export` computes in evaluation mode and leaves every part of the module in the mode that it was in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onnxplain.errors import OnnxplainError
from onnxplain.exporters import export
from tests.exporters.graphs import open_session


def network() -> nn.Module:
    """8 × 8 pixels to 3 classes, in training mode as it is built; its dropout is never silent there."""
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head)


class Wrapper(nn.Module):
    """A caller's own class around a network; its own flag says training, as that of any new module does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.inner(image)


class TwoGraphs(nn.Module):
    """`train` does more here than set the flag, as in what torchvision's create_feature_extractor returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.graph = "of training"

    def train(self, mode: bool = True) -> TwoGraphs:
        self.graph = "of training" if mode else "of evaluation"
        return super().train(mode)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert self.graph == "of evaluation"
        return self.inner(image)


class Twice(nn.Module):
    """Two wrappers lead to one network, which either puts into its own mode."""

    def __init__(self) -> None:
        super().__init__()
        inner = network()
        self.one, self.other = Wrapper(inner), Wrapper(inner)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.one(image) + self.other(image.flip(-1))


def _frozen_norm() -> nn.Module:
    module = network()
    module[1].eval()
    return module


def _frozen_norm_under_a_frozen_wrapper() -> nn.Module:
    module = Wrapper(_frozen_norm())
    module.training = False
    return module


def _shared() -> nn.Module:
    module = Twice()
    module.one.inner.eval()  # while both wrappers stay in training
    return module


MODULES: Mapping[str, Callable[[], nn.Module]] = {
    "all in training": network,
    "all in evaluation": lambda: network().eval(),
    "a new wrapper around a network in evaluation": lambda: Wrapper(network().eval()),
    "a frozen normalization in a module in training": _frozen_norm,
    "training and evaluation alternate": _frozen_norm_under_a_frozen_wrapper,
    "a part with two parents": _shared,
    "a part that changes graphs": lambda: Wrapper(TwoGraphs(network())),
    "a part that has changed graphs": lambda: Wrapper(TwoGraphs(network()).eval()),
}


def _state(module: nn.Module) -> dict[str, Any]:
    modes = {name: (part.training, getattr(part, "graph", None)) for name, part in module.named_modules()}
    return modes | {name: tensor.tolist() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES.keys())
def test_modes_and_state_are_as_found(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    module = make()
    before = _state(module)
    export(module, tmp_path / "model.onnx", input_size_hw=(8, 8))
    assert _state(module) == before

    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    (found,) = open_session(tmp_path / "model.onnx").run(["logits"], {"image": image})
    with torch.no_grad():
        np.testing.assert_allclose(found, module.eval()(torch.from_numpy(image)).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES.keys())
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layers": ["layer4"]}, "not found in the module"),
        ({"labels": ["a"]}, "found 1, but the model has 3 classes"),
    ],
    ids=["before it is traced", "after it is traced"],
)
def test_modes_and_state_are_as_found_where_nothing_is_written(
    make: Callable[[], nn.Module], options: Mapping[str, Any], says: str, tmp_path: Path
) -> None:
    module = make()
    before = _state(module)
    with pytest.raises(OnnxplainError, match=says):
        export(module, tmp_path / "model.onnx", input_size_hw=(8, 8), **options)
    assert _state(module) == before


def test_modes_are_as_found_where_the_module_itself_fails(tmp_path: Path) -> None:
    module = Wrapper(nn.Sequential(network().eval(), nn.Linear(5, 3)))
    before = _state(module)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        export(module, tmp_path / "model.onnx", input_size_hw=(8, 8))
    assert _state(module) == before
