"""DETR and YOLOS of transformers, random weights: gradients against torch.autograd."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

import torch

from onnxplain import Engine
from onnxplain.exporters import instrument
from tests.detectors.test_transformers import LABELS, SIZE_HW, Outputs, detr, yolos

CLASSES = len(LABELS)
# Candidate, and the first class, the last class or a corner.
TARGETS = [(candidate, column) for candidate in (0, 7) for column in (0, CLASSES - 1, *range(CLASSES, CLASSES + 4))]


@pytest.mark.parametrize("make", [yolos, detr], ids=["YOLOS", "DETR"])
def test_gradients_are_those_of_torch(make: Callable[[Any], Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.networks.vision import transformers

        torch.manual_seed(3)
        model, _ = make(transformers)
        torch.onnx.export(
            Outputs(model).eval(),
            (torch.zeros(1, 3, *SIZE_HW),),
            str(tmp_path / "model.onnx"),
            input_names=["pixel_values"],
            output_names=["logits", "pred_boxes"],
            opset_version=17,
            dynamo=False,
        )
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    engine = Engine(instrument(tmp_path / "model.onnx", tmp_path / "out.onnx").path)
    assert engine.spec.detector is not None and engine.spec.detector.layout_name == "detr"
    pixels = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)
    numbers = np.array([engine.spec.detector.target(*each) for each in TARGETS])
    corners = np.array([column >= CLASSES for _, column in TARGETS])
    for layer in engine.spec.layers:
        features, found = engine.run(pixels, [layer.features, layer.gradients], numbers, layer.name)
        expected = _gradients(model, pixels, features[0])
        for kind in (corners, ~corners):
            np.testing.assert_allclose(found[kind], expected[kind], atol=1e-4 * np.abs(expected[kind]).max())


def _gradients(model: Any, pixels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Gradients of `TARGETS` at the module's output that holds a map [K, h, w], as [T, K, h, w]."""
    held: list[torch.Tensor] = []
    flat = features.reshape(len(features), -1)

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        for value in output if isinstance(output, tuple) else (output,):
            if isinstance(value, torch.Tensor) and not held and _place(value, flat) is not None:
                held.append(value)

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    answer = model(pixel_values=torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    (height, width), boxes = SIZE_HW, answer.pred_boxes[0]
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    pixels_of = torch.cat([centre - half, centre + half], 1) * torch.tensor([width, height, width, height])
    table = torch.cat([answer.logits[0, :, :CLASSES], pixels_of], 1)
    (value,) = held
    rows = [torch.autograd.grad(table[each], value, retain_graph=True)[0] for each in TARGETS]
    place = _place(value, flat)
    assert place is not None
    return np.stack([place(row).reshape(features.shape) for row in rows])


def _place(value: torch.Tensor, flat: np.ndarray) -> Callable[[torch.Tensor], np.ndarray] | None:
    """How a tensor [1, K, h, w] or [1, tokens, K] becomes [K, cells], if it holds this map."""
    cells = flat.shape[1]

    def of_map(each: torch.Tensor) -> np.ndarray:
        return each[0].flatten(1).numpy()

    def of_tokens(first: int) -> Callable[[torch.Tensor], np.ndarray]:
        return lambda each: each[0, first : first + cells].T.numpy()

    places = [of_map] if value.ndim == 4 else [of_tokens(0), of_tokens(1)] if value.ndim == 3 else []
    for place in places if len(value) == 1 else ():
        found = place(value.detach())
        if found.shape == flat.shape and np.allclose(found, flat, atol=1e-4):
            return place
    return None
