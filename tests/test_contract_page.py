"""docs/contract.md says what the code says: every key of the metadata, every kind of head, the numbering."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from onnxplain.contract import (
    PRESETS,
    AttentionSpec,
    BoxSpec,
    CamSpec,
    ExtraInput,
    HeadKind,
    HeadSpec,
    InputSpec,
    LayerSpec,
    MapFrame,
    ModelSpec,
    Numbering,
    Origins,
    TailSpec,
    order_heads,
)
from onnxplain.contract import names as contract_names
from onnxplain.contract.detectors import DetectorSpec, LayoutEvidence
from onnxplain.contract.heads.spec import EvidenceKind
from onnxplain.contract.specs import ExtraFill

PAGE = (Path(__file__).parents[1] / "docs" / "contract.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))

HEADS = (
    HeadSpec("class", "classes", 10, "logits", "class"),
    HeadSpec("tags", "labels", 3, "tags_logits", "tags", labels=("a", "b", "c")),
    HeadSpec("age", "values", 1, "age", unit="years"),
    HeadSpec("box", "box", 4, "box", box=BoxSpec()),
    HeadSpec("vector", "embedding", 128, "vector"),
    HeadSpec("pixels", "mask", 5, "pixel_logits", "pixels", map_size_hw=(32, 32)),
)
SPEC = ModelSpec(
    InputSpec("image", "nchw", (64, 64), PRESETS["imagenet"], Origins()),
    order_heads(HEADS),
    cam=CamSpec("cam_weights", "last"),
    layers=(LayerSpec("last", "features/last", "gradients/last", 8, (8, 8), MapFrame.over((64, 64), (8, 8))),),
    extra_inputs=(ExtraInput("alpha", "float32", (1,), "constant", (0.5,)),),
    tail=TailSpec("model.tail.onnx", "0123", "last"),
    attention=AttentionSpec(
        (LayerSpec("a", "attention/a", "attention_gradients/a", 2, (17, 17)),),
        (4, 4),
        1,
        0,
        MapFrame.over((64, 64), (4, 4)),
        ((0, 1), *[None] * (len(HEADS) - 1)),
    ),
)


DETECTOR = ModelSpec(
    SPEC.input, (), detector=DetectorSpec("ssd", (("scores",), ("boxes",)), evidence=(LayoutEvidence("names", "a"),))
)


def keys(tree: Any) -> Iterator[str]:
    """Every key of nested objects and lists."""
    if isinstance(tree, dict):
        yield from tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from keys(value)


def section(title: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    _, _, rest = PAGE.partition(f"# {title}\n")
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_every_key_of_the_metadata_is_explained() -> None:
    assert {head.kind for head in SPEC.heads} == set(get_args(HeadKind))
    for spec in (SPEC, DETECTOR):
        assert set(keys(json.loads(spec.to_json()))) - NAMED == set()


@pytest.mark.parametrize(
    ("title", "tree"),
    [
        ("Metadata", json.loads(SPEC.to_json())),
        ("A head", json.loads(SPEC.to_json())["heads"][1]),
        ("Metadata", json.loads(DETECTOR.to_json())),
        ("A detector", json.loads(DETECTOR.to_json())["detector"]),
        ("A layer", json.loads(SPEC.to_json())["layers"][0]),
        ("The image input", json.loads(SPEC.to_json())["input"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_has_its_own_keys(title: str, tree: dict[str, Any]) -> None:
    """Each key is explained in the first column of the table of its own object."""
    first = {name for line in section(title).splitlines() for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])}
    assert set(tree) - first == set()


def test_every_choice_of_the_metadata_is_named() -> None:
    for choice in (HeadKind, EvidenceKind, ExtraFill):
        assert set(get_args(choice)) - NAMED == set()


def test_every_name_of_the_graph_is_explained() -> None:
    found = {
        value
        for name, value in vars(contract_names).items()
        if name.isupper() and name.endswith(("_INPUT", "_OUTPUT", "_KEY")) and isinstance(value, str)
    }
    assert {value for value in found if value != contract_names.METADATA_KEY} - NAMED == set()
    assert f'metadata_props["{contract_names.METADATA_KEY}"]' in NAMED


def test_the_example_of_the_numbering_is_right() -> None:
    numbering = Numbering(order_heads((HEADS[2], HEADS[0], HEADS[3])))
    assert [head.kind for head in numbering.heads] == ["classes", "box", "values"]
    assert numbering.starts == (0, 10, 14, 15)
    assert "has the targets 0 to 9 (classes), 10 to 13 (box), 14 (value)" in PAGE


def test_the_table_of_entries_is_right() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\w+)", section("Numbering"), re.MULTILINE)
    counts = {kind: text for kinds, text in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert counts.keys() == set(get_args(HeadKind))
    for head in HEADS:
        counted = counts[head.kind]
        assert head.entries == (head.size if counted in ("C", "L", "K") else int(counted))
