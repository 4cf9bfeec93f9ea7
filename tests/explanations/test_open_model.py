"""A plain file opened to be explained: the same maps as of the file instrumented by hand, made once and kept."""

from __future__ import annotations

import errno
import gc
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import onnxplain
import onnxplain.exporters
from onnxplain import Engine
from onnxplain.contract import METADATA_KEY, PRESETS, STATED, ModelSpec
from onnxplain.demo import DETECTOR
from onnxplain.errors import ModelError, OnnxplainError, UnboundedLoopError
from onnxplain.explainers import GradCAM, LayerCAM, build
from onnxplain.explainers.needs import Need
from onnxplain.explanations.model_cache import ModelCache
from onnxplain.explanations.open_model import OpenedModel, open_model
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.opening_notes import notes
from tests.cli.conftest import write_convolutional
from tests.cli.process import run_without
from tests.models import ExplainableModel, write_classifier

instrument_by_hand = onnxplain.exporters.instrument
# Its condition stays true.
WHILE = """
<ir_version: 10, opset_import: ["": 18]>
while (float[n, 3, 16, 16] x) => (float[n, 9] logits) <bool yes = {1}> {
    wide = Concat <axis = 1> (x, x, x)
    c = Relu(wide)
    d = Loop("", yes, c) <body = endless (int64 i, bool go, float s) => (bool go_on, float t) {
        go_on = Identity(go)
        t = Tanh(s)
    }>
    p = GlobalAveragePool(d)
    logits = Flatten(p)
}
"""
METHODS_WITH_LAYER = ("cam", "grad-cam", "layer-cam", "recipro-cam")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCache:
    monkeypatch.setenv("ONNXPLAIN_CACHE", str(tmp_path / "cache"))
    return ModelCache.of_user()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_convolutional(tmp_path / "plain.onnx")


@dataclass
class Calls:
    count: int = 0


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """How often a file was instrumented."""
    seen = Calls()

    def counted(*given: object, **options: object) -> object:
        seen.count += 1
        return instrument_by_hand(*given, **options)

    monkeypatch.setattr(onnxplain.exporters, "instrument", counted)
    return seen


def grad_cam(opened: OpenedModel, photo: Path) -> np.ndarray:
    return GradCAM(opened.engine, layer=opened.layer)(photo, 1).heatmap


@pytest.mark.parametrize("method", METHODS_WITH_LAYER)
def test_the_map_is_that_of_the_file_instrumented_by_hand(method, plain, photo, cache, tmp_path):
    by_hand = tmp_path / "by_hand.onnx"
    instrument_by_hand(plain, by_hand)
    expected = build(method, Engine(by_hand))(photo, 1)
    for _ in range(2):
        found = onnxplain.explain(plain, photo, method, 1)
        np.testing.assert_array_equal(found.heatmap, expected.heatmap)
        assert (found.method, found.layer) == (method, "map")
    assert expected.heatmap.max() == 1


@pytest.mark.parametrize(
    ("model", "image"),
    [
        ("squeezenet_fp16_winml", "both_dogcat.png"),
        ("mobilenet_v1_0.25_128_float", "winml_dog.jpg"),
        ("cifar10_resnet20_ts_op11", "ort_horse-cart.jpg"),
    ],
)
def test_the_same_for_public_files(model, image, assets, cache, tmp_path):
    path, photo = assets / "models" / f"{model}.onnx", assets / "images" / image
    instrument_by_hand(path, tmp_path / "by_hand.onnx")
    expected = GradCAM(Engine(tmp_path / "by_hand.onnx"))(photo)
    found = onnxplain.explain(path, photo)
    np.testing.assert_allclose(found.heatmap, expected.heatmap, atol=1e-5)
    assert (found.method, found.target) == ("grad-cam", expected.target)


def test_several_layers_are_instrumented_and_combined(plain, photo, cache, tmp_path):
    instrument_by_hand(plain, tmp_path / "by_hand.onnx", layers=["convolved", "map"])
    expected = LayerCAM(Engine(tmp_path / "by_hand.onnx"), ["convolved", "map"])(photo, 1)
    found = onnxplain.explain(plain, photo, "layer-cam", 1, layer=["convolved", "map"])
    np.testing.assert_array_equal(found.heatmap, expected.heatmap)
    one = onnxplain.explain(plain, photo, "layer-cam", 1, layer="conv")
    assert one.layer == "convolved"


