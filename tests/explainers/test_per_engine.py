from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from onnxplain.explainers.masked.per_engine import PerEngine
from onnxplain.runtime import Engine
from tests.position_model import open_position_model


def test_a_value_is_found_once_for_each_key_and_engine(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    other, answers = Engine(engine.path), iter([3, 4, 5, 6])
    sizes: PerEngine[str, int] = PerEngine()

    def find() -> int:
        return next(answers)

    assert [sizes.get(engine, "size", find) for _ in range(2)] == [3, 3]
    assert sizes.get(engine, "other", find) == 4
    assert sizes.get(other, "size", find) == 5
    assert PerEngine().get(engine, "size", find) == 6
    assert sizes.get(engine, "size", find) == 3


def test_values_go_with_their_engine(tmp_path) -> None:
    class Value:
        pass

    values: PerEngine[str, Value] = PerEngine()
    engine = open_position_model(tmp_path / "model.onnx")
    held = weakref.ref(values.get(engine, "value", Value))
    gc.collect()
    assert held() is not None
    del engine
    gc.collect()
    assert held() is None


def test_what_fails_is_tried_again(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    values: PerEngine[str, float] = PerEngine()
    with pytest.raises(ZeroDivisionError):
        values.get(engine, "value", lambda: 1 / 0)
    assert values.get(engine, "value", lambda: 2.0) == 2


def test_threads_that_ask_at_once_get_the_value_of_the_first(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    values: PerEngine[str, object] = PerEngine()
    start, found, finds = threading.Barrier(8), [], []

    def find() -> object:
        finds.append(time.sleep(0.05))
        return object()

    def ask() -> None:
        start.wait()
        found.append(values.get(engine, "value", find))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert (len(finds), len(set(found))) == (1, 1)
