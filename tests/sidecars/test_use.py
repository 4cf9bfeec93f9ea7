"""What was read is used by the engine and by `instrument`, and said; what contradicts the model is not used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from onnxplain.cli.main import cli
from onnxplain.contract import CROP_SHARE, Origin, Preprocessing, PreprocessingParts
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from onnxplain.sidecars import SidecarProblem
from tests.sidecars.test_readers import CLIP, IMAGENET, PADDLE, TIMM, VIT, YOLO

LABELS = ["ant", "bee", "cow", "dog", "eel"]
CONFIG = {"id2label": dict(enumerate(LABELS)), "num_channels": 3, "image_size": 12}
PROCESSOR = {**VIT, "size": {"height": 12, "width": 16}}
HALF = Preprocessing("rgb", VIT["rescale_factor"], (0.5, 0.5, 0.5), (0.5, 0.25, 0.5), "stretch")


def write_model(
    path: Path,
    shape: tuple[int | str, ...] = ("N", 3, 12, 16),
    *,
    props: dict[str, str] | None = None,
    dtype: int = TensorProto.FLOAT,
    channels: int = 3,
) -> Path:
    """Conv, Relu, mean, linear head of 5 classes."""
    rng = np.random.default_rng(0)
    constants = {"kernel": rng.normal(size=(4, channels, 3, 3)), "weights": rng.normal(size=(5, 4))}
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Conv", ["float", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        node("Relu", ["convolved"], ["map"]),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "model",
        [tensor("image", dtype, shape)],
        [tensor("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, props or {})
    onnx.save(model, path)
    return path


def beside(path: Path, **files: Any) -> Path:
    """Write files beside a model, `config` as config.json and `processor` as preprocessor_config.json."""
    names = {"config": "config.json", "processor": "preprocessor_config.json"}
    for name, tree in files.items():
        (path.parent / names[name]).write_text(json.dumps(tree))
    return path


def run(*words: object) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_plain_file_gets_what_its_sidecars_say(tmp_path: Path) -> None:
    path = beside(write_model(tmp_path / "m.onnx"), config=CONFIG, processor=PROCESSOR)
    engine = Engine(path)
    assert engine.spec.labels == tuple(LABELS)
    assert engine.spec.input.preprocessing == HALF
    origin = Origin("read", "preprocessor_config.json")
    assert {getattr(engine.spec.input.origins, part) for part in ("channels", "scale", "mean", "std", "resize")} == {
        origin
    }
    assert not engine.spec.input.assumed
    # config.json says 12x12, against preprocessor_config.json.
    assert [problem.source for problem in engine.sidecars.problems] == ["config.json"]
    plain = Engine(path, sidecars=False)
    assert (plain.spec.labels, plain.spec.input.assumed) == ((), True)


def test_pixels_are_normalised_as_the_documentation_says(tmp_path: Path) -> None:
    """(pixel · rescale_factor − image_mean) / image_std, at the size of preprocessor_config.json."""
    path = beside(write_model(tmp_path / "m.onnx", ("N", 3, "H", "W")), processor=PROCESSOR)
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    expected = (image * VIT["rescale_factor"] - np.array(VIT["image_mean"])) / VIT["image_std"]
    np.testing.assert_allclose(Engine(path).preprocess(image)[0], expected.transpose(2, 0, 1), atol=1e-6)


def test_hugging_face_closes_a_file_of_open_axes(tmp_path: Path) -> None:
    """What Optimum exports: pixel_values [batch_size, num_channels, height, width]."""
    shape = ("batch_size", "num_channels", "height", "width")
    path = beside(write_model(tmp_path / "model.onnx", shape), config=CONFIG, processor=PROCESSOR)
    spec = Engine(path).spec
    assert (spec.input.layout, spec.input.size_hw, spec.labels) == ("nchw", (12, 16), tuple(LABELS))


@pytest.mark.parametrize(
    ("files", "props"),
    [
        ({"config.json": json.dumps({**TIMM, "label_names": LABELS})}, {}),
        ({"inference.yml": PADDLE.replace("[ant, bee]", str(LABELS))}, {}),
        ({}, {**YOLO, "task": "classify", "names": str(dict(enumerate(LABELS)))}),
    ],
    ids=["timm", "Paddle", "Ultralytics"],
)
def test_open_sizes_are_closed(tmp_path: Path, files: dict[str, str], props: dict[str, str]) -> None:
    path = write_model(tmp_path / "m.onnx", ("N", 3, "H", "W"), props=props)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    spec = Engine(path).spec
    assert (spec.labels, spec.input.assumed) == (tuple(LABELS), False)
    (tmp_path / "out").mkdir()
    report = instrument(path, tmp_path / "out" / "e.onnx")
    assert report.spec.input == spec.input
    assert report.spec.labels == tuple(LABELS)
    assert Engine(tmp_path / "out" / "e.onnx").spec.input == spec.input


CONTRADICTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    "labels": ({"config": {"id2label": {"0": "ant"}}}, {}, "labels", "1 labels", "5, one per class"),
    "channels": (
        {"config": {"pretrained_cfg": {"input_size": [1, 12, 16], "mean": [0.5], "std": [0.5]}}},
        {},
        "parts",
        "gray images",
        "3 channels",
    ),
    "size": ({"config": {"image_size": 24}}, {}, "input_size_hw", "a size of 24x24", "12x16"),
    "half a size": (
        {"config": {"image_size": 24}},
        {"shape": ("N", 3, 12, "W")},
        "input_size_hw",
        "a size of 24x24",
        "12x?",
    ),
    "signed bytes": (
        {"processor": PROCESSOR},
        {"dtype": TensorProto.INT8},
        "parts",
        "normalised pixels",
        "less 128 in int8",
    ),
    "bytes": ({"processor": PROCESSOR}, {"dtype": TensorProto.UINT8}, "parts", "normalised pixels", "uint8"),
}


@pytest.mark.parametrize(("files", "model", "part", "found", "expected"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_the_model_is_not_used(
    tmp_path: Path, files: dict[str, Any], model: dict[str, Any], part: str, found: str, expected: str
) -> None:
    path = beside(write_model(tmp_path / "m.onnx", **model), **files)
    size = {"input_size_hw": (12, 16)} if "shape" in model else {}
    if size:
        with pytest.raises(OnnxplainError, match="expected a fixed size"):
            Engine(path)
    else:
        for facts in (Engine(path).sidecars, instrument(path, tmp_path / "e.onnx").read):
            assert getattr(facts, part) is None
            assert any(found in each.found and expected in each.expected for each in facts.problems)


def test_what_is_stated_replaces_what_was_read(tmp_path: Path) -> None:
    path = beside(write_model(tmp_path / "m.onnx"), config={"id2label": {"0": "ant"}}, processor=PROCESSOR)
    stated = Preprocessing("bgr", 1.0)
    for spec, facts in (
        ((engine := Engine(path, labels=LABELS, preprocessing=stated)).spec, engine.sidecars),
        (
            (report := instrument(path, tmp_path / "e.onnx", labels=LABELS, preprocessing=stated)).spec,
            report.read,
        ),
    ):
        assert spec.labels == tuple(LABELS)
        assert spec.input.preprocessing == stated
        assert spec.input.origins.mean.kind == "stated"
        assert (facts.labels, facts.parts, facts.problems) == (None, None, ())
    with pytest.raises(OnnxplainError, match="found 1, but the model has 5 classes"):
        Engine(path, labels=["ant"])


def test_what_is_not_stated_is_still_read(tmp_path: Path) -> None:
    """Each part on its own; scale, mean and std belong together, and so do resize and the share of a crop."""
    path = beside(write_model(tmp_path / "m.onnx"), processor=CLIP)
    stated = PreprocessingParts(resize="crop", scale=1 / 127.5)
    engine, report = Engine(path, preprocessing=stated), instrument(path, tmp_path / "e.onnx", preprocessing=stated)
    for source, facts in ((engine.spec.input, engine.sidecars), (report.spec.input, report.read)):
        assert source.preprocessing == Preprocessing("rgb", 1 / 127.5)
        assert source.origins.channels == Origin("read", "preprocessor_config.json")
        assert (source.origins.scale.kind, source.origins.mean.kind) == ("stated", "assumed")
        assert facts.parts is not None
        assert facts.parts.value.known == ("channels",)
    renewed = instrument(tmp_path / "e.onnx", tmp_path / "f.onnx", preprocessing=PreprocessingParts(channels="bgr"))
    assert renewed.spec.input.preprocessing == Preprocessing("bgr", 1 / 127.5)
    assert renewed.spec.input.origins.mean.kind == "assumed"


@pytest.mark.parametrize("shape", [("N", "p", 12, 16), ("N", "p", "q", "r")], ids=["open channels", "all open"])
def test_open_channels_are_closed_by_facts(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    path = beside(write_model(tmp_path / "m.onnx", shape), config=CONFIG, processor=PROCESSOR)
    engine, report = Engine(path), instrument(path, tmp_path / "e.onnx")
    for source in (engine.spec.input, report.spec.input):
        assert (source.layout, source.size_hw, source.preprocessing) == ("nchw", (12, 16), HALF)


def test_a_stated_part_resets_its_detail(tmp_path: Path) -> None:
    path = beside(write_model(tmp_path / "m.onnx"), processor=CLIP)
    written = instrument(path, tmp_path / "e.onnx").path
    assert Engine(written).spec.input.preprocessing.crop_share == 1
    found = Engine(written, preprocessing=PreprocessingParts(resize="crop")).spec.input
    assert (found.preprocessing.crop_share, found.origins.crop_share.kind) == (CROP_SHARE, "assumed")


def test_an_explainable_file_speaks_for_itself(tmp_path: Path) -> None:
    written = instrument(write_model(tmp_path / "m.onnx"), tmp_path / "e.onnx", labels=list("vwxyz")).path
    beside(written, config=CONFIG, processor=PROCESSOR)
    engine = Engine(written)
    assert engine.spec.labels == tuple("vwxyz")
    assert engine.sidecars.problems == ()


@pytest.mark.parametrize("command", ["inspect", "predict", "explain", "evaluate", "instrument"])
def test_every_command_can_leave_them(command: str) -> None:
    assert "--no-sidecar" in run(command, "--help").output


def commands(path: Path) -> dict[str, Callable[[], Result]]:
    return {
        "inspect": lambda: run("inspect", path),
        "instrument": lambda: run("instrument", path, "-o", path.with_name("e.onnx")),
    }


@pytest.mark.parametrize("command", ["inspect", "instrument"])
def test_what_was_read_is_said_part_by_part(tmp_path: Path, command: str) -> None:
    path = beside(write_model(tmp_path / "m.onnx"), config={"id2label": dict(enumerate(LABELS))}, processor=CLIP)
    result = commands(path)[command]()
    assert result.exit_code == 0
    assert "5 labels, from config.json" in result.stdout
    assert "read from preprocessor_config.json: channels, scale, mean, std, resize, crop_share" in result.stdout
    assert "crop of 1" in result.stdout
    (warning,) = result.stderr.splitlines()
    says = "preprocessor_config.json: found a size of 224x224, expected 12x16, as the model has it: not used"
    assert warning == f"onnxplain: warning: {says}"


def test_inspect_says_the_sources_as_json(tmp_path: Path) -> None:
    path = beside(write_model(tmp_path / "m.onnx"), config={"id2label": {"0": "ant"}}, processor=PROCESSOR)
    tree = json.loads(run("inspect", path, "--json").stdout)["sidecars"]
    source = "preprocessor_config.json"
    assert tree["read"] == {"preprocessing": source, "input_size_hw": source}
    assert [SidecarProblem(**problem) for problem in tree["not_used"]] == [
        SidecarProblem("config.json", "1 labels", "5, one per class, as the model has it")
    ]
    assert json.loads(run("inspect", path, "--json", "--no-sidecar").stdout)["sidecars"]["read"] == {}


# Crop share, short side and long side of the image: what Resize(floor(size / crop_pct)) and CenterCrop(size) see.
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("size_hw", [(60, 91), (77, 41), (41, 41)])
def test_timm_crops_the_same_pixels(tmp_path: Path, crop_pct: float, size_hw: tuple[int, int]) -> None:
    """timm's own transform on the same image. The image is a plane, so that the kernels of resizing do not differ."""
    vision = pytest.importorskip("tests.networks.vision")
    from PIL import Image

    config = {
        "input_size": [3, 24, 24],
        "crop_pct": crop_pct,
        "interpolation": "bilinear",
        "mean": list(IMAGENET[0]),
        "std": list(IMAGENET[1]),
    }
    path = beside(write_model(tmp_path / "m.onnx", ("N", 3, "H", "W")), config={"pretrained_cfg": config})
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    image = np.stack([rows * 2, columns * 2, rows + columns], 2).astype(np.uint8)
    timm_data = vision.timm.data
    resolved = timm_data.resolve_data_config({}, pretrained_cfg={**config, "input_size": (3, 24, 24)})
    expected = timm_data.create_transform(**resolved)(Image.fromarray(image)).numpy()
    found = Engine(path).preprocess(image)[0]
    # Bytes are rounded once by each: 1.5/255 of the range, over the smallest std. A crop one pixel off differs by more.
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert np.abs(found - expected)[inner].max() < 1.5 / 255 / 0.224
    moved = np.abs(np.roll(found, 1, (1, 2)) - expected)[inner].max()
    assert moved > 2.5 / 255 / 0.229
