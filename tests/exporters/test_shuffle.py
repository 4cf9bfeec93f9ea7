"""Shuffled weights: what is permuted and what stays, and files that say so and still pass every check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from onnxplain import Engine, demo
from onnxplain.contract import ModelSpec
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters import instrument
from onnxplain.exporters.file.shuffle import permute_weights
from tests.exporters.graphs import session
from tests.exporters.onnx_models import CONSTANTS, SIZE_HW, node, plain_model, save
from tests.exporters.test_real_models import MODELS

RNG = np.random.default_rng(2)
FLOAT = onnx.TensorProto.FLOAT


def stored(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All initializers, and the tensors of Constant nodes, by name."""
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    tensors |= {step.output[0]: step.attribute[0].t for step in proto.graph.node if step.op_type == "Constant"}
    return {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def changed(before: onnx.ModelProto, after: onnx.ModelProto) -> set[str]:
    """Names of the tensors that differ; all of them must hold the values they held."""
    old, new = stored(before), stored(after)
    assert old.keys() == new.keys()
    for name in old:
        assert (old[name].dtype, old[name].shape) == (new[name].dtype, new[name].shape)
        np.testing.assert_array_equal(np.sort(old[name], axis=None), np.sort(new[name], axis=None))
    return {name for name in old if not np.array_equal(old[name], new[name])}


def unchecked_model(nodes: list[onnx.NodeProto], constants: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Nodes and initializers; nothing runs them."""
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "nodes", [], [], initializers)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def integers(dtype: type[np.integer], *shape: int) -> np.ndarray:
    return RNG.integers(0, 100, shape).astype(dtype)


U8, I32 = np.uint8, np.int32
BRANCH = onnx.helper.make_graph(
    [node("Conv", ["x", "outer"], ["z"]), node("Mul", ["z", "inner"], ["y"])],
    "branch",
    [],
    [onnx.helper.make_tensor_value_info("y", FLOAT, None)],
    [onnx.numpy_helper.from_array(floats(7), "inner")],
)
# What is stored, how it is read, and which of it is learnt.
READ: Mapping[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], set[str]]] = {
    "convolution": (
        [node("Conv", ["x", "w", "b"], ["y"])],
        {"w": floats(4, 3, 3, 3), "b": floats(4)},
        {"w", "b"},
    ),
    "float16": ([node("Gemm", ["x", "w"], ["y"])], {"w": floats(9, 5).astype(np.float16)}, {"w"}),
    "batch normalization": (
        [node("BatchNormalization", ["x", "scale", "shift", "mean", "var"], ["y"])],
        {name: floats(9) for name in ("scale", "shift", "mean", "var")},
        {"scale", "shift"},
    ),
    "statistics under another name": (
        [node("Identity", ["var"], ["v"]), node("BatchNormalization", ["x", "a", "b", "m", "v"], ["y"])],
        {"var": floats(9)},
        set(),
    ),
    "a weight handed on": (
        [node("Transpose", ["w"], ["t"]), node("Cast", ["t"], ["c"], to=FLOAT), node("MatMul", ["x", "c"], ["y"])],
        {"w": floats(5, 9)},
        {"w"},
    ),
    "shapes, indices, sizes": (
        [
            node("Reshape", ["x", "shape"], ["r"]),
            node("Gather", ["r", "index"], ["g"]),
            node("Resize", ["g", "", "sizes"], ["y"]),
        ],
        {
            "shape": np.array([1, 2, 3, 4]),
            "index": np.array([3, 1, 2], I32),
            "sizes": np.array([1, 1, 2, 3], np.float32),
        },
        set(),
    ),
    "an embedding": ([node("Gather", ["table", "x"], ["y"])], {"table": floats(8, 4)}, {"table"}),
    "QDQ, a scale per channel": (
        [node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0), node("DequantizeLinear", ["b", "t"], ["e"], axis=0)],
        {"w": integers(U8, 9, 9), "s": floats(9), "z": integers(U8, 9), "b": integers(I32, 9), "t": floats(9)},
        {"w", "b"},
    ),
    "weights quantized in the graph": (
        [node("QuantizeLinear", ["w", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        {"w": floats(9, 9), "s": floats(9), "z": integers(U8, 9)},
        {"w"},
    ),
    "QLinearConv": (
        [node("QLinearConv", ["x", "s", "z", "w", "t", "u", "v", "q", "b"], ["y"])],
        {"w": integers(U8, 9, 9), "t": floats(9), "u": integers(U8, 9), "b": integers(I32, 9)},
        {"w", "b"},
    ),
    "QGemm": (
        [node("QGemm", ["x", "s", "z", "w", "t", "u", "b", "v", "q"], ["y"], domain="com.microsoft")],
        {"w": integers(U8, 9, 9), "t": floats(9), "u": integers(U8, 9), "b": integers(I32, 9)},
        {"w", "b"},
    ),
    "Constant nodes": (
        [
            node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(floats(9, 3))),
            node("Constant", [], ["shape"], value=onnx.numpy_helper.from_array(np.array([1, 27]))),
            node("MatMul", ["x", "w"], ["m"]),
            node("Reshape", ["m", "shape"], ["y"]),
        ],
        {},
        {"w"},
    ),
    "read inside a branch": ([node("If", ["c"], ["y"], then_branch=BRANCH)], {"outer": floats(5, 5)}, {"outer"}),
    "nothing to permute": (
        [node("Add", ["x", "one"], ["a"]), node("Mul", ["a", "same"], ["y"])],
        {"one": floats(1), "same": np.full(9, 0.5, np.float32), "unread": floats(9)},
        set(),
    ),
}


@pytest.mark.parametrize("case", READ)
def test_learnt_values_are_permuted_and_all_else_stays(case: str) -> None:
    nodes, constants, learnt = READ[case]
    # One weight more, so that there is always one.
    plain = unchecked_model([*nodes, node("Gemm", ["x", "more"], ["z"])], {**constants, "more": floats(6, 6)})
    shuffled, count = permute_weights(plain, seed=0)
    inner = case == "read inside a branch"
    assert changed(plain, shuffled) == {*learnt, "more"}
    assert count == len(learnt) + 1 + inner
    if inner:
        (before,), (after,) = (model.graph.node[0].attribute[0].g.initializer for model in (plain, shuffled))
        assert before != after


def test_a_weight_inside_a_function_is_permuted() -> None:
    body = [
        node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(floats(6, 6))),
        node("MatMul", ["a", "w"], ["b"]),
    ]
    function = onnx.helper.make_function("own", "Layer", ["a"], ["b"], body, [onnx.helper.make_opsetid("", 18)])
    graph = onnx.helper.make_graph(
        [node("Layer", ["x"], ["y"], domain="own")],
        "calls",
        [onnx.helper.make_tensor_value_info("x", FLOAT, [2, 6])],
        [onnx.helper.make_tensor_value_info("y", FLOAT, [2, 6])],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
    plain = onnx.helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)
    shuffled, count = permute_weights(plain, seed=0)
    image = {"x": np.eye(6, dtype=np.float32)[:2]}
    before, after = (session(model).run(["y"], image)[0] for model in (plain, shuffled))
    assert count == 1 and not np.allclose(before, after)


def test_the_permutation_depends_on_seed_and_name_alone() -> None:
    plain = plain_model()
    reordered = onnx.ModelProto()
    reordered.CopyFrom(plain)
    del reordered.graph.initializer[:]
    reordered.graph.initializer.extend(reversed(plain.graph.initializer))
    one, other, again = (
        stored(permute_weights(model, seed)[0]) for model, seed in ((plain, 0), (plain, 1), (reordered, 0))
    )
    assert changed(plain, permute_weights(plain, 0)[0]) == {*CONSTANTS} - {"corner_weights"}
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)
    # Tensors of one size are not permuted alike.
    twins = unchecked_model([node("MatMul", ["v", "w"], ["y"])], {"v": np.arange(49.0), "w": np.arange(49.0)})
    assert len({values.tobytes() for values in stored(permute_weights(twins, 0)[0]).values()}) == 2


@pytest.mark.parametrize(
    ("nodes", "seed", "message"),
    [
        ([node("Relu", ["x"], ["y"])], 0, "found no weights to shuffle"),
        ([node("Gemm", ["x", "w"], ["y"])], -1, "found the seed -1"),
    ],
)
def test_refusals(nodes: list[onnx.NodeProto], seed: int, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        permute_weights(unchecked_model(nodes, {"w": floats(3, 3)} if seed else {}), seed)


class TestInstrument:
    def test_the_file_computes_what_the_shuffled_model_computes(self, tmp_path: Path) -> None:
        plain = plain_model()
        report = instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx", shuffle_weights=7)
        assert report.steps == ("4 weights shuffled, seed 7",)
        images = {"image": RNG.normal(size=(3, 3, *SIZE_HW)).astype(np.float32)}
        (found,) = session(onnx.load(report.path)).run(["logits"], images)
        (expected,) = session(permute_weights(plain, 7)[0]).run(["logits"], images)
        (original,) = session(plain).run(["logits"], images)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(found - original).max() > 0.1

    def test_the_file_says_so_and_keeps_saying_so(self, tmp_path: Path) -> None:
        save(plain_model(), tmp_path / "plain.onnx")
        assert instrument(tmp_path / "plain.onnx", tmp_path / "own.onnx").spec.shuffle_seed is None
        assert instrument(tmp_path / "own.onnx", tmp_path / "one.onnx", shuffle_weights=7).spec.shuffle_seed == 7
        assert instrument(tmp_path / "one.onnx", tmp_path / "two.onnx", layers=["early"]).spec.shuffle_seed == 7
        assert Engine(tmp_path / "two.onnx").spec.shuffle_seed == 7
        with pytest.raises(ModelError, match=r"two\.onnx: found weights that are shuffled already \(seed 7\)"):
            instrument(tmp_path / "two.onnx", tmp_path / "three.onnx", shuffle_weights=0)

    def test_files_from_before_are_not_shuffled(self, tmp_path: Path) -> None:
        spec = instrument(save(plain_model(), tmp_path / "plain.onnx"), tmp_path / "out.onnx").spec
        tree = json.loads(spec.to_json())
        assert tree.pop("shuffle_seed") is None
        assert ModelSpec.from_json(json.dumps(tree)) == spec
        with pytest.raises(ModelError, match="shuffle_seed: found 'soon'"):
            ModelSpec.from_json(json.dumps({**tree, "shuffle_seed": "soon"}))

    def test_a_network_that_falls_silent_asks_for_another_seed(self, tmp_path: Path) -> None:
        plain = plain_model()
        (kernel,) = (tensor for tensor in plain.graph.initializer if tensor.name == "kernel2")
        # Behind ReLU nothing but zeros is left, in whatever order these stand.
        kernel.CopyFrom(onnx.numpy_helper.from_array(-np.abs(CONSTANTS["kernel2"]), "kernel2"))
        save(plain, tmp_path / "plain.onnx")
        with pytest.raises(VerificationError, match=r"changes with the class.* try another seed"):
            instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", layers=["early"], shuffle_weights=0)
        with pytest.raises(VerificationError, match=r"choose another layer$"):
            instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", layers=["early"])

    def test_a_model_without_weights_is_refused(self, tmp_path: Path) -> None:
        graph = onnx.helper.make_graph(
            [node("Relu", ["image"], ["map"]), node("ReduceMean", ["map"], ["logits"], keepdims=0, axes=[2, 3])],
            "no_weights",
            [onnx.helper.make_tensor_value_info("image", FLOAT, [1, 3, 8, 8])],
            [onnx.helper.make_tensor_value_info("logits", FLOAT, [1, 3])],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        with pytest.raises(ModelError, match="found no weights to shuffle"):
            instrument(save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx", shuffle_weights=0)
        assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]


def check_real_model(source: Path, destination: Path, size_hw: tuple[int, int] | None) -> None:
    """Every check passes, scores are finite and not the original's; the weights hold the values they held."""
    report = instrument(source, destination, input_size_hw=size_hw, shuffle_weights=0)
    assert any("weights shuffled, seed 0" in step for step in report.steps)
    assert report.checks.layers[0].relative_error < 1e-4
    engines = Engine(destination, threads=1), Engine(source, threads=1, input_size_hw=size_hw)
    pixels = np.random.default_rng(1).integers(0, 256, (*report.spec.input.size_hw, 3), np.uint8)
    shuffled, original = (engine.scores(engine.preprocess(pixels)) for engine in engines)
    assert np.isfinite(shuffled).all() and np.abs(shuffled - original).max() > 0.01
    assert np.isfinite(engines[0].activations(pixels).gradients).all()
    proto = onnx.load(source)
    weights = changed(proto, permute_weights(proto, 0)[0])
    assert sum(array.size for name, array in stored(proto).items() if name in weights) > 0.9 * sum(
        array.size for array in stored(proto).values()
    )


@pytest.mark.parametrize("name", MODELS)
def test_real_models(name: str, assets: Path, tmp_path: Path) -> None:
    check_real_model(assets / "models" / f"{name}.onnx", tmp_path / "out.onnx", MODELS[name].size_hw)


def test_the_demo_model(tmp_path: Path) -> None:
    check_real_model(demo.MODEL, tmp_path / "out.onnx", None)
