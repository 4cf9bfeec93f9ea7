"""Each tool's metadata in their documented form, and what becomes of what they must not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxplain.contract import PreprocessingParts
from onnxplain.sidecars import TOOLS, SidecarFacts, read_sidecars

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RGB_UNIT = PreprocessingParts("rgb", 1 / 255, (0.0,), (1.0,))
# https://docs.ultralytics.com/modes/export: what an export of YOLO11 writes.
YOLO = {
    "description": "Ultralytics YOLO11n model trained on coco.yaml",
    "author": "Ultralytics",
    "version": "8.3.0",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": "[640, 480]",
    "names": "{0: 'person', 1: \"driver's cab\"}",
    "channels": "3",
}
# https://huggingface.co/google/vit-base-patch16-224/blob/main/preprocessor_config.json, with its mean.
VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.25, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 192},
}
VIT_PARTS = PreprocessingParts("rgb", 0.00392156862745098, (0.5, 0.5, 0.5), (0.5, 0.25, 0.5), "stretch")
# https://huggingface.co/openai/clip-vit-base-patch32/blob/main/preprocessor_config.json
CLIP = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": {"shortest_edge": 224},
}
# https://huggingface.co/timm/resnet50.a1_in1k/blob/main/config.json
TIMM = {
    "architecture": "resnet50",
    "num_classes": 2,
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "test_crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(IMAGENET[0]),
        "std": list(IMAGENET[1]),
        "label_names": ["ant", "bee"],
    },
}
# What PaddleClas exports: https://github.com/PaddlePaddle/PaddleClas (ppcls/utils/save_load and export_model)
PADDLE = """
Global: {model_name: PP-LCNet_x1_0}
PreProcess:
  transform_ops:
  - ResizeImage: {resize_short: 256}
  - CropImage: {size: 224}
  - NormalizeImage: {channel_num: 3, mean: [0.485, 0.456, 0.406], order: '', scale: 1./255., std: [0.229, 0.224, 0.225]}
  - ToCHWImage: null
PostProcess:
  Topk: {topk: 5, label_list: [ant, bee]}
