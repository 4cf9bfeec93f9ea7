"""The tail file: what lies behind the last layer, against the torch module's own tail and against the whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch
from torch import nn

from onnxplain.contract import METADATA_KEY, TAIL_METADATA_KEY, ModelSpec, TailSpec
from onnxplain.errors import ModelError, VerificationError
from onnxplain.exporters import ExportReport, export, instrument
from onnxplain.exporters.file import model_file
from onnxplain.exporters.writing import explainable
from onnxplain.exporters.writing.tail_file import cut_tail_file
from onnxplain.exporters.writing.verdicts import NoTail, TailFault, TailVerdict
from tests.exporters.graphs import open_session
from tests.exporters.onnx_models import CLASSES, node, plain_model, save
from tests.exporters.torch_models import ResidualNet, images, residual_net

Heads = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


class VGG(nn.Module):
    """Convolutions and pools, then linear layers on all cells: the batch size of the Flatten comes from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.classifier = nn.Sequential(nn.Linear(8 * 16 * 16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 5))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image).view(image.shape[0], -1))


def _vgg() -> VGG:
    torch.manual_seed(1)
    return VGG().eval()


def _behind_stage(network: ResidualNet, number: int) -> Heads:
    def heads(maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for later in range(number + 1, 4):
            maps = getattr(network, f"stage{later}")(maps)
        logits = network.classifier(maps.mean((2, 3)))
        return (logits,) if network.box is None else (logits, torch.sigmoid(network.box(maps)))

    return heads


def _behind_relu(network: VGG) -> Heads:
    return lambda maps: (network.classifier(maps.flatten(1)),)


RESIDUAL, LOCALIZER, PLAIN = residual_net(), residual_net(boxes=True), _vgg()
TORCH_CASES: dict[str, tuple[nn.Module, list[str], Heads]] = {
    "residual, two layers": (RESIDUAL, ["stage2", "stem"], _behind_stage(RESIDUAL, 2)),
    "localizer": (LOCALIZER, ["stage3"], _behind_stage(LOCALIZER, 3)),
    "VGG": (PLAIN, ["features.4"], _behind_relu(PLAIN)),
}


def _tail_of(report: ExportReport) -> tuple[TailSpec, Any]:
    assert report.spec.tail is not None
    return report.spec.tail, open_session(report.path.with_name(report.spec.tail.file))


@pytest.mark.parametrize(("network", "layers", "heads"), TORCH_CASES.values(), ids=TORCH_CASES)
def test_it_is_the_modules_own_tail(network: nn.Module, layers: list[str], heads: Heads, tmp_path: Path) -> None:
    report = export(network, tmp_path / "model.onnx", input_size_hw=(32, 32), layers=layers)
    spec, tail = _tail_of(report)
    layer = report.spec.layers[-1]
    assert (spec.layer, spec.file, report.tail) == (layers[0], "model.tail.onnx", TailVerdict("model.tail.onnx"))
    names = list(spec.outputs)
    rng = np.random.default_rng(5)
    for count in (1, 4):
        features = rng.normal(size=(count, layer.channels, *layer.size_hw)).astype(np.float32)
        with torch.no_grad():
            expected = heads(torch.from_numpy(features))
        assert len(names) == len(expected)
        for found, reference in zip(tail.run(names, {spec.input: features}), expected, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, reference.numpy(), rtol=1e-4, atol=1e-5)

    roles = report.spec.outputs
    whole = [layer.features, *(name for name in (roles.logits, roles.box) if name is not None)]
    features, *expected = open_session(report.path).run(whole, {"image": images(3, (32, 32))})
    for found, reference in zip(tail.run(names, {spec.input: features}), expected, strict=True):
        np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-5)


REAL: dict[str, dict[str, Any]] = {
    "squeezenet_fp16_winml": {},
    "mobilenet_v1_0.25_128_float": {},
    "mobilenet_v1_0.5_160_qdq": {},
    "vww_96_float": {},
    "cifar10_resnet20_dynamo_op18": {},
    "cifar10_pytorch_winml": {"layers": ["50%"]},
    "mnist_cntk": {},
    "paddle_ppocr_cls": {"input_size_hw": (48, 192)},
}