def test_the_second_call_comes_from_the_cache(plain, photo, cache, calls):
    first = open_model(plain)
    again = open_model(plain)
    assert calls.count == 1
    assert first.copy is not None
    assert again.copy is not None
    assert first.copy.seconds is not None
    assert again.copy.seconds is None
    np.testing.assert_array_equal(grad_cam(first, photo), grad_cam(again, photo))
    (entry,) = cache.entries()
    assert entry.source == "plain.onnx"
    assert again.engine.source == plain
    assert again.engine.tail.path.parent == entry.folder


OTHER_OPTIONS = [
    OpenOptions(layers=("convolved",)),
    OpenOptions(logits="logits"),
    OpenOptions(batch="fixed"),
    OpenOptions(preprocessing=PRESETS["caffe"]),
    OpenOptions(input_size_hw=(12, 16)),
    OpenOptions(layout="nchw"),
]


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=str)
def test_other_options_are_another_copy(options, plain, cache, calls):
    open_model(plain)
    open_model(plain, options=options)
    open_model(plain, options=options)
    assert calls.count == len(cache.entries()) == 2


@pytest.mark.parametrize(
    "options", [OpenOptions(labels=tuple("vwxyz")), OpenOptions(threads=1), OpenOptions(providers=("cpu",))], ids=str
)
def test_what_does_not_change_the_file_is_the_same_copy(options, plain, cache, calls):
    open_model(plain)
    assert open_model(plain, options=options).engine.spec.labels == (options.labels or ())
    assert calls.count == 1


