"""A run of a model ends at its limit: a loop of a billion turns too, in every command that runs a model."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.errors import OnnxplainError, TimeLimitError
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.machine.time_limit import DEFAULT_TIMEOUT, LimitedSession, current_timeout, limit_runs
from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.session import open_with_outputs, run_session
from tests.models import write_classifier

LIMIT = 0.2
IMAGE = np.zeros((8, 8, 3), np.uint8)


def write_endless(path: Path, turns: int = 10**12) -> Path:
    """A classifier whose logits pass through a loop."""
    return make_endless(write_classifier(path), turns)


def make_endless(path: Path, turns: int = 10**12) -> Path:
    """The same file, its logits passed through a loop."""
    model = onnx.load(path)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Neg", ["carried"], ["negated"])],
        "body",
        [
            info("turn", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("carried", TensorProto.FLOAT, None),
        ],
        [info("go_on", TensorProto.BOOL, []), info("negated", TensorProto.FLOAT, None)],
    )
    gemm = next(node for node in model.graph.node if node.output[0] == "logits")
    gemm.output[0] = "plain"
    model.graph.initializer.append(numpy_helper.from_array(np.array(turns), "turns"))
    model.graph.node.append(helper.make_node("Loop", ["turns", "", "plain"], ["logits"], body=body))
    for node in [node for node in model.graph.node if node.op_type == "Softmax"]:
        model.graph.node.remove(node)
    onnx.save(model, path)
    return path


def test_an_endless_run_ends(tmp_path: Path) -> None:
    path = write_endless(tmp_path / "model.onnx")
    with pytest.raises(TimeLimitError, match=r"model\.onnx: found a run of over 0\.2 s, expected less.*--timeout"):
        Engine(path, timeout=LIMIT).predict(IMAGE)
    with limit_runs(LIMIT):
        engine = Engine(path)
    with pytest.raises(TimeLimitError):
        engine.predict(IMAGE)


def test_a_run_for_open_shapes_ends(tmp_path: Path) -> None:
    path = write_endless(tmp_path / "model.onnx")
    session = open_with_outputs(path, ["plain"], LIMIT)
    with pytest.raises(TimeLimitError):
        run_session(session, path, ["logits"], {"image": np.zeros((1, 3, 8, 8), np.float32)})


def test_a_short_run_after_an_endless_one(tmp_path: Path) -> None:
    short = Engine(write_classifier(tmp_path / "short.onnx"), timeout=LIMIT)
    (expected,) = short.predict(IMAGE)
    with pytest.raises(TimeLimitError):
        Engine(write_endless(tmp_path / "endless.onnx"), timeout=LIMIT).predict(IMAGE)
    # The watching thread is asleep now and then.
    for pause in (0, 0.3, 0.6):
        time.sleep(pause)
        assert short.predict(IMAGE)[0].score == expected.score


def test_runs_of_several_threads_end_each_at_its_time(tmp_path: Path) -> None:
    path = write_endless(tmp_path / "model.onnx")
    ended = []

    def run(seconds: float) -> None:
        try:
            Engine(path, timeout=seconds).predict(IMAGE)
        except TimeLimitError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=run, args=(seconds,)) for seconds in (0.3, 0.1, 0.2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line.partition("over ")[2][:5] for line in ended) == ["0.1 s", "0.2 s", "0.3 s"]


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    engine = Engine(write_endless(tmp_path / "model.onnx", turns=4), timeout=0)
    assert engine.timeout == 0
    assert engine.predict(np.zeros((8, 8, 3), np.uint8))


def test_a_graph_of_the_exporters_ends(tmp_path: Path) -> None:
    model = onnx.load(write_endless(tmp_path / "model.onnx"))
    with limit_runs(LIMIT):
        session = GraphSession(model, "graph")
    with pytest.raises(TimeLimitError, match="graph: found a run"):
        session.run({"image": np.zeros((1, 3, 8, 8), np.float32)})


def test_the_limit_is_30_s_unless_it_is_set() -> None:
    assert current_timeout() == DEFAULT_TIMEOUT == 30
    with limit_runs(2), limit_runs(0):
        assert current_timeout() == 0
    assert current_timeout() == 30


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3", None, True, 10**400])
def test_what_is_no_limit(seconds: object) -> None:
    with pytest.raises(OnnxplainError, match="timeout: found"), limit_runs(seconds):
        pass


class FailingSession:
    def run(self, *_: object) -> None:
        raise RuntimeError("broken")


def test_another_failure_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        LimitedSession(FailingSession(), LIMIT).run(None, {})
