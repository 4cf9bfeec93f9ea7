"""A model as far as its sizes need it: operators, attributes of numbers, small constants, shapes of large ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KnownShape = tuple[int | None, ...]
Numbers = int | float | tuple[int, ...] | tuple[float, ...]
# Lists of sizes, axes and scales are shorter.
MOST_KNOWN = 64


@dataclass(frozen=True)
class PlainNode:
    """A node. `domain`: "" for the standard one. `constant`: the value of a Constant. `bodies`: its subgraphs.

    `refers`: attributes that take the value of an attribute of the function's call.
    """

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Numbers] = field(default_factory=dict)
    constant: npt.NDArray[np.generic] | None = None
    refers: Mapping[str, str] = field(default_factory=dict)
    bodies: tuple[PlainGraph, ...] = ()


@dataclass(frozen=True)
class PlainGraph:
    """A graph. `constants`: stored ones of at most `MOST_KNOWN` numbers; `shapes`: of all stored ones and of inputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[PlainNode, ...]
    constants: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    shapes: Mapping[str, KnownShape] = field(default_factory=dict)


@dataclass(frozen=True)
class PlainFunction:
    """A local function, and the values of attributes that a call leaves out."""

    body: PlainGraph
    defaults: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True)
class PlainModel:
    """The main graph, and the local functions by domain and name."""

    graph: PlainGraph
    functions: Mapping[tuple[str, str], PlainFunction] = field(default_factory=dict)
