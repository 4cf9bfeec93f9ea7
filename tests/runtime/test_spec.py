from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxplain.contract import GRAY_PRESETS, METADATA_KEY, PRESETS, OutputRoles, Preprocessing
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.runtime import Engine
from tests.models import CLASSES, ExplainableModel, write_classifier, write_uint8_classifier

OPEN = ("N", "C", "H", "W")


def write_graph(
    path: Path, shape: tuple[int | str, ...], *, outputs: dict[str, str], dtype: int = TensorProto.FLOAT
) -> Path:
    """A model whose outputs are the given operators of the flattened image, or of a part of it."""
    nodes = [helper.make_node("Flatten", ["image"], ["flat"])]
    for name, recipe in outputs.items():
        nodes += {
            "identity": [helper.make_node("Identity", ["flat"], [name])],
            "softmax": [helper.make_node("Softmax", ["flat"], [name], axis=1)],
            "image": [helper.make_node("Identity", ["image"], [name])],
            "index": [helper.make_node("ArgMax", ["flat"], [name], axis=1)],
        }[recipe]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if recipe == "index" else dtype, None)
            for name, recipe in outputs.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        ({}, OutputRoles(logits="logits")),
        ({"softmax": True}, OutputRoles(scores="scores")),
        ({"both": True}, OutputRoles(logits="logits", scores="scores")),
        ({"softmax": True, "dtype": TensorProto.FLOAT16}, OutputRoles(scores="scores")),
    ],
)
def test_roles_of_plain_files(tmp_path, options, roles):
    spec = Engine(write_classifier(tmp_path / "model.onnx", **options)).spec
    assert spec.outputs == roles
    assert spec.classes == CLASSES
    assert spec.layers == ()
    assert spec.task == "classification"


def test_assumed_preprocessing(tmp_path):
    spec = Engine(write_classifier(tmp_path / "float.onnx")).spec
    assert (spec.input.preprocessing, spec.input.assumed) == (PRESETS["imagenet"], True)
    spec = Engine(write_uint8_classifier(tmp_path / "uint8.onnx")).spec
    assert (spec.input.preprocessing, spec.input.assumed) == (PRESETS["raw"], True)
    assert spec.input.layout == "nhwc"
    grey = write_graph(tmp_path / "grey.onnx", ("N", 1, 4, 4), outputs={"classes": "identity"})
    assert Engine(grey).spec.input.preprocessing == GRAY_PRESETS["imagenet"]


def test_stated_preprocessing_size_and_labels(tmp_path):
    path = write_classifier(tmp_path / "model.onnx", size_hw=("H", "W"))
    labels = [f"label {index}" for index in range(CLASSES)]
    engine = Engine(path, preprocessing=PRESETS["caffe"], input_size_hw=(20, 30), labels=labels)
    assert engine.spec.input.preprocessing == PRESETS["caffe"]
    assert not engine.spec.input.assumed
    assert engine.spec.labels == tuple(labels)
    assert engine.preprocess(np.zeros((5, 5, 3), np.uint8)).shape == (1, 3, 20, 30)


