from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from onnxplain.errors import OnnxplainError
from onnxplain.training.digits import build_digits_localizer
from onnxplain.training.localizer import Localizer, LocalizerConfig


def test_shapes_of_the_shipped_network() -> None:
    module = build_digits_localizer().eval()
    with torch.inference_mode():
        logits, box = module(torch.zeros(2, 3, 64, 64))
        features = module.features(torch.zeros(2, 3, 64, 64))

    assert (logits.shape, box.shape, features.shape) == ((2, 10), (2, 4), (2, 96, 8, 8))
    assert (features >= 0).all()
    assert sum(parameter.numel() for parameter in module.parameters()) < 200_000


def test_the_label_head_is_the_class_map_averaged() -> None:
    """CAM, equation 2 of Zhou et al.: the mean of M_c over the map, plus the bias, is the logit."""
    module = build_digits_localizer().eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        features, weights = module.features(images), module.classifier.weight
        class_maps = torch.einsum("ck,nkhw->nchw", weights, features)
        logits = class_maps.mean(dim=(2, 3)) + module.classifier.bias

        torch.testing.assert_close(module(images)[0], logits)


def test_the_box_head_sees_where_a_pattern_lies() -> None:
    """Rolling the image by one cell leaves the pooled features alike, but the box must be free to move."""
    torch.manual_seed(0)
    module = Localizer(LocalizerConfig(classes=2, widths=(8, 8))).eval()
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 24:32, 24:32] = 3
    with torch.inference_mode():
        logits, box = module(image)
        rolled_logits, rolled_box = module(image.roll(8, dims=3))

    torch.testing.assert_close(logits, rolled_logits)
    assert (box - rolled_box).abs().max() > 100 * (logits - rolled_logits).abs().max()


def test_without_a_box_head_there_are_logits_alone() -> None:
    module = Localizer(LocalizerConfig(classes=2, box_channels=0)).eval()
    with torch.inference_mode():
        logits = module(torch.zeros(3, 3, 64, 64))

    assert logits.shape == (3, 2)


def test_building_leaves_the_global_random_state_alone_and_depends_on_the_seed() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_digits_localizer(seed) for seed in (1, 1, 2))

    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_hw": (60, 64)}, "60x64, expected multiples of 8"),
        ({"size_hw": (64,)}, "positive numbers"),
        ({"widths": ()}, "at least one stage"),
        ({"widths": (8, 0)}, "positive numbers"),
        ({"classes": 0}, "positive numbers"),
        ({"box_channels": -1}, "positive numbers"),
        ({"backbone": "resnet18"}, "expected small, timm:NAME or torchvision:NAME"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        LocalizerConfig(**{"classes": 10, **arguments})
