"""A quantization of the input in files written earlier, sidecars, commands and masked copies; and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from onnxplain import Engine
from onnxplain.cli.main import cli
from onnxplain.contract import METADATA_KEY, PRESETS, Preprocessing, PreprocessingParts, Quantization
from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.masked_image import lay_out
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.exporters import instrument
from onnxplain.runtime.preprocess import to_model
from tests.quantized_inputs.quantized_model import SIDE, QuantizedModel

UNIT = QuantizedModel("int8", -128, 1 / 255, "nhwc")
WIDE = QuantizedModel("int8", 3, 0.0209)
PHOTO = np.random.default_rng(4).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
STRETCH = PreprocessingParts(resize="stretch")


def fed(engine: Engine) -> np.ndarray:
    source = engine.spec.input
    return np.asarray(
        to_model(engine.prepare(PHOTO).pixels, source.layout, engine.input_dtype, source.quantization), np.int16
    )


def test_halves_are_rounded_as_by_quantize_linear() -> None:
    """To the even step before the zero point is added."""
    batch = np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32).reshape(1, 1, 1, 5)
    found = to_model(batch, "nchw", np.int8, Quantization(1.0, 3, "int8"))
    assert found.ravel().tolist() == [1, 3, 3, 5, 5]


@pytest.mark.parametrize("model", [UNIT, WIDE])
@pytest.mark.parametrize("preset", ["raw", "unit"])
def test_a_file_written_before_is_read_and_written_again(model: QuantizedModel, preset: str, tmp_path: Path) -> None:
    """Earlier files do not mention a quantization; their preprocessing gives the integers."""
    plain, old = model.write(tmp_path / "plain.onnx"), tmp_path / "old.onnx"
    expected = Engine(instrument(plain, old, preprocessing=PreprocessingParts(preset=preset)).path)
    written = onnx.load(old)
    (entry,) = [entry for entry in written.metadata_props if entry.key == METADATA_KEY]
    tree = json.loads(entry.value)
    quantization = Quantization(**tree["input"].pop("quantization"))
    # q = real / scale + zero point, as numbers of the integers.
    tree["input"]["scale"] /= quantization.scale
    tree["input"]["mean"] = [each / quantization.scale - quantization.zero_point for each in tree["input"]["mean"]]
    entry.value = json.dumps(tree)
    onnx.save(written, old)
    assert Engine(old).spec.input.quantization is None
    assert np.abs(fed(Engine(old)) - fed(expected)).max() <= 1
    renewed = instrument(old, tmp_path / "new.onnx").spec.input
    assert renewed.quantization == quantization
    assert np.abs(fed(Engine(tmp_path / "new.onnx")) - fed(expected)).max() <= 1
    assert renewed.origins == expected.spec.input.origins


@pytest.mark.parametrize("order", ["instrument", "open"])
def test_parts_that_are_stated_later_are_real_values_too(order: str, tmp_path: Path) -> None:
    plain, out = UNIT.write(tmp_path / "plain.onnx"), tmp_path / "out.onnx"
    instrument(plain, out, preprocessing=STRETCH)
    stated = PreprocessingParts(scale=1 / 301)
    if order == "instrument":
        instrument(out, tmp_path / "again.onnx", preprocessing=stated)
        engine = Engine(tmp_path / "again.onnx")
    else:
        engine = Engine(out, preprocessing=stated)
    assert np.array_equal(fed(engine)[0], UNIT.integers(PHOTO / 301))


@pytest.mark.parametrize("preset", ["raw", "unit"])
def test_the_presets_of_the_contract_can_be_given_whole(preset: str, tmp_path: Path) -> None:
    """Pixels as they are mean pixels as integers, whatever these stand for."""
    plain = WIDE.write(tmp_path / "plain.onnx")
    expected = Engine(plain, preprocessing=PreprocessingParts(preset=preset))
    assert np.array_equal(fed(Engine(plain, preprocessing=PRESETS[preset])), fed(expected))


MISFITS: dict[str, Preprocessing | PreprocessingParts] = {
    "mostly clipped": PreprocessingParts(preset="imagenet"),
    "pixels": PreprocessingParts(scale=1.0, mean=(0.5,)),
    "too few integers": PreprocessingParts(scale=1 / 255 / 100),
    "beside it": Preprocessing(scale=1 / 255, mean=(-3.0,) * 3),
}


@pytest.mark.parametrize("stated", MISFITS.values(), ids=MISFITS)
def test_values_that_do_not_fit_are_refused(stated: Preprocessing | PreprocessingParts, tmp_path: Path) -> None:
    plain, out = UNIT.write(tmp_path / "plain.onnx"), tmp_path / "out.onnx"
    written = instrument(plain, tmp_path / "written.onnx").path
    match = r"found real values from .*, expected values from 0 to 1 .*\(int8, scale 0.00392157, zero point -128\)"
    for call in (
        lambda: Engine(plain, preprocessing=stated),
        lambda: Engine(written, preprocessing=stated),
        lambda: instrument(plain, out, preprocessing=stated),
        lambda: instrument(written, out, preprocessing=stated),
    ):
        with pytest.raises(OnnxplainError, match=match):
            call()
    assert not out.exists()


def test_native_pixels_have_no_range_to_check(tmp_path: Path) -> None:
    stated = PreprocessingParts(scale=1 / 4095, pixels="native", resize="stretch")
    engine = Engine(UNIT.write(tmp_path / "plain.onnx"), preprocessing=stated)
    pixels = np.random.default_rng(5).integers(0, 4096, (SIDE, SIDE, 3)).astype(np.uint16)
    source = engine.spec.input
    found = to_model(engine.prepare(pixels).pixels, source.layout, np.int8, source.quantization)
    assert np.array_equal(found[0], UNIT.integers(pixels / 4095))


PROCESSORS: dict[str, tuple[dict[str, Any], Any]] = {
    "used": ({"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False}, lambda pixels: pixels / 255),
    "does not fit": (
        {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.1] * 3, "rescale_factor": 1 / 255},
        None,
    ),
}


@pytest.mark.parametrize(("processor", "formula"), PROCESSORS.values(), ids=PROCESSORS)
def test_what_a_sidecar_says_is_used_where_it_fits(processor: dict[str, Any], formula: Any, tmp_path: Path) -> None:
    plain = UNIT.write(tmp_path / "plain.onnx")
    size = {"do_resize": True, "size": {"height": SIDE, "width": SIDE}, "image_processor_type": "ViTImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**size, **processor}), "utf-8")
    report = instrument(plain, tmp_path / "out.onnx")
    for engine, facts in ((Engine(plain), Engine(plain).sidecars), (Engine(tmp_path / "out.onnx"), report.read)):
        if formula is None:
            assert facts.parts is None
            (problem,) = facts.problems
            assert (problem.found, problem.expected) == (
                "values from -5 to 5",
                "values from 0 to 1, as the model has it",
            )
        else:
            assert facts.problems == ()
            assert str(engine.spec.input.origins.scale) == "read from preprocessor_config.json"
            assert np.array_equal(fed(engine)[0], UNIT.integers(formula(PHOTO.astype(float))))


@pytest.mark.parametrize("model", [UNIT, WIDE])
def test_a_masked_copy_that_hides_nothing_is_the_image(model: QuantizedModel, tmp_path: Path) -> None:
    stated = PreprocessingParts(preset="unit", resize="stretch")
    engine = Engine(model.write(tmp_path / "plain.onnx"), preprocessing=stated)
    quantization = engine.spec.input.quantization
    image = lay_out(open_black_box(engine, None, "mean").look(PHOTO), "nchw", engine.input_dtype, quantization)
    whole = np.rint(image.delta + image.hidden).astype(np.int16)
    expected = model.integers(PHOTO / 255).transpose(2, 0, 1)
    assert np.abs(whole - expected).max() <= 1
    grey = model.integers(PHOTO.mean(axis=(0, 1)).round() / 255)
    assert np.abs(np.rint(image.hidden).reshape(3, -1)[:, 0] - grey).max() <= 1


def test_commands_say_it(tmp_path: Path) -> None:
    plain, out, photo = WIDE.write(tmp_path / "plain.onnx"), tmp_path / "out.onnx", tmp_path / "p.png"
    Image.fromarray(PHOTO).save(photo)
    flags = ["--preset", "imagenet", "--resize", "stretch"]

    def run(*arguments: Any) -> str:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="onnxplain")
        assert result.exit_code == 0, result.output
        return result.output

    run("instrument", plain, "-o", out, *flags)
    line = "int8, scale 0.0209, zero point 3: real values from -2.738 to 2.592"
    for path in (plain, out):
        assert line in run("inspect", path)
        assert json.loads(run("inspect", path, "--json"))["input"]["quantization"]["zero_point"] == 3
    trials = json.loads(run("inspect", plain, "--json", "--try", photo))["trials"]
    assert {trial["preset"] for trial in trials} == {"imagenet", "inception", "unit", "raw"}
    answers = [json.loads(run("predict", path, photo, "--json", *more)) for path, more in ((plain, flags), (out, []))]
    scores = [[each["score"] for each in answer[0]["top"]] for answer in answers]
    assert np.allclose(*scores, atol=1e-6)
    assert run("explain", out, photo, "-m", "cam", "-o", tmp_path / "cam")
    assert run("explain", out, photo, "-m", "rise", "--masks", "8", "-o", tmp_path / "rise")
