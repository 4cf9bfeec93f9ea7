"""Files with several targets of one image: as many gradients as targets, those of one target at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime as ort
import pytest
from onnxruntime import quantization

from onnxplain.contract import METADATA_KEY, PRESETS, ModelSpec
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session, relative_error
from tests.exporters.onnx_models import save

CLASSES, MAPS, SIZE = 50, 8, 16
TARGETS = (1, 2, 7, 40)
node = onnx.helper.make_node
POOL = node("MaxPool", ["late"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


@dataclass(frozen=True)
class Tail:
    """Nodes from ``late`` [N, 8, 16, 16] to ``end``, of that many values per image; weights are drawn by shape."""

    nodes: Sequence[onnx.NodeProto]
    width: int
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    integers: Mapping[str, Sequence[int]] = field(default_factory=dict)


def _attention(order: Sequence[int], tokens: Sequence[int]) -> list[onnx.NodeProto]:
    """One head over the 64 positions of a pooled map; `order` and `tokens` bring [N, 8, 64] to the tokens."""
    return [
        POOL,
        node("Reshape", ["pooled", "flat"], ["columns"]),
        node("Transpose", ["columns"], ["moved"], perm=order),
        node("LayerNormalization", ["moved", "gamma"], ["tokens"]),
        *(node("MatMul", ["tokens", name], [name.upper()]) for name in ("q", "k", "v")),
        *(node("Transpose", [name], [f"{name}_first"], perm=tokens) for name in ("Q", "K", "V")),
        node("Transpose", ["K_first"], ["K_turned"], perm=[0, 2, 1]),
        node("MatMul", ["Q_first", "K_turned"], ["products"]),
        node("Softmax", ["products"], ["shares"], axis=-1),
        node("MatMul", ["shares", "V_first"], ["mixed"]),
        node("ReduceMean", ["mixed", "axis"], ["end"], keepdims=0),
    ]


OF_ATTENTION: dict[str, Any] = {
    "width": MAPS,
    "weights": {"gamma": (MAPS,), "q": (MAPS, MAPS), "k": (MAPS, MAPS), "v": (MAPS, MAPS)},
    "integers": {"flat": [0, MAPS, 64], "axis": [1]},
}
TAILS: dict[str, Tail] = {
    "max pool": Tail([POOL, node("Flatten", ["pooled"], ["end"])], MAPS * 64),
    "concat": Tail(
        [
            node("Concat", ["late", "early"], ["both"], axis=1),
            node("GlobalMaxPool", ["both"], ["largest"]),
            node("Flatten", ["largest"], ["end"]),
        ],
        MAPS + 4,
    ),
    "attention": Tail(_attention([0, 2, 1], [0, 1, 2]), **OF_ATTENTION),
    "top values": Tail(
        [
            node("Flatten", ["late"], ["cells"]),
            node("TopK", ["cells", "k"], ["best", "places"], axis=1),
            node("Softplus", ["best"], ["end"]),
        ],
        30,
        integers={"k": [30]},
    ),
    "excitation": Tail(
        [
            node("GlobalAveragePool", ["late"], ["means"]),
            node("Conv", ["means", "squeeze"], ["gates"]),
            node("Sigmoid", ["gates"], ["shares"]),
            node("Mul", ["late", "shares"], ["scaled"]),
            node("ReduceMax", ["scaled", "space"], ["end"], keepdims=0),
        ],
        MAPS,
        {"squeeze": (MAPS, MAPS, 1, 1)},
        {"space": [2, 3]},
    ),
}
ONE_AT_A_TIME: dict[str, Tail] = {
    "windows": Tail(
        [
            node("Reshape", ["late", "cut"], ["windows"]),
            node("Softmax", ["windows"], ["shares"], axis=1),
            node("Reshape", ["shares", "whole"], ["end"]),
        ],
        MAPS * SIZE**2,
        integers={"cut": [-1, SIZE], "whole": [-1, MAPS * SIZE**2]},
    ),
}


def model(tail: Tail, batch: int | str = "N", *, unbatched: bool = False) -> onnx.ModelProto:
    """image → Conv, Relu ``early`` → Conv, Relu ``late`` → the tail → Gemm ``logits``."""
    rng = np.random.default_rng(4)
    shapes = {"w1": (4, 3, 3, 3), "w2": (MAPS, 4, 3, 3), "w3": (CLASSES, tail.width), **tail.weights}
    arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {name: np.array(values, np.int64) for name, values in tail.integers.items()}
    image = "image"
    nodes = []
    if unbatched:
        arrays["first"] = np.array([0])
        nodes, image = [node("Unsqueeze", ["image", "first"], ["batched"])], "batched"
    nodes += [
        node("Conv", [image, "w1"], ["c1"], pads=[1] * 4),
        node("Relu", ["c1"], ["early"]),
        node("Conv", ["early", "w2"], ["c2"], pads=[1] * 4),
        node("Relu", ["c2"], ["late"]),
        *tail.nodes,
        node("Gemm", ["end", "w3"], ["logits"], transB=1),
    ]
    shape = [3, SIZE, SIZE] if unbatched else [batch, 3, SIZE, SIZE]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1 if unbatched else batch, CLASSES])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def written(plain: onnx.ModelProto, folder: Path, **options: Any) -> tuple[ort.InferenceSession, ModelSpec]:
    """The instrumented file and what it says of itself."""
    path = folder / "out.onnx"
    options = {"layers": ("early", "late"), "preprocessing": PRESETS["imagenet"], "tail": False, **options}
    instrument(save(plain, folder / "plain.onnx"), path, **options)
    session = open_session(path)
    return session, ModelSpec.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])


def gradients(session: ort.InferenceSession, layer: str, targets: Sequence[int]) -> np.ndarray:
    """Of one image."""
    shape = session.get_inputs()[0].shape
    image = np.random.default_rng(2).normal(size=[1 if isinstance(d, str) else d for d in shape]).astype(np.float32)
    given = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    feeds = {"image": image, "target": np.array(targets, np.int64), "explain": np.array([True])}
    features, found = session.run(
        [f"features/{layer}", f"gradients/{layer}"], {name: value for name, value in feeds.items() if name in given}
    )
    assert len(features) == (1 if shape[0] in ("N", 1, 3, "batch") else shape[0])
    return np.asarray(found)


def assert_as_one_by_one(session: ort.InferenceSession, layer: str, tolerance: float = 1e-6) -> None:
    targets = [-1, *range(1, max(TARGETS))]
    alone = np.concatenate([gradients(session, layer, [target]) for target in targets])
    assert np.abs(alone[1:] - alone[:1]).max() > 0, "all classes have one gradient: the comparison proves nothing"
    for count in TARGETS:
        assert relative_error(gradients(session, layer, targets[:count]), alone[:count]) < tolerance


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open batch": ({}, {}),
    "batch of one, freed": ({"batch": 1}, {}),
    "batch of one": ({"batch": 1}, {"batch": "fixed"}),
    "no batch axis": ({"unbatched": True}, {}),
    "no gate": ({}, {"gate": False}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TAILS)
def test_many_targets(name: str, form: str, tmp_path: Path) -> None:
    built, options = FORMS[form]
    session, spec = written(model(TAILS[name], **built), tmp_path, **options)
    assert [layer.many_targets for layer in spec.layers] == [True, True]
    for layer in ("early", "late"):
        assert_as_one_by_one(session, layer)


@pytest.mark.parametrize(("batch", "many"), [("N", True), (1, False)])
def test_a_batch_behind_the_tokens(batch: int | str, many: bool, tmp_path: Path) -> None:
    plain = model(Tail(_attention([2, 0, 1], [1, 0, 2]), **OF_ATTENTION), batch)
    session, spec = written(plain, tmp_path, batch="auto" if many else "fixed")
    assert [layer.many_targets for layer in spec.layers] == [many, many]
    if many:
        assert_as_one_by_one(session, "early")


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_one_target_at_a_time(name: str, tmp_path: Path) -> None:
    session, spec = written(model(ONE_AT_A_TIME[name]), tmp_path)
    assert [layer.many_targets for layer in spec.layers] == [False, False]
    assert gradients(session, "early", [3]).shape == (1, 4, SIZE, SIZE)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        gradients(session, "early", [3, 4])


def test_a_fixed_batch_of_several_takes_one_target_per_image(tmp_path: Path) -> None:
    session, spec = written(model(TAILS["max pool"], batch=2), tmp_path, batch="fixed")
    assert [layer.many_targets for layer in spec.layers] == [False, False]
    assert len(gradients(session, "late", [3, 4])) == 2
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        gradients(session, "late", [3, 4, 5])


def test_a_layer_that_only_looks_as_if_it_could_is_written_with_one_target(tmp_path: Path) -> None:
    """A running sum over the batch: of one image it is that image, and its shape is that of the batch."""
    plain = model(TAILS["max pool"])
    plain.graph.node[-1].output[0] = "own"
    plain.graph.node.append(node("CumSum", ["own", "first"], ["logits"]))
    plain.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "first"))
    session, spec = written(plain, tmp_path)
    assert [layer.many_targets for layer in spec.layers] == [False, False]
    (single,) = gradients(session, "late", [3])
    assert single.any()
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        gradients(session, "late", [3, 4])


def test_a_module_whose_images_depend_on_each_other(tmp_path: Path) -> None:
    """The same from PyTorch, where layers are modules."""
    import torch
    from torch import nn

    from onnxplain.exporters import export

    class Sum(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.cumsum(0)

    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, MAPS, 3), nn.ReLU(), nn.Flatten(), nn.Linear(MAPS * 196, CLASSES), Sum())
    report = export(module.eval(), tmp_path / "out.onnx", input_size_hw=(SIZE, SIZE), layers=["1"])
    assert [(layer.name, layer.many_targets) for layer in report.spec.layers] == [("1", False)]


class Images(quantization.CalibrationDataReader):
    """The images on which ranges are measured."""

    def __init__(self) -> None:
        self._left = iter(np.random.default_rng(8).normal(size=(8, 1, 3, SIZE, SIZE)).astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image}


def _static(form: quantization.QuantFormat) -> Callable[[Path, Path], None]:
    return lambda source, target: quantization.quantize_static(
        source, target, Images(), quant_format=form, reduce_range=True
    )


# `reduce_range`: see test_quantized_networks.py.
QUANTIZED: Mapping[str, Callable[[Path, Path], None]] = {
    "QDQ": _static(quantization.QuantFormat.QDQ),
    "QOperator": _static(quantization.QuantFormat.QOperator),
    "dynamic": lambda source, target: quantization.quantize_dynamic(
        source, target, weight_type=quantization.QuantType.QUInt8
    ),
}


@pytest.mark.parametrize("form", QUANTIZED)
def test_many_targets_of_a_quantized_file(form: str, tmp_path: Path) -> None:
    QUANTIZED[form](save(model(TAILS["max pool"], batch=1), tmp_path / "float.onnx"), tmp_path / "quantized.onnx")
    session, spec = written(onnx.load(tmp_path / "quantized.onnx"), tmp_path, layers=("0%", "auto"))
    assert [layer.many_targets for layer in spec.layers] == [True] * len(spec.layers)
    for layer in spec.layers:
        assert_as_one_by_one(session, layer.name)
