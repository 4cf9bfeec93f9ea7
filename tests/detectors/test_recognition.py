"""Each layout is told by its own files and by no other's; what fits none or several is refused with the reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxplain.contract import EndNode, EndValue, GraphEnd
from onnxplain.contract.detectors import (
    LAYOUTS,
    DetectorHints,
    DetectorSpec,
    GraphOutput,
    GraphOutputs,
    NoDetector,
    custom_operator_advice,
    find_ends,
    read_hints,
    read_outputs,
    recognise,
)
from onnxplain.contract.detectors.lack import Lack, LackKind
from onnxplain.contract.detectors.matching import match
from onnxplain.contract.detectors.output_shape import Circumstances
from onnxplain.errors import ModelError, OnnxplainError
from tests.detectors.fakes import FAKES, Fake

# Files that fit a second layout too: only metadata or the user can tell.
TWINS = {("detr", "rt-detr")}


def output(
    name: str, *shape: int | str | None, ends: tuple[str, ...] | None = None, dtype: str = "float32"
) -> GraphOutput:
    return GraphOutput(name, dtype, shape, ends)


def test_there_is_a_file_of_each_layout() -> None:
    assert list(FAKES) == list(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_told(name: str) -> None:
    fake = FAKES[name]
    found = recognise(fake.end, fake.size_hw, fake.hints)
    assert isinstance(found, DetectorSpec), str(found)
    assert (found.layout_name, found.classes, found.candidates) == (name, fake.classes, fake.candidates)
    assert set(found.output_names) == {each for each, _, _ in fake.outputs}
    assert found.evidence


@pytest.mark.parametrize("other", LAYOUTS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_takes_the_file_of_another(name: str, other: str) -> None:
    fake = FAKES[name]
    found = match(LAYOUTS[other], fake.end, Circumstances(fake.size_hw))
    assert isinstance(found, DetectorSpec) == (name == other or (name, other) in TWINS), str(found)


# Of these, outputs of one shape have different meanings: without names nothing tells them apart.
EQUAL_SHAPES = ("yunet", "tensorflow")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_stated_layout_needs_neither_names_nor_operators(name: str) -> None:
    fake = FAKES[name]
    outputs = tuple(replace(each, name=f"value_{i}", ends=("Add",)) for i, each in enumerate(fake.end.outputs))
    found = recognise(GraphOutputs(outputs, frozenset()), fake.size_hw, DetectorHints(stated=name))
    if name in EQUAL_SHAPES:
        assert isinstance(found, NoDetector)
        assert found.lacks[name].kind is LackKind.SEVERAL
        assert found.is_refused
    else:
        assert isinstance(found, DetectorSpec), str(found)
        assert (found.layout_name, found.classes, found.evidence[0].kind) == (name, fake.classes, "stated")


@pytest.mark.parametrize(("name", "other"), [("yolox", "yolo-dense"), ("detr", "yunet"), ("ssd", "blazeface")])
def test_a_stated_layout_needs_its_shapes(name: str, other: str) -> None:
    found = recognise(FAKES[name].end, FAKES[name].size_hw, DetectorHints(stated=other))
    assert isinstance(found, NoDetector)
    assert list(found.lacks) == [other]
    assert found.is_refused


AMBIGUOUS = {
    "v8 with three classes": ("yolo-dense", 416, output("output0", 1, 7, 3549, ends=("Mul", "Sigmoid")), 3),
    "v5 with two classes": ("yolo-anchor", 640, output("output", 1, 25200, 7, ends=("Mul", "Slice")), 2),
    "v5 of the same columns as raw YOLOX": ("yolo-anchor", 416, output("output", 1, 3 * 3549, 85, ends=("Mul",)), 80),
    "raw YOLOX": ("yolox", 416, output("output", 1, 3549, 85, ends=("Conv", "Sigmoid")), 80),
    "YOLOX decoded in the graph": ("yolox-decoded", 416, output("output", 1, 3549, 85, ends=("ScatterND",)), 80),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_shapes_that_look_alike(case: str) -> None:
    name, side, one, classes = AMBIGUOUS[case]
    found = recognise(GraphOutputs((one,), frozenset(one.ends or ())), (side, side))
    assert isinstance(found, DetectorSpec)
    assert (found.layout_name, found.classes) == (name, classes)


def test_outputs_of_equal_shape_are_told_by_name() -> None:
    """RF-DETR with three classes: class scores and boxes have the same shape."""
    end = GraphOutputs((output("labels", 1, 300, 4), output("dets", 1, 300, 4)), frozenset({"Conv"}))
    found = recognise(end, (560, 560))
    assert isinstance(found, DetectorSpec)
    assert (found.layout_name, found.outputs, found.classes) == ("rf-detr", (("labels",), ("dets",)), 4)


def nanodet_with_wrong_names() -> GraphOutputs:
    """A public NanoDet file: no batch axis, and `bbox_pred` names the classes."""
    counts = (1600, 400, 100)
    classes = [output(f"bbox_pred{i}", count, 80, ends=("Sigmoid",)) for i, count in enumerate(counts)]
    boxes = [output(f"cls_pred{i}", count, 32, ends=("Conv",)) for i, count in enumerate(counts)]
    return GraphOutputs((*classes, *boxes), frozenset({"Conv", "Sigmoid"}))


def test_names_that_contradict_shapes_are_a_conflict_until_the_user_decides() -> None:
    found = recognise(nanodet_with_wrong_names(), (320, 320))
    assert isinstance(found, NoDetector)
    assert found.lacks["nanodet"].kind is LackKind.CONFLICT
    assert "the name contradicts the shape" in str(found)
    stated = recognise(nanodet_with_wrong_names(), (320, 320), DetectorHints(stated="nanodet"))
    assert isinstance(stated, DetectorSpec)
    assert stated.outputs == (
        ("bbox_pred0", "bbox_pred1", "bbox_pred2"),
        ("cls_pred0", "cls_pred1", "cls_pred2"),
    )
    assert stated.classes == 80


def test_several_layouts_are_refused_until_something_tells() -> None:
    fake = FAKES["detr"]
    found = recognise(fake.end, fake.size_hw)
    assert isinstance(found, NoDetector)
    assert set(found.fitting) == {"detr", "rt-detr"}
    assert found.is_refused
    assert "--detector" in str(found)
    for hints, name in (
        (DetectorHints(model_type="yolos"), "detr"),
        (DetectorHints(model_type="conditional_detr"), "rt-detr"),
        (DetectorHints(classes=91), "detr"),
        (DetectorHints(classes=92), "rt-detr"),
        (DetectorHints(stated="rt-detr"), "rt-detr"),
    ):
        told = recognise(fake.end, fake.size_hw, hints)
        assert isinstance(told, DetectorSpec)
        assert told.layout_name == name


NOT_DETECTORS = {
    "classes": (output("logits", 1, 1000, ends=("Gemm",)),),
    "classes named scores": (output("scores", 1, 1000, ends=("Softmax",)),),
    "classes as a map": (output("prob", 1, 1000, 1, 1, ends=("Softmax",)),),
    "seven classes, channels last": (output("emotion", 1, 1, 1, 7, ends=("Softmax",)),),
    "seven classes, open batch": (output("emotion", "N", 7, ends=("Gemm",)),),
    "classes and a box": (output("classes", 1, 5, ends=("Gemm",)), output("box", 1, 4, ends=("Sigmoid",))),
    "tokens": (output("last_hidden_state", 1, 197, 768, ends=("LayerNormalization",)),),
    "tokens and classes": (output("logits", 1, 1000), output("hidden", 1, 197, 192, ends=("Add",))),
    "patches of labels": (output("labels", 1, 196, 20, ends=("Sigmoid",)),),
    "a mask": (output("mask", 1, 21, 22, 22, ends=("Conv",)),),
    "a softmax mask": (output("mask", 1, 21, 22, 22, ends=("Softmax",)),),
    "text": (output("text", 1, 40, 97, ends=("Softmax",)),),
}


@pytest.mark.parametrize("case", NOT_DETECTORS)
@pytest.mark.parametrize("size_hw", [(224, 224), (352, 352), None], ids=str)
def test_other_models_are_no_detectors(case: str, size_hw: tuple[int, int] | None) -> None:
    outputs = NOT_DETECTORS[case]
    ends = frozenset(name for each in outputs for name in each.ends or ())
    found = recognise(GraphOutputs(outputs, ends | {"Conv"}), size_hw)
    assert isinstance(found, NoDetector)
    assert not found.is_refused, str(found)
    assert list(found.lacks) == list(LAYOUTS)


LOOK_LIKE_DETECTORS = {
    "scores of one column beside raw boxes": (output("a", 1, 500, 16), output("b", 1, 500, 1)),
    "scores without an axis for columns": (output("a", 1, 100, 4), output("b", 1, 100)),
}


@pytest.mark.parametrize("case", LOOK_LIKE_DETECTORS)
def test_boxes_of_no_layout_are_refused_and_never_taken_for_classes(case: str) -> None:
    found = recognise(GraphOutputs(LOOK_LIKE_DETECTORS[case], frozenset({"Conv"})), (128, 128))
    assert isinstance(found, NoDetector)
    assert found.is_refused
    assert all(name in str(found) for name in LAYOUTS)


def test_maps_of_anchors_are_refused_with_what_to_export() -> None:
    """YOLOv7 without --grid."""
    heads = tuple(output(f"head{side}", 1, 3, side, side, 85) for side in (80, 40, 20))
    found = recognise(GraphOutputs(heads, frozenset({"Conv"})), (640, 640))
    assert isinstance(found, NoDetector)
    assert found.is_refused
    assert "--grid" in str(found)
    video = recognise(GraphOutputs((output("clip", 1, 3, 8, 64, 64),), frozenset({"Conv"})), (64, 64))
    assert isinstance(video, NoDetector)
    assert not video.is_refused


def ultralytics(task: str | None, names: int, **more: str) -> dict[str, str]:
    props = {"stride": "32", "names": str({i: f"class {i}" for i in range(names)}), **more}
    return props if task is None else {**props, "task": task}


PROTOTYPES = output("output1", 1, 32, 160, 160)
WITH_METADATA = {
    "detect": ("detect", 3, {}, (output("output0", 1, 7, 8400),), "yolo-dense", 0),
    "segment": ("segment", 3, {}, (output("output0", 1, 39, 8400), PROTOTYPES), "yolo-dense", 32),
    "pose": ("pose", 1, {}, (output("output0", 1, 56, 8400),), "yolo-dense", 51),
    "obb": ("obb", 15, {}, (output("output0", 1, 20, 8400),), "yolo-dense", 1),
    "YOLOv5's repository": (None, 80, {}, (output("output0", 1, 25200, 85),), "yolo-anchor", 0),
    "v5 segment": (None, 80, {}, (output("output0", 1, 25200, 117), PROTOTYPES), "yolo-anchor", 32),
    "YOLO26": ("detect", 80, {"end2end": "True"}, (output("output0", 1, 300, 6),), "end2end", 0),
    "YOLO26 segment": ("segment", 80, {"end2end": "True"}, (output("output0", 1, 300, 38),), "end2end", 32),
    "nms=True": ("detect", 80, {"args": "{'nms': True}"}, (output("output0", 1, 300, 6),), "end2end", 0),
    "RT-DETR": ("detect", 80, {"args": "{'nms': False}"}, (output("output0", 1, 300, 84),), "rt-detr-ultralytics", 0),
    "RT-DETR of two classes": (
        "detect", 2, {"args": "{'nms': False}"}, (output("output0", 1, 300, 6),), "rt-detr-ultralytics", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WITH_METADATA)
def test_metadata_of_ultralytics_tell_layout_classes_and_what_is_not_read(case: str) -> None:
    task, names, more, outputs, layout, rest = WITH_METADATA[case]
    hints = read_hints(ultralytics(task, names, **more), classes=names)
    found = recognise(GraphOutputs(outputs), (640, 640), hints)
    assert isinstance(found, DetectorSpec), str(found)
    assert (found.layout_name, found.rest) == (layout, rest)
    assert found.classes == (None if layout == "end2end" else names)
    assert found.evidence[0].kind == "Ultralytics"


def test_segmentation_without_metadata_is_told_by_its_prototypes() -> None:
    outputs = (output("output0", 1, 116, 8400, ends=("Mul", "Sigmoid")), output("output1", 1, 32, 160, 160))
    found = recognise(GraphOutputs(outputs, frozenset()), (640, 640))
    assert isinstance(found, DetectorSpec)
    assert (found.classes, found.rest, found.ignored) == (80, 32, ("output1 [1, 32, 160, 160]",))


def test_an_ultralytics_classifier_is_no_detector() -> None:
    found = recognise(
        GraphOutputs((output("output0", 1, 1000),)), (224, 224), read_hints(ultralytics("classify", 1000))
    )
    assert isinstance(found, NoDetector)
    assert not found.is_refused


def test_metadata_that_promise_a_detector_are_not_forgotten() -> None:
    end = GraphOutputs((output("output0", 1, 9, 100),))
    found = recognise(end, (640, 640), read_hints(ultralytics("detect", 5), classes=5))
    assert isinstance(found, NoDetector)
    assert found.is_said
    assert set(found.lacks) == {name for name, row in LAYOUTS.items() if row.ultralytics}


def test_an_unknown_layout_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OnnxplainError, match="did you mean yolox"):
        recognise(FAKES["yolox"].end, (416, 416), DetectorHints(stated="yolx"))


def test_open_dimensions_leave_what_names_tell() -> None:
    """YuNet's height and width are open: names tell the layout, the number of candidates stays open."""
    fake = FAKES["yunet"]
    opened = replace(fake, outputs=tuple((name, (1, "anchors", shape[2]), ends) for name, shape, ends in fake.outputs))
    found = recognise(opened.end, None)
    assert isinstance(found, DetectorSpec)
    assert (found.layout_name, found.candidates) == ("yunet", None)
    assert found.outputs[0] == ("cls_8", "cls_16", "cls_32")


