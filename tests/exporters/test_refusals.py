"""Files and graphs that cannot be instrumented: one clear line each, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError
from onnxplain.exporters import instrument
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, node, plain_model, save

info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT


def _with_file(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "source.onnx").write_bytes(content)
        return folder / "source.onnx"

    return write


def _with_model(**options: Any) -> Callable[[Path], Path]:
    return lambda folder: save(plain_model(**options), folder / "source.onnx")


def _missing_external_data(folder: Path) -> Path:
    onnx.save_model(
        plain_model(), folder / "source.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (folder / "w.bin").unlink()
    return folder / "source.onnx"


def _outside_external_data(folder: Path) -> Path:
    model = plain_model()
    tensor = model.graph.initializer[0]
    (folder / "inside").mkdir()
    (folder / "outside.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../outside.bin")
    return save(model, folder / "inside" / "source.onnx")


def _two_images(folder: Path) -> Path:
    model = plain_model()
    model.graph.input.append(info("second", FLOAT, [1, 3, 8, 8]))
    return save(model, folder / "source.onnx")


def _no_channels(folder: Path) -> Path:
    model = plain_model()
    model.graph.input[0].CopyFrom(info("image", FLOAT, ["N", 8, 8, 8]))
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 8, 3, 3), np.float32), "kernel1"))
    return save(model, folder / "source.onnx")


def _unknown_operator(folder: Path) -> Path:
    model = plain_model(batch=1)
    model.graph.node[4].CopyFrom(
        node("MaxRoiPool", ["late", "region"], ["pooled"], name="the_pool", pooled_shape=[1, 1])
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[0, 0, 0, 5, 7]], np.float32), "region"))
    return save(model, folder / "source.onnx")


WHOLE = plain_model().SerializeToString()
MAP_OUTPUT = info("late", FLOAT, ["batch", MAPS, *SIZE_HW])
SECOND_HEAD = {
    "more_nodes": [node("Sigmoid", ["logits"], ["attributes"]), node("Softmax", ["logits"], ["scores"])],
    "more_outputs": [info(name, FLOAT, ["batch", CLASSES]) for name in ("attributes", "scores")],
}

Row = tuple[Callable[[Path], Path], Mapping[str, Any], type[OnnxplainError], str]
REFUSED: Mapping[str, Row] = {
    "no such file": (lambda folder: folder / "none.onnx", {}, ModelError, r"none\.onnx: found no such file"),
    "a folder": (lambda folder: folder, {}, ModelError, "found a folder, expected an ONNX model"),
    "empty": (_with_file(b""), {}, ModelError, "found no ONNX graph"),
    "not ONNX": (_with_file(b"\x89PNG\r\n\x1a\n" + bytes(100)), {}, ModelError, "found no complete ONNX model"),
    "text": (_with_file(b"Hello, this is a text file.\n"), {}, ModelError, "found no complete ONNX model"),
    "truncated": (_with_file(WHOLE[: len(WHOLE) // 2]), {}, ModelError, "found no complete ONNX model"),
    "external data missing": (_missing_external_data, {}, ModelError, "found no complete ONNX model"),
    "external data outside": (_outside_external_data, {}, ModelError, "found no complete ONNX model"),
    "several inputs": (
        _two_images,
        {},
        ModelError,
        "found inputs image, second that may take images, expected one:",
    ),
    "no channels": (_no_channels, {}, ModelError, "it may be nchw or nhwc: give --layout"),
    "open size": (
        _with_model(size_hw=("height", "width")),
        {},
        ModelError,
        "its height .dimension 2, 'height'. and its width .*--size HxW",
    ),
    "another size than the file's": (
        _with_model(),
        {"input_size_hw": (9, 9)},
        ModelError,
        "expected 9x9 as stated",
    ),
    "another layout": (_with_model(), {"layout": "nhwc"}, ModelError, "in layout nhwc: use another"),
    "two kinds of one value": (
        _with_model(**SECOND_HEAD),
        {},
        ModelError,
        r"found outputs logits \[batch, 5\].* scores .*it is labels or classes: state --head scores:KIND",
    ),
    "logits that are not there": (
        _with_model(),
        {"logits": "nothing"},
        ModelError,
        "--logits nothing: not found, expected one of the outputs logits, or a value of the graph",
    ),
    "logits that are a map": (
        _with_model(),
        {"logits": "late"},
        ModelError,
        r"--logits late: found shape .*expected \[N, C\]",
    ),
    "a box that is not there": (
        _with_model(),
        {"box": "nothing"},
        ModelError,
        "--box nothing: not found, expected one of the outputs",
    ),
    "a box of another shape": (
        _with_model(more_outputs=[MAP_OUTPUT]),
        {"box": "late"},
        ModelError,
        r"--box late: found shape \[batch, 6, 8, 6\], expected \[N, 4\]",
    ),
    "the logits as box": (_with_model(), {"box": "logits"}, ModelError, r"--box logits: .*expected \[N, 4\]"),
    "labels of another number": (_with_model(), {"labels": ["a", "b"]}, OnnxplainError, "found 2, .* 5 classes"),
    "labels that are no text": (
        _with_model(),
        {"labels": [1, 2, 3, 4, 5]},
        OnnxplainError,
        r"labels\[0\]: found 1, expected text",
    ),
    "a text for labels": (_with_model(), {"labels": "abcde"}, OnnxplainError, "labels: found 'abcde', expected a list"),
    "half a surrogate pair": (
        _with_model(),
        {"labels": ["a", "b", "c", "d", "\ud800"]},
        OnnxplainError,
        r"labels\[4\]: found '.ud800', expected text that can be encoded",
    ),
    "an endless label": (_with_model(), {"labels": ["x" * 10**6] * 5}, OnnxplainError, "1,000,000 characters"),
    "gray preprocessing": (
        _with_model(),
        {"preprocessing": Preprocessing("gray", 1, (0,), (1,))},
        ModelError,
        "expected 1 channel .gray. as stated",
    ),
    "an operator without a rule": (
        _unknown_operator,
        {},
        UnsupportedError,
        "operator MaxRoiPool .*'the_pool'.* rise",
    ),
    "an input with a name of the contract": (
        _with_model(renamed={"image": "target"}),
        {},
        ModelError,
        "input or output named 'target'",
    ),
    "an output with a name of the contract": (
        _with_model(renamed={"logits": "explain"}),
        {},
        ModelError,
        "input or output named 'explain'",
    ),
    "a file of another operator set": (
        lambda folder: save(_of_domain("com.example"), folder / "source.onnx"),
        {},
        ModelError,
        "found no opset version of the standard ONNX operators",
    ),
}


def _of_domain(domain: str) -> onnx.ModelProto:
    model = plain_model()
    model.opset_import[0].domain = domain
    return model


@pytest.mark.parametrize(("write", "options", "error", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    write: Callable[[Path], Path],
    options: Mapping[str, Any],
    error: type[OnnxplainError],
    says: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    source = write(tmp_path / "from")
    with pytest.raises(error, match=says) as caught:
        instrument(source, tmp_path / "to" / "out.onnx", **options)
    assert len(str(caught.value).splitlines()) == 1
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("cut", np.linspace(1, len(WHOLE) - 1, 12, dtype=int).tolist())
def test_a_file_cut_anywhere_is_refused(cut: int, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError):
        instrument(_with_file(WHOLE[:cut])(tmp_path), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


class TestDestination:
    def test_the_source_itself_is_refused(self, tmp_path: Path) -> None:
        source = _with_model()(tmp_path)
        (tmp_path / "link.onnx").symlink_to(source)
        for destination in (source, tmp_path / "link.onnx"):
            with pytest.raises(ModelError, match="found the source file"):
                instrument(source, destination)
        assert source.read_bytes() == plain_model().SerializeToString()

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="folder does not exist"):
            instrument(_with_model()(tmp_path), tmp_path / "none" / "out.onnx")

    def test_a_folder_as_destination_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(ModelError, match="folder"):
            instrument(_with_model()(tmp_path), tmp_path / "folder")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "source.onnx"]


def test_logits_may_be_named(tmp_path: Path) -> None:
    source = _with_model(**SECOND_HEAD)(tmp_path)
    assert instrument(source, tmp_path / "out.onnx", logits="logits").spec.outputs.logits == "logits"


def test_a_size_closes_an_open_one(tmp_path: Path) -> None:
    source = _with_model(size_hw=("height", "width"))(tmp_path)
    assert instrument(source, tmp_path / "out.onnx", input_size_hw=(12, 10)).spec.input.size_hw == (12, 10)
