"""The network: a backbone, a head of classes, labels or one number and, if boxes are learnt, a box head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from onnxplain.errors import OnnxplainError
from onnxplain.training.backbone import SMALL, build_backbone, check_backbone, convolution

AnswerKind = Literal["classes", "labels", "values"]
"""The kinds of heads that a network may have beside a box."""


@dataclass(frozen=True)
class LocalizerConfig:
    """The configuration of a `Localizer`; it is stored in checkpoints.

    `backbone`: a name that `build_backbone` takes. `widths`: channels of each stage of the small backbone; every
    stage halves the resolution. `box_channels`: number of feature maps in the box head, at the resolution of the
    last map; 0 for no box head. `answer`: ``classes``, one of `classes` classes; ``labels``, any of `classes` labels;
    ``values``, `classes` numbers. Raises OnnxplainError for an input size that the stages cannot halve, and for a box
    head beside labels or values.
    """

    classes: int
    size_hw: tuple[int, int] = (64, 64)
    widths: tuple[int, ...] = (16, 48, 96)
    box_channels: int = 16
    backbone: str = SMALL
    answer: AnswerKind = "classes"

    def __post_init__(self) -> None:
        # Values from a checkpoint are lists.
        object.__setattr__(self, "size_hw", tuple(int(side) for side in self.size_hw))
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        check_backbone(self.backbone)
        numbers = (self.classes, *self.widths, *self.size_hw)
        if not self.widths or len(self.size_hw) != 2 or min(numbers) < 1 or self.box_channels < 0:
            raise OnnxplainError(f"localizer: {self}: expected positive numbers and at least one stage")
        if self.answer not in get_args(AnswerKind) or (self.answer != "classes" and self.box_channels):
            raise OnnxplainError(
                f"localizer: found the answer {self.answer!r} and {self.box_channels} box channels, expected one of "
                f"{', '.join(get_args(AnswerKind))}, and a box head only beside classes"
            )
        if self.backbone == SMALL and any(side % self.stride for side in self.size_hw):
            raise OnnxplainError(
                f"localizer: found input size {self.size_hw[0]}x{self.size_hw[1]}, "
                f"expected multiples of {self.stride}: each of the {len(self.widths)} stages halves it"
            )

    @property
    def stride(self) -> int:
        """Pixels of the input per cell of the small backbone's last feature map, along each axis."""
        return 1 << len(self.widths)


class Localizer(nn.Module):
    """Predicts the label and, with a box head, the box of the one object in an image; or several labels; or a number.

    `features` gives the last spatial map. The label head is global average pooling + linear, so the class activation
    map is exact (Zhou et al. 2016, equation 2). The box head flattens its maps instead, because pooling loses the
    position of the object. `pretrained`: start from the backbone's pretrained weights. Raises OnnxplainError for a
    backbone that cannot be built or does not take images of `config.size_hw`.
    """

    mean: torch.Tensor | None
    scale: torch.Tensor | None

    def __init__(self, config: LocalizerConfig, *, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.features = build_backbone(config.backbone, config.widths, pretrained=pretrained)
        channels, cells = _map_shape(self.features, config)
        self.classifier = nn.Linear(channels, config.classes)
        # Of the training numbers: the linear layer then learns numbers near 0 and 1, whatever their unit.
        is_number = config.answer == "values"
        self.register_buffer("mean", torch.zeros(config.classes) if is_number else None)
        self.register_buffer("scale", torch.ones(config.classes) if is_number else None)
        self.box: nn.Sequential | None = None
        if config.box_channels:
            self.box = nn.Sequential(
                convolution(channels, config.box_channels, kernel=1),
                nn.Flatten(),
                nn.Linear(cells * config.box_channels, 4),
            )

    @property
    def explainable_layer(self) -> str:
        """The layer that `export` instruments: ``features``, or ``auto`` if `features` makes its map from tokens: the
        exporter takes the tokens themselves."""
        return "features" if getattr(self.features, "gives_map", True) else "auto"

    def forward(
        self, images: torch.Tensor
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor] | dict[str, torch.Tensor]:
        """Images float32 (N, 3, H, W) → logits (N, C), with a box head (logits, box); or a head by its name:
        ``labels``, probabilities (N, L); ``values``, numbers (N, K)."""
        answer, box = self.heads(images)
        if self.config.answer == "labels":
            return {"labels": torch.sigmoid(answer)}
        if self.config.answer == "values":
            return {"values": answer}
        return answer if box is None else (answer, box)

    def heads(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (N, C) or numbers (N, K), and box (N, 4), cx, cy, w, h as shares of width and height; None without a
        box head."""
        features = self.features(images)
        pooled = features.mean(dim=(2, 3))
        if self.scale is None or self.mean is None:
            answer = self.classifier(pooled)
        else:
            # One linear layer, so that the exported number has a class activation map.
            weight = self.classifier.weight * self.scale[:, None]
            answer = nn.functional.linear(pooled, weight, self.classifier.bias * self.scale + self.mean)
        return answer, None if self.box is None else self.box(features)

    def expect_numbers(self, truths: torch.Tensor) -> None:
        """Take mean and standard deviation of the training numbers (N, K) as offset and scale of the answer."""
        if self.scale is None or self.mean is None:
            raise OnnxplainError(f"localizer: found the answer {self.config.answer}, expected values")
        spread = truths.std(dim=0, correction=0)
        self.mean.copy_(truths.mean(dim=0))
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))


def build_localizer(config: LocalizerConfig, seed: int, *, pretrained: bool = False) -> Localizer:
    """An untrained localizer; its weights depend only on `config` and `seed`. torch's random state is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Localizer(config, pretrained=pretrained)


def _map_shape(features: nn.Module, config: LocalizerConfig) -> tuple[int, int]:
    """Number of channels and of cells of the last map, measured with a blank image."""
    height, width = config.size_hw
    try:
        with torch.no_grad():
            shape = features.eval()(torch.zeros(1, 3, height, width)).shape
    except Exception as error:  # a network may raise anything for a size that it does not take
        reason = " ".join(str(error).split())[:200]
        raise OnnxplainError(
            f"backbone {config.backbone}: does not take {height}x{width} ({reason}): give the size that it expects"
        ) from error
    finally:
        features.train()
    if len(shape) != 4:
        raise OnnxplainError(f"backbone {config.backbone}: gives {tuple(shape)}, expected a map (1, K, h, w)")
    return shape[1], shape[2] * shape[3]
