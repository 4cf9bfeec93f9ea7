from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from onnxplain.runtime import batch_size
from onnxplain.runtime.batch_size import best_batch_size
from tests.position_model import open_position_model


class Clock:
    """A session whose run of n images takes ``seconds(n)`` of a clock that only it moves."""

    def __init__(self, seconds: Callable[[int], float], providers: Sequence[str]) -> None:
        self.now, self.sizes = 0.0, []
        self.seconds = seconds
        self.providers, self.fixed_batch, self.class_output = providers, None, "logits"
        self.spec = SimpleNamespace(input=SimpleNamespace(name="image"))
        self.bind = lambda names: SimpleNamespace(bind=lambda name, batch: None, run=self.run)
        self.input_buffer = np.zeros
        self.remember = lambda question, find: find()

    def run(self, count: int) -> None:
        self.sizes.append(count)
        self.now += self.seconds(count)

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "provider", "best", "tried"),
    [
        pytest.param(lambda n: 1e-3 * n, "CPU", 1, 16, id="no gain"),
        pytest.param(lambda n: 1e-3 * (n + 1), "CPU", 16, 16, id="a fixed cost per run"),
        pytest.param(lambda n: 1e-3 * max(n, 4), "CPU", 4, 16, id="flat up to 4"),
        pytest.param(lambda n: 1e-3 * n * (1.5 if n == 2 else 1 - 0.01 * n), "CPU", 16, 16, id="a dip at 2"),
        pytest.param(lambda n: 1e-3 * n * (1 - 0.001 * n), "CPU", 1, 16, id="a gain too small for its memory"),
        pytest.param(lambda n: 1e-4 * max(n, 40), "CUDA", 64, 64, id="larger on a GPU"),
        pytest.param(lambda n: 0.07 * (n + 1), "CPU", 1, 1, id="slow: one try"),
        pytest.param(lambda n: 0.05 * (n + 1), "CPU", 2, 2, id="slow: two tries"),
    ],
)
def test_the_least_time_per_image(monkeypatch, seconds, provider, best, tried) -> None:
    clock = Clock(seconds, [f"{provider}ExecutionProvider"])
    monkeypatch.setattr(batch_size.time, "perf_counter", clock.perf_counter)
    assert best_batch_size(clock) == best
    assert max(clock.sizes) == tried
    assert clock.sizes == sorted(clock.sizes)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_the_file_fixes(tmp_path, batch) -> None:
    assert best_batch_size(open_position_model(tmp_path / "model.onnx", batch=batch)) == batch


def test_an_engine_is_timed_once(tmp_path, monkeypatch) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    first = best_batch_size(engine)
    monkeypatch.setattr(engine, "bind", None)
    assert best_batch_size(engine) == first
    assert first in (1, 2, 4, 8, 16)