def write_external(path: Path, scale: float = 1.0) -> Path:
    """The convolutional model, its weights multiplied and in another file."""
    proto = onnx.load(write_convolutional(path))
    for tensor in proto.graph.initializer:
        tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * scale).tobytes()
    location = f"{path.stem}.weights"
    path.with_name(location).unlink(missing_ok=True)
    onnx.save(proto, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_other_content_is_another_copy(cache, calls, tmp_path):
    path = write_external(tmp_path / "model.onnx")
    graph = path.read_bytes()
    open_model(path)
    open_model(path)
    assert calls.count == 1
    # The weights alone change, in their own file; then the name of the model, which is no change of content.
    write_external(path, 2.0)
    assert path.read_bytes() == graph
    open_model(path)
    assert calls.count == 2
    renamed = path.rename(tmp_path / "renamed.onnx")
    open_model(renamed)
    assert calls.count == 2
    write_convolutional(renamed)
    open_model(renamed)
    assert calls.count == 3


def test_what_other_tools_say_beside_the_file_is_content(plain, cache, calls):
    """Labels of a file beside the model are in the copy; a file that changes makes another; a bad one is named."""
    open_model(plain)
    beside = plain.with_name("labels.txt")
    beside.write_text("\n".join("vwxyz"))
    assert open_model(plain).engine.spec.labels == tuple("vwxyz")
    assert open_model(plain, options=OpenOptions(sidecars=False)).engine.spec.labels == ()
    assert calls.count == 3
    beside.write_text("\n".join("vw"))
    for _ in range(2):
        opened = open_model(plain)
        assert opened.engine.spec.labels == ()
        warning, _ = notes(opened)
        assert warning.warning
        assert warning.text.startswith("labels.txt: found 2 labels")
    assert calls.count == 4


def test_another_version_is_another_copy(plain, cache, calls, monkeypatch):
    open_model(plain)
    monkeypatch.setattr("onnxplain.explanations.model_cache.__version__", "99")
    open_model(plain)
    assert calls.count == 2


def _append(name: str) -> Callable[[Path], object]:
    return lambda entry: (entry / name).write_bytes((entry / name).read_bytes() + b"\0")


def _flip(entry: Path) -> None:
    content = bytearray((entry / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (entry / "model.onnx").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": _flip,
    "truncated": lambda entry: (entry / "model.onnx").write_bytes((entry / "model.onnx").read_bytes()[:-9]),
    "empty": lambda entry: (entry / "model.onnx").write_bytes(b""),
    "missing": lambda entry: (entry / "model.onnx").unlink(),
    "tail": _append("model.tail.onnx"),
    "tail missing": lambda entry: (entry / "model.tail.onnx").unlink(),
    "record": lambda entry: (entry / "entry.json").write_text("{"),
    "record without the file": lambda entry: (entry / "entry.json").write_text('{"sha256": {}}'),
    "record of another kind": lambda entry: (entry / "entry.json").write_text("[1]"),
    "record missing": lambda entry: (entry / "entry.json").unlink(),
    "record of a foreign file": lambda entry: (entry / "entry.json").write_text('{"sha256": {"../../x": ""}}'),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_copy_is_made_again(kind, plain, photo, cache, calls):
    expected = grad_cam(open_model(plain), photo)
    (entry,) = cache.entries()
    before = {path.name: path.read_bytes() for path in entry.folder.iterdir()}
    DAMAGE[kind](entry.folder)
    np.testing.assert_array_equal(grad_cam(open_model(plain), photo), expected)
    assert calls.count == 2
    assert {path.name: path.read_bytes() for path in entry.folder.iterdir()} == before
    open_model(plain)
    assert calls.count == 2


def test_a_cache_that_cannot_be_written_is_left_out(plain, photo, tmp_path, monkeypatch):
    """A file stands where the folder should be."""
    monkeypatch.setenv("ONNXPLAIN_CACHE", str(plain / "cache"))
    opened = open_model(plain)
    assert grad_cam(opened, photo).max() == 1
    said, _ = notes(opened)
    assert said.warning
    assert f"{plain / 'cache'}: the cache cannot be written (Not a directory), going on without it" == said.text
    assert opened.engine.tail.logits(opened.engine.activations(photo).features).shape == (1, 5)


@pytest.mark.parametrize("place", ["tempfile.mkdtemp", "pathlib.Path.rename", "pathlib.Path.write_bytes"])
def test_a_cache_that_fails_on_the_way_is_left_out(place, plain, photo, cache, monkeypatch):
    """A read-only folder, a failing rename, a full disk."""

    def fail(*_: object, **given: object) -> object:
        if place == "tempfile.mkdtemp" and "dir" not in given:
            return real(*_, **given)
        raise OSError(errno.ENOSPC, "No space left on device")

    import tempfile

    real = tempfile.mkdtemp
    cache.folder.mkdir()
    monkeypatch.setattr(place, fail)
    opened = open_model(plain)
    monkeypatch.undo()
    assert grad_cam(opened, photo).max() == 1
    assert opened.copy is not None
    assert opened.copy.problem is not None
    assert opened.copy.problem.reason == "No space left on device"
    assert list(cache.folder.iterdir()) == []


def test_a_full_disk_during_the_write_is_no_failure(plain, photo, cache, monkeypatch):
    """`instrument` reports an OSError as a ModelError."""

    def write(source: Path, destination: Path, **options: object) -> object:
        if destination.is_relative_to(cache.folder):
            raise ModelError(f"{destination}: cannot write") from OSError(errno.EDQUOT, "Disk quota exceeded")
        return instrument_by_hand(source, destination, **options)

    monkeypatch.setattr(onnxplain.exporters, "instrument", write)
    opened = open_model(plain)
    assert grad_cam(opened, photo).max() == 1
    assert opened.copy is not None
    assert opened.copy.problem is not None
    assert opened.copy.problem.reason == "Disk quota exceeded"
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("options", [OpenOptions(use_cache=False), OpenOptions()])
def test_a_copy_that_is_not_kept_goes_with_its_engine(options, plain, photo, cache, monkeypatch):
    """With --no-cache, and where the limit is smaller than the copy."""
    monkeypatch.setenv("ONNXPLAIN_CACHE_GB", "0")
    opened = open_model(plain, options=options)
    path = opened.engine.path
    assert opened.engine.tail.path.exists()
    assert grad_cam(opened, photo).max() == 1
    assert cache.entries() == ()
    del opened
    gc.collect()
    assert not path.parent.exists()
    assert not cache.folder.exists() or list(cache.folder.iterdir()) == []


def test_a_failure_leaves_nothing_behind(cache, tmp_path):
    path = write_classifier(tmp_path / "flat.onnx")
    with pytest.raises(ModelError):
        open_model(path, ["grad-cam"])
    assert list(cache.folder.iterdir()) == []


def test_another_process_was_faster(plain, photo, cache, monkeypatch):
    """While one instruments, another fills the same place: both have their engine, and there is one copy."""
    others: list[OpenedModel] = []

    def slow(*given: object, **options: object) -> object:
        if not others:
            others.append(None)
            others[0] = open_model(plain)
        return instrument_by_hand(*given, **options)

    monkeypatch.setattr(onnxplain.exporters, "instrument", slow)
    opened = open_model(plain)
    np.testing.assert_array_equal(grad_cam(opened, photo), grad_cam(others[0], photo))
    assert opened.engine.path == others[0].engine.path
    assert [path.name for path in cache.folder.iterdir()] == [entry.folder.name for entry in cache.entries()]


def test_processes_that_fill_the_cache_at_once(plain, photo, cache, tmp_path):
    command = [sys.executable, "-m", "onnxplain", "explain", str(plain), str(photo), "-o"]
    running = [
        subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    first, second = (np.load(tmp_path / name / "photo.grad-cam.npy") for name in ("one", "two"))
    np.testing.assert_array_equal(first, second)
    assert [path.name for path in cache.folder.iterdir()] == [entry.folder.name for entry in cache.entries()]
    assert len(cache.entries()) == 1


def test_without_a_method_rise_explains_what_cannot_be_instrumented(photo, cache, tmp_path, caplog):
    path = write_classifier(tmp_path / "flat.onnx")
    with caplog.at_level(logging.INFO, "onnxplain"):
        found = onnxplain.explain(path, photo, masks=20)
    assert (found.method, found.layer) == ("rise", None)
    (record,) = [record for record in caplog.records if record.name == "onnxplain"]
    assert record.levelno == logging.WARNING
    assert "explained with rise, because the file cannot be instrumented: no feature map" in record.getMessage()


@pytest.mark.parametrize("methods", [(), ("grad-cam",)])
def test_rise_is_not_begun_unasked_where_a_run_may_never_end(methods, photo, cache, tmp_path):
    path = tmp_path / "loop.onnx"
    onnx.save(onnx.parser.parse_model(WHILE), path)
    expected = r"Loop .* it has no bound on its iterations.*; rise works on this file if the loop ends .*: -m rise$"
    with pytest.raises(UnboundedLoopError, match=expected):
        open_model(path, methods)
    assert open_model(path, ("rise",)).methods == ("rise",)


def test_with_a_method_the_error_is_that_of_instrument(photo, cache, tmp_path):
    path = write_classifier(tmp_path / "flat.onnx")
    with pytest.raises(ModelError, match=r"no feature map .*; rise works on this file: -m rise$"):
        onnxplain.explain(path, photo, "grad-cam")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (OpenOptions(layers=("nonsense",)), "nonsense"),
        (OpenOptions(logits="nonsense"), "nonsense"),
        (OpenOptions(layers=("all",)), "found all for"),
        (OpenOptions(labels=("one", "two")), "labels: found 2"),
        (OpenOptions(input_size_hw=(9, 9)), "9x9"),
    ],
    ids=str,
)
def test_wrong_options_do_not_lead_to_another_method(options, said, plain, cache):
    with pytest.raises(OnnxplainError, match=said):
        open_model(plain, options=options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"logits": "x"}, "head x: found an explainable file, whose heads are fixed"),
        ({"box": "x"}, "head x: found an explainable file, whose heads are fixed"),
        ({"batch": "fixed"}, "found an explainable file, expected a plain one for batch"),
    ],
    ids=["logits", "box", "batch"],
)
def test_what_an_explainable_file_cannot_follow_is_refused(options, said, tmp_path):
    path = ExplainableModel().write(tmp_path / "explainable.onnx")
    with pytest.raises(OnnxplainError, match=said):
        open_model(path, ["grad-cam"], OpenOptions(**options))


