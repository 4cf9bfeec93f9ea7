"""Which classes of two models are the same, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxplain.comparison.shared_heads import same_target, shared_entries, shared_heads
from onnxplain.comparison.unlike import Unlike, unlike
from onnxplain.contract import HeadKind, HeadSpec, ModelSpec
from tests.models import ExplainableModel

SPEC = ExplainableModel().spec()


def spec_of(labels: tuple[str, ...], classes: int) -> ModelSpec:
    return ModelSpec.of_classifier(
        input=SPEC.input, outputs=replace(SPEC.outputs, box=None), classes=classes, labels=labels, layers=()
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((("a", "b"), 2), (("a", "b"), 2), {0: 0, 1: 1}),
        ((("a", "b"), 2), (("b", "a"), 2), {0: 1, 1: 0}),
        ((("a", "b"), 2), (("b", "c", "d"), 3), {1: 0}),
        ((("a", "b"), 2), ((), 2), {0: 0, 1: 1}),
        (((), 3), ((), 3), {0: 0, 1: 1, 2: 2}),
        (((), 3), ((), 4), {}),
        ((("a", "b"), 2), ((), 3), {}),
        # A label that stands twice names two classes.
        ((("a", "a", "b"), 3), (("a", "a", "b"), 3), {0: 0, 1: 1, 2: 2}),
        ((("a", "a", "b"), 3), (("b", "a", "c"), 3), {2: 0}),
        ((("a",), 1), (("c",), 1), {}),
    ],
)
def test_classes_are_matched_by_label(first: tuple, second: tuple, expected: dict[int, int]) -> None:
    assert shared_entries(spec_of(*first).head, spec_of(*second).head) == expected


def heads_of(*rows: tuple[str, HeadKind, int]) -> ModelSpec:
    return ModelSpec(SPEC.input, tuple(HeadSpec(name, kind, count, name) for name, kind, count in rows))


def test_heads_are_matched_by_name_and_kind() -> None:
    first = heads_of(("y", "classes", 3), ("age", "values", 1), ("hat", "labels", 2), ("e", "embedding", 1))
    second = heads_of(("logits", "classes", 4), ("hat", "labels", 2), ("age", "classes", 2), ("e", "embedding", 1))
    same = shared_heads(first, second)
    assert {name: head.name for name, head in same.items()} == {"y": "logits", "hat": "hat"}
    # Targets count over all heads: the labels of hat are 4 and 5 in both, by chance, and the number is 3 in one.
    assert [same_target(first, second, target) for target in range(7)] == [None, None, None, None, 4, 5, None]
    assert [same_target(first, first, target) for target in range(7)] == [0, 1, 2, 3, 4, 5, None]
    assert Unlike("head", "age:values, e:embedding", "age:classes, e:embedding", False) in unlike(first, second)
    years = replace(first, heads=(replace(first.heads[1], unit="years"),))
    months = replace(first, heads=(replace(first.heads[1], unit="months"),))
    assert unlike(years, months) == (Unlike("unit", "years", "months", True),)


def test_what_differs_is_named() -> None:
    plain = spec_of(("zero", "one", "other"), 3)
    large = replace(plain, input=replace(SPEC.input, size_hw=(12, 16)))
    assert unlike(SPEC, SPEC) == ()
    assert unlike(SPEC, large) == (
        Unlike("classes", "5, 2 in common", "3, 2 in common", False),
        Unlike("box", "a box head", "none", False),
        Unlike("input size", "6x8", "12x16", True),
    )
    grey = replace(SPEC.input.preprocessing, scale=1 / 255, mean=(0.5, 0.5, 0.5))
    assert unlike(SPEC, replace(SPEC, input=replace(SPEC.input, preprocessing=grey)))[0] == Unlike(
        "preprocessing", f"scale {SPEC.input.preprocessing.scale:.6g}", "scale 0.00392157", True
    )
    unnamed = unlike(spec_of((), 5), spec_of(tuple("abcde"), 5))
    assert unnamed == (Unlike("classes", "no labels, compared by number", "labels", True),)
