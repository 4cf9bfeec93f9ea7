"""Sizes that follow from the input's are found, and what depends on the number of images stays computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest

from onnxplain.errors import ModelError, VerificationError
from onnxplain.exporters.file import probe
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import constant_of, maybe_dims, static_dims
from tests.exporters.chains import CHAINS, IMAGE, ZERO, Chain, node, read
from tests.exporters.graphs import session

BATCHES = (1, 2, 3, 5, 8, 17)


def values_of(model: ir.Model) -> dict[str | None, ir.Value]:
    return {output.name: output for step in model.graph for output in step.outputs}


def assert_same_outputs(plain: onnx.ModelProto, model: ir.Model, batches: Sequence[int] = BATCHES) -> None:
    whole, folded = session(plain), session(ir.to_proto(model))
    for count in batches:
        image = np.random.default_rng(count).normal(size=(count, *IMAGE)).astype(np.float32)
        for found, expected in zip(folded.run(None, {"image": image}), whole.run(None, {"image": image}), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
class TestChains:
    def test_outputs_stay_the_same_at_every_batch(self, chain: Chain) -> None:
        assert_same_outputs(chain.model(), prepare(chain.model()))

    def test_what_is_certain_is_folded_and_nothing_else(self, chain: Chain) -> None:
        values = values_of(prepare(chain.model()))
        assert not set(chain.folded) & set(values)
        assert set(chain.computed) <= set(values)
        assert all(constant_of(values[name]) is None for name in chain.computed)

    def test_sizes(self, chain: Chain) -> None:
        values = values_of(prepare(chain.model()))
        for name, dims in (chain.dims or {}).items():
            assert maybe_dims(values[name]) == dims

    def test_with_a_fixed_batch_everything_is_known(self, chain: Chain) -> None:
        model = prepare(chain.model(batch=2))
        assert all(isinstance(size, int) for size in maybe_dims(values_of(model)["y"]) or ("?",))
        assert_same_outputs(chain.model(), model, [2])


STEPS = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max")


@pytest.mark.parametrize("seed", range(25))
def test_random_arithmetic_on_sizes(seed: int) -> None:
    """Vectors of sizes, moved and combined at random; the last decides how an image is cut and tiled."""
    rng = np.random.default_rng(seed)
    nodes, constants, vectors = [], {}, ["shape"]
    for index in range(12):
        name, source = f"v{index}", vectors[rng.integers(len(vectors))]
        kind = rng.integers(4)
        if kind == 0:
            constants[f"places{index}"] = rng.integers(0, 4, 4)
            nodes.append(node("Gather", [source, f"places{index}"], [name]))
        elif kind == 1:
            constants |= {f"from{index}": [-1], f"to{index}": [-5]}
            nodes.append(node("Slice", [source, f"from{index}", f"to{index}", "zero", "minus"], [name]))
        elif kind == 2:
            constants[f"number{index}"] = rng.integers(1, 9, 4)
            nodes.append(node(STEPS[rng.integers(len(STEPS))], [source, f"number{index}"], [name]))
        else:
            other = vectors[rng.integers(len(vectors))]
            constants[f"cut{index}"] = [rng.integers(1, 4)]
            nodes += [
                node("Slice", [source, "zero", f"cut{index}"], [f"left{index}"]),
                node("Slice", [other, f"cut{index}", "four"], [f"right{index}"]),
                node("Concat", [f"left{index}", f"right{index}"], [name], axis=0),
            ]
        vectors.append(name)
    nodes += [
        node("Mod", [vectors[-1], "limits"], ["starts"]),
        node("Slice", ["image", "starts", "ends", "axes"], ["cut"]),
        node("Shape", ["cut"], ["cut_shape"]),
        node("Slice", ["cut_shape", "one", "four"], ["cut_size"]),
        node("ReduceProd", ["cut_size"], ["count"]),
        node("Concat", ["minus", "count"], ["flat"], axis=0),
        node("Reshape", ["cut", "flat"], ["y"]),
    ]
    constants |= {"limits": [1, 5, 3, 9], "ends": [999] * 4, "axes": [0, 1, 2, 3], "four": [4]}
    chain = Chain("random", nodes, constants)
    assert_same_outputs(chain.model(), prepare(chain.model()))


class TestWhatStaysOpen:
    def test_a_shape_that_depends_on_pixels(self) -> None:
        nodes = [node("NonZero", ["image"], ["places"]), node("Cast", ["places"], ["y"], to=onnx.TensorProto.FLOAT)]
        model = prepare(Chain("pixels", nodes, {}).model())
        (y,) = model.graph.outputs
        with pytest.raises(ModelError, match=r"what NonZero .* gives does not follow from the input's"):
            static_dims(y, (1,))

    def test_the_open_dimension_of_the_input_is_named(self) -> None:
        chain = Chain("open", [node("Relu", ["image"], ["y"])], {})
        (y,) = prepare(chain.model(size=(6, "height", 10))).graph.outputs
        with pytest.raises(ModelError, match=r"input 'image' \[N, 6, height, 10\] is open in dimension 2: .* --size"):
            static_dims(y, (2,))

    def test_the_batch_is_named(self) -> None:
        (y,) = prepare(Chain("batch", [node("Relu", ["image"], ["y"])], {}).model()).graph.outputs
        with pytest.raises(ModelError, match=r"dimension 0 \(N\) of value 'y' is the open batch"):
            static_dims(y, (0,))

    def test_a_batch_that_runs_with_one_image_only(self) -> None:
        nodes = [
            read("c", "one"),
            node("Div", ["c", "two"], ["half"]),
            node("Slice", ["image", "zero", "half", "one"], ["cut"]),
            node("Reshape", ["cut", "single"], ["y"]),
        ]
        chain = Chain("one", nodes, {"single": [1, 3, 40]})
        model = prepare(chain.model())
        assert maybe_dims(model.graph.inputs[0]) == (1, *IMAGE)
        assert maybe_dims(values_of(model)["cut"]) == (1, 3, 4, 10)


class TestBounds:
    def test_large_constants_are_not_stored(self) -> None:
        nodes = [
            node("Mul", ["shape", "large"], ["wide"]),
            node("Slice", ["wide", "one", "two"], ["length"]),
            node("ConstantOfShape", ["length"], ["zeros"], value=ZERO),
            node("Gather", ["image", "zeros"], ["y"], axis=3),
        ]
        values = values_of(prepare(Chain("large", nodes, {"large": [20_000]}).model()))
        assert "zeros" in values
        assert "length" not in values

    def test_a_graph_that_asks_for_too_much_memory_is_left_alone(self) -> None:
        nodes = [
            node("Mul", ["shape", "large"], ["wide"]),
            node("ConstantOfShape", ["wide"], ["zeros"]),
            node("ReduceSum", ["zeros"], ["y"]),
        ]
        model = prepare(Chain("bomb", nodes, {"large": [100]}).model())
        assert "wide" in values_of(model)

    def test_the_limit_is_the_sessions(self) -> None:
        graph = onnx.helper.make_graph(
            [node("ConstantOfShape", ["sizes"], ["zeros"]), node("Shape", ["zeros"], ["y"])],
            "bomb",
            [onnx.helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, [2])],
            [onnx.ValueInfoProto(name="y")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        limited = GraphSession(model, "bomb", optimised=False, memory_limit=probe.MEMORY_LIMIT)
        assert list(limited.run({"sizes": np.array([2, 3])})["y"]) == [2, 3]
        with pytest.raises(VerificationError, match="bomb"):
            limited.run({"sizes": np.array([2**16, 2**15])})
        assert list(limited.run({"sizes": np.array([4, 5])})["y"]) == [4, 5]