def test_an_open_size_leaves_layouts_without_names_open() -> None:
    found = recognise(FAKES["yolo-dense"].end, None)
    assert isinstance(found, NoDetector)
    assert found.lacks["yolo-dense"].kind is LackKind.SIZE


@pytest.mark.parametrize(
    ("dtype", "fits"),
    [("float32", True), ("float16", True), ("uint8", True), ("int8", True), ("bool", False), ("int64", False)],
)
def test_types_of_outputs(dtype: str, fits: bool) -> None:
    one = output("output0", 1, 84, 8400, ends=("Mul", "Sigmoid"), dtype=dtype)
    found = match(LAYOUTS["yolo-dense"], GraphOutputs((one,), frozenset(one.ends or ())), Circumstances((640, 640)))
    assert isinstance(found, DetectorSpec) == fits


ENDS = (
    EndNode("Conv", ("x",), ("boxes",)),
    EndNode("Sigmoid", ("x",), ("scores",)),
    EndNode("QuantizeLinear", ("scores", "s", "z"), ("q",)),
    EndNode("DequantizeLinear", ("q", "s", "z"), ("d",)),
    EndNode("Reshape", ("boxes", "shape"), ("r",)),
    EndNode("Concat", ("r", "d"), ("both",)),
    EndNode("Transpose", ("both",), ("t",)),
    EndNode("Cast", ("t",), ("out",)),
    EndNode("Conv", ("a",), ("qc",)),
    EndNode("Constant", (), ("s1",)),
    EndNode("Concat", ("s", "z", "qc", "s1", "z", "q2", "s", "z"), ("joined",)),  # as of QLinearConcat
    EndNode("Sigmoid", ("b",), ("q2",)),
)


