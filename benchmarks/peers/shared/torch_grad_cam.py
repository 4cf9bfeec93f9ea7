"""Grad-CAM for any tool on PyTorch: same model, layer and input; the tool defines `build` and `explain`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from protocol import Method, RefusalError


class TorchGradCAM(Method):
    """`model`, `layer` (its module) and `batch` (float32 (N, 3, h, w)) are set before `build` is called."""

    maps: np.ndarray

    def prepare(self) -> None:
        if self.case["model"]["weights"] is None:
            raise RefusalError(f"{self.case['model']['name']} has no PyTorch weights")
        import torch
        from torch_model import layer_of, load_model

        torch.set_num_threads(self.case["threads"])
        self.model: Any = load_model(self.case["model"])
        self.layer: Any = layer_of(self.model, self.case["model"])
        self.batch: Any = torch.from_numpy(np.load(self.case["input"])[: self.case["batch"]])
        self.build()

    def build(self) -> None:
        """Make the tool's objects that are made once for a model and a layer."""

    @abstractmethod
    def explain(self, batch: Any) -> np.ndarray:
        """The maps (N, h, w) of a tensor (N, 3, h, w) for the case's target."""

    def run(self) -> None:
        self.maps = self.explain(self.batch)
        self.evaluations = len(self.batch)

    def answer(self) -> np.ndarray:
        return self.maps


class _OverPhotos(TorchGradCAM):
    """All photos of the case, from uint8 arrays to maps, a few at a time."""

    def prepare(self) -> None:
        super().prepare()
        self.photos = [np.load(path) for path in self.case["photos"]]

    def run(self) -> None:
        from torch_model import preprocess_photos

        size, model = self.case["options"]["batch_size"], self.case["model"]
        chunks = [self.photos[start : start + size] for start in range(0, len(self.photos), size)]
        self.maps = np.concatenate([self.explain(preprocess_photos(chunk, model)) for chunk in chunks])


def over_photos(method: type[TorchGradCAM]) -> type[TorchGradCAM]:
    """For throughput: the same method on photos instead of one prepared batch."""
    return type(f"{method.__name__}OverPhotos", (_OverPhotos, method), {})
