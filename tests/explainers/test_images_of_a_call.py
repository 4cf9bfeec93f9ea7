"""What is one image and what is several, for every call that takes images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import ImageError
from onnxplain.explainers import METHODS, Explanation, build, explain, localize
from onnxplain.runtime import Engine, Prediction
from onnxplain.runtime.image import list_images
from tests.explainers.test_contract_of_methods import OPTIONS, photo
from tests.explainers.tiny_model import MakeModel

Call = Callable[[Engine, Any], Any]


def _call_of(method: str) -> Call:
    return lambda engine, images: build(method, engine, **OPTIONS.get(method, {}))(images)


CALLS: dict[str, Call] = {
    "predict": lambda engine, images: engine.predict(images),
    "preprocess": lambda engine, images: engine.preprocess(images),
    "activations": lambda engine, images: engine.activations(images),
    "localize": localize,
    "localize by cam": lambda engine, images: localize(engine, images, "cam"),
    "explain": lambda engine, images: explain(engine, images, "grad-cam"),
    **{f"method {name}": _call_of(name) for name in METHODS},
}


def numbers(found: Any) -> list[np.ndarray]:
    """All arrays of an answer; a list of answers has those of each."""
    if isinstance(found, list):
        return [array for entry in found for array in numbers(entry)]
    if isinstance(found, Prediction):
        return [found.scores, np.array(found.box_xyxy, float)]
    if isinstance(found, Explanation):
        return [found.heatmap, found.raw]
    return [found] if isinstance(found, np.ndarray) else [found.features, found.gradients, found.target]


@pytest.mark.parametrize("name", CALLS)
def test_a_list_a_tuple_and_a_generator_give_the_same(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    engine, path = make_model(box=True, pixels=True).engine, tmp_path / "photo.png"
    Image.fromarray(photo((30, 20))).save(path)
    images = [photo((24, 32)), path, str(path), Image.fromarray(photo((9, 9)))]
    expected = CALLS[name](engine, images)

    def generate() -> Iterator[Any]:
        yield from images

    for given in (tuple(images), generate(), iter(images), dict(enumerate(images)).values()):
        found = CALLS[name](engine, given)
        assert isinstance(found, type(expected))
        assert not isinstance(expected, list) or len(found) == len(images)
        for one, other in zip(numbers(found), numbers(expected), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_in_an_iterable_is_an_error(make_model: MakeModel, name: str) -> None:
    for nothing in ([], (), iter([])):
        with pytest.raises(ImageError, match=r"^images: found an empty list, expected at least one image$"):
            CALLS[name](make_model(box=True, pixels=True).engine, nothing)


@pytest.mark.parametrize("name", [name for name in CALLS if name == "explain" or name.startswith("method ")])
def test_a_path_a_picture_and_an_array_are_one_image(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    engine, image_hwc, path = make_model(pixels=True).engine, photo((24, 32)), tmp_path / "photo.png"
    Image.fromarray(image_hwc).save(path)
    for image in (image_hwc, path, str(path), Image.fromarray(image_hwc)):
        assert isinstance(CALLS[name](engine, image), Explanation)
        assert isinstance(CALLS[name](engine, iter([image])), list)


def test_what_is_no_image_and_holds_none_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^images: found int, expected an image or a list of images"):
        list_images(3)
