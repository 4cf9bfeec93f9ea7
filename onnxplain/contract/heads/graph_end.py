"""A graph as plain names: what is needed to tell what its outputs mean. Exporters and runtime each build one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from onnxplain.contract.image_input import Dim

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class EndValue:
    """A value of the graph: name, type (numpy's name, or "unknown"), and dimensions, None if nothing is known."""

    name: str
    dtype: str = "unknown"
    dims: tuple[Dim, ...] | None = None

    @property
    def shape_text(self) -> str:
        """``[1, 3, height, ?]``."""
        if self.dims is None:
            return "of unknown shape"
        return "[" + ", ".join("?" if dim is None else str(dim) for dim in self.dims) + "]"


@dataclass(frozen=True)
class EndNode:
    """A node: the standard operator that it computes (a fused or quantized form counts as its float twin).

    `attributes` holds the integers, floats and lists of integers among its attributes. Missing inputs are "".
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | float | Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphEnd:
    """The outputs of a graph, and the nodes that compute them.

    `values`: what is known of inner values by name; may be empty. `constants`: small constants by name (scalars, lists
    of axes), initializers and Constant nodes alike. `opset`:
    the version of the standard operators. `unbatched`: the graph takes one image without a batch axis. `batch`: the
    number of images that the graph fixes. `stored`: the names of all constants.
    """

    outputs: tuple[EndValue, ...]
    nodes: tuple[EndNode, ...]
    values: Mapping[str, EndValue] = field(default_factory=dict)
    constants: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()
    opset: int = 0
    unbatched: bool = False
    batch: int | None = None

    @cached_property
    def producers(self) -> Mapping[str, EndNode]:
        """The node that computes each value."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def value(self, name: str) -> EndValue:
        """What is known of a value; for an output what the graph declares."""
        declared = next((output for output in self.outputs if output.name == name), None)
        known = self.values.get(name)
        if declared is None or (known is not None and declared.dims is None):
            return known or EndValue(name)
        return declared

    def per_image(self, value: EndValue) -> tuple[Dim, ...] | None:
        """The dimensions behind the batch axis; all of them where the graph takes one image without that axis."""
        return value.dims if value.dims is None or self.unbatched else value.dims[1:]

    def upstream(self, name: str) -> Iterator[str]:
        """The values that a value is computed from, each once, without itself."""
        seen, waiting = {name}, [name]
        while waiting:
            node = self.producers.get(waiting.pop())
            for source in () if node is None else node.inputs:
                if source and source not in seen:
                    seen.add(source)
                    waiting.append(source)
                    yield source
