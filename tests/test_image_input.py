"""Which input is an image, and how it lies: one table, read by the contract, by exporters and by the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxplain.contract import DeclaredInput, ImageInput, InputFault, StatedShape, UnreadInput, read_image_input
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.inputs import find_image_value
from onnxplain.exporters.file.close_input import close_input, declare_inputs
from onnxplain.exporters.file.model_file import prepare
from onnxplain.runtime.image_input import declared_inputs, inputs_of

OPEN = ("batch_size", "num_channels", "height", "width")
NAMELESS = ("a", "b", "d", "e")
SIZE = {"size_hw": (8, 6)}

# Dimensions, what is stated, and the layout, channels and size that follow.
READ: dict[str, tuple[tuple[int | str, ...], dict[str, Any], tuple[str, str | int, tuple[int, int]]]] = {
    "photos": (("N", 3, 8, 6), {}, ("nchw", "rgb", (8, 6))),
    "photos, channels last": (("N", 8, 6, 3), {}, ("nhwc", "rgb", (8, 6))),
    "grey": ((1, 1, 8, 6), {}, ("nchw", "gray", (8, 6))),
    "a stated order": (("N", 3, 8, 6), {"channels": "bgr"}, ("nchw", "bgr", (8, 6))),
    "a stated number": (("N", 3, 8, 6), {"channels": 3}, ("nchw", "rgb", (8, 6))),
    "open sizes": (("N", 3, "H", "W"), SIZE, ("nchw", "rgb", (8, 6))),
    "one open side": (("N", 3, "H", 6), SIZE, ("nchw", "rgb", (8, 6))),
    "open sizes, channels last": (("N", "H", "W", 3), SIZE, ("nhwc", "rgb", (8, 6))),
    "all open, named as Optimum does": (OPEN, SIZE, ("nchw", "rgb", (8, 6))),
    "all open, named, and grey": (OPEN, {**SIZE, "channels": "gray"}, ("nchw", "gray", (8, 6))),
    "all open, named, and four channels": (OPEN, {**SIZE, "channels": 4}, ("nchw", 4, (8, 6))),
    "all open, without names": (NAMELESS, {**SIZE, "layout": "nhwc"}, ("nhwc", "rgb", (8, 6))),
    "two channels": (("N", 2, 8, 6), {}, ("nchw", 2, (8, 6))),
    "four channels": (("N", 4, 8, 6), {}, ("nchw", 4, (8, 6))),
    "twelve channels last": (("N", 64, 48, 12), {}, ("nhwc", 12, (64, 48))),
    "twelve channels of open size": (("N", 12, "H", "W"), SIZE, ("nchw", 12, (8, 6))),
    "many channels, stated": (("N", 40, 8, 6), {"channels": 40}, ("nchw", 40, (8, 6))),
    "many channels, by layout": (("N", 40, 8, 6), {"layout": "nchw"}, ("nchw", 40, (8, 6))),
    "three or three, by size": ((1, 3, 8, 3), {"size_hw": (8, 3)}, ("nchw", "rgb", (8, 3))),
    "three or three, by layout": ((1, 3, 8, 3), {"layout": "nhwc"}, ("nhwc", "rgb", (3, 8))),
    "one image": ((3, 8, 6), {}, ("chw", "rgb", (8, 6))),
    "one image, channels last": ((8, 6, 3), {}, ("hwc", "rgb", (8, 6))),
    "one image, open": (("C", "H", "W"), SIZE, ("chw", "rgb", (8, 6))),
    "one image of twelve channels": ((12, 64, 48), {}, ("chw", 12, (64, 48))),
}

# Dimensions, what is stated, the fault, and words of the message: what is wrong and the option that mends it.
UNREAD: dict[str, tuple[tuple[int | str, ...], dict[str, Any], InputFault, list[str]]] = {
    "no image": ((1, 60), {}, InputFault.NO_IMAGE, ["[1, 60]", "no image model"]),
    "no image in five dimensions": ((1, 3, 4, 8, 6), {}, InputFault.NO_IMAGE, ["no image model"]),
    "either layout": ((1, 3, 8, 3), {}, InputFault.LAYOUT_AMBIGUOUS, ["nchw or nhwc", "--layout"]),
    "either layout, many channels": ((1, 8, 8, 8), {}, InputFault.LAYOUT_AMBIGUOUS, ["nchw or nhwc", "--layout"]),
    "nothing is known": (NAMELESS, SIZE, InputFault.LAYOUT_OPEN, ["[a, b, d, e]", "--layout"]),
    "a layout of photos that is not theirs": (
        ("N", 3, 8, 6),
        {"layout": "nhwc"},
        InputFault.LAYOUT,
        ["nhwc", "--channels NUMBER"],
    ),
    "a layout of other dimensions": (("N", 3, 8, 6), {"layout": "chw"}, InputFault.RANK, ["chw", "another layout"]),
    "other channels": (("N", 3, 8, 6), {"channels": "gray"}, InputFault.CHANNELS, ["1 channel (gray)", "--channels"]),
    "another number": (("N", 4, 8, 6), {"channels": 12}, InputFault.CHANNELS, ["12 channels", "--channels"]),
    "another size": (("N", 3, 8, 6), {"size_hw": (9, 9)}, InputFault.SIZE, ["[N, 3, 8, 6]", "9x9"]),
    "an open size": (OPEN, {}, InputFault.SIZE_OPEN, ["height (dimension 2, 'height')", "width", "--size"]),
    "an open width": (("N", 3, 8, "W"), {}, InputFault.SIZE_OPEN, ["width (dimension 3, 'W') is open", "--size"]),
}


def write(path: Path, dims: tuple[int | str, ...], elem: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A model whose image input has these dimensions."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["out"])],
        "graph",
        [helper.make_tensor_value_info("pixels", elem, dims)],
        [helper.make_tensor_value_info("out", elem, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return model


def by_runtime(path: Path, stated: StatedShape) -> ImageInput:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return inputs_of(path, declared_inputs(session), stated, {}).image


def by_exporters(model: onnx.ModelProto, stated: StatedShape) -> ImageInput:
    """As `instrument` does: first what is open is closed, then the prepared graph is read."""
    (declared,) = declare_inputs(model)
    close_input(model, read_image_input(declared, stated))
    return find_image_value(prepare(model).graph, stated)[1]


@pytest.mark.parametrize(("dims", "stated", "expected"), READ.values(), ids=READ)
def test_an_input_is_read_alike(dims: Any, stated: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    shape = StatedShape(**stated)
    image = read_image_input(DeclaredInput.of("pixels", "float32", dims), shape)
    assert isinstance(image, ImageInput)
    assert (image.layout, image.channels, image.size_hw) == expected
    model = write(tmp_path / "m.onnx", dims)
    assert by_runtime(tmp_path / "m.onnx", shape) == image
    assert by_exporters(model, shape) == image
    # What was open has become a number, but for the batch.
    closed = [dim.dim_value or None for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert tuple(closed) == image.shape


@pytest.mark.parametrize(("dims", "stated", "fault", "words"), UNREAD.values(), ids=UNREAD)
def test_an_input_is_refused_alike(dims: Any, stated: dict[str, Any], fault: Any, words: Any, tmp_path: Path) -> None:
    shape = StatedShape(**stated)
    found = read_image_input(DeclaredInput.of("pixels", "float32", dims), shape)
    assert isinstance(found, UnreadInput)
    assert found.fault is fault
    assert "\n" not in str(found)
    for word in words:
        assert word in str(found)
    model = write(tmp_path / "m.onnx", dims)
    for read in (lambda: by_runtime(tmp_path / "m.onnx", shape), lambda: by_exporters(model, shape)):
        with pytest.raises(ModelError) as caught:
            read()
        assert str(found) in str(caught.value)


DTYPES = {"FLOAT": True, "FLOAT16": True, "DOUBLE": True, "UINT8": True, "INT8": True, "INT32": False, "UINT16": False}


@pytest.mark.parametrize(("elem", "is_image"), DTYPES.items())
def test_types_of_images(elem: str, is_image: bool, tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", ("N", 3, 8, 6), TensorProto.DataType.Value(elem))
    for read in (lambda: by_runtime(tmp_path / "m.onnx", StatedShape()), lambda: by_exporters(model, StatedShape())):
        if is_image:
            assert np.dtype(read().dtype) == helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(elem))
        else:
            with pytest.raises(ModelError, match="no image model"):
                read()
