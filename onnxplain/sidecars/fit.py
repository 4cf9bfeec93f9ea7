"""Facts that fit a model. What contradicts it becomes a problem and is not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from onnxplain.contract import (
    AXES,
    INT8_ZERO,
    DeclaredInput,
    Dim,
    HeadKind,
    ImageInput,
    InputFault,
    Layout,
    PreprocessingParts,
    StatedShape,
    UnreadInput,
    complete_input,
    count_channels,
    read_image_input,
)
from onnxplain.sidecars.facts import SidecarFacts, Sourced
from onnxplain.sidecars.problem import SidecarProblem

# What an input of integers takes for a black pixel, and its pixels in words.
INTEGER_RANGES: Mapping[str, tuple[float, str]] = {
    "uint8": (0.0, "pixels 0–255 in uint8"),
    "int8": (INT8_ZERO, "pixels 0–255 less 128 in int8"),
}


def read_with_facts(
    declared: DeclaredInput, stated: StatedShape, facts: SidecarFacts
) -> tuple[ImageInput | UnreadInput, SidecarFacts]:
    """The image input, with the facts where graph and user leave it open; and the facts that fit it.

    A fact that contradicts the graph closes nothing. If the input cannot be read, the facts are returned unchanged.
    """
    said = None if facts.parts is None else facts.parts.value.channels
    channels = said or (None if facts.channels is None else facts.channels.value)
    shape = stated
    # Channels may decide the layout, or a layout which axis the channels are.
    shape = _closed(declared, shape, "channels", channels)
    shape = _closed(declared, shape, "layout", None if facts.layout is None else facts.layout.value)
    shape = _closed(declared, shape, "channels", channels)
    shape = _closed(declared, shape, "size_hw", None if facts.input_size_hw is None else facts.input_size_hw.value)
    image = read_image_input(declared, shape)
    if isinstance(image, UnreadInput):
        return image, facts
    is_open = not isinstance(_sides(declared, image.layout)[0], int)
    if is_open and stated.channels is None and facts.channels is not None:
        image = replace(image, channels_source=facts.channels.source)
    return image, _fit_input(facts, declared, image)


def _fit_input(facts: SidecarFacts, declared: DeclaredInput, image: ImageInput) -> SidecarFacts:
    """The facts that fit an image input; the others become problems."""
    problems = list(facts.problems)
    size, counted, parts = facts.input_size_hw, facts.channels, facts.parts
    channels = count_channels(image.channels)
    if size is not None and size.value != image.size_hw:
        sides = [side if isinstance(side, int) else "?" for side in _sides(declared, image.layout)[1:]]
        found, fixed = f"a size of {size.value[0]}x{size.value[1]}", "x".join(map(str, sides))
        problems.append(_contradiction(size.source, found, fixed))
        size = None
    if counted is not None and channels != counted.value:
        problems.append(_contradiction(counted.source, f"{counted.value} channels", f"{channels}"))
        counted = None
    if parts is not None:
        fault = _fault(parts, channels, image)
        if fault is not None:
            problems.append(fault)
            parts = None
    return replace(facts, input_size_hw=size, channels=counted, parts=parts, problems=tuple(problems))


def fit_classes(facts: SidecarFacts, classes: int) -> SidecarFacts:
    """The facts that fit a model of so many classes."""
    if facts.labels is None or len(facts.labels.value) == classes:
        return facts
    found = f"{len(facts.labels.value)} labels"
    problem = _contradiction(facts.labels.source, found, f"{classes}, one per class")
    return replace(facts, labels=None, problems=(*facts.problems, problem))


class SizedHead(Protocol):
    """A head, wherever it was found."""

    @property
    def kind(self) -> HeadKind:
        """What it answers with."""

    @property
    def size(self) -> int:
        """Number of values per image."""


Sized = TypeVar("Sized", bound=SizedHead)


def fit_labels(facts: SidecarFacts, heads: Sequence[Sized]) -> tuple[Sized | None, SidecarFacts]:
    """The head that the labels belong to, and the facts that fit: the first head that has as many classes.

    None if there are no labels, or if they fit no head.
    """
    takers = [head for head in heads if head.kind not in ("box", "embedding")]
    if facts.labels is None:
        return None, facts
    count = len(facts.labels.value)
    owner = next((head for head in takers if head.size == count), None)
    return owner, facts if owner is not None else fit_classes(facts, takers[0].size if takers else 0)


def _closed(declared: DeclaredInput, shape: StatedShape, name: str, value: Any) -> StatedShape:
    """The shape with one more fact, if the input is open without it, and readable with it but for its size."""
    if value is None or getattr(shape, name) is not None or not _is_open(declared, shape, name):
        return shape
    closed = replace(shape, **{name: value})
    found = read_image_input(declared, closed)
    return closed if isinstance(found, ImageInput) or found.fault is InputFault.SIZE_OPEN else shape


def _is_open(declared: DeclaredInput, shape: StatedShape, name: str) -> bool:
    found = read_image_input(declared, shape)
    if isinstance(found, UnreadInput) and found.fault is not InputFault.SIZE_OPEN:
        return found.fault in (InputFault.LAYOUT_AMBIGUOUS, InputFault.LAYOUT_OPEN)
    layout = found.layouts[0] if isinstance(found, UnreadInput) else found.layout
    channels, *size = _sides(declared, layout)
    open_parts = {"channels": not isinstance(channels, int), "size_hw": not all(isinstance(side, int) for side in size)}
    return open_parts.get(name, False)


def _sides(declared: DeclaredInput, layout: Layout) -> tuple[Dim, ...]:
    """Channels, height and width, as the graph declares them."""
    return tuple((declared.dims or ())[axis] for axis in AXES[layout])


def _fault(parts: Sourced[PreprocessingParts], channels: int, image: ImageInput) -> SidecarProblem | None:
    """Why the preprocessing does not fit the input."""
    said = parts.value
    if said.channels is not None and count_channels(said.channels) != channels:
        images = f"{said.channels} images" if isinstance(said.channels, str) else f"{said.channels} channels"
        return _contradiction(parts.source, images, f"{channels} channels")
    numbers = max(len(said.mean or ()), len(said.std or ()))
    if numbers > 1 and numbers != channels:
        return _contradiction(parts.source, f"mean and std of {numbers} channels", f"{channels} channels")
    if image.dtype not in INTEGER_RANGES or not {"scale", "mean", "std"} & set(said.known):
        return None
    if image.quantization is not None:
        completed = complete_input(image, PreprocessingParts(), said)
        if image.quantization.holds(completed.preprocessing):
            return None
        low, high = image.quantization.limits
        first, last = completed.preprocessing.limits
        found = f"values from {first:.4g} to {last:.4g}"
        return _contradiction(parts.source, found, f"values from {low:.4g} to {high:.4g}")
    # Nothing that computes with integers takes values that were normalised before.
    zero, text = INTEGER_RANGES[image.dtype]
    plain = (
        said.scale in (None, 1.0)
        and all(value == zero for value in said.mean or (0.0,))
        and all(value == 1 for value in said.std or ())
    )
    return None if plain else _contradiction(parts.source, "normalised pixels", text)


def _contradiction(source: str, found: str, expected: str) -> SidecarProblem:
    return SidecarProblem(source, found, f"{expected}, as the model has it")
