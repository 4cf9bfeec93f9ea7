"""What predicting leaves of a localizer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from torch import nn

from onnxplain.contract import Preprocessing
from onnxplain.training.localizer import LocalizerConfig, build_localizer
from onnxplain.training.prediction import localizer_predict

STRETCHED = Preprocessing(resize="stretch")
IMAGES = [np.zeros((24, 16, 3), np.uint8)]


def _frozen_norms(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


@pytest.mark.parametrize(
    "prepare",
    [nn.Module.train, nn.Module.eval, lambda module: module.features.eval(), _frozen_norms],
    ids=["all in training", "all in evaluation", "a frozen backbone", "frozen normalizations"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_every_part_is_left_in_its_mode(prepare, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build_localizer(LocalizerConfig(classes=2, size_hw=(16, 16), widths=(8, 8), box_channels=2), seed=0)
    prepare(module)
    before = {name: part.training for name, part in module.named_modules()}
    predict, heads, seen = localizer_predict(module, STRETCHED), module.heads, []

    def watched(images: torch.Tensor):
        seen.append({part.training for part in module.modules()})
        if fails:
            raise RuntimeError("no memory")
        return heads(images)

    monkeypatch.setattr(module, "heads", watched)
    if fails:
        with pytest.raises(RuntimeError, match="no memory"):
            predict(IMAGES)
    else:
        predict(IMAGES)
    assert seen == [{False}]
    assert {name: part.training for name, part in module.named_modules()} == before
