"""Whether a file supports class activation maps and has a tail file, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from onnxplain.exporters.anatomy.pooled_head import NoPooledHead


@dataclass(frozen=True)
class CamVerdict:
    """The layer of the class activation maps. If there is none, the fault of the head.

    If both are None, the head is suitable, but its layer is not one of the chosen layers.
    """

    layer: str | None = None
    fault: NoPooledHead | None = None

    def __bool__(self) -> bool:
        return self.layer is not None

    def __str__(self) -> str:
        if self.layer is not None:
            return f"yes, at {self.layer}"
        return f"no: {self.fault or 'the pooled layer is not one of the chosen layers'}"


class TailFault(Enum):
    """Why there is no tail file; the fields of `NoTail` complete the texts."""

    NOT_ASKED_FOR = "not asked for"
    DETECTOR = "the model is a detector"
    MORE_TOKENS = "layer {layer!r} holds {tokens} tokens besides its map, which a tail file would not get"
    GOES_AROUND = "the part after layer {layer!r} also needs {around}, which cannot be computed from that layer"


@dataclass(frozen=True)
class NoTail:
    """Why there is no tail file: the fault, the layer, and the number of tokens or the values that show it."""

    fault: TailFault
    layer: str = ""
    tokens: int = 0
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.fault.value.format(layer=self.layer, tokens=self.tokens, around=", ".join(map(repr, self.values)))


@dataclass(frozen=True)
class TailVerdict:
    """The name of the tail file, or why there is none."""

    file: str | None = None
    fault: NoTail | None = None

    def __bool__(self) -> bool:
        return self.file is not None

    def __str__(self) -> str:
        return f"no: {self.fault}" if self.file is None else f"yes, {self.file}"
