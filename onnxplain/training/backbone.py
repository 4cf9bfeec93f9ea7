"""Backbones: the part of a network that ends in its last feature map."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from onnxplain.contract import PRESETS, Preprocessing
from onnxplain.errors import OnnxplainError

SMALL = "small"
SMALL_PREPROCESSING = Preprocessing("rgb", 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize="stretch")

# No colon and no slash behind the source: timm would take hf-hub:OWNER/MODEL for an address to read from.
_NAME = re.compile(r"(timm|torchvision):([A-Za-z0-9_.]+)")
_HEADS = frozenset({"classifier", "fc", "head", "heads"})
"""The parts of torchvision's classifiers that belong to their labels."""
_TRIAL_SIZE_HW = (224, 224)


def check_backbone(name: str) -> None:
    """Raise OnnxplainError for a name that is no backbone's by its form."""
    if name != SMALL and not _NAME.fullmatch(name):
        raise OnnxplainError(
            f"backbone: found {name!r}, expected {SMALL}, timm:NAME or torchvision:NAME, such as timm:resnet18"
        )


def build_backbone(name: str, widths: Sequence[int] = (), *, pretrained: bool = False) -> nn.Module:
    """A module from images float32 (N, 3, H, W) to a feature map (N, K, h, w).

    `name`: ``small``, two 3 × 3 convolutions per stage of `widths`, each stage halving the resolution; or
    ``timm:NAME``, ``torchvision:NAME``, a network of that library without its head. `pretrained`: with the library's
    weights, downloaded where they are not cached. Raises OnnxplainError for unknown names, a library that is missing,
    networks without a last map, and weights that cannot be had.
    """
    check_backbone(name)
    if name == SMALL:
        if pretrained:
            raise OnnxplainError(f"backbone {SMALL}: has no pretrained weights: name one of timm or torchvision")
        return _small(widths)
    source, _, network = name.partition(":")
    build = _timm if source == "timm" else _torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the libraries say of their own old arguments
            return build(network, pretrained)
    except ModuleNotFoundError as error:
        raise OnnxplainError(f"backbone {name}: {error.name} is not installed: run pip install {source}") from error
    except OnnxplainError as error:
        raise OnnxplainError(f"backbone {name}: {error}") from error
    except Exception as error:  # whatever the library raises: unknown names, no network, a torch it was not built for
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        advice = "; where the weights cannot be downloaded, leave pretrained out" if pretrained else ""
        raise OnnxplainError(
            f"backbone {name}: cannot be built ({reason}), expected a network of {source}{advice}"
        ) from error


def backbone_preprocessing(name: str) -> Preprocessing:
    """How a backbone wants its pixels: ImageNet's numbers, or those that timm states; the whole image, stretched."""
    if name == SMALL:
        return SMALL_PREPROCESSING
    imagenet = PRESETS["imagenet"]
    mean, std = imagenet.mean, imagenet.std
    source, _, network = name.partition(":")
    if source == "timm":
        import timm

        stated: Any = timm.get_pretrained_cfg(network)
        if stated is not None:
            mean, std = tuple(stated.mean), tuple(stated.std)
    return Preprocessing("rgb", 1 / 255, mean, std, resize="stretch")


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _small(widths: Sequence[int]) -> nn.Module:
    stages: list[nn.Module] = []
    channels = 3
    for width in widths:
        stages += [convolution(channels, width, stride=2), convolution(width, width)]
        channels = width
    return nn.Sequential(*stages)


def _timm(name: str, pretrained: bool) -> nn.Module:
    import timm

    create: Any = timm.create_model
    network: nn.Module = create(name, pretrained=pretrained, num_classes=0, global_pool="")
    return _TimmMap(network)


class _TimmMap(nn.Module):
    """What a network of timm computes in front of its pooling, as (N, K, h, w).

    Convolutional networks give that themselves (`gives_map`); transformers give tokens, or channels last.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        channels = (network.num_features, getattr(network, "head_hidden_size", None))
        with torch.no_grad():
            shape = network.eval()(torch.zeros(1, *network.pretrained_cfg["input_size"])).shape
        self.gives_map = len(shape) == 4 and shape[1] in channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.gives_map:
            found: torch.Tensor = self.network(images)
        else:
            (found,) = self.network.forward_intermediates(
                images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
            )
        return found


def _torchvision(name: str, pretrained: bool) -> nn.Module:
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    network: nn.Module = get_model(name, weights="DEFAULT" if pretrained else None)
    return _TorchvisionMap(create_feature_extractor(network, {_last_map(network): "map"}))


class _TorchvisionMap(nn.Module):
    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.extractor(images)["map"]
        return found


def _last_map(network: nn.Module) -> str:
    """The name, in torchvision's feature extraction, of the last map (N, K, h, w) in front of pooling and head."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    _, names = get_graph_node_names(network)
    body = list(itertools.takewhile(lambda name: name.partition(".")[0] not in _HEADS, names))[1:]  # without the input
    with torch.no_grad():
        values = create_feature_extractor(network.eval(), body)(torch.zeros(1, 3, *_TRIAL_SIZE_HW))
    shapes = {name: value.shape for name, value in values.items() if isinstance(value, torch.Tensor)}
    last = ""
    for name, shape in shapes.items():
        if len(shape) == 4 and min(shape[2:]) > 1:
            last = name
        elif len(shape) == 3 and shape[0] == 1:  # tokens; parameters come without the batch
            last = ""
    if not last:
        raise OnnxplainError("gives tokens, expected a feature map: take timm's network of that kind")
    return last