"""
# PaddleDetection: https://github.com/PaddlePaddle/PaddleDetection/blob/release/2.8/deploy/EXPORT_MODEL.md
PADDLE_DETECTION = """
Preprocess:
- {interp: 2, keep_ratio: false, target_size: [640, 512], type: Resize}
- {is_scale: true, mean: [0.0, 0.0, 0.0], norm_type: none, std: [1.0, 1.0, 1.0], type: NormalizeImage}
- {type: Permute}
label_list: [person, car]
"""


def read(folder: Path, files: dict[str, Any], props: dict[str, str] | None = None) -> SidecarFacts:
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_sidecars(folder / "model.onnx", props or {})


def values(facts: SidecarFacts) -> dict[str, Any]:
    return {name: fact.value for name, fact in vars(facts).items() if name != "problems" and fact is not None}


# Files, metadata, and every fact.
READ = {
    "nothing": ({}, {}, {}),
    "foreign files": ({"config.json": {"port": 80}, "inference.yml": "port: 80"}, {"names": "x"}, {}),
    "Ultralytics detect": (
        {},
        YOLO,
        {
            "labels": ("person", "driver's cab"),
            "input_size_hw": (640, 480),
            "channels": 3,
            "task": "detect",
            "layout": "nchw",
            "parts": RGB_UNIT.over(PreprocessingParts(resize="letterbox")),
        },
    ),
    "Ultralytics classify, gray, names as JSON": (
        {},
        {"stride": "1", "task": "classify", "names": '{"0": "ant"}', "imgsz": "[28, 28]", "channels": "1"},
        {
            "labels": ("ant",),
            "input_size_hw": (28, 28),
            "channels": 1,
            "task": "classify",
            "kind": "classes",
            "layout": "nchw",
            "parts": PreprocessingParts("gray", 1 / 255, (0.0,), (1.0,), "crop", 1.0),
        },
    ),
    "YOLOv5 says no task": ({}, {"stride": "32", "names": "['ant', 'bee']"}, {"labels": ("ant", "bee")}),
    "Hugging Face ViT": (
        {
            "preprocessor_config.json": VIT,
            "config.json": {"id2label": {"1": "bee", "0": "ant"}, "num_channels": 3, "image_size": [224, 192]},
        },
        {},
        {
            "parts": VIT_PARTS,
            "input_size_hw": (224, 192),
            "labels": ("ant", "bee"),
            "channels": 3,
            "layout": "nchw",
        },
    ),
    "Hugging Face class": ({"config.json": {"architectures": ["ViTForImageClassification"]}}, {}, {"kind": "classes"}),
    "Hugging Face segmentation": (
        {"config.json": {"architectures": ["SegformerForSemanticSegmentation"]}},
        {},
        {"kind": "mask"},
    ),
    "Hugging Face depth": ({"config.json": {"architectures": ["DPTForDepthEstimation"]}}, {}, {"kind": "values"}),
    "Hugging Face base model": ({"config.json": {"architectures": ["ViTModel"], "problem_type": None}}, {}, {}),
    "Hugging Face labels": (
        {
            "config.json": {
                "problem_type": "multi_label_classification",
                "architectures": ["ViTForImageClassification"],
            }
        },
        {},
        {"kind": "labels"},
    ),
    "Hugging Face regression": ({"config.json": {"problem_type": "regression"}}, {}, {"kind": "values"}),
    "Hugging Face without names": ({"config.json": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}}, {}, {}),
    "Hugging Face CLIP": (
        {"preprocessor_config.json": CLIP},
        {},
        {
            "parts": PreprocessingParts(
                "rgb", 1 / 255, tuple(CLIP["image_mean"]), tuple(CLIP["image_std"]), "crop", 1.0
            ),
            "input_size_hw": (224, 224),
        },
    ),
    "an old CLIP: sizes in one number": (
        {"preprocessor_config.json": {**CLIP, "size": 256, "crop_size": 224}},
        {},
        {
            "parts": PreprocessingParts(
                "rgb", 1 / 255, tuple(CLIP["image_mean"]), tuple(CLIP["image_std"]), "crop", 0.875
            ),
            "input_size_hw": (224, 224),
        },
    ),
    # https://huggingface.co/docs/transformers/model_doc/convnext: crop_pct below 384, squeezed from 384 on.
    "ConvNeXT 224": (
        {
            "preprocessor_config.json": {
                **VIT,
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 224},
                "crop_pct": 0.9,
            }
        },
        {},
        {
            "parts": PreprocessingParts("rgb", VIT_PARTS.scale, VIT_PARTS.mean, VIT_PARTS.std, "crop", 0.9),
            "input_size_hw": (224, 224),
        },
    ),
    # https://huggingface.co/docs/transformers/model_doc/mobilevit: BGR, no normalisation.
    "MobileViT": (
        {
            "preprocessor_config.json": {
                "image_processor_type": "MobileViTImageProcessor",
                "size": {"shortest_edge": 288},
                "crop_size": {"height": 256, "width": 256},
                "do_center_crop": True,
                "do_flip_channel_order": True,
            }
        },
        {},
        {"parts": PreprocessingParts("bgr", 1 / 255, (0.0,), (1.0,), "crop", 256 / 288), "input_size_hw": (256, 256)},
    ),
    "timm": (
        {"config.json": TIMM},
        {},
        {
            "labels": ("ant", "bee"),
            "input_size_hw": (224, 224),
            "channels": 3,
            "layout": "nchw",
            "parts": PreprocessingParts("rgb", 1 / 255, *IMAGENET, "crop", 0.95),
        },
    ),
    "PaddleClas": (
        {"inference.yml": PADDLE},
        {},
        {
            "labels": ("ant", "bee"),
            "input_size_hw": (224, 224),
            "parts": PreprocessingParts("rgb", 1 / 255, *IMAGENET, "crop", 0.875),
        },
    ),
    "PaddleDetection": (
        {"infer_cfg.yml": PADDLE_DETECTION},
        {},
        {
            "labels": ("person", "car"),
            "input_size_hw": (640, 512),
            "parts": RGB_UNIT.over(PreprocessingParts(resize="stretch")),
        },
    ),
    "labels of the model": ({"model.labels.txt": "ant\nbee", "labels.txt": "other"}, {}, {"labels": ("ant", "bee")}),
    "class index": ({"class_index.json": {"0": ["n01", "ant"]}}, {}, {"labels": ("ant",)}),
}
TOOL_ROWS = {
    "Ultralytics": "Ultralytics detect",
    "timm": "timm",
    "Hugging Face": "Hugging Face ViT",
    "Paddle": "PaddleClas",
    "label file": "class index",
}


@pytest.mark.parametrize(("files", "props", "expected"), READ.values(), ids=READ)
def test_what_is_read(tmp_path: Path, files: dict[str, Any], props: dict[str, str], expected: dict[str, Any]) -> None:
    facts = read(tmp_path, files, props)
    assert values(facts) == expected
    assert facts.problems == ()


def test_every_tool_has_a_row() -> None:
    assert TOOL_ROWS.keys() == TOOLS.keys()
    assert set(TOOL_ROWS.values()) <= READ.keys()


def test_every_tool_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sidecars.md").read_text(encoding="utf-8")
    table = page.partition("| tool |")[2].partition("\n\n")[0]
    rows = {line.split("|")[1].strip(" `"): line for line in table.splitlines()[2:]}
    assert rows.keys() == TOOLS.keys()
    assert all(file in rows[name] for name, tool in TOOLS.items() for file in tool.where.split(", "))


RESIZED = {"parts", "input_size_hw"}
YOLO_FACTS = {"labels", "input_size_hw", "channels", "task", "layout", "parts"}
CUT = {**CLIP, "size": {"shortest_edge": 200}}
# Files, metadata, a part of the problem, and the facts that are left.
UNUSABLE: dict[str, tuple[dict[str, Any], dict[str, str], str, set[str]]] = {
    "broken JSON": ({"config.json": "{"}, {}, "broken JSON", set()),
    "a list": ({"config.json": "[]"}, {}, "a list where an object belongs", set()),
    "nested": ({"preprocessor_config.json": "[" * 99_999}, {}, "broken JSON", set()),
    "huge": ({"config.json": b" " * (8 * 2**20 + 1)}, {}, "more than 8,388,608 bytes", set()),
    "no text": ({"config.json": b"\xff\xfe"}, {}, "not UTF-8", set()),
    "labels of numbers": ({"config.json": {"id2label": {"0": 1}}}, {}, "labels that are not text", set()),
    "size of text": ({"config.json": {"image_size": "a" * 999}}, {}, "image_size: text", set()),
    "channels of truth": ({"config.json": {"num_channels": True}}, {}, "num_channels: a truth value", set()),
    "mean of text": ({"preprocessor_config.json": {**VIT, "image_mean": "x"}}, {}, "image_mean: text", RESIZED),
    "std of zero": ({"preprocessor_config.json": {**VIT, "image_std": [0, 1, 1]}}, {}, "image_std: 0", RESIZED),
    "std not finite": (
        {"preprocessor_config.json": json.dumps({**VIT, "image_std": [float("nan")] * 3})},
        {},
        "image_std: a number",
        RESIZED,
    ),
    "no mean": ({"preprocessor_config.json": {**VIT, "image_mean": None}}, {}, "image_mean: nothing", RESIZED),
    "four numbers": (
        {"preprocessor_config.json": {**VIT, "image_mean": [0] * 4}},
        {},
        "4 numbers in image_mean",
        RESIZED,
    ),
    "filled up": ({"preprocessor_config.json": CUT}, {}, "larger than the resized image", {"parts"}),
    "not cut": ({"preprocessor_config.json": {**CLIP, "do_center_crop": False}}, {}, "and not cut", {"parts"}),
    "not square": (
        {"preprocessor_config.json": {**CLIP, "crop_size": {"height": 200, "width": 224}}},
        {},
        "a cut of 200x224",
        {"parts"},
    ),
    "squeezed and cut": (
        {"preprocessor_config.json": {**CLIP, "size": {"height": 256, "width": 256}}},
        {},
        "squeezed and then cut",
        {"parts"},
    ),
    "another loss": ({"config.json": {"problem_type": ["x"]}}, {}, "an unknown problem_type", set()),
    "not resized": ({"preprocessor_config.json": {**VIT, "do_resize": False}}, {}, "no resizing", {"parts"}),
    "another processor": (
        {"preprocessor_config.json": {**VIT, "image_processor_type": "LevitImageProcessor"}},
        {},
        "the kind Levit",
        set(),
    ),
    "normalised twice": ({"preprocessor_config.json": {**VIT, "include_top": True}}, {}, "include_top", set()),
    "timm border": (
        {"config.json": {"pretrained_cfg": {**TIMM["pretrained_cfg"], "crop_mode": "border"}}},
        {},
        "crop_mode",
        {"parts", "labels", "input_size_hw", "channels", "layout"},
    ),
    "timm without a size": ({"config.json": {"pretrained_cfg": {}}}, {}, "without an input_size", set()),
    "timm of text": ({"config.json": {"pretrained_cfg": "x"}}, {}, "text where an object belongs", set()),
    "broken YAML": ({"inference.yml": "a: ["}, {}, "broken YAML", set()),
    "a YAML tag": ({"inference.yml": "!!python/object/apply:os.system [ls]"}, {}, "broken YAML", set()),
    "nested YAML": ({"inference.yml": "[" * 20_000}, {}, "broken YAML", set()),
    "huge YAML": ({"inference.yml": "a: 1\n" + "#" * 2**18}, {}, "more than 262,144 bytes", set()),
    "an operator of Paddle's": ({"inference.yml": PADDLE.replace("CropImage", "Rotate")}, {}, "operator", {"labels"}),
    "a scale by zero": ({"inference.yml": PADDLE.replace("1./255.", "1/0")}, {}, "no fraction", {"labels"}),
    "Ultralytics code": ({}, {**YOLO, "names": "__import__('os')"}, "neither JSON nor", YOLO_FACTS - {"labels"}),
    "Ultralytics nested": ({}, {**YOLO, "names": "(" * 99_999}, "neither JSON nor", YOLO_FACTS - {"labels"}),
    "Ultralytics minus": ({}, {**YOLO, "names": "-" * 99_999 + "1"}, "neither JSON nor", YOLO_FACTS - {"labels"}),
    "Ultralytics long": ({}, {**YOLO, "names": "[" + " " * 2**21}, "more than 2,097,152", YOLO_FACTS - {"labels"}),
    "Ultralytics escape": ({}, {**YOLO, "imgsz": "'\\d'"}, "imgsz: text", YOLO_FACTS - {"input_size_hw"}),
    "Ultralytics task": ({}, {**YOLO, "task": "fly"}, "an unknown task", {"labels", "input_size_hw", "channels"}),
    "Ultralytics size": ({}, {**YOLO, "imgsz": "[0, -1]"}, "imgsz: 0", YOLO_FACTS - {"input_size_hw"}),
}


@pytest.mark.parametrize(("files", "props", "says", "left"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_not_as_it_says_is_one_problem(
    tmp_path: Path, files: dict[str, Any], props: dict[str, str], says: str, left: set[str]
) -> None:
    facts = read(tmp_path, files, props)
    (problem,) = facts.problems
    assert says in problem.found
    assert len(problem.found) + len(problem.expected) < 250
    assert values(facts).keys() == left


def test_transformers_js_keeps_models_one_folder_lower(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    (tmp_path / "onnx").mkdir()
    assert read_sidecars(tmp_path / "onnx" / "model.onnx", {}).parts is not None
    (tmp_path / "other").mkdir()
    assert read_sidecars(tmp_path / "other" / "model.onnx", {}) == SidecarFacts()


def test_the_first_of_two_tools_counts_and_the_other_is_named(tmp_path: Path) -> None:
    facts = read(tmp_path, {"labels.txt": "x\ny"}, YOLO)
    assert facts.labels is not None
    assert facts.labels.value == ("person", "driver's cab")
    (problem,) = facts.problems
    assert (problem.source, problem.found) == ("labels.txt", "other labels")
    assert read(tmp_path, {"labels.txt": "person\ndriver's cab"}, YOLO).problems == ()


def test_yaml_without_pyyaml_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxplain.sidecars.surroundings.find_spec", lambda _name: None)
    (problem,) = read(tmp_path, {"inference.yml": PADDLE}).problems
    assert problem.source == "inference.yml"
    assert "pyyaml" in problem.found
    assert "pip install pyyaml" in problem.expected
