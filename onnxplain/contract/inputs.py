"""Which input of a model takes the images, and what the others are given: one decision for exporters and runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from onnxplain.contract.image_input import (
    DeclaredInput,
    Dim,
    ImageInput,
    StatedShape,
    UnreadInput,
    read_image_input,
)
from onnxplain.contract.specs import ExtraFill, ExtraInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GivenInputs = Mapping[str, Any]
"""Values that the user states for inputs besides the image, by name: numbers or arrays."""

# Detectors ask for the photo's size under these names. RT-DETR (lyuwenyu/RT-DETR, export_onnx.py) takes width first;
# PaddleDetection and YOLOv3 of the ONNX model zoo take height first.
_SIZES: Mapping[str, ExtraFill] = {
    "orig_target_sizes": "image_size_wh",
    "image_shape": "image_size_hw",
    "im_shape": "image_size_hw",
}
_DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int32", "int64", "bool")


class InputsFault(Enum):
    """Why the inputs of a model cannot be told apart or filled. {names} are the inputs in question."""

    NO_IMAGE = "found inputs {names}, expected one that takes images: this is no image model"
    SEVERAL_IMAGES = "found inputs {names} that may take images, expected one: give the others --input NAME=VALUE"
    NO_VALUE = "found no value for input {names}, expected one: give --input NAME=VALUE or NAME=FILE.npy"
    NO_SUCH_INPUT = "found no input {names}, expected a name among the inputs of the model besides the image"
    TYPE = "input {names}: expected a value of that type: give another with --input NAME=VALUE"
    SHAPE = "input {names}: expected a value of that shape: give another with --input NAME=FILE.npy"


@dataclass(frozen=True)
class UnreadInputs:
    """Why no inputs were chosen; `names` lists those in question."""

    fault: InputsFault
    names: str

    def __str__(self) -> str:
        return self.fault.value.format(names=self.names)


@dataclass(frozen=True)
class ChosenInputs:
    """The image input, and what each other input is given."""

    image: ImageInput
    extra: tuple[ExtraInput, ...] = ()


def choose_inputs(
    declared: Sequence[DeclaredInput], stated: StatedShape | None = None, given: GivenInputs | None = None
) -> ChosenInputs | UnreadInputs | UnreadInput:
    """The one input that can be read as images, and the others with their values.

    `declared`: the inputs without a default, and those with one that `given` names. `given`: values that the user
    states. Sizes of the image under a known name fill themselves.
    """
    given = {} if given is None else given
    names = {entry.name for entry in declared}
    unknown = [name for name in given if name not in names]
    if unknown:
        return UnreadInputs(InputsFault.NO_SUCH_INPUT, ", ".join(unknown))
    candidates = image_candidates(declared, given)
    read = {entry.name: read_image_input(entry, stated) for entry in candidates}
    images = [image for image in read.values() if isinstance(image, ImageInput)]
    if len(images) > 1:
        return UnreadInputs(InputsFault.SEVERAL_IMAGES, ", ".join(image.name for image in images))
    if not images:
        if len(candidates) == 1:
            (fault,) = read.values()
            assert isinstance(fault, UnreadInput)
            return fault
        listed = ", ".join(f"{entry.name} {entry.dtype} {entry.shape_text}" for entry in declared) or "none"
        return UnreadInputs(InputsFault.NO_IMAGE, listed)
    (image,) = images
    batch = next((entry.dims[0] for entry in declared if entry.name == image.name and entry.dims), None)
    extra = []
    for entry in declared:
        if entry.name != image.name:
            filled = _filled(entry, given, batch)
            if isinstance(filled, UnreadInputs):
                return filled
            extra.append(filled)
    return ChosenInputs(image, tuple(extra))


def image_candidates(declared: Sequence[DeclaredInput], given: GivenInputs | None = None) -> tuple[DeclaredInput, ...]:
    """The inputs that may take the images: no value is given for them, and they do not ask for a size."""
    return tuple(entry for entry in declared if entry.name not in (given or {}) and entry.name not in _SIZES)


def _filled(entry: DeclaredInput, given: GivenInputs, batch: Dim) -> ExtraInput | UnreadInputs:
    """What an input is given. `batch`: the batch dimension of the images, as the graph names it."""
    described = f"{entry.name} {entry.dtype} {entry.shape_text}"
    if entry.dtype not in _DTYPES:
        return UnreadInputs(InputsFault.TYPE, described)
    shape = tuple(dim if isinstance(dim, int) else None for dim in entry.dims or ())
    if entry.name not in given:
        fill = _SIZES.get(entry.name)
        if fill is None or shape[1:] != (2,):
            return UnreadInputs(InputsFault.NO_VALUE, described)
        return ExtraInput(entry.name, entry.dtype, shape, fill)
    import numpy as np  # The command line shows its help without numpy.

    value = np.asarray(given[entry.name])
    if value.dtype.kind not in "biuf" or (value.dtype.kind == "f" and not np.isfinite(value).all()):
        return UnreadInputs(InputsFault.TYPE, described)
    with np.errstate(all="ignore"):
        cast = value.astype(entry.dtype)
    if not np.allclose(cast.astype(np.float64), value.astype(np.float64), rtol=1e-2, atol=1e-6):
        return UnreadInputs(InputsFault.TYPE, described)
    fitted = _fit(cast, shape)
    if fitted is None:
        return UnreadInputs(InputsFault.SHAPE, described)
    # One row for each image where the batch is open; an open vector may as well be a setting for all of them.
    is_batch = shape[:1] == (None,) and (len(shape) > 1 or (isinstance(batch, str) and entry.dims == (batch,)))
    repeats = is_batch and fitted.shape[0] == 1
    stated = (None, *fitted.shape[1:]) if repeats else fitted.shape
    return ExtraInput(entry.name, entry.dtype, stated, "constant", tuple(fitted.ravel().tolist()))


def _fit(value: npt.NDArray[np.generic], shape: tuple[int | None, ...]) -> npt.NDArray[np.generic] | None:
    """The value in the input's shape: one number for all, or the same shape, with or without its leading ones."""
    if value.size == 1:
        ones = value.reshape((1,) * len(shape))
        return ones.repeat(math.prod(side or 1 for side in shape)).reshape([side or 1 for side in shape])
    if value.ndim < len(shape):
        value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if value.ndim != len(shape) or any(
        side not in (None, found) for side, found in zip(shape, value.shape, strict=True)
    ):
        return None
    return value
