"""Which classes of two models are the same, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxplain.comparison.shared_classes import Unlike, shared_classes, unlike
from onnxplain.contract import ModelSpec
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
    assert shared_classes(spec_of(*first), spec_of(*second)) == expected


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
