"""Names told apart, numbers for JSON, IMAGE arguments; and that all of it loads nothing heavy."""

from __future__ import annotations

import math
import pkgutil

import pytest

from onnxplain import explanations
from onnxplain.demo import MODEL
from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import expand_images, read_image
from onnxplain.explanations.json_number import json_number
from onnxplain.explanations.unique import shortened, unique_names
from onnxplain.runtime import Engine
from tests.test_import import HEAVY, RUNTIME, modules_after


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["p", "p", "P", "p-2"], ["p", "p-2", "P-3", "p-2-2"]),
    ],
)
def test_unique_names(names, expected):
    assert unique_names(names) == expected


@pytest.mark.parametrize(
    ("name", "most_bytes", "expected"),
    [("photo", 5, "photo"), ("photo", 4, "phot"), ("müü", 4, "mü"), ("a\udce9b", 2, "a\udce9"), ("é", 1, "")],
)
def test_shortened(name, most_bytes, expected):
    assert shortened(name, most_bytes) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, 0.5), (-3, -3), (math.nan, None), (math.inf, None), (-math.inf, None)]
)
def test_json_number(value, expected):
    assert json_number(value) == expected


def test_an_argument_that_names_nothing_says_so_when_it_is_read(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    for argument, said in (
        (empty, r"found no image in this folder, .*\.jpg"),
        (tmp_path / "*.gif", "check the pattern"),
    ):
        (path,) = expand_images([str(argument)])
        with pytest.raises(ImageError, match=said):
            read_image(Engine(MODEL), path, None)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(explanations.__path__)])
def test_imports_are_light(name):
    assert not modules_after(f"import onnxplain.explanations.{name}") & (HEAVY | RUNTIME)
