"""DETR and YOLOS of transformers, random weights: the detections of its own post-processing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxplain import Engine

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
for package in ("transformers", "timm", "torchvision"):
    if find_spec(package) is None:
        pytest.skip(f"{package} of the group `networks` is not installed", allow_module_level=True)

LABELS = ("ant", "bee", "cat", "dog", "elk")
SIZE_HW = (64, 96)


def yolos(transformers: Any) -> Any:
    config = transformers.YolosConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=list(SIZE_HW),
        patch_size=16,
        num_detection_tokens=10,
        id2label=dict(enumerate(LABELS)),
    )
    return transformers.YolosForObjectDetection(config), transformers.YolosImageProcessor


def detr(transformers: Any) -> Any:
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    sides = ("encoder", "decoder")
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        num_queries=12,
        id2label=dict(enumerate(LABELS)),
        **{
            f"{side}_{what}": number
            for side in sides
            for what, number in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
        },
    )
    return transformers.DetrForObjectDetection(config), transformers.DetrImageProcessor


class Outputs(torch.nn.Module):
    """Logits and boxes alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Any) -> Any:
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


@pytest.mark.parametrize("make", [yolos, detr], ids=["YOLOS", "DETR"])
def test_detections_are_those_of_transformers(make: Callable[[Any], Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.networks.vision import transformers

        torch.manual_seed(3)
        model, processor = make(transformers)
        # Random weights give all classes about the same score; larger ones tell them apart.
        for weights in model.class_labels_classifier.parameters():
            torch.nn.init.normal_(weights, std=0.7)
        model.eval()
        torch.onnx.export(
            Outputs(model),
            (torch.zeros(1, 3, *SIZE_HW),),
            str(tmp_path / "model.onnx"),
            input_names=["pixel_values"],
            output_names=["logits", "pred_boxes"],
            opset_version=17,
            dynamo=False,
        )
    # What save_pretrained writes beside it: labels, and the type that tells DETR from its kin.
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    engine = Engine(tmp_path / "model.onnx")
    assert engine.spec.detector is not None
    assert engine.spec.detector.layout_name == "detr"
    assert engine.spec.labels == LABELS
    photos = [np.random.default_rng(seed).integers(0, 256, (120, 200, 3), np.uint8) for seed in range(2)]
    logits, boxes = engine.run(engine.preprocess(photos), ["logits", "pred_boxes"])
    outputs = SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes))
    expected = processor.post_process_object_detection(None, outputs, threshold=0.3, target_sizes=[(120, 200)] * 2)
    for found, wanted in zip(engine.detect(photos, min_score=0.3), expected, strict=True):
        scores = wanted["scores"].numpy()
        assert len(scores) > 2
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(found.confidence, scores[order], atol=1e-5)
        np.testing.assert_array_equal(found.class_id, wanted["labels"].numpy()[order])
        boxes = wanted["boxes"].numpy()[order].clip(0, [200, 120, 200, 120])
        np.testing.assert_allclose(found.xyxy, boxes, atol=1e-2)
