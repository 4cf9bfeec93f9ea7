"""Several targets of one image: the runs that the engine makes, and the rows that it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from onnxplain.contract import METADATA_KEY, PRESETS, LayerSpec
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.runtime import part_run
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.sessions import many_targets
from onnxplain.runtime.sessions.many_targets import targets_at_once
from tests.exporters.onnx_models import CLASSES, node, plain_model, save

PHOTO = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
TARGETS = [3, None, 0, 0, 4]


def unbatched() -> onnx.ModelProto:
    model = plain_model(batch=1)
    model.graph.node[0].input[0] = "batched"
    model.graph.node.insert(0, node("Unsqueeze", ["image", "first"], ["batched"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    del model.graph.input[0].type.tensor_type.shape.dim[0]
    return model


FORMS: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any]]] = {
    "open batch": (plain_model, {}),
    "batch of one": (lambda: plain_model(batch=1), {"batch": "fixed"}),
    "no batch axis": (unbatched, {}),
    "no gate": (plain_model, {"gate": False}),
}


def opened(form: str, folder: Path) -> Engine:
    build, options = FORMS[form]
    plain = save(build(), folder / "plain.onnx")
    preset = PRESETS["imagenet"]
    instrument(plain, folder / "out.onnx", layers=("early", "late"), preprocessing=preset, tail=False, **options)
    return Engine(folder / "out.onnx", threads=1)


def without_many_targets(engine: Engine) -> Engine:
    """The same file as written before layers said that they take several targets."""
    model = onnx.load(engine.path)
    (text,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    assert ', "many_targets": true' in text.value
    text.value = text.value.replace(', "many_targets": true', "")
    older = Engine(save(model, engine.path.with_name("older.onnx")), threads=1)
    assert not any(layer.many_targets for layer in older.spec.layers)
    return older


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Images and targets of every run."""
    counted: list[tuple[int, int]] = []
    run = part_run.run_session

    def count(session: Any, path: Path, names: Sequence[str], feed: dict[str, np.ndarray]) -> list[Any]:
        images = feed["image"]
        counted.append((len(images) if images.ndim == 4 else 1, len(feed["target"])))
        return run(session, path, names, feed)

    monkeypatch.setattr(part_run, "run_session", count)
    return counted


@pytest.mark.parametrize("layer", ["early", "late"])
@pytest.mark.parametrize("form", FORMS)
def test_one_forward_pass_and_a_row_per_target(
    form: str, layer: str, runs: list[tuple[int, int]], tmp_path: Path
) -> None:
    engine = opened(form, tmp_path)
    together = engine.activations(PHOTO, TARGETS, layer)
    assert runs == [(1, len(TARGETS))]
    assert together.features.strides[0] == 0, "the features are copied"
    assert len(together.frames) == len(together.scores) == len(together.target) == len(TARGETS)
    for row, target in enumerate(TARGETS):
        alone = engine.activations(PHOTO, target, layer)
        assert together.target[row] == alone.target[0]
        np.testing.assert_array_equal(together.features[row], alone.features[0])
        np.testing.assert_array_equal(together.scores[row], alone.scores[0])
        np.testing.assert_array_equal(together.logits[row], alone.logits[0])
        np.testing.assert_allclose(together.gradients[row], alone.gradients[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("form", "expected"), [("open batch", [(5, 5)]), ("batch of one", [(1, 1)] * 5)])
def test_the_image_is_repeated_for_a_layer_of_one_target(
    form: str, expected: list[tuple[int, int]], runs: list[tuple[int, int]], tmp_path: Path
) -> None:
    engine = opened(form, tmp_path)
    together, older = engine.activations(PHOTO, TARGETS, "early"), without_many_targets(engine)
    runs.clear()
    repeated = older.activations(PHOTO, TARGETS, "early")
    assert runs == expected
    np.testing.assert_array_equal(repeated.target, together.target)
    np.testing.assert_allclose(repeated.features, together.features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(repeated.gradients, together.gradients, rtol=1e-5, atol=1e-7)


def test_many_targets_run_in_parts(
    runs: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = opened("open batch", tmp_path)
    whole = engine.activations(PHOTO, TARGETS, "early")
    runs.clear()
    monkeypatch.setattr(many_targets, "MOST_TARGETS", 2)
    parts = engine.activations(PHOTO, TARGETS, "early")
    assert runs == [(1, 2), (1, 2), (1, 1)]
    np.testing.assert_allclose(parts.gradients, whole.gradients, rtol=1e-6, atol=1e-9)


def test_without_gradients_one_run_of_one_target(runs: list[tuple[int, int]], tmp_path: Path) -> None:
    engine = opened("open batch", tmp_path)
    activations = engine.activations(PHOTO, TARGETS, gradients=False)
    assert (len(activations.features), activations.gradients) == (len(TARGETS), None)
    assert runs == [(1, 1)]


def test_outputs_that_do_not_depend_on_the_target_have_one_row(tmp_path: Path) -> None:
    engine = opened("open batch", tmp_path)
    pixels, targets = engine.preprocess(PHOTO), np.array([0, 1, 2])
    for each in (engine, without_many_targets(engine)):
        outputs = each.run(pixels, ["gradients/late", "logits", "features/early"], targets, "late")
        assert [len(output) for output in outputs] == [3, 1, 1]


@pytest.mark.parametrize("targets", [[0, CLASSES], [], ["cat"]])
def test_bad_targets_are_refused(targets: list[Any], tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="target: found"):
        opened("open batch", tmp_path).activations(PHOTO, targets)


def test_a_list_of_one_image_takes_one_target(tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="found 2 targets for 1 images"):
        opened("open batch", tmp_path).activations([PHOTO], [0, 1])


@pytest.mark.parametrize(
    ("channels", "size_hw", "expected"),
    [(2048, (7, 7), 32), (512, (28, 28), 32), (256, (56, 56), 20), (64, (112, 112), 20), (64, (4096, 4096), 1)],
)
def test_large_maps_run_with_fewer_targets(channels: int, size_hw: tuple[int, int], expected: int) -> None:
    layer = LayerSpec("layer", "features/layer", "gradients/layer", channels, size_hw)
    assert targets_at_once([layer]) == expected
