"""Outputs have the shapes that the metadata say: declared by the graph, and of every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.contract import ModelSpec
from onnxplain.errors import ModelError
from onnxplain.runtime.sessions.session import Session

_NUMBERS = tuple(f"tensor({name})" for name in ("float", "float16", "bfloat16", "double", "uint8", "int8"))
_AGAIN = "instrument the original file again"


class OutputShapes:
    """The shape of one image's row of each output that has a role. A head of (N, C) may also have (N, C, 1, 1)."""

    def __init__(self, spec: ModelSpec) -> None:
        self._heads: Mapping[str, int] = {
            name: head.size * math.prod(head.map_size_hw or ())
            for head in spec.heads
            for name in (head.logits, head.scores)
            if name is not None
        }
        self._gradients = {layer.gradients for layer in spec.gradient_layers}
        self._maps: Mapping[str, tuple[int, ...]] = {
            output: (layer.channels, *layer.size_hw)
            for layer in spec.gradient_layers
            for output in (layer.features, layer.gradients)
        }

    def check_declared(self, session: Session) -> None:
        """Raise ModelError if the graph declares another shape, or no numbers. Open sizes fit."""
        for tensor in session.get_outputs():
            if tensor.name not in self._heads and tensor.name not in self._maps:
                continue
            if tensor.type not in _NUMBERS:
                raise ModelError(f"output {tensor.name}: found {tensor.type}, expected numbers: {_AGAIN}")
            dims = list(tensor.shape)
            if tensor.name in self._maps:
                shape = self._maps[tensor.name]
                fits = len(dims) == len(shape) + 1 and all(
                    not isinstance(dim, int) or dim == size for dim, size in zip(dims[1:], shape, strict=True)
                )
            else:
                fits = not _are_fixed(dims[1:]) or self._heads[tensor.name] in _sizes(dims)
            # No dimensions: the graph does not say how many there are.
            if dims and not fits:
                self._refuse(tensor.name, dims)

    def check(self, names: Sequence[str], outputs: Sequence[Any], count: int, targets: int) -> None:
        """Raise ModelError if an output of a run on `count` images, for so many targets, has another shape."""
        for name, output in zip(names, outputs, strict=True):
            shape = np.shape(output)
            if name in self._maps:
                # A closed gate gives no gradients.
                counts = (max(count, targets), 0) if name in self._gradients else (count,)
                fits = shape[:1] in [(each,) for each in counts] and shape[1:] == self._maps[name]
            elif name in self._heads:
                fits = shape[:1] == (count,) and math.prod(shape[1:]) == self._heads[name]
            else:
                continue
            if not fits:
                self._refuse(name, shape)

    def _refuse(self, name: str, found: Sequence[object]) -> None:
        expected = ", ".join(map(str, self._maps.get(name, (self._heads.get(name),))))
        raise ModelError(
            f"output {name}: found shape [{', '.join(map(str, found))}], expected [N, {expected}] as in the metadata: "
            f"{_AGAIN}"
        )


def _are_fixed(dims: Sequence[object]) -> bool:
    return all(isinstance(dim, int) for dim in dims)


def _sizes(dims: Sequence[Any]) -> tuple[int, ...]:
    """The numbers of one image: of a graph with a batch axis, and of one without."""
    return (math.prod(dims[1:]), *((math.prod(dims),) if _are_fixed(dims) else ()))
