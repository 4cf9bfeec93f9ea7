"""What `explain` records, and what `verify` says of a folder that was changed, or of files that were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers import METHODS
from onnxplain.explanations.explain_images import explain_images
from onnxplain.explanations.questions import plan_questions
from onnxplain.explanations.verify_folder import read_run, verify_run
from tests.explainers.tiny_model import make_tiny_model
from tests.explanations.conftest import RecordedProgress, open_folder

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every method on one photo, and an image that cannot be read; model and tail are beside it."""
    folder = tmp_path_factory.mktemp("run")
    own = make_tiny_model(folder / "model.onnx", labels=("ant", "bee", "cat", "dog"), pixels=True).engine
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(folder / "photo.png")
    (folder / "broken.png").write_text("no image")
    options = {"evaluations": 260, "samples": 2, "copies": 6, "steps": 2, "batch_size": 4}
    questions = plan_questions(own, tuple(METHODS), ("1", "2"), options)
    with open_folder(own, questions, folder / "out") as out:
        sources = [folder / "photo.png", folder / "broken.png"]
        for _ in explain_images(own, sources, questions, out, RecordedProgress()):
            pass
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """The same files elsewhere: paths in them are relative."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy"


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text().splitlines()]


def test_files_are_as_the_schemas_say(written: Path) -> None:
    jsonschema.validate(
        json.loads((written / "out" / "run.json").read_text()), json.loads((SCHEMAS / "run.schema.json").read_text())
    )
    schema = json.loads((SCHEMAS / "explanations.schema.json").read_text())
    lines = lines_of(written / "out")
    for line in lines:
        jsonschema.validate(line, schema)
    assert [line["image"] for line in lines if "error" in line] == ["../broken.png"]


def test_the_counts_are_those_of_the_lines(written: Path) -> None:
    lines = lines_of(written / "out")
    counts = json.loads((written / "out" / "run.json").read_text())["counts"]
    assert counts == {"images": 1, "explanations": len(lines) - 1, "errors": 1, "interrupted": False}


def test_pictures_carry_their_line(written: Path) -> None:
    for line in lines_of(written / "out"):
        if "error" not in line:
            with Image.open(written / "out" / line["overlay"]) as picture:
                assert json.loads(str(picture.info["onnxplain"])) == line
                assert str(picture.info["Software"]).startswith("onnxplain ")


def test_every_method_gives_the_same_maps_again_also_elsewhere(copied: Path) -> None:
    assert list(verify_run(read_run(copied / "out"))) == []


def _edit_image(folder: Path) -> None:
    with Image.open(folder / "photo.png") as photo:
        changed = np.array(photo)
    changed[:15] = 255 - changed[:15]
    Image.fromarray(changed).save(folder / "photo.png")


def _edit_option(folder: Path) -> None:
    path = folder / "out" / "run.json"
    record = json.loads(path.read_text())
    for question in record["questions"]:
        if question["method"] == "rise":
            question["options"]["evaluations"] = 300
    path.write_text(json.dumps(record))


def _edit_target(folder: Path) -> None:
    path = folder / "out" / "run.json"
    record = json.loads(path.read_text())
    for question in record["questions"]:
        if question["target"] == 1:
            question["target"] = 3
    path.write_text(json.dumps(record))


def _edit_model(folder: Path) -> None:
    model = (folder / "model.onnx").read_bytes()
    values = np.load(next((folder / "out").glob("photo.cam.*raw.npy")))
    assert values.size
    (folder / "model.onnx").write_bytes(model + b"\x32\x01a")


def _edit_tail(folder: Path) -> None:
    tail = folder / "model.tail.onnx"
    tail.write_bytes(tail.read_bytes() + b"\x32\x01a")


def _edit_map(folder: Path) -> None:
    path = next((folder / "out").glob("photo.grad-cam.1.raw.npy"))
    np.save(path, np.load(path) + 1)


CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "image": (_edit_image, {"image", "map"}),
    "option": (_edit_option, {"option", "map"}),
    "target": (_edit_target, {"map", "answer"}),
    "model's bytes": (_edit_model, {"model"}),
    "tail's bytes": (_edit_tail, {"model"}),
    "map": (_edit_map, {"map"}),
    "no image": (lambda folder: (folder / "photo.png").unlink(), {"missing"}),
    "no map": (lambda folder: next((folder / "out").glob("photo.grad-cam.1.raw.npy")).unlink(), {"missing"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_named(copied: Path, change: str) -> None:
    edit, kinds = CHANGES[change]
    edit(copied)
    found = list(verify_run(read_run(copied / "out")))
    assert kinds <= {difference.kind for difference in found} <= kinds | {"answer"}
    assert all("found" in str(difference) for difference in found)


def test_the_line_names_what_was_changed(copied: Path) -> None:
    """Model, image, option and target, each with what was found and what is recorded."""
    for edit in (_edit_model, _edit_image, _edit_option, _edit_target):
        edit(copied)
    told = "\n".join(str(difference) for difference in verify_run(read_run(copied / "out")))
    for line in ("../model.onnx: found SHA-256 ", "../photo.png: found SHA-256 ",
                 "run.json rise evaluations: found 300, recorded 260", "../photo.png cam: found dog, "):  # fmt: skip
        assert line in told


def _drop_run(out: Path) -> None:
    (out / "run.json").unlink()


def _older(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "version": 0}))


def _other_run(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "id": "0" * 32}))


def _edited(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    del record["model"]
    (out / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_run, "cannot be read"),
        (_older, "found schema 'onnxplain-run' version 0, expected 'onnxplain-run' version 1"),
        (_other_run, "found lines of run"),
        (_edited, "changed or is not whole"),
        (lambda out: (out / "run.json").write_text("[]"), "expected an object"),
        (lambda out: (out / "explanations.jsonl").write_text("{"), "changed or is not whole"),
    ],
)
def test_a_folder_that_cannot_be_repeated_is_one_error(copied: Path, damage: Callable[[Path], None], message: str):
    damage(copied / "out")
    with pytest.raises(OnnxplainError, match=message) as caught:
        list(verify_run(read_run(copied / "out")))
    assert "\n" not in str(caught.value)


def test_a_model_that_is_gone_is_one_error(copied: Path) -> None:
    (copied / "model.onnx").unlink()
    with pytest.raises(OnnxplainError, match=r"model\.onnx: cannot be read"):
        list(verify_run(read_run(copied / "out")))
