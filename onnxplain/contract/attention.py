"""The part of the metadata about the attention of a transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxplain.contract.expected import LARGEST_SIDE, Listed, Whole
from onnxplain.contract.names import attention_layerwise_output
from onnxplain.contract.specs import LayerSpec, MapFrame
from onnxplain.errors import ModelError


@dataclass(frozen=True)
class AttentionSpec:
    """The attention matrices of a transformer, layer by layer, and what their tokens are.

    `layers`, in the order of the graph: `features` names the output with the matrices A, [N, heads, T, T]: row i says
    how much token i takes from each token, and adds up to 1. `gradients` names that with ∂y/∂A. `channels` is the
    number of heads, `size_hw` (T, T). `size_hw` is the grid of the patches, row by row; `tokens_before` and
    `tokens_after` count the tokens around them, such as the class token. `frame`: where the grid lies in the model's
    input. `reads`: for each head of the model, in their order, the first token that it reads and the one behind the
    last, of whose rows a map takes the mean; None for a head of which that is not known. `layerwise`: whether the file
    also gives, for each layer, the gradient of what the model's head says of the tokens at the end of that layer.
    """

    layers: tuple[LayerSpec, ...]
    size_hw: tuple[int, int]
    tokens_before: int
    tokens_after: int
    frame: MapFrame
    reads: tuple[tuple[int, int] | None, ...]
    layerwise: bool = False

    def __post_init__(self) -> None:
        size_hw = _pair("attention size_hw", self.size_hw, 1)
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "size_hw", size_hw)
        reads = tuple(None if each is None else _pair("attention reads", each, 0) for each in self.reads)
        object.__setattr__(self, "reads", reads)
        tokens = self.tokens
        if any(layer.size_hw != (tokens, tokens) for layer in self.layers):
            found = ", ".join(f"{layer.size_hw[0]}x{layer.size_hw[1]}" for layer in self.layers)
            raise ModelError(f"metadata: found attention of {found} tokens, expected {tokens}x{tokens} in every layer")
        if any(not start < stop <= tokens for start, stop in (each for each in reads if each is not None)):
            raise ModelError(f"metadata: found heads that read tokens {reads}, expected some of {tokens}")

    def check_heads(self, count: int) -> None:
        """Raise ModelError unless `reads` has one entry for each of `count` heads."""
        if len(self.reads) != count:
            raise ModelError(
                f"metadata: found attention that {len(self.reads)} heads read, expected {count}: instrument the "
                "original file again"
            )

    @classmethod
    def of_tree(cls, source: Mapping[str, Any]) -> AttentionSpec:
        """The attention of the metadata."""
        layers = tuple(map(LayerSpec.of_tree, source["layers"]))
        return cls(**{**source, "layers": layers, "frame": MapFrame(**source["frame"])})

    @property
    def tokens(self) -> int:
        """T, the number of all tokens."""
        height, width = self.size_hw
        return self.tokens_before + height * width + self.tokens_after

    @property
    def layerwise_layers(self) -> tuple[LayerSpec, ...]:
        """The layers with the other gradient, that of the model's head on each; none where the file lacks it."""
        return tuple(
            replace(layer, name=f"{layer.name}, its own head", gradients=attention_layerwise_output(layer.name))
            for layer in (self.layers if self.layerwise else ())
        )

    @property
    def gradient_layers(self) -> tuple[LayerSpec, ...]:
        """An entry for each gradient: those of the model's answer, then those of its head on each layer."""
        return (*self.layers, *self.layerwise_layers)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs."""
        own = [output for layer in self.layers for output in (layer.features, layer.gradients)]
        return (*own, *(layer.gradients for layer in self.layerwise_layers))


def _pair(name: str, pair: Sequence[int], least: int) -> tuple[int, int]:
    Listed(Whole(least, LARGEST_SIDE**2), 2, least=2).check(name, pair)
    first, second = (int(value) for value in pair)
    return first, second