def test_an_explainable_file_is_opened_as_it_is(photo, cache, calls, tmp_path):
    path = ExplainableModel().write(tmp_path / "explainable.onnx")
    opened = open_model(path, ["cam"], OpenOptions(layers=("fine", "coarse"), preprocessing=PRESETS["caffe"]))
    assert (opened.engine.path, opened.layer, opened.copy) == (path, ("fine", "coarse"), None)
    assert opened.engine.spec.input.preprocessing == PRESETS["caffe"]
    assert list(notes(opened)) == []
    assert not cache.folder.exists()


def test_without_a_method_rise_explains_an_explainable_file_without_layers(tmp_path):
    model, path = onnx.load(DETECTOR), tmp_path / "detector.onnx"
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = replace(ModelSpec.from_json(entry.value), layers=()).to_json()
    onnx.save(model, path)
    opened = open_model(path)
    assert opened.methods == ("rise",)
    (note,) = notes(opened)
    assert note.warning
    assert "explained with rise, because the file has no instrumented layer" in note.text
    assert list(notes(open_model(path, ["rise"]))) == []


def test_methods_that_work_as_it_is_need_no_copy(plain, photo, cache, calls, monkeypatch):
    assert open_model(plain, ["rise"]).engine.path == plain
    # A method of another package, whose need a plain file meets.
    own = SimpleNamespace(needs=Need("classes", lambda spec: spec.classes == 5, ""))
    monkeypatch.setattr("onnxplain.explainers.registry.find_method", lambda name: own)
    assert open_model(plain, ["own"]).engine.path == plain
    assert calls.count == 0
    # What is stated about the graph needs the copy, whatever the method.
    monkeypatch.undo()
    assert open_model(plain, ["rise"], OpenOptions(logits="logits", use_cache=False)).copy is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (OpenOptions(), r"plain.onnx: instrumented in \d+\.\d s, layer map, preprocessing imagenet, crop \(assumed\)"),
        (OpenOptions(preprocessing=PRESETS["raw"]), r"layer map, preprocessing raw, crop \(stated\)"),
        (
            OpenOptions(preprocessing=replace(PRESETS["raw"], scale=2, mean=(1, 2, 3), resize="stretch")),
            r"preprocessing rgb, scale 2, mean 1,2,3, std 1,1,1, stretch \(stated\)",
        ),
        (OpenOptions(layers=("map", "convolved")), "layers convolved, map, preprocessing"),
        (OpenOptions(use_cache=False), "s, not kept, layer map"),
    ],
    ids=str,
)
def test_one_line_says_what_was_done(options, said, plain, cache):
    (note,) = notes(open_model(plain, options=options))
    assert not note.warning
    assert re.search(said, note.text)


