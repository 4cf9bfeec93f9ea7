"""What is told of the processor: its eight-bit kernels by a run, its instruction sets from Linux's list."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.machine.processor import (
    EXACT_SUM,
    PROBE,
    eight_bit_saturates,
    has_vnni,
    processor_traits,
    read_cpu_flags,
)
from tests.exporters.processors import saturating_product
from tools.saturation_probe import build

LEFT, RIGHT = np.full((4, 4), 255, np.uint8), np.full((4, 4), 127, np.int8)
SUMS = {False: LEFT.astype(int) @ RIGHT.astype(int), True: saturating_product(LEFT, RIGHT)}


@pytest.fixture(autouse=True)
def asked_anew():
    eight_bit_saturates.cache_clear()
    yield
    eight_bit_saturates.cache_clear()


def test_the_probe_is_what_its_script_writes() -> None:
    assert PROBE.read_bytes() == build().SerializeToString()


def test_this_processor_is_one_of_the_two_kinds() -> None:
    (sums,) = onnxruntime.InferenceSession(PROBE, providers=["CPUExecutionProvider"]).run(None, {"x": LEFT})
    np.testing.assert_array_equal(sums, SUMS[eight_bit_saturates()])


@pytest.mark.parametrize("saturates", [False, True])
def test_the_probe_tells_the_kinds_apart_in_one_run(saturates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, _: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            runs.append(feed)
            np.testing.assert_array_equal(feed["x"], LEFT)
            return [SUMS[saturates]]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert (SUMS[saturates] == EXACT_SUM).all() != saturates
    assert [eight_bit_saturates(), eight_bit_saturates()] == [saturates, saturates]
    assert len(runs) == 1
    assert processor_traits().saturates == saturates


@pytest.mark.parametrize(
    ("text", "flags", "vnni"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\nvmx flags\t: ept\n", {"fpu", "avx2", "avx512_vnni"}, True),
        ("flags : avx2 avx_vnni\nflags : other\n", {"avx2", "avx_vnni"}, True),
        ("flags: avx2 avx512f\n", {"avx2", "avx512f"}, False),
        ("flags:\n", set(), False),
        ("processor : 0\nFeatures : fp asimd\n", None, None),
        ("", None, None),
    ],
)
def test_instruction_sets(text: str, flags: set[str] | None, vnni: bool | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = read_cpu_flags(tmp_path / "cpuinfo")
    assert found == flags
    assert (None if found is None else has_vnni(found)) == vnni


def test_instruction_sets_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_cpu_flags(tmp_path / "missing") is None
    monkeypatch.setattr("onnxplain.machine.processor.read_cpu_flags", lambda: None)
    traits = processor_traits()
    assert (traits.avx2, traits.avx512, traits.vnni) == (None, None, None)
    assert traits.cores >= 1


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxplainError, match=r'pip install "onnxplain\[cpu\]"'):
        import_onnxruntime()
    with pytest.raises(OnnxplainError, match=r'pip install "onnxplain\[cpu\]"'):
        eight_bit_saturates()
