from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.target import (
    check_targets,
    resolve_layer,
    resolve_target,
    resolve_targets,
    target_name,
)
from tests.models import ExplainableModel

LOCALIZER = ExplainableModel().spec()  # labels zero, one, two, two, 3; a box head; layers fine, coarse
CLASSIFIER = replace(LOCALIZER.with_labels(()), heads=(LOCALIZER.with_labels(()).head,), layers=())
ANIMALS = LOCALIZER.with_labels(("tabby cat", "tiger cat", "dog", "fox", "owl"))


@pytest.mark.parametrize(
    ("spec", "target", "index"),
    [
        (LOCALIZER, None, -1),
        (LOCALIZER, -1, -1),
        (LOCALIZER, 4, 4),
        (LOCALIZER, np.int64(2), 2),
        (LOCALIZER, 8, 8),
        (LOCALIZER, "one", 1),
        (LOCALIZER, "2", 2),
        (LOCALIZER, "3", 4),  # a label that matches exactly wins over the index
        (LOCALIZER, "box:0", 5),
        (LOCALIZER, "box:3", 8),
        (CLASSIFIER, "3", 3),
        (CLASSIFIER, 4, 4),
    ],
)
def test_targets(spec, target, index):
    assert resolve_target(spec, target) == index


@pytest.mark.parametrize(
    ("spec", "target", "message"),
    [
        (LOCALIZER, "two", "the label of several classes, expected one: give index 2, 3"),
        (LOCALIZER, 9, "found 9, expected a label, a class index from 0 to 4, box:0"),
        (LOCALIZER, -2, "found -2"),
        (LOCALIZER, "-2", "found -2"),
        (LOCALIZER, "box:4", "expected box:0, box:1, box:2 or box:3"),
        (LOCALIZER, "box:", "expected box:0"),
        (LOCALIZER, True, "found True"),
        (LOCALIZER, 1.0, "found 1.0"),
        (CLASSIFIER, 5, "found 5, expected a class index from 0 to 4, or -1"),
        (CLASSIFIER, "box:0", "no box head"),
        (CLASSIFIER, "", "found ''"),
        (ANIMALS, "Dog", "similar labels: dog"),
        (ANIMALS, "cat", "similar labels: tabby cat; tiger cat"),
        (ANIMALS, "foxx", "similar labels: fox"),
    ],
)
def test_bad_targets(spec, target, message):
    with pytest.raises(OnnxplainError, match=message):
        resolve_target(spec, target)


def test_target_names():
    assert [target_name(LOCALIZER, index) for index in (0, 4, 5, 8)] == ["zero", "3", "box:0", "box:3"]
    assert target_name(CLASSIFIER, 4) == "4"
    for index in (-1, 9):
        with pytest.raises(OnnxplainError, match=f"found {index}"):
            target_name(LOCALIZER, index)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(None, [-1, -1, -1]), ("one", [1, 1, 1]), (2, [2, 2, 2]), ([None, "one", 7], [-1, 1, 7]), ((0, 1, 2), [0, 1, 2])],
)
def test_targets_of_a_batch(target, expected):
    indices = resolve_targets(LOCALIZER, target, 3)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


def test_a_list_of_targets_of_another_length_is_an_error():
    with pytest.raises(OnnxplainError, match="found 2 targets for 3 images"):
        resolve_targets(LOCALIZER, [0, 1], 3)


def test_target_arrays_are_checked():
    assert check_targets(LOCALIZER, None, 2).tolist() == [-1, -1]
    assert check_targets(LOCALIZER, np.array([0, 8], np.int32), 2).dtype == np.int64
    for array, message in (
        (np.array([0, 9]), "found 9"),
        (np.array([-2, 0]), "found -2"),
        (np.array([0]), "expected one integer per image"),
        (np.array([0.0, 1.0]), "expected one integer per image"),
    ):
        with pytest.raises(OnnxplainError, match=message):
            check_targets(LOCALIZER, array, 2)


def test_layers():
    assert resolve_layer(LOCALIZER, None).name == "coarse"
    assert resolve_layer(LOCALIZER, "auto").name == "coarse"
    assert resolve_layer(LOCALIZER, "fine").name == "fine"
    assert resolve_layer(LOCALIZER, "coa").name == "coarse"
    with pytest.raises(OnnxplainError, match=r"found .*, which matches fine, coarse, expected one of fine, coarse"):
        resolve_layer(LOCALIZER, "e")
    with pytest.raises(OnnxplainError, match=r"found [^,]*, expected one of fine, coarse"):
        resolve_layer(LOCALIZER, "layer4")
    with pytest.raises(UnsupportedError, match="run `onnxplain instrument` first"):
        resolve_layer(CLASSIFIER, None)
