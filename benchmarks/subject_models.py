"""The ONNX files of a subject: a torch network with weights of seed 0, exported once, or an asset converted to float32.

Used by `subject_files.py`; torch is imported only where a network is built.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.client import FOLDER as BENCHMARKS
from benchmarks.subjects import ASSETS, BATCH, Subject, photo_paths
from onnxplain import Engine
from onnxplain.contract import PRESETS, Preprocessing
from onnxplain.exporters import export, instrument
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.preprocess import normalise, warp_image

if TYPE_CHECKING:
    import torch

INPUT_HW = (224, 224)
SEED = 0
RESIDUAL_NORM, RESIDUAL_GAIN = "bn3", 0.2
# TFLite's float input of the MobileNets is (pixel − 128) / 128.
PREPROCESSING = {
    **PRESETS,
    "tflite": Preprocessing("rgb", 1 / 128, (1.0, 1.0, 1.0)),
    "unit": Preprocessing("rgb", 1 / 255),
}
EXPLAINABLE = "explainable.onnx"


def export_plain(network: torch.nn.Module, size_hw: tuple[int, int], path: Path) -> None:
    """Write a torch network as torch's exporter does: `image` (batch, 3, *size_hw) to `logits`, the batch open."""
    import torch

    torch.onnx.export(
        network,
        (torch.zeros(2, 3, *size_hw),),
        str(path),
        dynamo=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        external_data=False,
        verbose=False,
    )


def write_network(subject: Subject) -> dict[str, Any]:
    """Weights, plain graphs and the explainable one of a torch network."""
    import torch

    torch.manual_seed(SEED)
    network = build_network(subject)
    calibrate(network, normalised_photos(INPUT_HW, PRESETS["imagenet"]))
    torch.save(network.state_dict(), subject.folder / "model.pt")
    original = subject.folder / "original.onnx"
    export_plain(network, INPUT_HW, original)
    write_explainable(subject, network)
    append_softmax(original, subject.folder / "scores.onnx")
    return {"onnx": "original.onnx", "scores": "scores.onnx", "weights": "model.pt", "explainable": EXPLAINABLE}


def write_other_layer(subject: Subject, weights: Path) -> None:
    """Only the explainable graph, of a network that is already written."""
    import torch

    network = build_network(subject)
    network.load_state_dict(torch.load(weights, weights_only=True))
    write_explainable(subject, network)


def write_explainable(subject: Subject, network: torch.nn.Module) -> None:
    export(
        network,
        subject.folder / EXPLAINABLE,
        input_size_hw=INPUT_HW,
        layers=[str(subject.layer)],
        preprocessing=PRESETS["imagenet"],
        tail=False,
    )


def build_network(subject: Subject) -> torch.nn.Module:
    # With the same code that the peers use.
    sys.path.append(str(BENCHMARKS / "peers" / "shared"))
    from torch_model import build_model

    network: torch.nn.Module = build_model(subject.architecture)
    return network


def calibrate(network: torch.nn.Module, batch_nchw: np.ndarray) -> None:
    """Give batch normalizations the statistics of these inputs, and ResNet blocks a small gain, as trained ones have.

    With a gain of 1 a random ResNet is chaotic: noise of 1 % in the photo gives a different map.
    """
    import torch

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            if name.endswith(RESIDUAL_NORM):
                torch.nn.init.constant_(module.weight, RESIDUAL_GAIN)
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(batch_nchw))
    network.eval()


def normalised_photos(size_hw: tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    images = [np.load(path) for path in photo_paths()[:BATCH]]
    warped = [warp_image(image, make_frame(image.shape[:2], size_hw, "crop")) for image in images]
    return normalise(np.stack(warped), replace(preprocessing, resize="crop"))


def write_asset(subject: Subject) -> dict[str, Any]:
    """The asset as a float32 file, NCHW, with any batch size: every black-box tool can read it."""
    model = onnx.load(ASSETS / "models" / str(subject.asset))
    folder = subject.folder
    core = folder / "core.onnx"
    onnx.save(widen(model) if "fp16" in str(subject.asset) else cut_integers_off(model), core)
    instrument(core, folder / EXPLAINABLE, preprocessing=PREPROCESSING[subject.preset], tail=False)
    core.unlink()
    spec = Engine(folder / EXPLAINABLE).spec
    extractor = onnx.utils.Extractor(onnx.load(folder / EXPLAINABLE))
    onnx.save(extractor.extract_model([spec.input.name], [str(spec.outputs.logits)]), folder / "plain.onnx")
    append_softmax(folder / "plain.onnx", folder / "scores.onnx")
    return {"onnx": "plain.onnx", "scores": "scores.onnx", "weights": None, "explainable": EXPLAINABLE}


def write_asset_as_is(subject: Subject) -> dict[str, Any]:
    """The unchanged asset and its explainable file."""
    source = ASSETS / "models" / str(subject.asset)
    instrument(source, subject.folder / EXPLAINABLE, preprocessing=PREPROCESSING[subject.preset], tail=False)
    (subject.folder / "original.onnx").write_bytes(source.read_bytes())
    return {"onnx": "original.onnx", "scores": None, "weights": None, "explainable": EXPLAINABLE}


def cut_integers_off(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float part of the graph: from the float image (channels first) to the softmax."""
    (transpose,) = (node for node in model.graph.node if node.op_type == "Transpose")
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    return extractor.extract_model(list(transpose.output), list(softmax.output))


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float16 model in float32."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def append_softmax(source: Path, destination: Path) -> None:
    model = onnx.load(source)
    (logits,) = model.graph.output
    model.graph.node.append(helper.make_node("Softmax", [logits.name], ["scores"], axis=-1))
    scores = onnx.ValueInfoProto()
    scores.CopyFrom(logits)
    scores.name = "scores"
    del model.graph.output[:]
    model.graph.output.append(scores)
    onnx.save(model, destination)