def test_metadata_is_read_back_and_may_be_overridden(tmp_path):
    model = ExplainableModel()
    path = model.write(tmp_path / "model.onnx")
    assert Engine(path).spec == model.spec()
    engine = Engine(path, preprocessing=PRESETS["imagenet"], labels=list("abcde"), input_size_hw=(6, 8))
    assert engine.spec.input.preprocessing == PRESETS["imagenet"]
    assert engine.spec.labels == tuple("abcde")


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        (("N", 3, 4, 5), {}, ("nchw", (4, 5))),
        ((1, 4, 5, 3), {}, ("nhwc", (4, 5))),
        ((1, 4, 5, 1), {}, ("nhwc", (4, 5))),
        ((1, 3, 4, 3), {"layout": "nchw"}, ("nchw", (4, 3))),
        ((1, 3, 4, 3), {"layout": "nhwc"}, ("nhwc", (3, 4))),
        (OPEN, {"layout": "nhwc", "input_size_hw": (4, 5)}, ("nhwc", (4, 5))),
        (("N", 3, "H", 5), {"input_size_hw": (4, 5)}, ("nchw", (4, 5))),
    ],
)
def test_layout_and_size(tmp_path, shape, options, expected):
    path = write_graph(tmp_path / "model.onnx", shape, outputs={"classes": "identity"})
    spec = Engine(path, **options).spec
    assert (spec.input.layout, spec.input.size_hw) == expected


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 3, 4, 3), {}, "it may be nchw or nhwc: give --layout"),
        (OPEN, {}, r"\[N, C, H, W\], expected a fixed size, its height \(dimension 2, 'H'\) and its width .* are open"),
        ((1, 8, 4, 4), {}, "it may be nchw or nhwc: give --layout"),
        ((1, 3, 4, 5), {"layout": "nhwc"}, "expected 1 or 3 channels in layout nhwc: use another layout"),
        (("N", 3, "H", "W"), {}, r"\[N, 3, H, W\], expected a fixed size.*--size HxW"),
        ((1, 3, 4, 5), {"input_size_hw": (5, 4)}, "expected 5x4 as stated"),
        (
            (1, 3, 4, 5),
            {"preprocessing": GRAY_PRESETS["raw"]},
            r"\[1, 3, 4, 5\], expected 1 channel \(gray\) as stated",
        ),
        ((1, 1, 4, 5), {"preprocessing": PRESETS["raw"]}, r"\[1, 1, 4, 5\], expected 3 channels \(rgb\) as stated"),
        ((1, 3, 4, 5), {"labels": ["a", "b"]}, "found 2, but the model has 60 classes"),
        ((1, 60), {}, "this is no image model"),
    ],
)
def test_unclear_inputs_are_refused(tmp_path, shape, options, message):
    path = write_graph(tmp_path / "model.onnx", shape, outputs={"classes": "identity"})
    with pytest.raises(OnnxplainError, match=message) as caught:
        Engine(path, **options)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"map": "image"}, r"found the outputs map \[1, 3, 4, 5\]: it is a map without Softmax, Sigmoid or ArgMax"),
        ({"index": "index"}, "it holds only what ArgMax picks: instrument the file first"),
    ],
)
def test_unclear_outputs_are_refused(tmp_path, outputs, message):
    path = write_graph(tmp_path / "model.onnx", (1, 3, 4, 5), outputs=outputs)
    with pytest.raises(ModelError, match=message):
        Engine(path)


def test_other_outputs_beside_the_classes_do_not_matter(tmp_path):
    path = write_graph(
        tmp_path / "model.onnx", (1, 3, 4, 5), outputs={"map": "image", "index": "index", "c": "softmax"}
    )
    assert Engine(path).spec.outputs == OutputRoles(scores="c")


def test_integer_images_other_than_uint8_are_refused(tmp_path):
    path = write_graph(tmp_path / "m.onnx", (1, 3, 4, 5), outputs={"c": "identity"}, dtype=TensorProto.INT32)
    with pytest.raises(ModelError, match="found an input image int32"):
        Engine(path)


def test_several_inputs_are_refused(tmp_path):
    path = write_classifier(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3, 8, 8]))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="found inputs image, second that may take images"):
        Engine(path)


def test_initializers_listed_as_inputs_are_not_images(tmp_path):
    path = write_classifier(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [CLASSES]))
    onnx.save(model, path)
    assert Engine(path).spec.input.name == "image"


def rewrite_metadata(path: Path, old: str, new: str) -> None:
    model = onnx.load(path)
    text = model.metadata_props[0].value
    assert old in text
    helper.set_model_props(model, {METADATA_KEY: text.replace(old, new)})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 2', '"version": 3', "contract version 3"),
        ('{"input"', '["input"', "not onnxplain JSON"),
        ('"kind": "classes"', '"kynd": "classes"', "found no kind"),
        (
            '"features": "features/fine"',
            '"features": "features/x"',
            "found no features/x in the graph, expected all names in the metadata",
        ),
        ('"name": "image"', '"name": "picture"', "found no picture in the graph"),
        ('"channels": "rgb"', '"channels": "hsv"', "channels: found 'hsv'"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, old, new, message):
    path = ExplainableModel().write(tmp_path / "model.onnx")
    rewrite_metadata(path, old, new)
    with pytest.raises(OnnxplainError, match=message) as caught:
        Engine(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "nhwc"}, "found layout nhwc, expected nchw as in the file"),
        (
            {"input_size_hw": (8, 8)},
            "found input size 8x8, expected 6x8, .*: instrument the original again with --size",
        ),
        ({"labels": ["a"]}, "found 1, but the model has 5 classes"),
        ({"preprocessing": Preprocessing("gray", 1, (0,), (1,))}, r"expected 1 channel \(gray\) as stated"),
    ],
)
def test_statements_that_contradict_the_file_are_refused(tmp_path, options, message):
    path = ExplainableModel().write(tmp_path / "model.onnx")
    with pytest.raises(OnnxplainError, match=message):
        Engine(path, **options)
