"""What a graph would allocate is told before it runs: ONNX Runtime's own outputs say how much that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.contract.allocations import (
    PlainFunction,
    PlainGraph,
    PlainModel,
    PlainNode,
    check,
    check_allocations,
)
from onnxplain.contract.allocations.shapes import _SHAPES
from onnxplain.errors import ModelError
from onnxplain.exporters import instrument
from onnxplain.exporters.file.plain_model import plain_model
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.runtime import Engine
from onnxplain.runtime.protobuf.plain_reader import read_plain_model

# Row: the nodes that make `y` from the image `x` [1, 3, 4, 4], with the stored constants that they read.
GRAPHS = {
    "AffineGrid": ("y = AffineGrid(t, s)", "float[1,2,3] t = {1,0,0,0,1,0}, int64[4] s = {1,1,5,6}"),
    "CenterCropPad": ("y = CenterCropPad <axes = [2, 3]> (x, s)", "int64[2] s = {9,10}"),
    "Col2Im": (
        "c = Reshape(x, h) y = Col2Im <strides = [1, 9]> (c, s, k)",
        "int64[3] h = {1,6,8}, int64[2] s = {1,70}, int64[2] k = {1,2}",
    ),
    "Concat": ("z = ConstantOfShape(s) y = Concat <axis = 1> (z, z)", "int64[2] s = {3,5}"),
    "ConstantOfShape": ("y = ConstantOfShape(s)", "int64[2] s = {30,5}"),
    "ConvTranspose": ("y = ConvTranspose <strides = [50, 1]> (x, w)", "float[3,1,1,2] w = {1,2,3,4,5,6}"),
    "ConvTranspose, stated": (
        "y = ConvTranspose <strides = [9, 1], output_shape = [36, 5]> (x, w)",
        "float[3,1,1,2] w = {1,2,3,4,5,6}",
    ),
    "Expand": ("y = Expand(x, s)", "int64[5] s = {7,1,3,4,1}"),
    "Gemm": ("z = ConstantOfShape(s) y = Gemm <transA = 1> (z, z)", "int64[2] s = {1,30}"),
    "HannWindow": ("y = HannWindow(n)", "int64 n = {77}"),
    "Conv": ("y = Conv <pads = [90, 90, 90, 90]> (x, w)", "float[1,3,1,1] w = {1,2,3}"),
    "Loop": (
        "q, y = Loop(n, c, k) <body = b (int64 i, bool o, float v) => (bool p, float u, float a) "
        "{ p = Identity(o) u = Identity(v) a = Identity(v) }>",
        "int64 n = {70}, bool c = {1}, float k = {0}",
    ),
    "MatMul": ("z = ConstantOfShape(s) u = Transpose(z) y = MatMul(z, u)", "int64[2] s = {40,1}"),
    "MaxUnpool": (
        "p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
        "y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (p, i, s)",
        "int64[4] s = {1,3,5,5}",
    ),
    "Mul": ("a = ConstantOfShape(s) b = Transpose(a) y = Mul(a, b)", "int64[2] s = {1,20}"),
    "OneHot": ("y = OneHot(i, d, v)", "int64[2,3] i = {0,1,2,3,4,5}, int64 d = {50}, float[2] v = {0,1}"),
    "Pad": ("y = Pad(x, p)", "int64[8] p = {0,0,9,9,0,0,9,9}"),
    "Pad, axes": ("y = Pad(x, p, , a)", "int64[2] p = {9,90}, int64[1] a = {-1}"),
    "RandomNormal": ("y = RandomNormal <shape = [9, 9]> ()", ""),
    "Range": ("y = Range(a, b, c)", "int64 a = {3}, int64 b = {200}, int64 c = {3}"),
    "Resize, scales": ("y = Resize(x, , f)", "float[4] f = {1,1,5,6}"),
    "Resize, sizes": ("y = Resize(x, , , s)", "int64[4] s = {1,3,50,6}"),
    "ScatterND": (
        "z = ConstantOfShape(s) y = ScatterND(z, i, u)",
        "int64[2] s = {9,8}, int64[1,1] i = {2}, float[1,8] u = {1,2,3,4,5,6,7,8}",
    ),
    "Tile": ("y = Tile(x, n)", "int64[4] n = {1,1,9,2}"),
    "Where": ("a = ConstantOfShape(s) b = Transpose(a) c = Greater(a, b) y = Where(c, a, b)", "int64[2] s = {1,20}"),
    # Through arithmetic of constants.
    "product": ("a = Mul(s, s) b = Cast <to = 7> (a) y = ConstantOfShape(b)", "int32[2] s = {5,6}"),
    "shape of the input": (
        "s = Shape(x) a = Gather <axis = 0> (s, i) b = Mul(a, n) y = ConstantOfShape(b)",
        "int64[2] i = {2,3}, int64 n = {6}",
    ),
    "slices": (
        "a = Slice(s, o, e) b = Concat <axis = 0> (a, a, o) c = Neg(b) d = Abs(c) y = ConstantOfShape(d)",
        "int64[3] s = {1,9,4}, int64[1] o = {1}, int64[1] e = {3}",
    ),
    "quotient": (
        "a = Div(s, n) b = Unsqueeze(a, z) c = Squeeze(b, z) y = ConstantOfShape(c)",
        "int64[2] s = {-95,95}, int64[2] n = {-9,9}, int64[1] z = {0}",
    ),
    "reduced": (
        "a = ReduceProd(s) b = Sub(a, o) c = Max(b, o) y = ConstantOfShape(c)",
        "int64[3] s = {9,9,2}, int64[1] o = {1}",
    ),
    "reversed order": ("y = ConstantOfShape(b) b = Identity(a) a = Add(s, s)", "int64[2] s = {5,6}"),
    "branch": (
        "q = If(c) <then_branch = t () => (float[N] r) { r = ConstantOfShape(s) }, "
        "else_branch = e () => (float[N] r) { r = ConstantOfShape(s) }> y = Identity(q)",
        "bool c = {1}, int64[1] s = {99}",
    ),
}


def model_of(nodes: str, constants: str, functions: str = "", opset: int = 20) -> onnx.ModelProto:
    stored = f"<{constants}>" if constants else ""
    text = f'<ir_version: 9, opset_import: ["" : {opset}, "f" : 1]> g (float[1,3,4,4] x) => (y) {stored} {{ {nodes} }} '
    return onnx.parser.parse_model(text + functions)


def both(model: onnx.ModelProto) -> tuple[PlainModel, PlainModel]:
    return plain_model(model), read_plain_model(memoryview(model.SerializeToString()))


def numbers_made(model: onnx.ModelProto) -> int:
    """How many numbers ONNX Runtime makes."""
    onnxruntime = import_onnxruntime()
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": np.ones((1, 3, 4, 4), np.float32)})
    return int(np.size(output))


@pytest.mark.parametrize("name", GRAPHS)
def test_the_numbers_are_known_before_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(*GRAPHS[name])
    count = numbers_made(model)
    for plain in both(model):
        monkeypatch.setattr(check, "LARGEST_VALUE", count)
        check_allocations(plain)
        monkeypatch.setattr(check, "LARGEST_VALUE", count - 1)
        with pytest.raises(ModelError, match=f"makes {count:,} numbers"):
            check_allocations(plain)


def test_every_operator_that_enlarges_has_a_case() -> None:
    alike = {rule: operator for operator, rule in _SHAPES.items()}
    tried = {_SHAPES[name.split(",")[0]] for name in GRAPHS if name.split(",")[0] in _SHAPES}
    nodes = " ".join(nodes for nodes, _ in GRAPHS.values())
    assert {operator for rule, operator in alike.items() if rule not in tried and f"{operator}(" not in nodes} == set()


NOT_REFUSED = {
    "a size that the image decides": ("n = NonZero(x) s = Shape(n) y = ConstantOfShape(s)", ""),
    "a size below zero": ("y = ConstantOfShape(s)", "int64[2] s = {-5,1000000000}"),
    "no size at all": ("y = Tile(x, x)", ""),
    "a loop that may end before": (
        "q, y = Loop(n, c, k) <body = b (int64 i, bool o, float v) => (bool p, float u, float a) "
        "{ p = Less(v, v) u = Identity(v) a = Identity(v) }>",
        "int64 n = {9000000000}, bool c = {1}, float k = {0}",
    ),
    "a division by zero": ("a = Div(s, z) y = ConstantOfShape(a)", "int64[2] s = {5,6}, int64[1] z = {0}"),
}


@pytest.mark.parametrize("name", NOT_REFUSED)
def test_what_is_not_known_is_not_refused(name: str) -> None:
    for plain in both(model_of(*NOT_REFUSED[name])):
        check_allocations(plain)


def nested(depth: int, calls: int, last: str = "b = Relu(a)") -> onnx.ModelProto:
    """Functions of which each calls the next one several times."""
    function = '<domain: "f", opset_import: ["" : 20, "f" : 1]> f{} (a) => (b) {{ {} }} '
    body = "t1 = f.f{0}(a) " + "".join(f"t{at} = f.f{{0}}(t{at - 1}) " for at in range(2, calls)) + "b = f.f{0}(t{1})"
    bodies = [body.format(at + 1, calls - 1) for at in range(depth)]
    return model_of("y = f.f0(x)", "", "".join(function.format(*each) for each in enumerate([*bodies, last])))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nested(40, 2), "make more than 100,000 nodes"),
        (nested(2, 400), "make more than 100,000 nodes"),
        (nested(3, 2, "b = f.f0(a)"), "without end"),
        (nested(3, 2, "s = Constant <value_ints = [70000, 70000]> () b = ConstantOfShape(s)"), "makes 4,900,000,000"),
    ],
    ids=["deep", "wide", "endless", "large"],
)
def test_functions_are_counted_written_out(model: onnx.ModelProto, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    for call in (lambda: Engine(path), lambda: instrument(path, tmp_path / "out.onnx")):
        with pytest.raises(ModelError, match=found) as error:
            call()
        assert str(error.value).startswith(str(path))
        assert str(error.value).count("\n") == 0


def test_calls_of_empty_functions_are_counted() -> None:
    calls = {("f", str(at)): [("f", str(at + 1))] * 2 for at in range(40)} | {("f", "40"): []}
    functions = {
        name: PlainFunction(PlainGraph((), (), tuple(PlainNode(*call, (), ()) for call in inner)))
        for name, inner in calls.items()
    }
    with pytest.raises(ModelError, match="make more than 100,000 nodes"):
        check_allocations(PlainModel(PlainGraph((), (), (PlainNode("f", "0", (), ()),)), functions))


def test_functions_of_a_size_that_models_have_are_accepted() -> None:
    for plain in both(nested(3, 10)):
        check_allocations(plain)