@pytest.mark.parametrize(
    ("name", "expected"), [("out", ("Conv", "Sigmoid")), ("joined", ("Conv", "Sigmoid")), ("x", ()), ("s1", ())]
)
def test_ends_look_through_what_moves_and_rounds_values(name: str, expected: tuple[str, ...]) -> None:
    end = GraphEnd((EndValue(name, "float32", (1, 4)),), ENDS, stored=frozenset({"s", "z", "s1", "shape"}))
    assert find_ends(end, name) == expected
    (found,) = read_outputs(end).outputs
    assert (found.ends, found.dtype, found.dims) == (expected, "float32", (1, 4))


def test_outputs_that_are_no_tensors_are_left_out() -> None:
    end = GraphEnd((EndValue("a", "seq(tensor(float))"), EndValue("b"), EndValue("c", "int64", ("n",))), ())
    assert [each.name for each in read_outputs(end).outputs] == ["c"]


@pytest.mark.parametrize("name", ["EfficientNMS_TRT", "BatchedNMS_TRT", "TFLite_Detection_PostProcess"])
def test_operators_of_other_runtimes_are_refused_by_name(name: str) -> None:
    advice = custom_operator_advice(f"Fatal error: TRT:{name}(-1) is not a registered function/op")
    assert advice is not None
    assert name in advice
    assert "export" in advice or "convert" in advice
    assert custom_operator_advice("Conv") is None


@pytest.mark.parametrize(
    ("outputs", "message"),
    [((("a",),), "found 1 groups"), ((("a", "b"), ("c",)), "found 2 outputs"), (((), ("c",)), "found 0 outputs")],
)
def test_a_spec_that_does_not_fit_its_layout_is_refused(outputs: tuple[tuple[str, ...], ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        DetectorSpec("detr", outputs)


def test_every_lack_has_words() -> None:
    assert all("{" not in str(Lack(kind, "found", "expected")) for kind in LackKind)


def test_fakes_are_plain_values() -> None:
    assert isinstance(FAKES["yolox"], Fake)
