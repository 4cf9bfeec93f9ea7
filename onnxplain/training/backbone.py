"""Backbones: the part of a network up to its last feature map."""

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

# No colon and no slash after the source: timm would download a model from hf-hub:OWNER/MODEL.
_NAME = re.compile(r"(timm|torchvision):([A-Za-z0-9_.]+)")
_HEADS = frozenset({"classifier", "fc", "head", "heads"})
"""Names of the classification head in torchvision's networks."""
_TRIAL_SIZE_HW = (224, 224)


def check_backbone(name: str) -> None:
    """Raise OnnxplainError for a name that does not have the form of a backbone's name."""
    if name != SMALL and not _NAME.fullmatch(name):
        raise OnnxplainError(
            f"backbone: found {name!r}, expected {SMALL}, timm:NAME or torchvision:NAME, such as timm:resnet18"
        )


def build_backbone(name: str, widths: Sequence[int] = (), *, pretrained: bool = False) -> nn.Module:
    """A module from images float32 (N, 3, H, W) to a feature map (N, K, h, w).

    `name`: ``small``, two 3 × 3 convolutions per stage of `widths`, each stage halving the resolution; or
    ``timm:NAME``, ``torchvision:NAME``, a network of that library without its head. `pretrained`: with the library's
    weights, downloaded if they are not cached. Raises OnnxplainError for unknown names, a missing library, networks
    without a last map, and weights that cannot be downloaded.
    """
    check_backbone(name)
    if name == SMALL:
        if pretrained:
            raise OnnxplainError(f"backbone {SMALL}: has no pretrained weights: use a backbone of timm or torchvision")
        return _small(widths)
    source, _, network = name.partition(":")
    build = _timm if source == "timm" else _torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecation warnings inside the libraries
            return build(network, pretrained)
    except ModuleNotFoundError as error:
        raise OnnxplainError(f"backbone {name}: {error.name} is not installed: run pip install {source}") from error
    except OnnxplainError as error:
        raise OnnxplainError(f"backbone {name}: {error}") from error
    except Exception as error:  # the library may raise anything: unknown name, no network, wrong torch
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        advice = "; if the weights cannot be downloaded, leave pretrained out" if pretrained else ""
        raise OnnxplainError(
            f"backbone {name}: cannot be built ({reason}), expected a network of {source}{advice}"
        ) from error


def backbone_preprocessing(name: str) -> Preprocessing:
    """The preprocessing for a backbone: ImageNet's mean and std, or timm's; the whole image, stretched."""
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
    """The output of a timm network before its pooling, as (N, K, h, w).

    Convolutional networks return that directly (`gives_map`); transformers return tokens, or channels last.
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
    """The name, in torchvision's feature extraction, of the last map (N, K, h, w) before pooling and head."""
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
        elif len(shape) == 3 and shape[0] == 1:  # tokens; parameters have no batch axis
            last = ""
    if not last:
        raise OnnxplainError("gives tokens, expected a feature map: use the timm network of the same kind")
    return last
