"""The inputs of a session, in the form that the contract reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxplain.contract import (
    AXES,
    INTEGER_LIMITS,
    ChosenInputs,
    DeclaredInput,
    GivenInputs,
    ImageInput,
    StatedShape,
    choose_inputs,
    find_quantization,
)
from onnxplain.contract.weight_channels import find_misfit
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.graph_reader import read_graph
from onnxplain.runtime.protobuf.plain_reader import read_plain_model
from onnxplain.runtime.protobuf.wire import WireError
from onnxplain.runtime.sessions.session import Session
from onnxplain.sidecars import SidecarFacts, read_with_facts

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


def declared_inputs(
    session: Session, besides: Collection[str] = (), also: Collection[str] = ()
) -> tuple[DeclaredInput, ...]:
    """The inputs without a default, and those with one that `also` names; not those that `besides` names."""
    with_default = [tensor for tensor in session.get_overridable_initializers() if tensor.name in also]
    return tuple(declare(tensor) for tensor in (*session.get_inputs(), *with_default) if tensor.name not in besides)


def inputs_of(path: Path, declared: Sequence[DeclaredInput], stated: StatedShape, given: GivenInputs) -> ChosenInputs:
    """The image input, and the others with their values. Raises ModelError where `choose_inputs` cannot tell them."""
    chosen = choose_inputs(declared, stated, given)
    if not isinstance(chosen, ChosenInputs):
        raise ModelError(f"{path}: {chosen}")
    return chosen


def inputs_with_facts(
    path: Path, declared: Sequence[DeclaredInput], stated: StatedShape, given: GivenInputs, facts: SidecarFacts
) -> tuple[ChosenInputs, SidecarFacts]:
    """As `inputs_of`, what graph and user leave open closed by other tools' facts; and the facts that fit."""
    read = [read_with_facts(entry, stated, facts) for entry in declared if entry.name not in given]
    images = [(image, fitting) for image, fitting in read if isinstance(image, ImageInput)]
    if len(images) != 1:
        return inputs_of(path, declared, stated, given), facts
    ((image, fitting),) = images
    chosen = inputs_of(path, declared, StatedShape(image.size_hw, image.layout, image.channels), given)
    return replace(chosen, image=replace(chosen.image, channels_source=image.channels_source)), fitting


def check_open_channels(path: Path, declared: Sequence[DeclaredInput], image: ImageInput, stated: StatedShape) -> None:
    """Raise ModelError where open channels are closed to another number than the weights of a plain file need."""
    (entry,) = [entry for entry in declared if entry.name == image.name]
    if isinstance((entry.dims or ())[AXES[image.layout][0]], int):
        return
    try:
        with path.open("rb") as file:
            graph = read_plain_model(memoryview(file.read())).graph
    except WireError:
        return
    misfit = find_misfit(graph, entry, image, stated.channels)
    if misfit is not None:
        raise ModelError(str(misfit))


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
