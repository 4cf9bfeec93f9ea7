"""Write the files of one subject: `python -m benchmarks.subject_files NAME`, which `subjects.py` calls.

A torch model has random weights of seed 0, its batch normalizations calibrated on the inputs, so that its maps are
no noise; it is exported once, and all tools load the same numbers. Class: the first whose Grad-CAM is positive on a
quarter of the cells of every input.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from benchmarks.client import FOLDER as BENCHMARKS
from benchmarks.subjects import ASSETS, BATCH, REVISION, SUBJECTS, Subject, photo_paths
from onnxplain import Engine
from onnxplain.contract import PRESETS, ModelSpec, Preprocessing
from onnxplain.explainers import GradCAM
from onnxplain.explainers.augmented.augmentation import Augmentation, warp_copies
from onnxplain.exporters import export, instrument

if TYPE_CHECKING:
    import torch

INPUT_HW = (224, 224)
POSITIVE_SHARE = 0.25
SEED = 0
RESIDUAL_NORM, RESIDUAL_GAIN = "bn3", 0.2
# TFLite's float input of the MobileNets is (pixel − 128) / 128.
PREPROCESSING = {
    **PRESETS,
    "tflite": Preprocessing("rgb", 1 / 128, (1.0, 1.0, 1.0)),
    "unit": Preprocessing("rgb", 1 / 255),
}
# Entries of `subject.json` that are files in its folder.
FILES = ("onnx", "scores", "explainable", "weights", "input", "copies_maps", "copies_transforms")
COPIES = 100
INPUT_DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}


def main() -> None:
    subject = SUBJECTS[sys.argv[1]]
    subject.folder.mkdir(parents=True, exist_ok=True)
    write_photos()
    if subject.architecture is not None:
        stored = write_torch_model(subject, subject.architecture)
    elif subject.as_is:
        stored = write_asset_as_is(subject)
    else:
        stored = write_asset(subject)
    common = {
        "revision": REVISION,
        "name": subject.name,
        "architecture": subject.architecture,
        "torch_layer": subject.layer,
    }
    write_whole(subject.folder / "subject.json", json.dumps({**common, **stored}, indent=1))


def write_photos() -> None:
    """Windows of different sizes out of scikit-image's own photographs."""
    rng = np.random.default_rng(SEED)
    sources = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    for number, path in enumerate(photo_paths()):
        source = sources[number % len(sources)]
        height, width = (int(rng.integers(size * 2 // 3, size + 1)) for size in source.shape[:2])
        top, left = (int(rng.integers(0, room + 1)) for room in (source.shape[0] - height, source.shape[1] - width))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.ascontiguousarray(source[top : top + height, left : left + width]))


def write_torch_model(subject: Subject, architecture: str) -> dict[str, Any]:
    import torch

    # The networks are built by the code that the peers load them with.
    sys.path.append(str(BENCHMARKS / "peers" / "shared"))
    from torch_model import build_model

    torch.manual_seed(SEED)
    preprocessing = PRESETS["imagenet"]
    network = build_model(architecture)
    calibrate(network, normalised_photos(INPUT_HW, preprocessing))
    folder = subject.folder
    torch.save(network.state_dict(), folder / "model.pt")
    original = folder / "original.onnx"
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 3, *INPUT_HW),),
        str(original),
        dynamo=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        external_data=False,
        verbose=False,
    )
    export(network, folder / "explainable.onnx", input_size_hw=INPUT_HW, layers=[str(subject.layer)], tail=False,
           preprocessing=preprocessing)  # fmt: skip
    append_softmax(original, folder / "scores.onnx")
    stored = {**describe_files(subject, "original.onnx", "scores.onnx"), "weights": "model.pt"}
    return stored | (write_copies(folder, stored["target"]) if subject.name == "resnet50" else {})


def write_copies(folder: Path, target: int) -> dict[str, Any]:
    """The Grad-CAMs of turned and moved copies of the first input, for solvers that start from maps."""
    engine = Engine(folder / "explainable.onnx")
    layer, image = engine.spec.layers[-1], np.load(photo_paths()[0])
    transforms = Augmentation(COPIES).draw(INPUT_HW)
    fill = np.zeros(3, np.float32)
    maps = []
    for transform in transforms:
        copy = warp_copies(engine.preprocess(image)[0], transform[None], fill)
        features, gradients = engine.run(copy, [layer.features, layer.gradients], np.array([target]), layer.name)
        maps.append(np.einsum("k,khw->hw", gradients[0].mean(axis=(1, 2)), features[0]))
    np.save(folder / "copies_maps.npy", np.stack(maps))
    np.save(folder / "copies_transforms.npy", transforms)
    return {"copies_maps": "copies_maps.npy", "copies_transforms": "copies_transforms.npy"}


