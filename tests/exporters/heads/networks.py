"""Small PyTorch networks that answer with every kind of head, and the scalars of each head by torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

SIDE = 32
Answers = Mapping[str, torch.Tensor]


class HeadNet(nn.Module):
    """Convolutions, a pool, and heads: `finish` makes of `raw`, which is differentiated, what the file returns."""

    def __init__(self, finish: Callable[[Answers], Sequence[torch.Tensor]], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.finish = finish
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, 2, padding=1), nn.SiLU())
        self.hidden = nn.Sequential(nn.Linear(12, 10), nn.Tanh())
        self.classes, self.labels = nn.Linear(12, 5), nn.Linear(12, 14)
        self.value, self.numbers, self.vector = nn.Linear(10, 1), nn.Linear(10, 3), nn.Linear(12, 16)
        # Probabilities from 1e-6 to 1 − 1e-7.
        self.labels.bias.data = torch.linspace(-13.8, 16.1, 14)

    def raw(self, image: torch.Tensor) -> Answers:
        """Every head before its activation."""
        means = self.body(self.stem(image)).mean((2, 3))
        hidden = self.hidden(means)
        return {
            "classes": self.classes(means),
            "labels": self.labels(means),
            "value": self.value(hidden),
            "numbers": self.numbers(hidden),
            "vector": self.vector(means),
        }

    def forward(self, image: torch.Tensor) -> Sequence[torch.Tensor]:
        """What the file returns."""
        return tuple(self.finish(self.raw(image)))


class SmallUNet(nn.Module):
    """Ronneberger et al. 2015, two levels: the decoder reads the encoder's map beside its own. 4 classes."""

    def __init__(self, finish: Callable[[Answers], Sequence[torch.Tensor]], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.finish = finish
        self.down1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU())
        self.up2, self.up1 = nn.ConvTranspose2d(10, 8, 2, 2), nn.ConvTranspose2d(8, 6, 2, 2)
        self.mix2 = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.mix1 = nn.Sequential(nn.Conv2d(12, 6, 3, padding=1), nn.ReLU())
        self.scores = nn.Conv2d(6, 4, 1)

    def raw(self, image: torch.Tensor) -> Answers:
        """The mask's logits, [N, 4, h, w]."""
        first = self.down1(image)
        second = self.down2(first)
        upper = self.mix2(torch.cat([self.up2(self.bottom(second)), second], 1))
        return {"mask": self.scores(self.mix1(torch.cat([self.up1(upper), first], 1)))}

    def forward(self, image: torch.Tensor) -> Sequence[torch.Tensor]:
        """What the file returns."""
        return tuple(self.finish(self.raw(image)))


class FullyConvolutional(SmallUNet):
    """Long et al. 2015: class scores at an eighth of the size, enlarged bilinearly."""

    def raw(self, image: torch.Tensor) -> Answers:
        """The mask's logits, [N, 4, h, w]."""
        small = self.down2(self.down1(image))
        scores = functional.conv2d(small, self.scores.weight.repeat(1, 2, 1, 1)[:, :8], self.scores.bias)
        return {"mask": functional.interpolate(scores, scale_factor=2.0, mode="bilinear")}


@dataclass(frozen=True)
class Asked:
    """An entry of a head, with the reference [D] or the region [h, w] that it needs."""

    head: str
    index: int
    reference: np.ndarray | None = None
    region: np.ndarray | None = None

    def scalar(self, raw: Answers) -> torch.Tensor:
        """y, summed over the images, as DESIGN's table defines it."""
        value = raw[self.head]
        if self.reference is not None:
            other = torch.tensor(self.reference, dtype=value.dtype)
            return functional.cosine_similarity(value, other[None], dim=1).sum()
        if self.region is not None:
            inside = torch.tensor(self.region, dtype=torch.bool)
            return value[:, self.index][:, inside].mean(1).sum()
        return value[:, self.index].sum()


def write(module: nn.Module, names: Sequence[str], dynamo: bool) -> onnx.ModelProto:
    """The module as an ONNX graph with an open batch, by either of torch's exporters."""
    image, file = torch.rand(2, 3, SIDE, SIDE), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            dynamic = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(
                module.eval(),
                (image,),
                dynamo=True,
                input_names=["image"],
                output_names=list(names),
                dynamic_shapes=dynamic,
                verbose=False,
            )
            assert program is not None
            return program.model_proto
        axes = {name: {0: "batch"} for name in ("image", *names)}
        torch.onnx.export(
            module.eval(),
            (image,),
            file,
            dynamo=False,
            input_names=["image"],
            output_names=list(names),
            dynamic_axes=axes,
            opset_version=18,
        )
    return onnx.load_from_string(file.getvalue())


def gradient(module: nn.Module, image: np.ndarray, features: np.ndarray, asked: Asked) -> np.ndarray:
    """dy / d features by torch.autograd in float64; the layer is the part of the module that gives these features."""
    double = module.double()
    seen: list[torch.Tensor] = []
    parts = [part for part in double.modules() if not list(part.children())]
    handles = [part.register_forward_hook(lambda _part, _args, out: seen.append(out)) for part in parts]
    try:
        scalar = asked.scalar(double.raw(torch.tensor(image, dtype=torch.float64, requires_grad=True)))
    finally:
        for handle in handles:
            handle.remove()
    same = [
        each for each in seen if each.shape == features.shape and np.abs(each.detach().numpy() - features).max() < 1e-4
    ]
    assert same, "no part of the module gives these features"
    (found,) = torch.autograd.grad(scalar, same[-1])
    module.float()
    return found.numpy()
