"""From a model's outputs to one column per target: the scores that are shown, and the numbers that are differentiated.

Pure functions. N images, T targets: the entries of the heads, one head after the other (`Numbering`).

    kind       shown score                             differentiated number y
    classes    softmax of the logits                   logit
    labels     sigmoid of the logit                    logit
    values     the number                              the number
    box        the coordinate, as the model gives it   the coordinate
    embedding  cosine with a reference                 the same cosine
    mask       mean probability over a region          mean logit over the region
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnxplain.contract import HeadSpec
from onnxplain.errors import ModelError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.scores import probabilities, sigmoid, softmax, stored_scores

_PROBABLE = ("classes", "labels", "mask")


def head_output(head: HeadSpec) -> str:
    """The output that a head is read from: its logits (or numbers) if the file has them, else its scores.

    A softmax output in uint8 is 0 for unlikely classes.
    """
    return str(head.logits or head.scores)


def head_numbers(head: HeadSpec, output: AnyArray) -> FloatArray:
    """The numbers in a head's output, float32 (N, size), or (N, C, h, w) for a mask; as the file stores them.

    Raises ModelError for an output of another size.
    """
    return _arranged(head, output).astype(np.float32)


def _arranged(head: HeadSpec, output: AnyArray) -> AnyArray:
    """A head's output as (N, size), or (N, C, h, w) for a mask, in its own type."""
    if head.map_size_hw is None:
        if output.ndim < 1 or not len(output) or output.size != len(output) * head.size:
            raise ModelError(f"output {head_output(head)}: found shape {output.shape}, expected (N, {head.size})")
        return output.reshape(len(output), -1)
    first, last = (head.size, *head.map_size_hw), (*head.map_size_hw, head.size)
    shape = output.shape[1:]
    if shape not in (first, last):
        raise ModelError(f"output {head_output(head)}: found shape {output.shape}, expected (N, {head.size}, h, w)")
    if shape != first or (first == last and head.score_form.channels_last):
        output = np.moveaxis(output, -1, 1)
    return output


def head_probabilities(head: HeadSpec, output: AnyArray) -> FloatArray:
    """Probabilities, float32 (N, size), or (N, C, h, w): of classes, labels and masks alone."""
    assert head.kind in _PROBABLE
    if head.logits is None:
        stored = _arranged(head, output)
        return (probabilities if head.kind == "classes" else stored_scores)(stored, head.score_form)
    numbers = head_numbers(head, output)
    independent = head.kind == "labels" or head.sigmoid
    return sigmoid(numbers) if independent else softmax(numbers)


def head_scores(
    head: HeadSpec, output: AnyArray, reference: FloatArray | None = None, region: FloatArray | None = None
) -> FloatArray:
    """The shown score of each entry of one head, float32 (N, entries).

    `reference`: float32 (N or 1, D), for an embedding; without it, and for a reference of zeros, the cosine is NaN.
    `region`: weights float32 (N or 1, 1, h, w), for a mask; None: the whole mask.
    """
    if head.kind == "embedding":
        return cosine(head_numbers(head, output), reference)
    if head.kind == "mask":
        return region_mean(head_probabilities(head, output), region)
    return head_probabilities(head, output) if head.kind in _PROBABLE else head_numbers(head, output)


def head_scalars(
    head: HeadSpec, output: AnyArray, reference: FloatArray | None = None, region: FloatArray | None = None
) -> FloatArray:
    """The number y that is differentiated for each entry of one head, float32 (N, entries).

    Arguments as for `head_scores`. NaN where the file has no logits output.
    """
    if head.logits is None:
        return np.full((len(output), head.entries), np.nan, np.float32)
    numbers = head_numbers(head, output)
    if head.kind == "embedding":
        return cosine(numbers, reference)
    return region_mean(numbers, region) if head.kind == "mask" else numbers


def predicted_entries(head: HeadSpec, output: AnyArray) -> npt.NDArray[np.int64]:
    """The entry of a head that target −1 means, int64 (N,).

    The largest logit, the largest label; of a mask the class that most cells belong to (`sigmoid`: reach); otherwise
    entry 0.
    """
    if head.kind in ("classes", "labels"):
        # Logits rather than scores: softmax scores that differ in their last bit may round to the same float32.
        numbers = head_numbers(head, output) if head.logits is not None else head_scores(head, output)
        return np.asarray(numbers.argmax(axis=1), np.int64)
    if head.kind == "mask":
        maps = head_probabilities(head, output)
        cells = maps >= 0.5 if head.sigmoid else maps.argmax(axis=1)[:, None] == np.arange(head.size)[:, None, None]
        return np.asarray(cells.sum(axis=(2, 3)).argmax(axis=1), np.int64)
    return np.zeros(len(output), np.int64)


def entry_scores(
    heads: Sequence[HeadSpec],
    outputs: Sequence[AnyArray],
    reference: FloatArray | None = None,
    region: FloatArray | None = None,
) -> FloatArray:
    """The shown score of every target, float32 (N, T), from one output per head: see `head_scores`."""
    columns = [head_scores(head, output, reference, region) for head, output in zip(heads, outputs, strict=True)]
    return np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]


def entry_scalars(
    heads: Sequence[HeadSpec],
    outputs: Sequence[AnyArray],
    reference: FloatArray | None = None,
    region: FloatArray | None = None,
) -> FloatArray:
    """The number y of every target, float32 (N, T), from one output per head: see `head_scalars`."""
    columns = [head_scalars(head, output, reference, region) for head, output in zip(heads, outputs, strict=True)]
    return np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]


def cosine(vectors: FloatArray, reference: FloatArray | None) -> FloatArray:
    """The cosine of vectors (N, D) with a reference (N or 1, D), float32 (N, 1).

    NaN without a reference, for one of another length (that of another head), and for zeros.
    """
    if reference is None or reference.shape[1] != vectors.shape[1]:
        return np.full((len(vectors), 1), np.nan, np.float32)
    ours, theirs = vectors.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        found: npt.NDArray[np.float32] = ((ours * theirs).sum(axis=1) / norms).astype(np.float32)
    return found[:, None]


def region_mean(maps: FloatArray, region: FloatArray | None) -> FloatArray:
    """The mean of maps (N, C, h, w) weighted by a region (N or 1, 1, h, w), float32 (N, C).

    `region` of one cell: all cells alike, as without a region. NaN for an empty region, and for one of another size
    (that of another head).
    """
    if region is None:
        return np.asarray(maps.mean(axis=(2, 3), dtype=np.float32))
    if region.shape[2:] not in ((1, 1), maps.shape[2:]):
        return np.full(maps.shape[:2], np.nan, np.float32)
    weights = np.broadcast_to(region, (len(region), 1, *maps.shape[2:])).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: FloatArray = (maps * weights).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))
    return means
