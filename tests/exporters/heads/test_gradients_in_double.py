"""The gradient of every kind of head in float64 against torch.autograd, to rounding; one target and all at once.

ONNX Runtime has no convolution in float64, so onnx's reference evaluator runs the written file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from torch import nn

from onnxplain.contract import LayerSpec
from onnxplain.exporters import instrument
from tests.exporters.graphs import relative_error
from tests.exporters.heads.networks import SIDE, Asked, gradient, write
from tests.exporters.heads.test_head_gradients import CASES, feeds_of
from tests.exporters.in_double import in_double

TOLERANCE = 1e-10
IMAGES = np.random.default_rng(3).random((2, 3, SIDE, SIDE))


def run(
    file: ReferenceEvaluator, layer: LayerSpec, image: np.ndarray, asked: Sequence[tuple[int, Asked]]
) -> tuple[np.ndarray, np.ndarray]:
    """Feature maps, and the gradients of one target for all images or of several for one image."""
    each = [feeds_of(entry, target, image) for target, entry in asked]
    given = {name: [feeds[name] for feeds in each if name in feeds] for name in ("reference", "region")}
    feeds: dict[str, Any] = {"image": image, "target": np.array([target for target, _ in asked])}
    # Where a target needs no reference or region, those of another one do no harm.
    for name, arrays in given.items():
        if arrays:
            rows = [feeds.get(name, arrays[0]) for feeds in each]
            feeds[name] = np.concatenate(rows).astype(np.float64)
    # The cosine with a reference of zeros, which other heads' targets leave, is NaN and not taken.
    with np.errstate(invalid="ignore"):
        features, found = file.run([layer.features, layer.gradients], {**feeds, "explain": np.array([True])})
    assert features.dtype == found.dtype == np.float64
    return features, found


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    module = case.network(case.finish).eval()
    if hasattr(module, "stem"):
        # torch folds a batch normalization into the convolution before it, in float32.
        module.stem[1] = nn.Identity()
    onnx.save(write(module, case.names, dynamo=False), tmp_path / "plain.onnx")
    spec = instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", heads=case.heads, layers=["0%"]).spec
    file, asked, (layer,) = in_double(onnx.load(tmp_path / "out.onnx")), list(case.asked.items()), spec.layers
    features, found = run(file, layer, IMAGES[:1], asked)
    single = [gradient(module, IMAGES[:1], features, entry) for _, entry in asked]
    assert relative_error(found, np.concatenate(single)) < TOLERANCE
    assert all(np.count_nonzero(each) for each in single)
    # Why one rather than another: the difference of two logits has the difference of the gradients.
    assert relative_error(found[:1] - found[-1:], single[0] - single[-1]) < TOLERANCE
    target, entry = asked[-1]
    features, found = run(file, layer, IMAGES, [(target, entry)])
    assert relative_error(found, gradient(module, IMAGES, features, entry)) < TOLERANCE
