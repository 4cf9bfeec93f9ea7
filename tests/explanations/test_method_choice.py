"""Which methods suit a file: all of those that work, with the runs that they really take, and reasons for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxplain import Engine
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import METHODS, supported
from onnxplain.explainers.passes import Passes
from onnxplain.explanations.method_choice import PassTimes, list_choices, time_passes
from tests.detectors.seeing import open_suppressing
from tests.explainers.tiny_model import make_tiny_model

TIMES = PassTimes(2.0, 3.0, 0.5)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return make_tiny_model(tmp_path_factory.mktemp("choice") / "model.onnx").engine


def test_all_methods_are_listed_and_those_that_work_are_the_supported_ones(engine: Engine) -> None:
    choices = list_choices(engine, TIMES, {})
    assert [each.name for each in choices] == list(METHODS)
    assert tuple(each.name for each in choices if each.obstacle is None) == supported(engine)
    assert all(each.use for each in choices)


def test_seconds_are_runs_times_their_time(engine: Engine) -> None:
    found = {each.name: each for each in list_choices(engine, TIMES, {"evaluations": 100})}
    assert found["rise"].passes == Passes(forward=100)
    assert found["rise"].seconds == 200
    assert found["hires-cam"].seconds == 3
    recipro = found["recipro-cam"]
    assert recipro.passes is not None and recipro.passes.forward == 1
    assert recipro.seconds == 2 + 0.5 * recipro.passes.tail
    assert found["sobol"].obstacle is not None
    assert str(found["sobol"].obstacle).startswith("evaluations: found 100, expected at least 245")
    assert found["sobol"].seconds is None
    unknown = {each.name: each for each in list_choices(engine, PassTimes(2.0), {})}
    assert unknown["hires-cam"].seconds is None and unknown["rise"].seconds == 2 * 801


def test_the_reason_is_what_the_file_lacks(tmp_path: Path) -> None:
    plain = make_tiny_model(tmp_path / "model.onnx", instrumented=False).engine
    found = {each.name: each.obstacle for each in list_choices(plain, TIMES, {})}
    assert {name for name, obstacle in found.items() if obstacle is None} == set(supported(plain))
    assert str(found["grad-cam"]).startswith("needs an instrumented layer of a model with heads, but the file has no")
    detector = open_suppressing(tmp_path / "detector.onnx")
    found = {each.name: each.obstacle for each in list_choices(detector, time_passes(detector), {})}
    assert found["rise"] is None
    assert isinstance(found["grad-cam"], OnnxplainError)
    assert str(found["grad-cam"]).startswith("needs any model with heads, but the file is a detector")


def test_runs_are_timed(engine: Engine) -> None:
    times = time_passes(engine)
    assert times.forward > 0
    assert times.gradient is not None and times.gradient > 0
    assert times.tail is not None and times.tail > 0


def test_files_without_layers_or_tail_have_no_such_times(tmp_path: Path) -> None:
    plain = time_passes(make_tiny_model(tmp_path / "plain.onnx", instrumented=False).engine)
    assert (plain.gradient, plain.tail) == (None, None)
    bare = time_passes(make_tiny_model(tmp_path / "bare.onnx", tail=False).engine)
    assert bare.gradient is not None and bare.tail is None
