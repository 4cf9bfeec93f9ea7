"""The kinds of cases: each makes the files of one case in a folder and says which command to run."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from PIL import Image

from onnxplain.cli.main import cli
from onnxplain.contract import METADATA_KEY
from onnxplain.exporters import instrument
from tests.cli.conftest import write_convolutional, write_photo
from tests.data.written import FORMATS, write
from tests.fuzz.damage import ODD_FLOATS, ODD_NUMBERS, ODD_TEXTS, damaged_bytes, damaged_json, damaged_model
from tests.models import ExplainableModel, write_classifier, write_uint8_classifier

MODEL, PHOTO = "model.onnx", "photo.png"
FAST = ("--masks", "20")
# Written beside a model, other tools' files say what they like.
SIDECARS: Mapping[str, object] = {
    "config.json": {"id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}, "num_channels": 3},
    "preprocessor_config.json": {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"height": 8, "width": 8},
        "do_resize": True,
        "rescale_factor": 1 / 255,
    },
    "labels.txt": ["a", "b", "c", "d", "e"],
}
IMAGE_FORMATS: Mapping[str, str] = {
    "PNG": "RGBA",
    "JPEG": "RGB",
    "TIFF": "I;16",
    "GIF": "P",
    "BMP": "RGB",
    "WEBP": "RGB",
    "PPM": "L",
    "TGA": "RGB",
    "ICO": "RGBA",
}


@dataclass(frozen=True)
class Seeds:
    """What the cases are made from: models as bytes, of which `explainable` have metadata, and a photo's bytes."""

    plain: tuple[bytes, ...]
    explainable: tuple[bytes, ...]
    images: tuple[bytes, ...]

    @property
    def models(self) -> tuple[bytes, ...]:
        """All models."""
        return self.plain + self.explainable


