"""Real values that are stated become the right integers, in plain files and in those that `instrument` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from onnxplain import Engine
from onnxplain.contract import PreprocessingParts
from onnxplain.explainers import RISE, GradCAM
from onnxplain.exporters import instrument
from onnxplain.runtime.preprocess import to_model
from tests.quantized_inputs.quantized_model import SIDE, QuantizedModel

PHOTO = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
MODELS = {
    "int8 -128": QuantizedModel("int8", -128, 0.0209),
    "int8 0": QuantizedModel("int8", 0, 0.0209, "nhwc"),
    "int8 3": QuantizedModel("int8", 3, 0.0209, "nhwc", "QLinearConv"),
    "uint8 0": QuantizedModel("uint8", 0, 0.0209, "nchw", "QLinearConv"),
    "uint8 3": QuantizedModel("uint8", 3, 0.0209, "nhwc"),
    "uint8 128": QuantizedModel("uint8", 128, 0.0209),
}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
STATED: dict[str, tuple[dict[str, Any], Any]] = {
    "raw": ({"preset": "raw"}, None),
    "unit": ({"preset": "unit"}, lambda pixels: pixels / 255),
    "imagenet": ({"preset": "imagenet"}, lambda pixels: (pixels / 255 - MEAN) / STD),
    "numbers": (
        {"scale": 1 / 127.5, "mean": (1.0,), "channels": "bgr"},
        lambda pixels: pixels[..., ::-1] / 127.5 - 1,
    ),
    "nothing": ({}, None),
}


def run(path: Path, feed: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {session.get_inputs()[0].name: feed})[0])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def written_and_plain(model: QuantizedModel, stated: PreprocessingParts, folder: Path) -> tuple[Path, list[Engine]]:
    plain = model.write(folder / "plain.onnx")
    instrument(plain, folder / "out.onnx", preprocessing=stated)
    return plain, [Engine(folder / "out.onnx"), Engine(plain, preprocessing=stated)]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("parts", "formula"), STATED.values(), ids=STATED)
def test_what_is_stated_is_fed(model: QuantizedModel, parts: dict[str, Any], formula: Any, tmp_path: Path) -> None:
    stated = PreprocessingParts(**parts, resize="stretch")
    plain, engines = written_and_plain(model, stated, tmp_path)
    pixels = PHOTO.astype(np.float64)
    if formula is None:
        fed_hwc = (pixels - (128 if model.dtype == "int8" else 0)).astype(model.dtype)
    else:
        fed_hwc = model.integers(formula(pixels))
    fed = (fed_hwc if model.layout == "nhwc" else fed_hwc.transpose(2, 0, 1))[None]
    logits = run(plain, fed)[0]
    for engine in engines:
        source = engine.spec.input
        assert source.quantization is not None
        assert (source.quantization.zero_point, source.quantization.dtype) == (model.zero_point, model.dtype)
        assert source.quantization.scale == float(np.float32(model.scale))
        batch = engine.prepare(PHOTO).pixels
        assert np.array_equal(to_model(batch, source.layout, model.dtype, source.quantization), fed)
        assert np.allclose(engine.predict(PHOTO)[0].scores, softmax(logits), atol=1e-5)
        assert RISE(engine, masks=8)(PHOTO).heatmap.shape == (SIDE, SIDE)
    # The float twin on the real values that these integers can hold: half a step away, each weighed by the kernel.
    real_hwc = (fed_hwc.astype(np.float64) - model.zero_point) * model.scale if formula is None else formula(pixels)
    clipped = np.clip(real_hwc, *model.limits).astype(np.float32).transpose(2, 0, 1)[None]
    twin = run(model.write_twin(tmp_path / "twin.onnx"), clipped)[0]
    step = model.scale / 2 * np.abs(model.kernel).sum((1, 2, 3)) + (0.126 if model.reader == "QLinearConv" else 0)
    bound = step @ np.abs(model.head)
    assert (np.abs(logits - twin) <= bound + 1e-5).all()
    if model.reader == "DequantizeLinear":
        assert np.abs(twin).max() > 4 * np.abs(logits - twin).max()
    heatmap = GradCAM(engines[0])(PHOTO, target=1)
    assert np.isfinite(heatmap.raw).all()
