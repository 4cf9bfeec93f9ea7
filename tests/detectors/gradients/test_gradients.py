"""Gradients of candidates against torch.autograd: every class and all four corners, at each level's map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

from onnxplain import Engine
from onnxplain.contract.detectors import LayoutEvidence
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.runtime.detection.decode import best_scores, class_scores
from tests.detectors.gradients.files import Instrumented, gradients_of_torch, instrument_network
from tests.detectors.gradients.networks import NETWORKS

# Of the largest gradient of a class, or of a corner. What is left of differences (bins of which one has all the weight)
# is rounding.
TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=NETWORKS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrumented]:
    yield instrument_network(NETWORKS[request.param], tmp_path_factory.mktemp(request.param))


def pixels_of(made: Instrumented) -> np.ndarray:
    pixels = np.random.default_rng(0).normal(size=(1, 3, *made.network.size_hw)).astype(np.float32)
    return pixels / np.float32(made.network.image_scale)


def asked(engine: Engine) -> list[tuple[int, int]]:
    """Candidates of every level, each with the first and the last class and the corners."""
    detector = engine.spec.detector
    assert detector is not None and detector.candidates is not None and detector.class_columns is not None
    count, classes = detector.candidates, detector.class_columns
    columns = [*sorted({0, classes - 1}), *range(classes, classes + 4)]
    return [(candidate, column) for candidate in (3, count // 2, count - 1) for column in columns]


def test_gradients_are_those_of_torch(made: Instrumented) -> None:
    engine, pixels = made.engine, pixels_of(made)
    detector, targets = engine.spec.detector, asked(made.engine)
    assert detector is not None
    numbers = np.array([detector.target(*each) for each in targets])
    corners = np.array([column >= (detector.class_columns or 1) for _, column in targets])
    levels = gradients_of_torch(made.network, pixels, targets)
    compared = 0
    for layer in engine.spec.layers:
        features, found = engine.run(pixels, [layer.features, layer.gradients], numbers, layer.name)
        for maps, expected in levels:
            if maps.shape != features[0].shape or not np.allclose(maps, features[0], atol=1e-4):
                continue
            compared += 1
            for kind in (corners, ~corners):
                difference = np.abs(found[kind] - expected[kind]).max()
                assert difference <= TOLERANCE * np.abs(expected[kind]).max(), layer.name
            # Exactly zero where the level does not see the candidate.
            unseen = ~expected.any(axis=(1, 2, 3))
            assert not found[unseen].any()
    assert compared == len(levels)


def test_targets_at_once_are_bit_for_bit_those_one_by_one(made: Instrumented) -> None:
    engine, pixels = made.engine, pixels_of(made)
    detector = engine.spec.detector
    assert detector is not None
    numbers = np.array([detector.target(*each) for each in asked(engine)][:8])
    names = [layer.name for layer in engine.spec.layers]
    outputs = [layer.gradients for layer in engine.spec.layers]
    assert all(layer.many_targets for layer in engine.spec.layers)
    together = engine.run(pixels, outputs, numbers, names)
    for row, number in enumerate(numbers):
        for layer, found in zip(engine.spec.layers, together, strict=True):
            (alone,) = engine.run(pixels, [layer.gradients], np.array([number]), layer.name)
            np.testing.assert_array_equal(found[row], alone[0])


def test_the_file_is_still_the_detector(made: Instrumented) -> None:
    """Original outputs are bit-equal, and the metadata say what is read where."""
    plain = Engine(made.plain, detector=made.network.layout)
    engine, pixels = made.engine, pixels_of(made)
    assert engine.spec.detector is not None and plain.spec.detector is not None
    names = engine.spec.detector.output_names
    session = ort.InferenceSession(made.plain, providers=["CPUExecutionProvider"])
    expected = session.run(list(names), {"images": pixels, **made.others})
    targets = np.array([engine.spec.detector.target(2, 0)])
    for found in (engine.run(pixels, names), engine.run(pixels, names, targets, engine.spec.layers[0].name)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert engine.spec.detector.outputs == plain.spec.detector.outputs
    assert engine.spec.detector.candidates == plain.spec.detector.candidates
    assert engine.spec.labels == plain.spec.labels
    assert engine.spec.input.preprocessing == plain.spec.input.preprocessing


def test_the_best_detection_is_the_default(made: Instrumented) -> None:
    engine, pixels = made.engine, pixels_of(made)
    layer = engine.spec.layers[-1]
    assert engine.detector is not None
    (columns,) = engine.detector.read(engine.detector.run(pixels))
    candidate = int(best_scores(engine.detector.spec.layout, columns).argmax())
    column = int(class_scores(engine.detector.spec.layout, columns)[candidate].argmax())
    best = np.array([engine.detector.spec.target(candidate, column)])
    (default,), (named,) = (engine.run(pixels, [layer.gradients], each, layer.name) for each in (None, best))
    np.testing.assert_array_equal(default, named)


def test_a_candidate_that_is_not_there_fails(made: Instrumented) -> None:
    engine, pixels = made.engine, pixels_of(made)
    detector, layer = engine.spec.detector, engine.spec.layers[-1]
    assert detector is not None and detector.candidates is not None
    beyond = np.array([detector.target(detector.candidates, 0)])
    with pytest.raises(OnnxplainError, match="expected -1 for the best detection"):
        engine.run(pixels, [layer.gradients], beyond, layer.name)
    gates = np.array([each is layer for each in engine.spec.layers])
    session = ort.InferenceSession(made.report.path, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"[Ii]ndex|indices|bounds"):
        session.run([layer.gradients], {"images": pixels, **made.others, "target": beyond, "explain": gates})


def test_a_file_is_instrumented_again(tmp_path: Path) -> None:
    """The old instrumentation goes, layout and labels stay."""
    made = instrument_network(NETWORKS["blazeface"], tmp_path, labels=["nose"])
    again = instrument(made.report.path, tmp_path / "again.onnx")
    before = made.report.spec.detector
    assert before is not None and again.spec.detector == replace(before, evidence=(LayoutEvidence("metadata"),))
    assert again.spec.labels == ("nose",)
    assert [layer.name for layer in again.spec.layers] == [layer.name for layer in made.report.spec.layers]


def test_batches_and_files_without_gates(tmp_path: Path) -> None:
    """Two images take two targets, one each; without gates every run computes gradients."""
    made = instrument_network(NETWORKS["nanodet-plus"], tmp_path, gate=False)
    engine = made.engine
    detector, layer = engine.spec.detector, engine.spec.layers[0]
    assert detector is not None and engine.fixed_batch is None and not engine.spec.gated
    pixels = np.random.default_rng(1).normal(size=(2, 3, *made.network.size_hw)).astype(np.float32)
    numbers = np.array([detector.target(140, 1), detector.target(169, 3)])
    (found,) = engine.run(pixels, [layer.gradients], numbers, layer.name)
    for row in range(2):
        (alone,) = engine.run(pixels[row : row + 1], [layer.gradients], numbers[row : row + 1], layer.name)
        np.testing.assert_allclose(found[row], alone[0], atol=1e-6 * np.abs(alone).max())
    assert "If" not in {node.op_type for node in onnx.load(made.report.path).graph.node}