def test_parts_of_the_preprocessing_are_named_by_origin(plain, cache):
    opened = open_model(plain)
    spec = opened.engine.spec
    origins = spec.input.origins.with_parts(["scale", "mean"], STATED)
    opened.engine.spec = replace(spec, input=replace(spec.input, origins=origins))
    (note,) = notes(opened)
    assert note.text.endswith("(channels, std, resize assumed; scale, mean stated)")


def test_the_logger_says_it_in_python(plain, photo, cache, caplog):
    with caplog.at_level(logging.INFO, "onnxplain"):
        onnxplain.explain(plain, photo)
        onnxplain.explain(plain, photo)
    first, second = (record for record in caplog.records if record.name == "onnxplain")
    assert first.levelno == second.levelno == logging.INFO
    assert "instrumented in" in first.getMessage()
    assert "instrumented copy from the cache" in second.getMessage()


EXPORT_PACKAGES = ("onnx", "onnx_ir", "onnxscript")


def test_without_the_extra_the_command_to_install_is_named(plain, photo, cache, tmp_path):
    words = ["-m", "onnxplain", "explain", str(plain), str(photo), "-o", str(tmp_path / "out")]
    result = run_without(EXPORT_PACKAGES, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert 'run pip install "onnxplain[export]"' in result.stderr
    assert "rise" in result.stderr
    assert run_without(EXPORT_PACKAGES, *words, "-m", "rise", "--masks", "20").returncode == 0
    # A copy that another environment made is as good.
    open_model(plain)
    result = run_without(EXPORT_PACKAGES, *words)
    assert result.returncode == 0, result.stderr
    assert "from the cache" in result.stderr
    entry = json.loads((tmp_path / "out" / "explanations.jsonl").read_text())
    assert (entry["method"], entry["layer"]) == ("grad-cam", "map")
