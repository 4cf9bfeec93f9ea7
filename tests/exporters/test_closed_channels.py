"""Open channels closed to a number that the graph does not take: one line with the number that its weights need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain import Engine
from onnxplain.contract import Layout, PreprocessingParts
from onnxplain.errors import ModelError
from onnxplain.exporters import instrument, survey

SIDE, CLASSES, MAPS = 8, 4, 6
make = helper.make_node
RNG = np.random.default_rng(15)


@dataclass(frozen=True)
class Start:
    """How a graph begins: nodes from ``x`` to ``maps``, and constants."""

    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    layout: Layout = "nchw"


def _weights(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.2, shape).astype(np.float32)


def _conv(channels: int, source: str = "x", weights: str = "w") -> Start:
    return Start([make("Conv", [source, weights], ["maps"])], {weights: _weights(MAPS, channels, 3, 3)})


def _in_groups(channels: int) -> Start:
    return Start([make("Conv", ["x", "w"], ["maps"], group=channels)], {"w": _weights(MAPS * channels, 1, 3, 3)})


def _normalised(channels: int) -> Start:
    """Mean and scale per channel, in front of a Conv whose weights are not stored as they are."""
    start = _conv(channels, "scaled", "turned")
    nodes = [
        make("Sub", ["x", "mean"], ["centred"]),
        make("Mul", ["half", "centred"], ["scaled"]),
        make("Transpose", ["stored"], ["turned"], perm=[1, 0, 2, 3]),
        *start.nodes,
    ]
    mean, half = np.zeros((1, channels, 1, 1), np.float32), np.array(0.5, np.float32)
    return Start(nodes, {"mean": mean, "half": half, "stored": _weights(channels, MAPS, 3, 3)})


def _channels_last(channels: int) -> Start:
    start = _conv(channels, "turned")
    nodes = [make("Relu", ["x"], ["on"]), make("Transpose", ["on"], ["turned"], perm=[0, 3, 1, 2]), *start.nodes]
    return Start(nodes, start.constants, "nhwc")


def _batch_normalised(channels: int) -> Start:
    start = _conv(channels, "normal")
    ones = np.ones(channels, np.float32)
    nodes = [make("BatchNormalization", ["x", "s", "o", "m", "v"], ["normal"]), *start.nodes]
    return Start(nodes, {**start.constants, "s": ones, "o": ones, "m": ones, "v": ones})


def _quantized_weights(channels: int) -> Start:
    start = _conv(channels, weights="real")
    stored = RNG.integers(-90, 90, (MAPS, channels, 3, 3)).astype(np.int8)
    nodes = [make("DequantizeLinear", ["w", "step"], ["real"]), *start.nodes]
    return Start(nodes, {"w": stored, "step": np.array(0.01, np.float32)})


STARTS: dict[str, tuple[Callable[[int], Start], str]] = {
    "Conv": (_conv, "Conv with the constant 'w'"),
    "groups": (_in_groups, "Conv with the constant 'w'"),
    "mean": (_normalised, "Sub with the constant 'mean'"),
    "channels last": (_channels_last, "Conv with the constant 'w'"),
    "BatchNormalization": (_batch_normalised, "BatchNormalization with the constant 's'"),
    "quantized weights": (_quantized_weights, "Conv with the constant 'real'"),
}
CHOICES = {1: "gray", 3: "rgb or bgr", 5: "5"}


def write(path: Path, start: Start) -> Path:
    maps = MAPS * (start.constants["w"].shape[0] // MAPS if "w" in start.constants else 1)
    nodes = [
        *start.nodes,
        make("Relu", ["maps"], ["a"]),
        make("GlobalAveragePool", ["a"], ["p"]),
        make("Flatten", ["p"], ["f"]),
        make("Gemm", ["f", "last"], ["logits"]),
    ]
    constants = {**start.constants, "last": _weights(maps, CLASSES)}
    axes = ["n", "d1", "d2", "d3"]
    graph = helper.make_graph(
        nodes,
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("needed", CHOICES)
@pytest.mark.parametrize("name", STARTS)
def test_the_number_that_the_weights_need_is_named(name: str, needed: int, tmp_path: Path) -> None:
    build, reader = STARTS[name]
    start = build(needed)
    path = write(tmp_path / "open.onnx", start)
    expected = f"with 7 channels as stated, expected {needed}, as {reader} .* give --channels {CHOICES[needed]} "
    if name == "mean" and needed == 1:
        # A mean of one channel fits every number; the Conv behind a Transpose of its weights is not looked at.
        expected = r"closed to \[\?, 7, 8, 8\], expected numbers .* with --channels and --size \(ONNX Runtime cannot"
    stated = PreprocessingParts(channels=7)
    options = {"input_size_hw": (SIDE, SIDE), "layout": start.layout}
    with pytest.raises(ModelError, match=expected):
        instrument(path, tmp_path / "out.onnx", preprocessing=stated, **options)
    if "closed to" not in expected:
        with pytest.raises(ModelError, match=expected):
            survey(path, channels=7, **options)
        with pytest.raises(ModelError, match=f"open.onnx: .*{expected}"):
            Engine(path, preprocessing=stated, **options)


@pytest.mark.parametrize("name", STARTS)
def test_the_right_number_is_taken(name: str, tmp_path: Path) -> None:
    build, _ = STARTS[name]
    start = build(5)
    path = write(tmp_path / "open.onnx", start)
    options = {
        "input_size_hw": (SIDE, SIDE),
        "layout": start.layout,
        "preprocessing": PreprocessingParts(channels=5),
    }
    report = instrument(path, tmp_path / "out.onnx", **options)
    assert report.spec.input.preprocessing.channels == 5
    assert Engine(path, **options).spec.input.preprocessing.channels == 5


def test_channels_that_nobody_states_are_assumed(tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", _conv(5))
    with pytest.raises(ModelError, match=r"with 3 channels as assumed, expected 5, .* give --channels 5 "):
        instrument(path, tmp_path / "out.onnx", input_size_hw=(SIDE, SIDE), layout="nchw")


def test_one_channel_repeated_by_a_mean_of_three_fits(tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", _normalised(3))
    grey = PreprocessingParts(channels="gray")
    options = {"input_size_hw": (SIDE, SIDE), "layout": "nchw", "preprocessing": grey}
    assert Engine(path, **options).spec.input.preprocessing.channels == "gray"


def test_where_no_weights_tell_it_the_options_are_named(tmp_path: Path) -> None:
    start = Start([make("Flatten", ["x"], ["t"]), make("MatMul", ["t", "w"], ["u"])], {"w": _weights(3 * 64, 36)})
    shape = np.array([-1, 1, 6, 6])
    nodes = [*start.nodes, make("Reshape", ["u", "shape"], ["maps1"]), make("Conv", ["maps1", "k"], ["maps"])]
    constants = {"w": start.constants["w"], "shape": shape, "k": _weights(192, 1, 3, 3)}
    path = write(tmp_path / "open.onnx", Start(nodes, constants))
    expected = r"closed to \[\?, 7, 8, 8\], expected numbers with which the graph runs: .* --channels and --size"
    with pytest.raises(ModelError, match=expected):
        instrument(
            path,
            tmp_path / "out.onnx",
            preprocessing=PreprocessingParts(channels=7),
            input_size_hw=(SIDE, SIDE),
            layout="nchw",
        )
