"""The metadata of the contract: what is written is read again, and files of version 1 are read on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from onnxplain.contract import (
    ASSUMED,
    CONTRACT_VERSION,
    PRESETS,
    STATED,
    AttentionSpec,
    BoxSpec,
    InputSpec,
    LayerSpec,
    MapFrame,
    ModelSpec,
    Origin,
    Origins,
    OutputRoles,
    Preprocessing,
    PreprocessingParts,
    TailSpec,
    complete,
)
from onnxplain.demo import MODEL
from onnxplain.errors import ModelError
from onnxplain.runtime import Engine

READ = Origin("read", "preprocessor_config.json")
SPEC = ModelSpec.of_classifier(
    input=InputSpec("image", "nchw", (64, 48), PRESETS["caffe"], Origins(scale=ASSUMED, mean=READ)),
    outputs=OutputRoles("logits", None, "box", "cam_weights", "late", linear_head=True),
    classes=2,
    box=BoxSpec("xyxy", "pixels"),
    layers=(
        LayerSpec("early", "features/early", "gradients/early", 8, (16, 12), MapFrame.over((64, 48), (16, 12))),
        LayerSpec(
            "late", "features/late", "gradients/late", 16, (8, 6), MapFrame((4, 4), (16, -2), ((16, 48), (0, 48)))
        ),
    ),
    labels=("cat", "dog"),
    tail=TailSpec("model.tail.onnx", "0123", "late", outputs=("logits", "box")),
    shuffle_seed=3,
    attention=AttentionSpec(
        (LayerSpec("first", "attention/first", "attention_gradients/first", 2, (17, 17)),),
        (4, 4),
        *(1, 0),
        MapFrame.over((64, 48), (4, 4)),
        ((0, 1), None),
        layerwise=True,
    ),
)


def version_1(spec: ModelSpec, *, assumed: bool) -> str:
    """The JSON that the same file had in version 1: one word for the whole preprocessing, no frames."""
    tree = json.loads(spec.to_json())
    tree["version"] = 1
    del tree["heads"], tree["cam"], tree["extra_inputs"]
    box = None if spec.box is None else {"format": spec.box.format, "units": spec.box.units}
    tree |= {"task": spec.task, "outputs": asdict(spec.outputs), "classes": spec.classes, "box": box}
    if spec.tail is not None:
        logits, *boxes = tree["tail"].pop("outputs")
        tree["tail"] |= {"logits": logits, "box": boxes[0] if boxes else None}
    del tree["input"]["origins"]
    tree["input"]["assumed"] = assumed
    for layer in tree["layers"]:
        del layer["frame"]
    return json.dumps(tree)


def test_what_is_written_is_read_again() -> None:
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC
    assert json.loads(SPEC.to_json())["version"] == CONTRACT_VERSION == 2


@pytest.mark.parametrize(("assumed", "origin"), [(True, ASSUMED), (False, STATED)])
def test_version_1_is_read_as_version_2(assumed: bool, origin: Origin) -> None:
    found = ModelSpec.from_json(version_1(SPEC, assumed=assumed))
    assert found.input.origins == Origins.of_all(origin)
    assert [layer.frame for layer in found.layers] == [None, None]
    assert replace(found, input=SPEC.input, layers=SPEC.layers) == replace(SPEC, attention=None)


def test_the_shipped_file_of_version_1_opens() -> None:
    engine = Engine(MODEL)
    assert not engine.spec.input.assumed
    assert engine.spec.layers[-1].frame is None


def test_origins_name_the_parts_that_are_assumed() -> None:
    origins = Origins.of_all(ASSUMED).with_parts(["scale", "mean"], STATED)
    assert origins.assumed == ("channels", "std", "resize")
    assert not Origins().assumed
    assert [str(origin) for origin in (STATED, ASSUMED, READ)] == [
        "stated",
        "assumed",
        "read from preprocessor_config.json",
    ]


def test_a_map_over_the_whole_input() -> None:
    frame = MapFrame.over((64, 48), (16, 8))
    assert (frame.scale_hw, frame.offset_hw, frame.seen_hw) == ((4, 6), (0, 0), ((0, 64), (0, 48)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"version": 2', '"version": 3', "found contract version 3, expected version 1 or 2"),
        ('"kind": "read"', '"kind": "heard"', "found 'heard', expected one of stated, read, assumed"),
        ('"scale_hw": [4.0, 4.0]', '"scale_hw": [4.0, 0.0]', "expected positive scales"),
        ('"scale_hw": [4.0, 4.0]', '"scale_hw": [4.0]', r"scale_hw: found a list of 1 \(4\), expected a list of 2"),
    ],
)
def test_damaged_metadata_are_one_error(old: str, new: str, says: str) -> None:
    text = SPEC.to_json()
    assert old in text
    with pytest.raises(Exception, match=says) as caught:
        ModelSpec.from_json(text.replace(old, new))
    assert isinstance(caught.value, ModelError) or "origin" in str(caught.value)


IMAGENET = PRESETS["imagenet"]
# What the user states, what a file says, and which parts are then stated, read and assumed, with the values they get.
PARTS = {
    "nothing is known": ({}, {}, {}, IMAGENET),
    "a scale alone says no more than a scale": (
        {"scale": 1 / 255},
        {},
        {"scale": "stated"},
        Preprocessing("rgb", 1 / 255),
    ),
    "a mean alone": (
        {"mean": (104.0, 117.0, 123.0)},
        {},
        {"mean": "stated"},
        replace(PRESETS["caffe"], channels="rgb"),
    ),
    "an order of channels keeps the numbers": (
        {"channels": "bgr"},
        {},
        {"channels": "stated"},
        replace(IMAGENET, channels="bgr"),
    ),
    "what is stated wins over what was read": (
        {"resize": "stretch"},
        {"resize": "letterbox", "scale": 1 / 255, "mean": (0.5,), "std": (0.5,)},
        {"resize": "stated", "scale": "read", "mean": "read", "std": "read"},
        Preprocessing("rgb", 1 / 255, (0.5,), (0.5,), "stretch"),
    ),
    "the share of a crop comes with its way of resizing": (
        {},
        {"resize": "crop", "crop_share": 0.95},
        {"resize": "read", "crop_share": "read"},
        replace(IMAGENET, crop_share=0.95),
    ),
    "a stated crop has the usual share": (
        {"resize": "crop"},
        {"resize": "crop", "crop_share": 0.95},
        {"resize": "stated"},
        IMAGENET,
    ),
    "numbers that are stated are not mixed with numbers that were read": (
        {"scale": 1 / 127.5, "mean": (1.0,)},
        {"scale": 1 / 255, "std": (0.2,)},
        {"scale": "stated", "mean": "stated"},
        PRESETS["inception"],
    ),
}


@pytest.mark.parametrize(("stated", "read", "kinds", "expected"), PARTS.values(), ids=PARTS)
def test_every_part_is_stated_read_or_assumed(
    stated: dict[str, Any], read: dict[str, Any], kinds: dict[str, str], expected: Preprocessing
) -> None:
    found = complete(PreprocessingParts(**stated), PreprocessingParts(**read), "config.json", IMAGENET)
    assert found.preprocessing == expected
    for part in ("channels", "scale", "mean", "std", "resize", "crop_share"):
        origin = getattr(found.origins, part)
        assert origin.kind == kinds.get(part, "assumed"), part
        assert origin.source == ("config.json" if origin.kind == "read" else None)
