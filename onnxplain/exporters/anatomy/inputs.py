"""Finding the image among the inputs of a graph, and what the others are given."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract import (
    ChosenInputs,
    DeclaredInput,
    ExtraInput,
    ImageInput,
    StatedShape,
    choose_inputs,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.graph.values import maybe_dims, name_of

UNBATCHED_RANK = 3


@dataclass(frozen=True)
class Inputs:
    """The inputs of a graph: the value that takes the images, what is known of it, and the other inputs."""

    image: ir.Value
    image_input: ImageInput
    extra: tuple[ExtraInput, ...] = ()


def find_inputs(graph: ir.Graph, stated: StatedShape | None = None) -> Inputs:
    """The image input and the others; inputs with a default keep it. Raises ModelError if they cannot be told apart."""
    required = [value for value in graph.inputs if value.const_value is None]
    chosen = choose_inputs(tuple(map(_declared, required)), stated)
    if not isinstance(chosen, ChosenInputs):
        raise ModelError(str(chosen))
    extra = {entry.name: entry for entry in chosen.extra}
    extra |= {name_of(value): _constant(value) for value in graph.inputs if value.const_value is not None}
    (image,) = [value for value in required if value.name == chosen.image.name]
    order = [extra[name_of(value)] for value in graph.inputs if value is not image]
    return Inputs(image, chosen.image, tuple(order))


def find_image_value(graph: ir.Graph, stated: StatedShape | None = None) -> tuple[ir.Value, ImageInput]:
    """The model's image input, and what is known about it. Raises ModelError if there is not exactly one."""
    found = find_inputs(graph, stated)
    return found.image, found.image_input


def _declared(value: ir.Value) -> DeclaredInput:
    return DeclaredInput.of(name_of(value), _dtype(value), maybe_dims(value))


def _constant(value: ir.Value) -> ExtraInput:
    """An input whose default the file keeps."""
    shape = tuple(size if isinstance(size, int) else None for size in maybe_dims(value) or ())
    return ExtraInput(name_of(value), _dtype(value), shape)


def _dtype(value: ir.Value) -> str:
    return "unknown" if value.dtype is None else value.dtype.numpy().name
