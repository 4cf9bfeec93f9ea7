"""The tail file of a model: found beside it, refused by name where it is missing or another's, run in batches."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from onnxplain.runtime import tail as tail_module
from onnxplain.runtime.sessions.batches import FEATURES_AT_ONCE
from onnxplain.runtime.sessions.session import run_session
from tests.exporters.onnx_models import CLASSES, CONSTANTS, MAPS, SIZE_HW, plain_model, save

RNG = np.random.default_rng(4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """model.onnx and its tail, other.onnx of another layer and its tail, bare.onnx without one."""
    plain = save(plain_model(box=True), tmp_path / "plain.onnx")
    instrument(plain, tmp_path / "model.onnx", layers=["early", "late"], box="box")
    instrument(plain, tmp_path / "other.onnx", layers=["early"], box="box")
    instrument(plain, tmp_path / "bare.onnx", box="box", tail=False)
    return tmp_path


def features(count: int) -> np.ndarray:
    return RNG.normal(size=(count, MAPS, *SIZE_HW)).astype(np.float32)


def reference(maps: np.ndarray) -> np.ndarray:
    logits = maps.mean((2, 3)) @ CONSTANTS["weights"].T + CONSTANTS["bias"]
    return np.concatenate([logits, maps.reshape(len(maps), -1) @ CONSTANTS["corner_weights"].T], axis=1)


@pytest.mark.parametrize("count", [1, FEATURES_AT_ONCE, 2 * FEATURES_AT_ONCE + 3])
def test_answers_are_logits_and_box(folder: Path, count: int) -> None:
    tail, maps = Engine(folder / "model.onnx").tail, features(count)
    answers = tail.answers(maps)
    assert (answers.dtype, answers.shape) == (np.float32, (count, CLASSES + 4))
    np.testing.assert_allclose(answers, reference(maps), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(tail.logits(maps), answers[:, :CLASSES])
    exponentials = np.exp(answers[:, :CLASSES].astype(np.float64))
    np.testing.assert_allclose(tail.scores(maps), exponentials / exponentials.sum(1, keepdims=True), rtol=1e-4)
    assert (tail.layer.name, tail.classes, tail.path.name) == ("late", CLASSES, "model.tail.onnx")


@pytest.mark.parametrize(("fixed", "sizes"), [(None, [16, 16, 5]), (1, [1] * 37)])
def test_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixed: int | None, sizes: list[int]) -> None:
    batch = "dynamic" if fixed is None else "fixed"
    instrument(save(plain_model(batch=1), tmp_path / "plain.onnx"), tmp_path / "model.onnx", batch=batch)
    seen, maps = [], features(37)

    def spy(session, path, names, feed):
        seen.append(len(feed["features"]))
        return run_session(session, path, names, feed)

    monkeypatch.setattr(tail_module, "run_session", spy)
    tail = Engine(tmp_path / "model.onnx", threads=1).tail
    np.testing.assert_allclose(tail.logits(maps), reference(maps)[:, :CLASSES], rtol=1e-4, atol=1e-4)
    assert seen == sizes


def test_a_model_renamed_or_moved_with_its_tail_keeps_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for old, new in (("model.onnx", "renamed.onnx"), ("model.tail.onnx", "model.tail.onnx")):
        shutil.move(folder / old, tmp_path / "elsewhere" / new)
    assert Engine(tmp_path / "elsewhere" / "renamed.onnx").tail.path.name == "model.tail.onnx"


def _remove(folder: Path) -> None:
    (folder / "model.tail.onnx").unlink()


def _take_the_other(folder: Path) -> None:
    shutil.copy(folder / "other.tail.onnx", folder / "model.tail.onnx")


def _take_a_model(folder: Path) -> None:
    shutil.copy(folder / "plain.onnx", folder / "model.tail.onnx")


def _cut_short(folder: Path) -> None:
    path = folder / "model.tail.onnx"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _remove,
            r"model\.tail\.onnx: found no tail file, expected it in the folder of model\.onnx: "
            r".*`onnxplain instrument`",
        ),
        (
            _take_the_other,
            r"model\.tail\.onnx: found tail \w{16}, expected tail \w{16} of model\.onnx: write both again",
        ),
        (_take_a_model, r"model\.tail\.onnx: found no tail, expected tail \w{16} of model\.onnx: write both again"),
        (_cut_short, r"model\.tail\.onnx: found a truncated file or another format"),
    ],
)
def test_a_tail_that_is_not_there_or_not_the_models_is_refused(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    engine = Engine(folder / "model.onnx")
    assert engine.predict(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ModelError, match=message):
        _ = engine.tail


def test_a_model_without_one_says_so(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"bare\.onnx: found no tail in its metadata.*--no-tail"):
        _ = Engine(folder / "bare.onnx").tail


@pytest.mark.parametrize("shape", [(0, MAPS, *SIZE_HW), (MAPS, *SIZE_HW), (1, MAPS + 1, *SIZE_HW), (1, MAPS, 2, 2)])
def test_features_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    tail = Engine(folder / "model.onnx").tail
    with pytest.raises(OnnxplainError, match=rf"features of late: found shape .*, expected \(N, {MAPS}, 8, 6\), N ≥ 1"):
        tail.answers(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            '"file": "model.tail.onnx"',
            '"file": "../model.tail.onnx"',
            "expected the name of a file in the model",
        ),
        ('"file": "model.tail.onnx"', '"file": ""', "expected the name of a file in the model"),
        ('"layer": "late"', '"layer": "early"', "the tail belongs to layer 'early', expected the last layer"),
        ('"tail": {', '"tail": {"more": 1, ', "found 'more', expected one of file"),
    ],
)
def test_metadata_that_cannot_be_is_refused(folder: Path, before: str, after: str, message: str) -> None:
    model = onnx.load(folder / "model.onnx")
    assert before in model.metadata_props[0].value
    model.metadata_props[0].value = model.metadata_props[0].value.replace(before, after)
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ModelError, match=message):
        Engine(folder / "model.onnx")


def test_files_written_before_there_were_tails_are_read(folder: Path) -> None:
    model = onnx.load(folder / "bare.onnx")
    assert '"tail": null, ' in model.metadata_props[0].value
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"tail": null, ', "")
    onnx.save(model, folder / "bare.onnx")
    assert Engine(folder / "bare.onnx").spec.tail is None