@pytest.mark.parametrize(("name", "options"), REAL.items(), ids=REAL)
def test_on_a_real_files_features_it_gives_the_files_logits(
    name: str, options: dict[str, Any], assets: Path, tmp_path: Path
) -> None:
    report = instrument(assets / "models" / f"{name}.onnx", tmp_path / "model.onnx", **options)
    assert report.checks.tail_error is not None and report.checks.tail_error < 1e-5
    spec, tail = _tail_of(report)
    model, source = open_session(report.path), report.spec.input
    shape = (2, source.preprocessing.channel_count, *source.size_hw)
    pixels = np.random.default_rng(8).integers(0, 255, shape if source.layout == "nchw" else (2, *source.size_hw, 3))
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    feeds = {source.name: pixels.astype(dtype[model.get_inputs()[0].type])}
    features, logits = model.run([report.spec.layers[-1].features, report.spec.outputs.logits], feeds)
    (found,) = tail.run([spec.outputs[0]], {spec.input: features})
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * np.abs(logits).max())


def _quantized(dtype: type[np.integer], *, zero: bool) -> onnx.ModelProto:
    """A map quantized without a zero point or with one, then global average pooling and a linear layer."""
    scales = ["scale", "zero"] if zero else ["scale"]
    nodes = [
        node("Conv", ["image", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        node("QuantizeLinear", ["convolved", "scale", "zero"], ["integers"]),
        node("DequantizeLinear", ["integers", *scales], ["map"]),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], ["means"]),
        node("Gemm", ["means", "weights"], ["logits"], transB=1),
    ]
    rng = np.random.default_rng(2)
    constants = {
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "scale": np.float32(0.1),
        "zero": np.array(7 if zero else 0, dtype),
        "weights": rng.normal(size=(5, 4)).astype(np.float32),
    }
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "quantized",
        [info("image", onnx.TensorProto.FLOAT, ["N", 3, 6, 8])],
        [info("logits", onnx.TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("zero", [True, False])
def test_integers_are_made_from_the_features_again(dtype: type[np.integer], zero: bool, tmp_path: Path) -> None:
    report = instrument(save(_quantized(dtype, zero=zero), tmp_path / "plain.onnx"), tmp_path / "out.onnx")
    assert report.checks.tail_error == pytest.approx(0, abs=1e-6)
    spec, tail = _tail_of(report)
    proto = onnx.load(tmp_path / spec.file)
    operators = [step.op_type for step in proto.graph.node if step.op_type != "Constant"]
    assert operators[:2] == ["QuantizeLinear", "DequantizeLinear"]
    features = np.full((1, 4, 6, 8), 1e6, np.float32)
    one, two = (tail.run([spec.outputs[0]], {spec.input: features * factor})[0] for factor in (1, 2))
    np.testing.assert_array_equal(one, two, "integers saturate")


@pytest.mark.parametrize("options", [{}, {"batch": "fixed"}])
def test_its_batch_is_the_files(options: dict[str, Any], tmp_path: Path) -> None:
    source = save(plain_model(batch=1, box=True), tmp_path / "plain.onnx")
    report = instrument(source, tmp_path / "out.onnx", box="box", **options)
    spec, tail = _tail_of(report)
    (features,) = tail.get_inputs()
    assert isinstance(features.shape[0], int) == bool(options)
    assert [value.name for value in tail.get_outputs()] == list(spec.outputs) == ["logits", "box"]


def _skipping() -> onnx.ModelProto:
    """early → Conv ``inside`` → Add early → Relu ``late``: a skip connection around ``inside``."""
    model = plain_model()
    del model.graph.node[2:]
    model.graph.node.extend(
        [
            node("Conv", ["early", "kernel2"], ["inside"], pads=[1, 1, 1, 1]),
            node("Add", ["inside", "early"], ["sum"]),
            node("Relu", ["sum"], ["late"]),
            node("GlobalAveragePool", ["late"], ["pooled"]),
            node("Flatten", ["pooled"], ["means"]),
            node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
        ]
    )
    rng = np.random.default_rng(4)
    square = {"kernel2": rng.normal(size=(4, 4, 3, 3)), "weights": rng.normal(size=(CLASSES, 4))}
    for tensor in model.graph.initializer:
        if tensor.name in square:
            tensor.CopyFrom(onnx.numpy_helper.from_array(square[tensor.name].astype(np.float32), tensor.name))
    return model


def test_where_the_features_do_not_suffice_the_report_says_why(tmp_path: Path) -> None:
    source = save(_skipping(), tmp_path / "plain.onnx")
    report = instrument(source, tmp_path / "out.onnx", layers=["inside"])
    assert report.tail == TailVerdict(fault=NoTail(TailFault.GOES_AROUND, "inside", values=("early",)))
    assert not report.tail
    assert str(report.tail) == (
        "no: the part after layer 'inside' also needs 'early', which cannot be computed from that layer"
    )
    assert report.spec.tail is None and report.checks.tail_error is None
    assert not (tmp_path / "out.tail.onnx").exists()
    assert instrument(source, tmp_path / "out.onnx", layers=["inside", "late"]).spec.tail is not None


def test_both_files_say_that_they_belong_together(tmp_path: Path) -> None:
    source = save(plain_model(), tmp_path / "plain.onnx")
    report = instrument(source, tmp_path / "out.onnx", layers=["early", "late"])
    model, tail = (onnx.load(tmp_path / name) for name in ("out.onnx", "out.tail.onnx"))
    (text,) = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    (tail_id,) = [entry.value for entry in tail.metadata_props if entry.key == TAIL_METADATA_KEY]
    assert ModelSpec.from_json(text).tail == report.spec.tail == TailSpec("out.tail.onnx", tail_id, "late")
    other = instrument(source, tmp_path / "other.onnx", layers=["early"])
    assert other.spec.tail is not None and other.spec.tail.id != tail_id
    assert all(initializer.name != "kernel1" for initializer in tail.graph.initializer)


def test_without_it(tmp_path: Path) -> None:
    report = instrument(save(plain_model(), tmp_path / "plain.onnx"), tmp_path / "out.onnx", tail=False)
    assert (report.spec.tail, report.tail) == (None, TailVerdict(fault=NoTail(TailFault.NOT_ASKED_FOR)))
    assert not (tmp_path / "out.tail.onnx").exists()


def test_an_instrumented_file_gives_the_same_tail_again(tmp_path: Path) -> None:
    first = instrument(save(plain_model(), tmp_path / "plain.onnx"), tmp_path / "one.onnx", layers=["late"])
    again = instrument(first.path, tmp_path / "two.onnx", layers=["late"])
    tails = [onnx.load(tmp_path / name) for name in ("one.tail.onnx", "two.tail.onnx")]
    assert [step.op_type for step in tails[0].graph.node] == [step.op_type for step in tails[1].graph.node]
    assert again.spec.tail is not None and again.spec.tail.file == "two.tail.onnx"
    # Over its own older tail, not over the source.
    instrument(tmp_path / "plain.onnx", tmp_path / "two.onnx", layers=["early"])


@pytest.mark.parametrize(
    ("source", "existing", "message"),
    [
        ("out.tail.onnx", None, "found the source file, expected a free name for the tail"),
        ("plain.onnx", b"something else", "found a file that is not a tail"),
        ("plain.onnx", plain_model().SerializeToString(), "found a file that is not a tail"),
    ],
)
def test_it_replaces_nothing_but_tails(source: str, existing: bytes | None, message: str, tmp_path: Path) -> None:
    save(plain_model(), tmp_path / source)
    if existing is not None:
        (tmp_path / "out.tail.onnx").write_bytes(existing)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ModelError, match=rf"out\.tail\.onnx: {message}.*--no-tail"):
        instrument(tmp_path / source, tmp_path / "out.onnx")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    instrument(tmp_path / source, tmp_path / "out.onnx", tail=False)


def test_a_tail_that_gives_other_logits_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_another_bias(*arguments: Any) -> onnx.ModelProto | str:
        proto = cut_tail_file(*arguments)
        assert isinstance(proto, onnx.ModelProto)
        (bias,) = [tensor for tensor in proto.graph.initializer if tensor.name == "bias"]
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), "bias"))
        return proto

    monkeypatch.setattr(explainable, "cut_tail_file", with_another_bias)
    source = save(plain_model(), tmp_path / "plain.onnx")
    with pytest.raises(VerificationError, match=r"'tail gives the same outputs' failed: 'logits' differs .*--no-tail"):
        instrument(source, tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]


def test_two_files_take_their_places_together(tmp_path: Path) -> None:
    """The second cannot be written: the first is not there either, and no temporary file is left."""
    proto = plain_model()
    with pytest.raises(ModelError, match="its folder does not exist"):
        model_file.write_protos({tmp_path / "one.onnx": proto, tmp_path / "missing" / "two.onnx": proto})
    assert not list(tmp_path.iterdir())
