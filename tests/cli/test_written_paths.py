"""No file that a command writes names a folder of the user's machine: every command with absolute paths."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxplain.files.shown_paths import without_folders
from tests.cli.conftest import RunCommand
from tests.exporters.heads.graph_ends import end_model
from tests.training.shapes import write_shapes

SECRET = "secret-home"
# A batch keeps the name of each image as the source gives it: it is the key by which its rows are joined.
NAMES_AS_GIVEN = re.compile(r"plan\.jsonl|part-\d+\.parquet")
# The words of a command, with PLACE for the folder of the user's files and OUT for that of the results.
COMMANDS: dict[str, tuple[str, ...]] = {
    "explain": (
        "explain PLACE/model.onnx PLACE/photo.png PLACE/broken.png -m grad-cam -m rise --masks 8 --labels PLACE/a.txt "
        "-o OUT/out",
    ),
    "explain with =": ("explain PLACE/model.onnx PLACE/photo.png -m rise --masks 8 --labels=y=PLACE/a.txt -o OUT/out",),
    "explain like": (
        "explain PLACE/embedding.onnx PLACE/photo.png -m rise --masks 8 --like PLACE/like.png -o OUT/out",
    ),
    "report": (
        "explain PLACE/model.onnx PLACE/photo.png PLACE/broken.png -m grad-cam -o OUT/out",
        "report OUT/out -o OUT/report.html",
    ),
    "report of a model": ("report PLACE/model.onnx PLACE/photo.png PLACE/broken.png -m grad-cam -o OUT/report.html",),
    "compare": (
        "compare PLACE/model.onnx PLACE/model.onnx PLACE/photo.png PLACE/broken.png -m grad-cam "
        "--report OUT/report.html",
    ),
    "evaluate": (
        "evaluate PLACE/labelled.onnx PLACE/data/boxes.csv -m grad-cam --metrics all --target predicted "
        "-o OUT/out --save-heatmaps PLACE/maps --report OUT/report.html",
    ),
    "evaluate maps": (
        "evaluate PLACE/labelled.onnx PLACE/data/boxes.csv -m grad-cam --target predicted -o OUT/one "
        "--save-heatmaps PLACE/saved",
        "evaluate PLACE/labelled.onnx PLACE/data/boxes.csv --target predicted --heatmaps other=PLACE/saved/grad-cam "
        "-o OUT/two",
    ),
    "evaluate without a map": (
        "evaluate PLACE/labelled.onnx PLACE/data/boxes.csv --target predicted --heatmaps other=PLACE/partial "
        "-o OUT/out",
    ),
    "batch": ("batch PLACE/model.onnx PLACE/ -o OUT/out -m grad-cam",),
    "predict": ("predict PLACE/model.onnx PLACE/photo.png -o OUT/out",),
    "instrument": ("instrument PLACE/model.onnx -o OUT/explainable.onnx --labels PLACE/a.txt",),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a name of its own that holds a model, photos, one of them broken, labels and a data set."""
    folder = tmp_path_factory.mktemp("paths") / SECRET
    folder.mkdir()
    onnx.save(end_model("", "float[N, 6] y"), folder / "model.onnx")
    onnx.save(end_model("p = LpNormalization<axis = 1, p = 2>(y)", "float[N, 6] p"), folder / "embedding.onnx")
    shutil.copy(folder / "model.onnx", folder / "labelled.onnx")
    for seed, name in enumerate(("photo.png", "like.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.png").write_text("no image")
    (folder / "a.txt").write_text("\n".join("abcdef"))
    write_shapes(folder / "data", 3)
    # A map for the first image only.
    (folder / "partial").mkdir()
    np.save(folder / "partial" / "00.npy", np.zeros((90, 60), np.float32))
    last = sorted((folder / "data").rglob("*.png"))[-1]
    last.write_bytes(last.read_bytes()[:2000])
    return folder


def content_of(path: Path) -> bytes:
    """The bytes of a file; of a PNG also its compressed texts."""
    data = path.read_bytes()
    if path.suffix == ".png":
        with Image.open(path) as picture:
            data += json.dumps({key: str(value) for key, value in picture.info.items()}).encode()
    return data


@pytest.mark.parametrize("name", COMMANDS)
def test_no_written_file_names_a_folder_of_the_user(
    name: str, run: RunCommand, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "elsewhere" / "results"
    out.mkdir(parents=True)
    for words in COMMANDS[name]:
        line = [word.replace("PLACE", str(place)).replace("OUT", str(out)) for word in words.split()]
        monkeypatch.setattr(sys, "argv", ["onnxplain", *line])
        result = run(*line)
        assert result.exit_code in (0, 1), result.output
    written = [path for path in out.rglob("*") if path.is_file() and not NAMES_AS_GIVEN.fullmatch(path.name)]
    assert written
    for path in written:
        for absolute in (str(place), str(out), str(tmp_path)):
            assert absolute.encode() not in content_of(path), path


ARGUMENTS = {
    "/data/run/photos/a.png": "../photos/a.png",
    "/data/run/out": ".",
    "/away/models/a.onnx": "a.onnx",
    "/away/photos/*.jpg": "*.jpg",
    "--labels=y=/away/a.txt": "--labels=y=a.txt",
    "like=/data/run/b.png": "like=../b.png",
    "tensorrt,cache=/away/cache": "tensorrt,cache=cache",
    "library=/opt/x/lib.so,device=0": "library=lib.so,device=0",
    "-o/away/out": "-oout",
    "file:///away/a.parquet": "file://a.parquet",
    "photos/a.png": "photos/a.png",
    "../a.png": "../a.png",
    "s3://bucket/a/b.png": "s3://bucket/a/b.png",
    "1/255": "1/255",
    "--scale=1/255": "--scale=1/255",
    "not:dog": "not:dog",
    "C:\\Users\\me\\a.png": "a.png",
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_arguments_without_folders(argument: str) -> None:
    found = without_folders(argument, Path("/data/run/out"))
    assert found == ARGUMENTS[argument]
