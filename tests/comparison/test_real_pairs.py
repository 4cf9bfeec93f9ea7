"""Two files of one real network: float32 against int8, and against pruned copies. Scores are ONNX Runtime's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from onnxplain import Engine
from onnxplain.cli.main import cli

PHOTOS = ("coral_owl.jpg", "coral_parrot.jpg", "winml_dog.jpg")


def compared(first: Path, second: Path, *words: object) -> dict[str, Any]:
    asked = ["compare", first, second, *words, "-m", "grad-cam", "--json"]
    result = CliRunner().invoke(cli, [str(word) for word in asked], prog_name="onnxplain")
    assert result.exit_code == 0, result.stderr
    tree: dict[str, Any] = json.loads(result.stdout)
    return tree


def rows_of(engine: Engine, photos: list[Path]) -> list[np.ndarray]:
    """One input of the file per photo, in its own layout and type."""
    pixels = engine.prepare(photos).pixels
    if engine.spec.input.layout == "nhwc":
        pixels = pixels.transpose(0, 2, 3, 1).round().astype(np.uint8)
    return [row[None] for row in pixels]


def scores_of(model: Path, rows: list[np.ndarray]) -> np.ndarray:
    """What the file answers, run without onnxplain: probabilities (N, C), of logits their softmax."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    answers = np.concatenate([session.run(None, {given: row})[0].reshape(1, -1) for row in rows])
    if answers.dtype == np.uint8:
        return answers / np.float32(256)
    exps = np.exp(answers - answers.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def check_scores(tree: dict[str, Any], ours: np.ndarray, theirs: np.ndarray, photos: list[Path], step: float) -> None:
    """The differences of `compare` are those of the two files. `step`: how exactly these files give their scores."""
    by_name = {Path(image["image"]).name: image for image in tree["images"]}
    for row, photo in enumerate(photos):
        image, best = by_name[photo.name], int(ours[row].argmax())
        assert image["score_difference"] == pytest.approx(float(theirs[row, best] - ours[row, best]), abs=step)
        assert image["largest_difference"] == pytest.approx(float(np.abs(theirs[row] - ours[row]).max()), abs=step)


class _Rows(CalibrationDataReader):
    def __init__(self, name: str, rows: list[np.ndarray]) -> None:
        self._rows: Iterator[dict[str, np.ndarray]] = iter([{name: row} for row in rows])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def test_a_network_against_its_int8_file(assets: Path, tmp_path: Path) -> None:
    model, other = assets / "models" / "mobilenet_v1_0.25_128_float.onnx", tmp_path / "int8.onnx"
    photos = [assets / "images" / name for name in PHOTOS]
    engine = Engine(model)
    rows = rows_of(engine, photos)
    # Seven bits of weights: sums do not saturate on any processor.
    quantize_static(
        model,
        other,
        _Rows(engine.spec.input.name, rows),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        per_channel=True,
    )
    tree = compared(model, other, *photos)
    check_scores(tree, scores_of(model, rows), scores_of(other, rows), photos, 0.02)
    assert max(image["largest_difference"] for image in tree["images"]) > 0.04
    (summary,) = tree["methods"]
    assert summary["compared"] >= 2 and 0.5 < summary["correlation"] < 0.9999


def test_a_network_against_pruned_copies(assets: Path, tmp_path: Path) -> None:
    """The more weights are zero, the larger the drift."""
    model = assets / "models" / "cifar10_resnet20_ts_op11.onnx"
    photos = [assets / "images" / name for name in PHOTOS]
    rows = rows_of(Engine(model), photos)
    ours, correlations = scores_of(model, rows), []
    for share in (0.1, 0.8):
        other = tmp_path / f"pruned_{share}.onnx"
        proto = onnx.load(model)
        for constant in proto.graph.initializer:
            if len(constant.dims) == 4:
                values = numpy_helper.to_array(constant).copy()
                values[np.abs(values) < np.quantile(np.abs(values), share)] = 0
                constant.CopyFrom(numpy_helper.from_array(values, constant.name))
        onnx.save(proto, other)
        tree = compared(model, other, *photos)
        check_scores(tree, ours, scores_of(other, rows), photos, 1e-4)
        correlations.append(tree["methods"][0]["correlation"])
    assert 0.9 < correlations[0] < 1
    assert correlations[1] < correlations[0] - 0.05
