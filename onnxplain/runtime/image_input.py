"""The inputs of a session, in the form that the contract reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxplain.contract import (
    INTEGER_LIMITS,
    DeclaredInput,
    ImageInput,
    StatedShape,
    UnreadInput,
    find_quantization,
    read_image_input,
)
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.graph_reader import read_graph
from onnxplain.runtime.protobuf.wire import WireError
from onnxplain.runtime.session import Session

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


def find_image_input(
    session: Session, path: Path, stated: StatedShape | None = None, not_images: Collection[str] = ()
) -> ImageInput:
    """The one input that takes images, besides `not_images`.

    Raises ModelError unless there is just one, and where `read_image_input` cannot read it.
    """
    return readable(path, read_image_input(find_declared(session, path, not_images), stated))


def readable(path: Path, image_input: ImageInput | UnreadInput) -> ImageInput:
    """The input. Raises ModelError if it could not be read."""
    if isinstance(image_input, UnreadInput):
        raise ModelError(f"{path}: {image_input}")
    return image_input


def find_declared(session: Session, path: Path, not_images: Collection[str] = ()) -> DeclaredInput:
    """The only input besides `not_images`. Raises ModelError unless there is exactly one."""
    inputs = [declare(tensor) for tensor in session.get_inputs() if tensor.name not in not_images]
    found = ", ".join(f"{each.name} {each.dtype} {each.shape_text}" for each in inputs) or "none"
    if len(inputs) != 1:
        raise ModelError(
            f"{path}: found {len(inputs)} inputs ({found}), expected one image input: export the model with "
            "the image as its only input"
        )
    return inputs[0]


def declare(tensor: Any) -> DeclaredInput:
    """ONNX Runtime's description of an input, with the name of its type as numpy's."""
    dtype = _DTYPES.get(tensor.type, tensor.type.removeprefix("tensor(").removesuffix(")"))
    return DeclaredInput.of(tensor.name, dtype, tensor.shape)


def with_quantization(path: Path, declared: DeclaredInput) -> DeclaredInput:
    """The input of a plain file, with the quantization that its graph states; only integers are looked up.

    A file that ONNX Runtime reads and that is no ONNX protobuf has none, such as its own format ORT.
    """
    if declared.dtype not in INTEGER_LIMITS:
        return declared
    try:
        graph = read_graph(path.read_bytes())
    except WireError:
        return declared
    found = find_quantization(declared.name, declared.dtype, graph.nodes, graph.scalars)
    return replace(declared, quantization=found)
