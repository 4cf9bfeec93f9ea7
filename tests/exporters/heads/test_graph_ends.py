"""What the outputs of a file mean, told by how its graph ends: one row per end that files have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from onnxplain.contract import FoundHeads, HeadKind, OutputFault, ReadKind, StatedHead, tell_heads
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.exporters.anatomy.inputs import find_image_value
from onnxplain.exporters.file.model_file import prepare
from tests.exporters.heads.graph_ends import end_model

Y, P, ONE, M = "float[N, 6] y", "float[N, 6] p", "float[N, 1] p", "float[N, 5, 32, 32] p"


@dataclass(frozen=True)
class End:
    """Nodes, outputs, and what they mean: ``kind size source``, and ``name: fault`` of outputs that are no head."""

    nodes: str
    outputs: str
    heads: Sequence[str] = ()
    unused: Sequence[str] = ()
    stated: Sequence[StatedHead] = ()
    read: ReadKind | None = None
    opset: int = 18
    decoder: bool = False
    image: str = "float[N, 3, 32, 32] image"


def mask(nodes: str, outputs: str = M, **others: object) -> End:
    return End(nodes, outputs, decoder=True, **others)


def stated(name: str, kind: HeadKind | None = None) -> Sequence[StatedHead]:
    return (StatedHead(name, kind),)


SQUARES = "q = Mul(y, y) s = ReduceSum<keepdims = 1>(q, first) "
ENDS = {
    # classes
    "logits": End("", Y, ["classes 6 y assumed"]),
    "softmax": End("p = Softmax(y)", P, ["classes 6 y Softmax"]),
    "softmax of opset 11": End("p = Softmax(y)", P, ["classes 6 y Softmax"], opset=11),
    "log softmax": End("p = LogSoftmax(y)", P, ["classes 6 y Softmax log"]),
    "log softmax, scaled": End("l = LogSoftmax(y) p = Mul(l, hundred)", P, ["classes 6 y Softmax log picked"]),
    "temperature": End("t = Div(y, warmth) p = Softmax(t)", P, ["classes 6 t Softmax"]),
    "percent": End("s = Softmax(y) p = Mul(s, hundred)", P, ["classes 6 y Softmax ×100"]),
    "softmax and clip": End("s = Softmax(y) p = Clip(s, small, most)", P, ["classes 6 y Softmax"]),
    "softmax of exponentials": End(
        "b = ReduceMax<keepdims = 1>(y, last) d = Sub(y, b) e = Exp(d) s = ReduceSum<keepdims = 1>(e, last) "
        "p = Div(e, s)",
        P,
        ["classes 6 y Softmax"],
    ),
    "top k": End(
        "s = Softmax(y) v, k = TopK(s, three)", "float[N, 3] v, int64[N, 3] k", ["classes 6 y Softmax picked"]
    ),
    "argmax alone": End("k = ArgMax<axis = 1, keepdims = 0>(y)", "int64[N] k", ["classes 6 y ArgMax picked"]),
    "scores and label": End(
        "p = Softmax(y) k = ArgMax<axis = 1, keepdims = 0>(p)", f"{P}, int64[N] k", ["classes 6 y Softmax"]
    ),
    "label and scores": End(
        "p = Softmax(y) k = ArgMax<axis = 1, keepdims = 0>(y)", f"int64[N] k, {P}", ["classes 6 y Softmax"]
    ),
    "logits and softmax": End("p = Softmax(y)", f"{Y}, {P}", ["classes 6 y Softmax"]),
    "logits and warm softmax": End("t = Div(y, warmth) p = Softmax(t)", f"{Y}, {P}", ["classes 6 t Softmax"]),
    "auxiliary": End("p = Mul(y, hundred)", f"{Y}, {P}", ["classes 6 y assumed"]),
    "features and logits": End("", f"float[N, 8] means, {Y}", ["classes 6 y assumed"], ["means: LEADS"]),
    "features stated as classes by a file": End(
        "",
        f"float[N, 8] means, {Y}",
        ["classes 6 y config.json"],
        ["means: LEADS"],
        read=ReadKind("classes", "config.json"),
    ),
    "logits and what is computed from them": End(
        "e = Exp(y) p = ReduceSum<keepdims = 1>(e, first)", f"{Y}, {ONE}", ["classes 6 y assumed"], ["p: AFTER"]
    ),
    "one column left out": End("s = Softmax(y) p = Slice(s, first, end, first)", "float[N, 5] p", [], ["p: HIDDEN"]),
    "the largest score": End("s = Softmax(y) p = ReduceMax<keepdims = 1>(s, first)", ONE, [], ["p: HIDDEN"]),
    "quantized logits": End("p = QuantizeLinear(y, step, middle)", "uint8[N, 6] p", ["classes 6 y assumed"]),
    "quantized softmax": End(
        "s = Softmax(y) p = QuantizeLinear(s, unit, lowest)", "uint8[N, 6] p", ["classes 6 y Softmax"]
    ),
    "QLinearSoftmax": End(
        "q = QuantizeLinear(y, step, middle) "
        "s = com.microsoft.QLinearSoftmax<axis = 1, opset = 18>(q, step, middle, unit, lowest) "
        "p = DequantizeLinear(s, unit, lowest)",
        P,
        ["classes 6 q Softmax"],
    ),
    "without a batch": End(
        "p = Squeeze(y, zeros)", "float[6] p", ["classes 6 p assumed"], image="float[1, 3, 32, 32] image"
    ),
    # labels
    "sigmoid": End("p = Sigmoid(y)", P, ["labels 6 y Sigmoid"]),
    "one sigmoid": End("z = MatMul(means, one) p = Sigmoid(z)", ONE, ["labels 1 z Sigmoid"]),
    "one sigmoid [N]": End(
        "z = MatMul(means, one) s = Sigmoid(z) p = Squeeze(s, first)", "float[N] p", ["labels 1 z Sigmoid"]
    ),
    "sigmoid and what passes a threshold": End(
        "p = Sigmoid(y) b = Greater(p, half)", f"{P}, bool[N, 6] b", ["labels 6 y Sigmoid"], ["b: TYPE"]
    ),
    "QLinearSigmoid": End(
        "q = QuantizeLinear(y, step, middle) s = com.microsoft.QLinearSigmoid(q, step, middle, unit, lowest) "
        "p = DequantizeLinear(s, unit, lowest)",
        P,
        ["labels 6 q Sigmoid"],
    ),
    "softmax and sigmoid": End(
        "p = Softmax(y) q = Sigmoid(y)", f"{P}, float[N, 6] q", ["classes 6 y Softmax"], ["q: KINDS refused"]
    ),
    "gates before the end": End("g = Sigmoid(y) p = Mul(y, g)", P, ["classes 6 p assumed"]),
    # values
    "one number": End("p = MatMul(means, one)", ONE, ["values 1 p one number"]),
    "one number [N]": End("z = MatMul(means, one) p = Squeeze(z, first)", "float[N] p", ["values 1 p one number"]),
    "numbers as another tool says": End("", Y, ["values 6 y config.json"], read=ReadKind("values", "config.json")),
    "numbers as stated": End("", Y, ["values 6 y stated"], stated=stated("y", "values")),
    "percentages as values": End(
        "s = Softmax(y) p = Mul(s, hundred)", P, ["values 6 p stated"], stated=stated("p", "values")
    ),
    # several heads, boxes
    "two heads": End(
        "p = MatMul(means, one) q = MatMul(means, two)",
        f"{Y}, {ONE}, float[N, 2] q",
        ["classes 6 y assumed", "values 1 p one number", "classes 2 q assumed"],
    ),
    "perhaps a box": End(
        "p = MatMul(means, four)", f"{Y}, float[N, 4] p", ["classes 6 y assumed"], ["p: BOX_OR refused"]
    ),
    "a box as stated": End(
        "p = MatMul(means, four)",
        f"{Y}, float[N, 4] p",
        ["classes 6 y assumed", "box 4 p stated"],
        stated=stated("p", "box"),
    ),
    "four classes as stated": End(
        "p = MatMul(means, four)",
        f"{Y}, float[N, 4] p",
        ["classes 6 y assumed", "classes 4 p stated"],
        stated=stated("p", "classes"),
    ),
    "four classes alone": End("p = MatMul(means, four)", "float[N, 4] p", ["classes 4 p assumed"]),
    "a box behind a sigmoid": End(
        "z = MatMul(means, four) p = Sigmoid(z)",
        f"{Y}, float[N, 4] p",
        ["classes 6 y assumed"],
        ["p: BOX_OR refused"],
    ),
    "left out": End(
        "p = MatMul(means, four)",
        f"{Y}, float[N, 4] p",
        ["classes 6 y assumed"],
        ["p: LEFT_OUT"],
        stated=(StatedHead("p", "none"),),
    ),
    "an inner value": End(
        "p = MatMul(means, two)",
        "float[N, 2] p",
        ["classes 6 y stated", "classes 2 p assumed"],
        stated=stated("y", "classes"),
    ),
    "an inner value of four labels": End(
        "q = MatMul(means, four) p = MatMul(q, pair)",
        "float[N, 2] p",
        ["labels 4 q stated", "classes 2 p assumed"],
        stated=stated("q", "labels"),
    ),
    "stated and not there": End("", Y, ["classes 6 y assumed"], ["q: UNKNOWN refused"], stated=stated("q", "classes")),
    "stated with another shape": End("", Y, [], ["y: STATED refused"], stated=stated("y", "mask")),
    # embeddings
    "LpNormalization": End("p = LpNormalization<axis = 1, p = 2>(y)", P, ["embedding 6 y L2 normalisation"]),
    "normalised by dynamo": End(
        "n = ReduceL2<keepdims = 1>(y, first) c = Clip(n, small) s = Shape(y) x = Expand(c, s) p = Div(y, x)",
        P,
        ["embedding 6 y L2 normalisation"],
    ),
    "normalised by tf2onnx": End(
        f"{SQUARES} b = Max(s, small) r = Sqrt(b) i = Reciprocal(r) p = Mul(y, i)",
        P,
        ["embedding 6 y L2 normalisation"],
    ),
    "normalised by rsqrt": End(
        f"{SQUARES} r = Sqrt(s) i = Div(most, r) p = Mul(y, i)", P, ["embedding 6 y L2 normalisation"]
    ),
    "normalised by a power": End(
        "q = Pow(y, square) s = ReduceSum<keepdims = 1>(q, first) r = Pow(s, half) p = Div(y, r)",
        P,
        ["embedding 6 y L2 normalisation"],
    ),
    "divided by another norm": End(
        "n = ReduceL2<keepdims = 1>(means, first) p = Div(y, n)", P, ["classes 6 p assumed"]
    ),
    "features and their embedding": End(
        "p = LpNormalization<axis = 1, p = 2>(y)", f"{Y}, {P}", ["embedding 6 y L2 normalisation"]
    ),
    "an embedding as stated": End("", Y, ["embedding 6 y stated"], stated=stated("y", "embedding")),
    "an embedding and logits": End(
        "p = LpNormalization<axis = 1, p = 2>(means)",
        f"float[N, 8] p, {Y}",
        ["embedding 8 means L2 normalisation", "classes 6 y assumed"],
    ),
    # masks
    "mask by softmax": mask("p = Softmax<axis = 1>(m)", heads=["mask 5 m Softmax 32x32 axis 1"]),
    "mask by softmax at the end": mask(
        "t = Transpose<perm = [0, 2, 3, 1]>(m) p = Softmax<axis = -1>(t)",
        "float[N, 32, 32, 5] p",
        heads=["mask 5 t Softmax 32x32 axis 3 last"],
    ),
    "mask by softmax, then moved": mask(
        "s = Softmax<axis = 1>(m) p = Transpose<perm = [0, 2, 3, 1]>(s)",
        "float[N, 32, 32, 5] p",
        heads=["mask 5 m Softmax 32x32 axis 1 last"],
    ),
    "mask by exponentials": mask(
        "t = Transpose<perm = [0, 2, 3, 1]>(m) b = ReduceMax<keepdims = 1>(t, last) d = Sub(t, b) e = Exp(d) "
        "s = ReduceSum<keepdims = 1>(e, last) p = Div(e, s)",
        "float[N, 32, 32, 5] p",
        heads=["mask 5 t Softmax 32x32 axis 3 last"],
    ),
    "mask by sigmoid": mask("p = Sigmoid(m)", heads=["mask 5 m Sigmoid 32x32 axis 1 independent"]),
    "mask of one class": mask(
        "z = Conv(maps, single) p = Sigmoid(z)",
        "float[N, 1, 8, 8] p",
        heads=["mask 1 z Sigmoid 8x8 axis 1 independent"],
    ),
    "mask of one class [N, h, w]": mask(
        "z = Conv(maps, single) s = Sigmoid(z) p = Squeeze(s, first)",
        "float[N, 8, 8] p",
        heads=["mask 1 z Sigmoid 8x8 axis 1 independent"],
    ),
    "mask by argmax": mask(
        "p = ArgMax<axis = 1, keepdims = 0>(m)", "int64[N, 32, 32] p", heads=["mask 5 m ArgMax 32x32 axis 1 picked"]
    ),
    "mask by argmax at the end": mask(
        "t = Transpose<perm = [0, 2, 3, 1]>(m) p = ArgMax<axis = 3, keepdims = 0>(t)",
        "int64[N, 32, 32] p",
        heads=["mask 5 t ArgMax 32x32 axis 3 picked"],
    ),
    "mask and classes": mask(
        "p = Softmax<axis = 1>(m)", f"{M}, {Y}", heads=["mask 5 m Softmax 32x32 axis 1", "classes 6 y assumed"]
    ),
    "a map of something": mask("", "float[N, 5, 32, 32] m", unused=["m: MAP"]),
    "a map stated as mask": mask(
        "", "float[N, 5, 32, 32] m", heads=["mask 5 m stated 32x32 axis 1"], stated=stated("m", "mask")
    ),
    "a map stated as mask, classes last": mask(
        "p = Transpose<perm = [0, 2, 3, 1]>(m)",
        "float[N, 32, 32, 5] p",
        heads=["mask 5 m stated 32x32 axis 1 last"],
        stated=stated("p", "mask"),
    ),
    # detectors
    "BlazeFace": mask(
        "c = Conv(maps, single) b = Reshape(scoremaps, rows) p = Reshape(c, columns)",
        "float[N, 64, 5] b, float[N, 64, 1] p",
        unused=["b: SHAPE", "p: DETECTIONS"],
    ),
    "BlazeFace with a sigmoid": mask(
        "c = Conv(maps, single) s = Sigmoid(c) b = Reshape(scoremaps, rows) p = Reshape(s, columns)",
        "float[N, 64, 5] b, float[N, 64, 1] p",
        unused=["b: SHAPE", "p: SHAPE"],
    ),
    "class maps with a sigmoid as rows": mask(
        "s = Sigmoid(scoremaps) p = Reshape(s, rows)", "float[N, 64, 5] p", unused=["p: SHAPE"]
    ),
    "TF-SSD": End(
        "w = Gemm(means, weights) b = Unsqueeze(w, last) c = Concat<axis = 2>(b, b, b, b) n = MatMul(means, one)",
        f"float[N, 6, 4] c, {Y}, float[N, 6] w, float[N, 1] n",
        [],
        ["c: SHAPE", "y: DETECTIONS", "w: DETECTIONS", "n: DETECTIONS"],
    ),
}


def find(end: End) -> FoundHeads:
    model = end_model(end.nodes, end.outputs, opset=end.opset, image=end.image, decoder=end.decoder)
    graph = prepare(model).graph
    return tell_heads(read_graph_end(graph, find_image_value(graph)[1]), end.stated, end.read)


@pytest.mark.parametrize("name", ENDS)
def test_ends(name):
    end = ENDS[name]
    found = find(end)
    told = []
    for head in found.heads:
        first = head.outputs[0] if head.outputs else None
        words = [head.kind, str(head.size), head.source, head.evidence.source or head.evidence.kind]
        if head.map_size_hw is not None:
            words += ["{}x{}".format(*head.map_size_hw), f"axis {head.channel_axis}"]
        if first is not None:
            words += ["log"] * first.form.log + ["last"] * first.form.channels_last
            words += [f"×{first.form.factor:g}"] * (first.form.factor != 1 and first.holds == "scores")
        words += ["picked"] * all(output.holds == "picked" for output in head.outputs if head.outputs)
        told.append(" ".join([*words, *["independent"] * head.sigmoid]))
    assert told == [text + " picked" * (not head.outputs) for text, head in zip(end.heads, found.heads, strict=True)]
    assert [f"{each.value.name}: {each.fault.name}{' refused' * each.fault.refuses}" for each in found.unused] == list(
        end.unused
    )


def test_every_fault_has_a_row():
    told = {each.split()[1] for end in ENDS.values() for each in end.unused}
    # The last two are faults of plain files alone.
    assert {fault.name for fault in OutputFault} - {"OPEN", "OTHER_SIZE", "PICKED", "ROUNDED"} == told


def test_open_sizes_are_no_head():
    found = find(End("k = NonZero(y) n = Cast<to = 1>(k) p = MatMul(y, n)", "float[a, b] p"))
    assert [each.fault for each in found.refused] == [OutputFault.OPEN]
    assert str(found.refused[0]).startswith("p [a, b]: some of its sizes are open")