def calibrate(network: torch.nn.Module, batch_nchw: np.ndarray) -> None:
    """Batch normalizations get the statistics of these inputs, a ResNet's blocks the small gain of trained ones.

    With a gain of 1 a random ResNet is chaotic: noise of a hundredth in the photo gives another map.
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


def write_asset(subject: Subject) -> dict[str, Any]:
    """The asset as a float32 file, NCHW, of any batch: what every black-box tool can read."""
    model = onnx.load(ASSETS / "models" / str(subject.asset))
    folder = subject.folder
    core = folder / "core.onnx"
    onnx.save(widen(model) if "fp16" in str(subject.asset) else cut_integers_off(model), core)
    instrument(core, folder / "explainable.onnx", preprocessing=PREPROCESSING[subject.preset], tail=False)
    core.unlink()
    spec = Engine(folder / "explainable.onnx").spec
    extractor = onnx.utils.Extractor(onnx.load(folder / "explainable.onnx"))
    onnx.save(extractor.extract_model([spec.input.name], [str(spec.outputs.logits)]), folder / "plain.onnx")
    append_softmax(folder / "plain.onnx", folder / "scores.onnx")
    return describe_files(subject, "plain.onnx", "scores.onnx")


def write_asset_as_is(subject: Subject) -> dict[str, Any]:
    """The asset itself beside its explainable form; the input in the file's own type and layout."""
    source = ASSETS / "models" / str(subject.asset)
    instrument(source, subject.folder / "explainable.onnx", preprocessing=PREPROCESSING[subject.preset], tail=False)
    original = subject.folder / "original.onnx"
    original.write_bytes(source.read_bytes())
    return describe_files(subject, "original.onnx", None)


def cut_integers_off(model: onnx.ModelProto) -> onnx.ModelProto:
    """From the float image, channels first, to the softmax, both before any integer."""
    (transpose,) = (node for node in model.graph.node if node.op_type == "Transpose")
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    return onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(
        list(transpose.output), list(softmax.output)
    )


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


def describe_files(subject: Subject, plain: str, scores: str | None) -> dict[str, Any]:
    """Inputs and class of a subject, and what `subject.json` says of its files."""
    folder = subject.folder
    engine = Engine(folder / "explainable.onnx", threads=os.cpu_count())
    spec = engine.spec
    graph = onnx.load(folder / plain).graph
    (element,) = (entry.type.tensor_type.elem_type for entry in graph.input if entry.name == spec.input.name)
    dtype = INPUT_DTYPES[element]
    images = photographs(subject)
    inputs = engine.preprocess(images)
    target = choose_target(engine, images)
    if spec.input.layout == "nhwc":
        inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
    if subject.as_is:
        # The original's batch may be fixed.
        inputs = inputs[:1]
    np.save(folder / "input.npy", (np.rint(inputs) if dtype == np.uint8 else inputs).astype(dtype))
    return {
        "files": [*FILES],
        "onnx": plain,
        "scores": scores,
        "explainable": "explainable.onnx",
        "weights": None,
        "input": "input.npy",
        "target": target,
        "onnx_layer": spec.layers[-1].name,
        "grid_hw": list(spec.layers[-1].size_hw),
        "input_name": spec.input.name,
        "output_name": graph.output[0].name,
        "input_hw": list(spec.input.size_hw),
        "classes": spec.classes,
        **describe_preprocessing(spec),
    }


def describe_preprocessing(spec: ModelSpec) -> dict[str, Any]:
    """``(pixel · scale − mean) / std`` in the order of `channels`."""
    preprocessing = spec.input.preprocessing
    return {
        "channels": preprocessing.channels,
        "scale": preprocessing.scale,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def photographs(subject: Subject) -> list[np.ndarray]:
    """The inputs: for a model that can see, a photo of what it knows comes first."""
    images = [np.load(path) for path in photo_paths()[:BATCH]]
    if subject.asset is not None:
        from onnxplain import load_image

        images[0] = load_image(ASSETS / "images" / "both_dogcat.png")
    return images


def normalised_photos(size_hw: tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    from onnxplain.runtime.geometry import make_frame
    from onnxplain.runtime.preprocess import normalise, warp_image

    images = [np.load(path) for path in photo_paths()[:BATCH]]
    warped = [warp_image(image, make_frame(image.shape[:2], size_hw, "crop")) for image in images]
    return normalise(np.stack(warped), replace(preprocessing, resize="crop"))


def choose_target(engine: Engine, images: list[np.ndarray]) -> int:
    """The class that a trained model predicts; of a random one, the first with evidence in all images."""
    trained = engine.spec.input.name != "image"
    if trained:
        return int(engine.predict(images[0])[0].class_id)
    shares = []
    for target in range(64):
        maps = np.stack([explanation.raw for explanation in GradCAM(engine)(images, target)])
        shares.append(float((maps > 0).mean(axis=(1, 2)).min()))
        if shares[-1] >= POSITIVE_SHARE:
            return target
    return int(np.argmax(shares))


def write_whole(path: Path, text: str) -> None:
    """The file with all of this, or none: what was interrupted is written again."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