def make_seeds(folder: Path) -> Seeds:
    """Write the models once, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [
        write_classifier(folder / "classifier.onnx", both=True),
        write_uint8_classifier(folder / "uint8.onnx"),
        write_convolutional(folder / "convolutional.onnx", box=True),
    ]
    explainable = [ExplainableModel().write(folder / "explainable.onnx"), folder / "instrumented.onnx"]
    instrument(plain[2], explainable[1], layers=["convolved", "map"], labels=list("vwxyz"), box="where")
    return Seeds(
        tuple(path.read_bytes() for path in plain), tuple(path.read_bytes() for path in explainable), _encoded_images()
    )


def _encoded_images() -> tuple[bytes, ...]:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8))
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (20, 24), np.uint16))
    images = []
    for name, mode in IMAGE_FORMATS.items():
        buffer = io.BytesIO()
        (deep if mode == "I;16" else pixels.convert(mode)).save(buffer, name)
        images.append(buffer.getvalue())
    return tuple(images)


def _model_command(rng: random.Random) -> list[str]:
    """A command that opens the model."""
    return rng.choice(
        [
            ["explain", MODEL, PHOTO, "-o", "out", *FAST],
            ["explain", MODEL, PHOTO, "-o", "out", "-m", "rise", *FAST],
            ["instrument", MODEL, "-o", "out.onnx"],
            ["predict", MODEL, PHOTO, "--json"],
            ["inspect", MODEL],
        ]
    )


def bytes_of_a_model(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """Any byte of the file."""
    (folder / MODEL).write_bytes(damaged_bytes(rng, rng.choice(seeds.models)))
    write_photo(folder / PHOTO)
    return _model_command(rng)


def structure_of_a_model(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """Fields of its messages."""
    (folder / MODEL).write_bytes(damaged_model(rng, rng.choice(seeds.models)))
    write_photo(folder / PHOTO)
    return _model_command(rng)


def metadata(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """The metadata of the contract, and what other tools write."""
    write_photo(folder / PHOTO)
    if rng.random() < 0.7:
        model = onnx.ModelProto.FromString(rng.choice(seeds.explainable))
        for entry in model.metadata_props:
            if entry.key == METADATA_KEY:
                text = damaged_json(rng, entry.value)
                entry.value = text.encode("utf-8", "replace").decode()
        (folder / MODEL).write_bytes(model.SerializeToString())
    else:
        (folder / MODEL).write_bytes(rng.choice(seeds.plain))
        for name in rng.sample(list(SIDECARS), rng.randint(1, 3)):
            text = damaged_json(rng, json.dumps(SIDECARS[name]))
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
    return _model_command(rng)


def images(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """The bytes of an image."""
    (folder / MODEL).write_bytes(seeds.explainable[0])
    (folder / PHOTO).write_bytes(damaged_bytes(rng, rng.choice(seeds.images)))
    return rng.choice([["predict", MODEL, PHOTO], ["explain", MODEL, PHOTO, "-o", "out"]])


def annotations(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """The files of a data set."""
    (folder / MODEL).write_bytes(seeds.explainable[0])
    name = rng.choice(list(FORMATS))
    (folder / "data").mkdir()
    write(folder / "data", FORMATS[name])
    texts = [path for path in sorted((folder / "data").rglob("*")) if path.is_file() and path.suffix != ".png"]
    for path in rng.sample(texts, min(len(texts), rng.randint(1, 2))):
        content = path.read_bytes()
        if path.suffix == ".json" and rng.random() < 0.7:
            content = damaged_json(rng, content.decode()).encode("utf-8", "replace")
        else:
            content = damaged_bytes(rng, content)
        path.write_bytes(content)
    words = ["evaluate", MODEL, "data", "-o", "out", "--limit", "1", "--target", "predicted"]
    return [*words, "--format", name] if rng.random() < 0.5 else words


def arguments(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    """Odd values of options. The files are whole."""
    (folder / MODEL).write_bytes(rng.choice(seeds.models))
    write_photo(folder / PHOTO)
    name = rng.choice(["explain", "instrument", "predict", "inspect", "methods", "doctor"])
    words = {
        "explain": [MODEL, PHOTO, "-o", "out", *FAST],
        "instrument": [MODEL, "-o", "out.onnx"],
        "predict": [MODEL, PHOTO],
        "inspect": [MODEL],
    }.get(name, [])
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    # --budget-seconds and --timeout ask for any time, --masks for any work, -o for any place.
    left_out = {"--budget-seconds", "--timeout", "--masks", "--help", "-o", "--tolerance", "--samples", "--copies"}
    options = [
        each for each in command.params if isinstance(each, click.Option) and not left_out.intersection(each.opts)
    ]
    chosen = rng.sample(options, min(len(options), rng.randint(1, 3)))
    for option in chosen:
        words.append(option.opts[-1])
        if not option.is_flag:
            words.append(_odd_word(rng, option))
    return [name, *words]


def _odd_word(rng: random.Random, option: click.Option) -> str:
    known = list(option.type.choices) if isinstance(option.type, click.Choice) else ["5", "0.5", "8x8", "map", "rise"]
    kind = rng.randrange(4)
    if kind == 0:
        return str(rng.choice(known))
    if kind == 1:
        return str(rng.choice(ODD_NUMBERS))
    if kind == 2:
        return str(rng.choice(ODD_FLOATS))
    return rng.choice([text for text in ODD_TEXTS if "\0" not in text])


@dataclass(frozen=True)
class Kind:
    """A kind of cases, and its share of a run."""

    make: Callable[[random.Random, Seeds, Path], list[str]]
    share: int


KINDS: Mapping[str, Kind] = {
    "bytes of models": Kind(bytes_of_a_model, 2),
    "structure of models": Kind(structure_of_a_model, 4),
    "metadata": Kind(metadata, 4),
    "images": Kind(images, 4),
    "annotations": Kind(annotations, 2),
    "arguments": Kind(arguments, 4),
}
