"""A job is opened where its model's path is not seen, as the same model, or refused."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.batch.job import BatchJob
from onnxplain.batch.shipping import ship
from onnxplain.batch.stores.output import LocalOutput
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.run_record import hash_of
from tests.models import ExplainableModel, write_classifier

IMAGE = np.random.default_rng(3).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def job_of(model: Path, folder: Path) -> BatchJob:
    return BatchJob(Engine(model, threads=1), hash_of(model), (), LocalOutput(folder), "run", 1)


def opened_elsewhere(job: BatchJob, folder: Path) -> BatchJob:
    """The job as another machine opens it: the model's folder is away, and all came as bytes."""
    content = pickle.dumps(ship(job))
    away = job.engine.path.parent.rename(folder / "away")
    try:
        return pickle.loads(content).open(folder / "worker")
    finally:
        away.rename(job.engine.path.parent)


@pytest.mark.parametrize("kind", ["explainable", "plain with labels beside it"])
def test_a_model_that_the_worker_does_not_see_is_the_same_there(kind: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "model.onnx"
    if kind == "explainable":
        ExplainableModel().write(path)
    else:
        write_classifier(path)
        classes = len(Engine(path).predict([IMAGE])[0].scores)
        (tmp_path / "here" / "labels.txt").write_text("\n".join(f"label {number}" for number in range(classes)))
    job = job_of(path, tmp_path)
    found = opened_elsewhere(job, tmp_path)
    assert found.engine.path.parent == tmp_path / "worker"
    assert repr(found.engine.spec) == repr(job.engine.spec)
    np.testing.assert_array_equal(found.engine.predict([IMAGE])[0].scores, job.engine.predict([IMAGE])[0].scores)
    assert (found.run, found.threads, found.model_sha256) == ("run", 1, job.model_sha256)


def test_a_model_that_the_worker_sees_is_not_copied(tmp_path: Path) -> None:
    job = job_of(ExplainableModel().write(tmp_path / "model.onnx"), tmp_path)
    assert ship(job).open(tmp_path / "worker").engine.path == tmp_path / "model.onnx"
    assert not (tmp_path / "worker").exists()


def test_another_model_at_the_path_is_not_used(tmp_path: Path) -> None:
    path = ExplainableModel().write(tmp_path / "model.onnx")
    shipped = ship(job_of(path, tmp_path))
    shutil.copy(write_classifier(tmp_path / "other.onnx"), path)
    assert shipped.open(tmp_path / "worker").engine.path == tmp_path / "worker" / "model.onnx"


def test_other_versions_and_another_description_are_refused(tmp_path: Path) -> None:
    shipped = ship(job_of(ExplainableModel().write(tmp_path / "model.onnx"), tmp_path))
    with pytest.raises(OnnxplainError, match=r"found onnxruntime .*, expected 0\.1, as where the batch was started"):
        replace(shipped, versions={**shipped.versions, "onnxruntime": "0.1"}).open(tmp_path)
    with pytest.raises(OnnxplainError, match="found another description of the model"):
        replace(shipped, description="another").open(tmp_path)
