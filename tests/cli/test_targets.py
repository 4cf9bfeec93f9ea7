"""`explain` with targets beyond a class: files, lines, and bad input that writes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from click.testing import Result

from onnxplain.explanations.aims import read_aim
from onnxplain.runtime.heads.aim import Aim
from tests.cli.conftest import RunCommand
from tests.explainers.kinds.kind_networks import open_kind, photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("targets")
    for name in ("mask", "embedding", "labels", "values"):
        (path / name).mkdir()
        open_kind(name, path / name)
    for number in (1, 2):
        cv2.imwrite(str(path / f"{number}.png"), photo(number)[..., ::-1])
    return path


GOOD = {
    "mask": (["--target", "1", "--target", "not:2", "--region", "4,8,20,30"], ["1 in 4,8,20,30", "not 2 in 4,8,20,30"]),
    "embedding": (["--like", "2.png"], ["e like 2.png"]),
    "labels": (["--target", "1", "--target", "not:1", "--against", "3"], ["1 rather than 3", "not 1 rather than 3"]),
    "values": ([], ["age"]),
}


def explain(run: RunCommand, folder: Path, kind: str, options: Sequence[str], out: Path) -> Result:
    """Grad-CAM of the first image."""
    placed = [str(folder / each) if each.endswith(".png") else each for each in options]
    return run("explain", folder / kind / "model.onnx", folder / "1.png", *placed, "-m", "grad-cam", "-o", out)


@pytest.mark.parametrize("kind", GOOD)
def test_targets_of_a_kind(run: RunCommand, folder: Path, tmp_path: Path, kind: str) -> None:
    options, names = GOOD[kind]
    result = explain(run, folder, kind, options, tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()]
    assert [line["target_name"] for line in lines] == names
    assert all(name == "age" or name in result.output for name in names)
    assert len({line["heatmap"] for line in lines}) == len(names)
    verified = run("verify", str(tmp_path / "out"))
    assert (verified.exit_code, "bit for bit" in verified.output) == (0, True)


BAD = {
    ("mask", "--target", "1", "--region", "40,8,50,30"): "region: found 40,8,50,30 for an image of 32x32",
    ("mask", "--target", "1", "--region", "4,8"): "found '4,8', expected X1,Y1,X2,Y2",
    ("mask", "--target", "1", "--region", "9,9,5,5"): "region: found (9.0, 9.0, 5.0, 5.0), expected",
    ("mask", "--target", "1@40,2"): "target: found the pixel 40,2, expected one that the model sees",
    ("mask", "--like", "2.png"): "like: found it for an entry of the head m (mask)",
    ("embedding",): "target: found e, an embedding, expected an image to compare with",
    ("embedding", "--like", "1.png"): "like: found the image itself",
    ("embedding", "--like", "none.png"): "none.png",
    ("labels", "--target", "1", "--against", "1"): "against: found '1', the target itself",
    ("labels", "--target", "1", "--against", "x"): "target: found 'x', expected",
    ("values", "--target", "age:3"): "target: found '3' of head age",
}


@pytest.mark.parametrize(("arguments", "message"), BAD.items(), ids=[" ".join(each) for each in BAD])
def test_bad_targets_write_nothing(
    run: RunCommand, folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    kind, *options = arguments
    result = explain(run, folder, kind, options, tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_aim_is_read_as_it_was_written(tmp_path: Path) -> None:
    described = {"target": "m:1", "against": "2", "like": None, "region": [1.0, 2.0, 3.0, 4.0]}
    assert read_aim(described, tmp_path) == Aim("m:1", "2", None, (1, 2, 3, 4))
