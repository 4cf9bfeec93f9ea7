"""Files with several targets of one image: as many gradients as targets, those of one target at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime as ort
import pytest
from onnxruntime import quantization

from onnxplain.contract import METADATA_KEY, PRESETS, ModelSpec
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session, relative_error
from tests.exporters.many_tails import CLASSES, MAPS, MERGED, OF_ATTENTION, SIZE, TAILS, Tail, attention, model, node
from tests.exporters.onnx_models import save

TARGETS = (1, 2, 7, 40)


def written(plain: onnx.ModelProto, folder: Path, **options: Any) -> tuple[ort.InferenceSession, ModelSpec]:
    """The instrumented file and what it says of itself."""
    path = folder / "out.onnx"
    options = {"layers": ("early", "late"), "preprocessing": PRESETS["imagenet"], "tail": False, **options}
    instrument(save(plain, folder / "plain.onnx"), path, **options)
    session = open_session(path)
    return session, ModelSpec.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])


def gradients(session: ort.InferenceSession, layer: str, targets: Sequence[int]) -> np.ndarray:
    """Of one image."""
    shape = session.get_inputs()[0].shape
    image = np.random.default_rng(2).normal(size=[1 if isinstance(d, str) else d for d in shape]).astype(np.float32)
    given = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    feeds = {"image": image, "target": np.array(targets, np.int64), "explain": np.array([True])}
    features, found = session.run(
        [f"features/{layer}", f"gradients/{layer}"], {name: value for name, value in feeds.items() if name in given}
    )
    assert len(features) == (1 if shape[0] in ("N", 1, 3, "batch") else shape[0])
    return np.asarray(found)


def assert_as_one_by_one(session: ort.InferenceSession, layer: str, tolerance: float = 1e-6) -> None:
    targets = [-1, *range(1, max(TARGETS))]
    alone = np.concatenate([gradients(session, layer, [target]) for target in targets])
    assert np.abs(alone[1:] - alone[:1]).max() > 0, "all classes have one gradient: the comparison proves nothing"
    for count in TARGETS:
        assert relative_error(gradients(session, layer, targets[:count]), alone[:count]) < tolerance


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open batch": ({}, {}),
    "batch of one, freed": ({"batch": 1}, {}),
    "batch of one": ({"batch": 1}, {"batch": "fixed"}),
    "no batch axis": ({"unbatched": True}, {}),
    "no gate": ({}, {"gate": False}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TAILS)
def test_many_targets(name: str, form: str, tmp_path: Path) -> None:
    built, options = FORMS[form]
    session, spec = written(model(TAILS[name], **built), tmp_path, **options)
    assert [layer.many_targets for layer in spec.layers] == [True, True]
    for layer in ("early", "late"):
        assert_as_one_by_one(session, layer)


@pytest.mark.parametrize(("batch", "many"), [("N", True), (1, False)])
def test_a_batch_behind_the_tokens(batch: int | str, many: bool, tmp_path: Path) -> None:
    plain = model(Tail(attention([2, 0, 1], [1, 0, 2]), **OF_ATTENTION), batch)
    session, spec = written(plain, tmp_path, batch="auto" if many else "fixed")
    assert [layer.many_targets for layer in spec.layers] == [many, many]
    if many:
        assert_as_one_by_one(session, "early")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MERGED)
def test_many_targets_of_a_merged_batch(name: str, form: str, tmp_path: Path) -> None:
    """Where the batch is open or was freed. A fixed batch of 1 cannot be told from other axes of a product."""
    built, options = FORMS[form]
    session, spec = written(model(MERGED[name], **built), tmp_path, **options)
    many = form not in ("batch of one", "no batch axis")
    assert [layer.many_targets for layer in spec.layers] == [many, many]
    if many:
        for layer in ("early", "late"):
            assert_as_one_by_one(session, layer)
    else:
        assert gradients(session, "early", [3]).shape == (1, 4, SIZE, SIZE)
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            gradients(session, "early", [3, 4])


@pytest.mark.parametrize("name", MERGED)
def test_images_with_a_target_each(name: str, tmp_path: Path) -> None:
    """What is repeated for the targets of one image stays as it is for several images."""
    session, _ = written(model(MERGED[name]), tmp_path)
    images = np.random.default_rng(6).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)

    def of(image: np.ndarray, targets: Sequence[int]) -> np.ndarray:
        feeds = {"image": image, "target": np.array(targets), "explain": np.array([True])}
        return np.asarray(session.run(["gradients/early"], feeds)[0])

    alone = np.concatenate([of(images[[row]], [row]) for row in range(3)])
    assert relative_error(of(images, range(3)), alone) < 1e-6


def test_a_fixed_batch_of_several_takes_one_target_per_image(tmp_path: Path) -> None:
    session, spec = written(model(TAILS["max pool"], batch=2), tmp_path, batch="fixed")
    assert [layer.many_targets for layer in spec.layers] == [False, False]
    assert len(gradients(session, "late", [3, 4])) == 2
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        gradients(session, "late", [3, 4, 5])


def test_a_layer_that_only_looks_as_if_it_could_is_written_with_one_target(tmp_path: Path) -> None:
    """A running sum over the batch: of one image it is that image, and its shape is that of the batch."""
    plain = model(TAILS["max pool"])
    plain.graph.node[-1].output[0] = "own"
    plain.graph.node.append(node("CumSum", ["own", "first"], ["logits"]))
    plain.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "first"))
    session, spec = written(plain, tmp_path)
    assert [layer.many_targets for layer in spec.layers] == [False, False]
    (single,) = gradients(session, "late", [3])
    assert single.any()
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        gradients(session, "late", [3, 4])


def test_a_module_whose_images_depend_on_each_other(tmp_path: Path) -> None:
    """The same from PyTorch, where layers are modules."""
    import torch
    from torch import nn

    from onnxplain.exporters import export

    class Sum(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.cumsum(0)

    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, MAPS, 3), nn.ReLU(), nn.Flatten(), nn.Linear(MAPS * 196, CLASSES), Sum())
    report = export(module.eval(), tmp_path / "out.onnx", input_size_hw=(SIZE, SIZE), layers=["1"])
    assert [(layer.name, layer.many_targets) for layer in report.spec.layers] == [("1", False)]


class Images(quantization.CalibrationDataReader):
    """The images on which ranges are measured."""

    def __init__(self) -> None:
        self._left = iter(np.random.default_rng(8).normal(size=(8, 1, 3, SIZE, SIZE)).astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image}


def _static(form: quantization.QuantFormat) -> Callable[[Path, Path], None]:
    return lambda source, target: quantization.quantize_static(
        source, target, Images(), quant_format=form, reduce_range=True
    )


# `reduce_range`: see test_quantized_networks.py.
QUANTIZED: Mapping[str, Callable[[Path, Path], None]] = {
    "QDQ": _static(quantization.QuantFormat.QDQ),
    "QOperator": _static(quantization.QuantFormat.QOperator),
    "dynamic": lambda source, target: quantization.quantize_dynamic(
        source, target, weight_type=quantization.QuantType.QUInt8
    ),
}


@pytest.mark.parametrize("form", QUANTIZED)
def test_many_targets_of_a_quantized_file(form: str, tmp_path: Path) -> None:
    QUANTIZED[form](save(model(TAILS["max pool"], batch=1), tmp_path / "float.onnx"), tmp_path / "quantized.onnx")
    session, spec = written(onnx.load(tmp_path / "quantized.onnx"), tmp_path, layers=("0%", "auto"))
    assert [layer.many_targets for layer in spec.layers] == [True] * len(spec.layers)
    for layer in spec.layers:
        assert_as_one_by_one(session, layer.name)
