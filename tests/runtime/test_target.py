from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxplain.contract import BoxSpec, HeadSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.target import (
    check_targets,
    parse_target,
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


# Entries: species 0 … 2, box 3 … 6, age 7, a:b 8 and 9, vector 10, mask 11 … 13.
MANY = replace(
    LOCALIZER,
    heads=(
        HeadSpec("species", "classes", 3, "species", labels=("cat", "dog", "not:cat")),
        HeadSpec("frame", "box", 4, "frame", box=BoxSpec()),
        HeadSpec("age", "values", 1, "age", unit="years"),
        HeadSpec("a:b", "labels", 2, "a:b", labels=("old", "dog")),
        HeadSpec("vector", "embedding", 64, "vector"),
        HeadSpec("mask", "mask", 3, "mask", labels=("sky", "old", "sky@1,2"), map_size_hw=(4, 4)),
    ),
)


@pytest.mark.parametrize(
    ("text", "index", "others"),
    [
        ("cat", 0, {}),
        ("dog", 1, {}),  # the default head comes first
        ("not:cat", 2, {}),  # an exact label wins over any syntax
        ("not:dog", 1, {"sign": -1}),
        ("not:a:b:dog", 9, {"sign": -1}),
        ("box:2", 5, {}),
        ("frame:3", 6, {}),
        ("age", 7, {}),
        ("age:0", 7, {}),
        ("not:age", 7, {"sign": -1}),
        ("a:b:old", 8, {}),
        ("a:b:1", 9, {}),
        ("vector", 10, {}),
        ("sky", 11, {}),
        ("mask:sky", 11, {}),
        ("mask:2", 13, {}),
        ("sky@1,2", 13, {}),
        ("sky@3.5,2", 11, {"pixel_xy": (3.5, 2.0)}),
        ("mask:old@3,2", 12, {"pixel_xy": (3.0, 2.0)}),
        ("12@3,2", 12, {"pixel_xy": (3.0, 2.0)}),
        ("not:sky@3,2", 11, {"sign": -1, "pixel_xy": (3.0, 2.0)}),
        ("13", 13, {}),
        ("-1", -1, {}),
        (None, -1, {}),
    ],
)
def test_the_grammar_of_targets(text, index, others):
    found = parse_target(MANY, text)
    expected = {"sign": 1, "pixel_xy": None, "against": None, **others}
    assert (found.index, found.sign, found.pixel_xy, found.against) == (
        index,
        expected["sign"],
        expected["pixel_xy"],
        expected["against"],
    )
    assert found.head.name == ("species" if index < 0 else MANY.numbering.entry(index).head.name)
    assert found.needs_reference == (found.head.name == "vector")
    assert found.takes_region == (found.head.name == "mask")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("old", "a label of several heads, expected one: give a:b:old, mask:old"),
        ("mask", "a head of 3 entries, expected one of them: give mask:0 … mask:2 or a label"),
        ("frame", "give frame:0 … frame:3"),
        ("mask:3", "found '3' of head mask, expected a label of it or an index from 0 to 2"),
        ("mask:skyy", "similar labels: sky"),
        ("age:1", "expected an index from 0 to 0"),
        ("a:b", "a head of 2 entries"),
        ("not:not:dog", "expected not: once"),
        ("cat@1,2", "expected a class of the mask mask"),
        ("sky@1", "expected LABEL@X,Y"),
        ("sky@a,b", "expected LABEL@X,Y"),
        ("sky@nan,1", "expected LABEL@X,Y"),
        ("@1,2", "found ''"),
        ("14", "expected a label, a class index from 0 to 2, box:0 … box:3, HEAD:LABEL with one of the heads species"),
        ("Sky", "similar labels: mask:sky"),
        ("box:9", "expected box:0, box:1, box:2 or box:3"),
    ],
)
def test_targets_that_are_refused(text, message):
    with pytest.raises(OnnxplainError, match=message) as caught:
        parse_target(MANY, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "against", "expected"),
    [("cat", "dog", (0, 1)), (None, "dog", (-1, 1)), ("mask:0", "mask:old", (11, 12)), (7, None, (7, None))],
)
def test_a_target_against_another(target, against, expected):
    found = parse_target(MANY, target, against)
    assert (found.index, found.against) == expected


@pytest.mark.parametrize(
    ("target", "against", "message"),
    [
        ("cat", "age", "against: found 'age' of head age, expected an entry of species"),
        ("cat", "cat", "the target itself"),
        ("cat", "not:dog", "leave out not: and @"),
        ("cat", "-1", "expected a label or an index"),
        ("cat", "cow", "target: found 'cow'"),
    ],
)
def test_what_cannot_be_compared_is_refused(target, against, message):
    with pytest.raises(OnnxplainError, match=message):
        parse_target(MANY, target, against)


def test_names_of_all_targets_are_targets_again():
    names = [target_name(MANY, index) for index in range(MANY.numbering.count)]
    assert names[:3] == ["cat", "dog", "not:cat"]
    assert names[3:11] == ["box:0", "box:1", "box:2", "box:3", "age", "a:b:old", "a:b:dog", "vector"]
    assert names[11:] == ["mask:sky", "mask:old", "mask:sky@1,2"]
    assert [resolve_target(MANY, name) for name in names] == list(range(14))


def test_a_target_that_is_more_than_an_index_has_none():
    for text in ("not:dog", "sky@1,2.5"):
        with pytest.raises(OnnxplainError, match="expected a target without not: and @ here"):
            resolve_target(MANY, text)


def test_a_box_alone_has_no_predicted_entry():
    alone = replace(LOCALIZER, heads=(LOCALIZER.heads[1],), layers=(), cam=None)
    with pytest.raises(OnnxplainError, match="the model's answer is a box"):
        parse_target(alone, None)
    assert parse_target(alone, "box:1").index == 1
