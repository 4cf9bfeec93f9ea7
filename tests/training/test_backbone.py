from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

from onnxplain.errors import OnnxplainError
from onnxplain.exporters import export
from onnxplain.runtime import Engine
from onnxplain.training.backbone import SMALL, backbone_preprocessing, build_backbone, check_backbone
from onnxplain.training.checkpoint import load_checkpoint, save_checkpoint
from onnxplain.training.localizer import Localizer, LocalizerConfig, build_localizer
from onnxplain.training.options import TrainingOptions
from onnxplain.training.photo_training import PhotoParts, photo_training
from onnxplain.training.photos import Photos

pytest.importorskip("tests.networks.vision", reason="needs timm and torchvision")

import torch

MAPS = [
    ("small", (64, 96), (8, 16, 24)),
    ("timm:test_resnet", (64, 96), (96, 2, 3)),
    ("timm:test_efficientnet", (64, 96), (256, 2, 3)),
    ("timm:test_vit", (160, 160), (64, 10, 10)),
    ("torchvision:mobilenet_v3_small", (64, 96), (576, 2, 3)),
    ("torchvision:squeezenet1_1", (64, 96), (512, 3, 5)),
    ("torchvision:shufflenet_v2_x0_5", (64, 96), (1024, 2, 3)),
    ("torchvision:convnext_tiny", (64, 96), (768, 2, 3)),
]


@pytest.mark.parametrize(("name", "size_hw", "shape"), MAPS, ids=[name for name, *_ in MAPS])
def test_a_backbone_ends_in_its_last_map(name: str, size_hw: tuple[int, int], shape: tuple[int, ...]) -> None:
    features = build_backbone(name, (8, 8) if name == SMALL else ()).eval()
    with torch.no_grad():
        found = features(torch.randn(2, 3, *size_hw))
    expected = (8, 16, 24) if name == SMALL else shape
    assert found.shape == (2, *expected)


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_the_last_map_is_the_one_in_front_of_the_librarys_own_pooling(name: str) -> None:
    """Pooled, it is what the library's own network pools."""
    from tests.networks.vision import get_model, timm

    torch.manual_seed(3)
    features = build_backbone(name).eval()
    torch.manual_seed(3)
    images = torch.randn(2, 3, 64, 64)
    if name.startswith("timm:"):
        network = timm.create_model(name.partition(":")[2], num_classes=0, global_pool="avg").eval()
    else:
        network = get_model(name.partition(":")[2], weights=None).eval()
        network.classifier = torch.nn.Identity()
    network.load_state_dict(
        {key.partition(".")[2]: value for key, value in features.state_dict().items()}, strict=False
    )
    with torch.no_grad():
        torch.testing.assert_close(features(images).mean(dim=(2, 3)), network(images))


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "torchvision:squeezenet1_1"])
def test_localizers_on_other_backbones_are_saved_exported_and_predict_alike(name: str, tmp_path: Path) -> None:
    size_hw = (160, 160) if name == "timm:test_vit" else (64, 96)
    module = build_localizer(LocalizerConfig(3, size_hw, box_channels=2, backbone=name), seed=1).eval()
    save_checkpoint(tmp_path / "model.pt", module, "abc", backbone_preprocessing(name))
    checkpoint = load_checkpoint(tmp_path / "model.pt")
    export(
        checkpoint.module,
        tmp_path / "model.onnx",
        input_size_hw=size_hw,
        layers=[checkpoint.module.explainable_layer],
        labels=checkpoint.labels,
        preprocessing=checkpoint.preprocessing,
    )
    engine = Engine(tmp_path / "model.onnx")
    image_hwc = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)
    batch = engine.preprocess(image_hwc)
    with torch.no_grad():
        logits, _ = module(torch.from_numpy(batch))

    np.testing.assert_allclose(engine.scores(batch), logits.softmax(1).numpy(), rtol=1e-4)
    # The classifier reads the mean of the layer's map in all three.
    assert engine.spec.outputs.cam_weights is not None


@pytest.mark.parametrize(
    "name",
    ["resnet18", "timm:", "timm:hf-hub:someone/model", "torchvision:a/b", "keras:resnet", "timm:local-dir:x", ""],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(OnnxplainError, match="expected small, timm:NAME or torchvision:NAME"):
        check_backbone(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:no_such_network", "Unknown model"),
        ("torchvision:no_such_network", "Unknown model"),
        ("torchvision:vit_b_32", "gives tokens"),
    ],
)
def test_networks_that_cannot_serve_are_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(OnnxplainError, match=words) as caught:
        build_backbone(name)
    assert str(caught.value).startswith(f"backbone {name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_missing_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (library, f"{library}.models"):
        monkeypatch.setitem(sys.modules, module, None)
    photos = Photos((), ("a", "b"), np.zeros(0, np.int64), (), (128, 128), None)
    with pytest.raises(OnnxplainError, match=f"is not installed: run pip install {library}"):
        photo_training(PhotoParts(photos, photos, None, ()), TrainingOptions(backbone=f"{library}:resnet18"))


def test_a_size_that_the_network_does_not_take_is_refused() -> None:
    with pytest.raises(OnnxplainError, match="does not take 64x96"):
        Localizer(LocalizerConfig(2, (64, 96), backbone="timm:vit_tiny_patch16_224"))


def test_the_small_backbone_has_no_pretrained_weights() -> None:
    with pytest.raises(OnnxplainError, match="no pretrained weights"):
        build_backbone(SMALL, (8,), pretrained=True)


@pytest.mark.parametrize(
    ("name", "function"),
    [("timm:test_resnet", "timm.create_model"), ("torchvision:resnet18", "torchvision.models.get_model")],
)
def test_weights_that_cannot_be_downloaded_are_an_error_never_random_ones(
    name: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **options: object) -> None:
        assert options.get("pretrained") is True or options.get("weights") == "DEFAULT"
        raise OSError("no route\nto host")

    monkeypatch.setattr(function, offline)
    with pytest.raises(OnnxplainError, match=r"no route to host.*leave pretrained out"):
        build_backbone(name, pretrained=True)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("torchvision:resnet18", (0.485, 0.456, 0.406)),
        ("timm:resnet18", (0.485, 0.456, 0.406)),
        ("timm:test_vit", (0.5,) * 3),
    ],
)
def test_pixels_are_normalised_as_the_library_does_and_stretched(name: str, mean: tuple[float, ...]) -> None:
    preprocessing = backbone_preprocessing(name)
    assert (preprocessing.mean, preprocessing.resize, preprocessing.scale) == (mean, "stretch", 1 / 255)
