"""Write the files of one subject: `python -m benchmarks.subject_files NAME`, which `subjects.py` calls.

These are the models (`subject_models.py`), the inputs, the class to explain and `subject.json`, which is written last
and describes the other files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from skimage import data

from benchmarks.subject_models import (
    EXPLAINABLE,
    INPUT_HW,
    SEED,
    write_asset,
    write_asset_as_is,
    write_network,
    write_other_layer,
)
from benchmarks.subjects import ASSETS, BATCH, COPIES_OF, DESCRIPTION, REVISION, SUBJECTS, Subject, photo_paths
from onnxplain import Engine, load_image
from onnxplain.contract import ModelSpec
from onnxplain.explainers import GradCAM
from onnxplain.explainers.augmented.random_copies import RandomCopies, warp_copies

# Entries of the description that are files, in its folder or in the folder of the base subject.
FILES = ("onnx", "scores", "explainable", "weights", "input", "copies_maps", "copies_transforms")
COPIES = 100
POSITIVE_SHARE = 0.25
CANDIDATES = 64
INPUT_DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}


def main() -> None:
    subject = SUBJECTS[sys.argv[1]]
    subject.folder.mkdir(parents=True, exist_ok=True)
    write_photos()
    stored = write_on_base(subject, SUBJECTS[subject.base]) if subject.base is not None else write_all(subject)
    common = {"revision": REVISION, "name": subject.name, "architecture": subject.architecture, "files": FILES}
    write_whole(subject.folder / DESCRIPTION, json.dumps({**common, **stored, "torch_layer": subject.layer}, indent=1))


def write_all(subject: Subject) -> dict[str, Any]:
    if subject.architecture is not None:
        files = write_network(subject)
    else:
        files = write_asset_as_is(subject) if subject.as_is else write_asset(subject)
    engine, images = Engine(subject.folder / EXPLAINABLE), photographs(subject)
    spec = engine.spec
    graph = onnx.load(subject.folder / files["onnx"]).graph
    (element,) = (entry.type.tensor_type.elem_type for entry in graph.input if entry.name == spec.input.name)
    write_inputs(subject, engine, images, np.dtype(INPUT_DTYPES[element]))
    target = choose_target(subject, engine, images)
    return {
        **files,
        **(write_copies(subject.folder, engine, images[0], target) if subject.name == COPIES_OF else {}),
        "input": "input.npy",
        "target": target,
        "input_name": spec.input.name,
        "input_hw": list(spec.input.size_hw),
        "output_name": graph.output[0].name,
        "classes": spec.classes,
        **describe_layer(spec),
        **describe_preprocessing(spec),
    }


def write_on_base(subject: Subject, base: Subject) -> dict[str, Any]:
    """Another layer of a network that is already written: shares its files, except the explainable one."""
    stored = json.loads((base.folder / DESCRIPTION).read_text(encoding="utf-8"))
    shared = {name: f"../{base.name}/{stored[name]}" for name in FILES if stored.get(name) is not None}
    write_other_layer(subject, base.folder / stored["weights"])
    spec = Engine(subject.folder / EXPLAINABLE).spec
    return {**stored, **shared, "name": subject.name, "explainable": EXPLAINABLE, **describe_layer(spec)}


def describe_layer(spec: ModelSpec) -> dict[str, Any]:
    return {"onnx_layer": spec.layers[-1].name, "grid_hw": list(spec.layers[-1].size_hw)}


def describe_preprocessing(spec: ModelSpec) -> dict[str, Any]:
    """``(pixel · scale − mean) / std`` in the order of `channels`."""
    preprocessing = spec.input.preprocessing
    return {
        "channels": preprocessing.channels,
        "scale": preprocessing.scale,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def write_photos() -> None:
    """Crops of different sizes from scikit-image's photographs, all with aspect ratio 4:5 (height to width).

    So their resized sizes are whole and even, and the centre crop is the same in every tool.
    """
    rng = np.random.default_rng(SEED)
    sources = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    for number, path in enumerate(photo_paths()):
        source = sources[number % len(sources)]
        most = min(source.shape[0] // 4, source.shape[1] // 5)
        part = int(rng.integers(most * 2 // 3, most + 1))
        height, width = 4 * part, 5 * part
        top, left = (int(rng.integers(0, room + 1)) for room in (source.shape[0] - height, source.shape[1] - width))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.ascontiguousarray(source[top : top + height, left : left + width]))


def photographs(subject: Subject) -> list[np.ndarray]:
    """The input images; for a trained model, the first one shows classes that it knows."""
    images = [np.load(path) for path in photo_paths()[:BATCH]]
    if subject.asset is not None:
        images[0] = load_image(ASSETS / "images" / "both_dogcat.png")
    return images


def write_inputs(subject: Subject, engine: Engine, images: list[np.ndarray], dtype: np.dtype[Any]) -> None:
    """Preprocessed inputs in the model's own layout and type; only one for `as_is`, whose batch size may be fixed."""
    inputs = engine.preprocess(images)
    if engine.spec.input.layout == "nhwc":
        inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
    if subject.as_is:
        inputs = inputs[:1]
    np.save(subject.folder / "input.npy", (np.rint(inputs) if dtype == np.uint8 else inputs).astype(dtype))


def choose_target(subject: Subject, engine: Engine, images: list[np.ndarray]) -> int:
    """The predicted class of a trained model; for a random model, the first class with evidence in all images."""
    if subject.asset is not None:
        return int(engine.predict(images[0])[0].class_id)
    shares = []
    for target in range(CANDIDATES):
        maps = np.stack([explanation.raw for explanation in GradCAM(engine)(images, target)])
        shares.append(float((maps > 0).mean(axis=(1, 2)).min()))
        if shares[-1] >= POSITIVE_SHARE:
            return target
    return int(np.argmax(shares))


def write_copies(folder: Path, engine: Engine, image: np.ndarray, target: int) -> dict[str, Any]:
    """The Grad-CAMs of rotated and shifted copies of an input, for solvers that start from maps."""
    layer, pixels = engine.spec.layers[-1], engine.preprocess(image)[0]
    transforms = RandomCopies(COPIES).draw(INPUT_HW)
    maps = []
    for transform in transforms:
        copy = warp_copies(pixels, transform[None], np.zeros(3, np.float32))
        features, gradients = engine.run(copy, [layer.features, layer.gradients], np.array([target]), layer.name)
        maps.append(np.einsum("k,khw->hw", gradients[0].mean(axis=(1, 2)), features[0]))
    np.save(folder / "copies_maps.npy", np.stack(maps))
    np.save(folder / "copies_transforms.npy", transforms)
    return {"copies_maps": "copies_maps.npy", "copies_transforms": "copies_transforms.npy"}


def write_whole(path: Path, text: str) -> None:
    """Write the file whole or not at all, so an interrupted subject is written again."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
