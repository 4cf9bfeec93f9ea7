"""Metadata are data: any other type, range or length of any value is one error of one line, and nothing is written."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from onnxplain.contract import ModelSpec, Preprocessing
from onnxplain.contract.expected import Expected, Fields, Listed, Maybe
from onnxplain.contract.metadata_checks import METADATA
from onnxplain.errors import ModelError, OnnxplainError
from tests.test_contract import SPEC

TREE = json.loads(SPEC.to_json())
Path = tuple[str | int, ...]
# What stands in place of a value: no value of the metadata may be any of these.
NEVER: dict[str, Any] = {
    "an object": {"a": {"b": 1}},
    "a nested list": [[[[1]]]],
    "a huge number": 10**400,
    "an infinite number": math.inf,
    "no number": math.nan,
    "half a surrogate pair": "\ud800",
    "endless text": "x" * 100_000,
}
# More values that are refused at one place.
REFUSED: list[tuple[Path, Any]] = [
    (("heads",), []),
    (("heads",), [TREE["heads"][0]] * 5000),
    (("heads", 0, "kind"), "segmentation"),
    (("heads", 0, "kind"), "box"),
    (("heads", 0, "size"), 0),
    (("heads", 0, "size"), 10**9),
    (("heads", 0, "size"), True),
    (("heads", 0, "size"), 2.0),
    (("heads", 0, "evidence"), {"kind": "heard"}),
    (("heads", 0, "score_form"), {"factor": 0}),
    (("heads", 0, "box"), {"format": "xyxy", "units": "pixels"}),
    (("heads", 1, "box"), None),
    (("input", "size_hw"), [10**9, 10**9]),
    (("input", "size_hw"), [64]),
    (("input", "size_hw"), "64"),
    (("input", "size_hw", 0), "64"),
    (("input", "scale"), 0),
    (("input", "scale"), "1"),
    (("input", "std", 1), 0),
    (("input", "std", 1), -1.0),
    (("input", "mean"), []),
    (("input", "mean"), [0.0] * 5),
    (("input", "channels"), 10**9),
    (("input", "channels"), 0),
    (("input", "depth"), 17),
    (("input", "origins", "scale", "kind"), "heard"),
    (("attention", "size_hw"), [4, 3]),
    (("attention", "tokens_before"), 2),
    (("attention", "tokens_after"), -1),
    (("attention", "layers", 0, "size_hw"), [17, 16]),
    (("attention", "reads"), [[0, 1]]),
    (("attention", "reads"), [[0, 18], None]),
    (("attention", "reads"), [[1, 1], None]),
    (("attention", "reads"), [[-1, 1], None]),
    (("attention", "frame"), None),
    (("labels",), "ab"),
    (("labels",), [1, 2]),
    (("labels",), [None, None]),
    (("labels",), [["cat"], ["dog"]]),
    (("labels",), ["cat"]),
    (("heads", 0, "logits"), 1),
    (("heads", 0, "logits"), "features/late"),
    (("heads", 1, "logits"), "logits"),
    (("heads", 0, "unknown"), "name"),
    (("cam", "linear"), "yes"),
    (("layers", 0, "channels"), 10**9),
    (("layers", 0, "features"), None),
    (("layers", 0, "name"), ["early"]),
    (("layers", 0, "frame", "offset_hw"), [0.0, None]),
    (("layers", 0, "frame", "seen_hw"), [[0.0, 64.0], [48.0, 0.0]]),
    (("layers",), [TREE["layers"][0]] * 5000),
    (("tail", "file"), "x" * 256),
    (("tail", "file"), "../model.tail.onnx"),
    (("tail", "file"), "a\0b"),
    (("tail", "file"), ".."),
    (("tail", "layer"), "early"),
    (("shuffle_seed",), -1),
    (("shuffle_seed",), 2**70),
    (("gated",), 1),
    (("version",), "2"),
    (("version",), [2]),
]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The way to every value of the JSON, the inner ones of lists and objects too."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield from places(entry, (*path, key))


def changed(path: Path, value: Any) -> str:
    """The JSON with another value at one place."""
    tree = copy.deepcopy(TREE)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return json.dumps(tree)


def refusal(text: str) -> str:
    with pytest.raises(ModelError) as caught:
        ModelSpec.from_json(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 600
    assert message.startswith("metadata")
    return message


@pytest.mark.parametrize("value", NEVER.values(), ids=NEVER)
def test_no_value_may_be_this(value: Any) -> None:
    for path in places(TREE):
        refusal(changed(path, value))


@pytest.mark.parametrize(("path", "value"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_value_that_is_refused(path: Path, value: Any) -> None:
    refusal(changed(path, value))


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "2", '"text"', "{}", "{" * 10, "[" * 200_000, '{"v":' * 200_000, '{"version": NaN}', "\ud800"],
    ids=lambda text: text[:12].encode("ascii", "replace").decode(),
)
def test_text_that_is_no_metadata(text: str) -> None:
    assert "not onnxplain JSON" in refusal(text)


@pytest.mark.parametrize("key", TREE)
def test_a_value_that_is_missing(key: str) -> None:
    tree = {name: value for name, value in TREE.items() if name != key}
    if key in METADATA.needed:
        refusal(json.dumps(tree))
    else:
        ModelSpec.from_json(json.dumps(tree))


def test_every_inner_value_may_be_missing_or_is_asked_for() -> None:
    for path in places(TREE):
        tree = copy.deepcopy(TREE)
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
        try:
            ModelSpec.from_json(json.dumps(tree))
        except ModelError:
            refusal(json.dumps(tree))


def test_every_value_has_a_row() -> None:
    """A new field of the metadata needs a row in `METADATA`."""
    tree = asdict(SPEC)
    tree["input"].update(tree["input"].pop("preprocessing"))
    without = [path for path in places(json.loads(json.dumps(tree))) if not has_row(METADATA, path)]
    assert without == []


def with_head(**changed: Any) -> ModelSpec:
    first, *others = SPEC.heads
    return replace(SPEC, heads=(replace(first, **changed), *others))


def has_row(expected: Expected, path: Path) -> bool:
    if isinstance(expected, Maybe):
        return has_row(expected.other, path)
    if not path:
        return True
    if isinstance(expected, Fields):
        row = {**expected.needed, **expected.optional}.get(str(path[0]))
        return row is not None and has_row(row, path[1:])
    return isinstance(expected, Listed) and has_row(expected.of, path[1:])


@pytest.mark.parametrize(
    "spec",
    [
        lambda: with_head(labels=(1, 2)),
        lambda: with_head(labels=("cat", "\ud800")),
        lambda: with_head(labels="ab"),
        lambda: with_head(labels=("cat", "x" * 1001)),
        lambda: replace(SPEC, shuffle_seed=-1),
        lambda: with_head(size=2**30, labels=()),
    ],
)
def test_what_is_refused_is_not_written(spec: Any) -> None:
    with pytest.raises(OnnxplainError, match="found"):
        spec().to_json()


@pytest.mark.parametrize(
    "stated",
    [
        {"scale": 0},
        {"scale": math.nan},
        {"scale": "1"},
        {"mean": "000"},
        {"mean": (math.inf,)},
        {"mean": 0.5},
        {"std": (0.0,)},
        {"std": (math.nan, 1, 1)},
        {"crop_share": None},
        {"crop_share": 2},
        {"channels": 10**9},
        {"channels": [3]},
        {"channels": None},
        {"depth": "8"},
        {"resize": ["crop"]},
    ],
    ids=str,
)
def test_preprocessing_takes_numbers_only(stated: dict[str, Any]) -> None:
    with pytest.raises(OnnxplainError, match="found"):
        Preprocessing(**stated)
