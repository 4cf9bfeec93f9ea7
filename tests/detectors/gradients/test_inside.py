"""Gradients through suppression inside the graph, and which layouts have gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

import torch

from onnxplain import Engine
from onnxplain.contract.detectors import LAYOUTS
from onnxplain.errors import UnsupportedError
from onnxplain.exporters import instrument
from tests.detectors.files import write_detector
from tests.detectors.gradients.files import gradients_of, in_double
from tests.detectors.gradients.networks import NETWORKS
from tests.detectors.gradients.suppressing import Suppressing, write_suppressing


def test_every_layout_has_a_network_or_is_refused() -> None:
    assert {*NETWORKS, Suppressing.layout} == {name for name, layout in LAYOUTS.items() if layout.gradients}


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if not layout.gradients])
def test_layouts_without_gradients_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = write_detector(tmp_path / "model.onnx", name)
    with pytest.raises(UnsupportedError, match=rf"found a detector \(layout {name}\), which has no gradients.*rise"):
        instrument(path, tmp_path / "out.onnx", detector=name)
    assert not (tmp_path / "out.onnx").exists()


def test_suppression_inside(tmp_path: Path) -> None:
    """NonMaxSuppression chooses rows; score and corners of a row are those of its cell."""
    network = write_suppressing(tmp_path / "plain.onnx")
    engine = Engine(instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", detector="end2end-batch").path)
    pixels = np.random.default_rng(0).normal(size=(1, 3, *network.size_hw)).astype(np.float32)
    (rows,) = engine.run(pixels, ["output"])
    detector = engine.spec.detector
    assert detector is not None and detector.candidates is None and len(rows) > 3
    double = in_double(network)
    levels = double.levels(torch.from_numpy(pixels).double())
    targets = [(row, column) for row in range(len(rows)) for column in range(5)]
    expected = gradients_of(double.of_rows(levels, rows), levels, targets)
    numbers = np.array([detector.target(*each) for each in targets])
    compared = 0
    for layer in engine.spec.layers:
        features, found = engine.run(pixels, [layer.features, layer.gradients], numbers, layer.name)
        for maps, gradients in expected:
            if maps.shape == features[0].shape and np.allclose(maps, features[0], atol=1e-4):
                np.testing.assert_allclose(found, gradients, atol=2e-5 * np.abs(gradients).max())
                compared += 1
    assert compared == len(levels)
