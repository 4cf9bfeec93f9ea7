"""Small networks in two parts, one per kind of head: features, then what is differentiated, then what is shown."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from onnxplain.contract import Preprocessing
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine

SIDE, CHANNELS, GRID = 32, 8, 8
CELLS = GRID * GRID
LAYER = "/features/features.4/Relu"
PREPROCESSING = Preprocessing("rgb", 1 / 255, (0.5,) * 3, (0.25,) * 3, "stretch")


class TwoParts(nn.Module):
    """``features``, 8 maps of 8 × 8 cells, then `head`, whose values are differentiated, then `finish`, the outputs."""

    def __init__(self, head: nn.Module, finish: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, CHANNELS, 3, 2, padding=1),
            nn.ReLU(),
        )
        self.head, self.finish = head, finish

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the file returns."""
        return tuple(self.finish(self.head(self.features(image))))


class Pooled(nn.Module):
    """Global average pooling and one linear layer: the head of class activation maps."""

    def __init__(self, size: int, scale: float = 3.0) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, size)
        self.linear.weight.data *= scale

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Values [N, size]."""
        return self.linear(maps.mean((2, 3)))


def curved(size: int) -> nn.Module:
    """Linear layers on all cells, with a hidden layer: the gradient differs from cell to cell."""
    return nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * CELLS, 12), nn.Tanh(), nn.Linear(12, size))


@dataclass(frozen=True)
class Kind:
    """A kind of head: the network, the names of its outputs, what the user states, and the explained entry.

    `show`: what is shown of the values (N, …) before `region` or `reference` reduce them. `cam`: whether the head is
    pooled and linear. `like`: an embedding; `region`: a mask.
    """

    kind: str
    make: Callable[[], TwoParts]
    names: Sequence[str]
    heads: Sequence[str] = ()
    target: str | int = 1
    entry: int = 1
    show: Callable[[torch.Tensor], torch.Tensor] = lambda values: values
    cam: bool = False
    like: bool = False
    region: bool = False


def sigmoid(values: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of independent labels."""
    return [torch.sigmoid(values)]


def softmax(values: torch.Tensor) -> torch.Tensor:
    """Over the classes."""
    return torch.softmax(values, 1)


KINDS: Mapping[str, Kind] = {
    "classes": Kind("classes", lambda: TwoParts(Pooled(5), lambda v: [softmax(v)]), ["kind"], show=softmax, cam=True),
    "curved classes": Kind("classes", lambda: TwoParts(curved(5), lambda v: [softmax(v)]), ["kind"], show=softmax),
    "one label": Kind(
        "labels", lambda: TwoParts(Pooled(1), sigmoid), ["ill"], target="ill", entry=0, show=torch.sigmoid, cam=True
    ),
    "labels": Kind("labels", lambda: TwoParts(Pooled(5), sigmoid), ["traits"], show=torch.sigmoid, cam=True),
    "curved labels": Kind("labels", lambda: TwoParts(curved(5), sigmoid), ["traits"], show=torch.sigmoid),
    "values": Kind(
        "values", lambda: TwoParts(curved(1), lambda v: [v]), ["age"], heads=["age:values"], target="age", entry=0
    ),
    "pooled values": Kind("values", lambda: TwoParts(Pooled(3), lambda v: [v]), ["a"], heads=["a:values"], cam=True),
    "embedding": Kind(
        "embedding",
        lambda: TwoParts(curved(6), lambda v: [functional.normalize(v)]),
        ["e"],
        target="e",
        entry=0,
        like=True,
    ),
    "mask": Kind(
        "mask",
        lambda: TwoParts(
            nn.Sequential(nn.ConvTranspose2d(CHANNELS, 6, 2, 2), nn.ReLU(), nn.Conv2d(6, 4, 1)), lambda v: [softmax(v)]
        ),
        ["m"],
        show=softmax,
        region=True,
    ),
    "box": Kind(
        "box",
        lambda: TwoParts(curved(9), lambda v: [v[:, :5], v[:, 5:]]),
        ["kind", "place"],
        heads=["kind:classes", "place:box"],
        target="box:2",
        entry=7,
    ),
}


@dataclass(frozen=True)
class Explained:
    """A kind, its engine, its network, and the image, the reference image and the region that are explained."""

    kind: Kind
    engine: Engine
    network: TwoParts
    image: np.ndarray
    other: np.ndarray

    @property
    def beside(self) -> dict[str, object]:
        """What stands beside the target in a call."""
        given: dict[str, object] = {"like": self.other} if self.kind.like else {}
        return given | ({"region": REGION} if self.kind.region else {})

    def pixels(self, image: np.ndarray | None = None) -> torch.Tensor:
        """The model's input, by the definition of the preprocessing."""
        chosen = self.image if image is None else image
        return torch.from_numpy((chosen.transpose(2, 0, 1)[None] / 255 - 0.5) / 0.25).double()

    def maps(self) -> torch.Tensor:
        """The features of the image."""
        with torch.no_grad():
            return self.network.features(self.pixels())

    def y(self, maps: torch.Tensor, entry: int | None = None) -> torch.Tensor:
        """The number that is differentiated, from features, for each row."""
        return self._reduce(self.network.head(maps), entry)

    def shown(self, maps: torch.Tensor, entry: int | None = None) -> torch.Tensor:
        """The score that is shown, for each row."""
        values = self.network.head(maps)
        values = values[:, :5] if self.kind.kind == "box" else values
        return self._reduce(self.kind.show(values), entry)

    def _reduce(self, values: torch.Tensor, entry: int | None) -> torch.Tensor:
        if self.kind.like:
            reference = self.network.head(self.network.features(self.pixels(self.other)))
            return functional.cosine_similarity(values, reference.detach(), dim=1)
        chosen = values[:, self.kind.entry if entry is None else entry]
        return chosen[:, ROWS, COLUMNS].mean((1, 2)) if self.kind.region else chosen

    def gradient(self, entry: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features, and dy / d features by torch.autograd, float64."""
        maps = self.maps().requires_grad_()
        (found,) = torch.autograd.grad(self.y(maps, entry).sum(), maps)
        return maps.detach(), found


# Pixels of the image that whole cells of the mask, 2 × 2 pixels each, cover.
REGION = (4.0, 8.0, 20.0, 30.0)
ROWS, COLUMNS = slice(4, 15), slice(2, 10)


def photo(seed: int = 0) -> np.ndarray:
    """A smooth picture of the model's own size: uint8 (32, 32, 3)."""
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (1, 3, 5, 6)))
    smooth = functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


def open_kind(name: str, folder: Path, **options: object) -> Explained:
    """The network of a kind as an explainable file, opened."""
    kind = KINDS[name]
    torch.manual_seed(sorted(KINDS).index(name))
    network, file = kind.make().eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(1, 3, SIDE, SIDE),),
            file,
            dynamo=False,
            input_names=["image"],
            output_names=list(kind.names),
            dynamic_axes={each: {0: "batch"} for each in ("image", *kind.names)},
            opset_version=18,
        )
    plain, path = folder / "plain.onnx", folder / "model.onnx"
    plain.write_bytes(file.getvalue())
    instrument(plain, path, heads=kind.heads, preprocessing=PREPROCESSING, layers=["input", LAYER], **options)
    return Explained(kind, Engine(path, threads=1), network.double(), photo(1), photo(2))
