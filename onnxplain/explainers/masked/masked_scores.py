"""Compute the model's scores for masked copies of an image, as fast as the model allows."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic

import numpy as np

from onnxplain.errors import ModelError
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.black_box import BlackBox, View, WholeOutputs
from onnxplain.explainers.masked.copy_maker import choose_maker
from onnxplain.explainers.masked.explained_output import Outputs, WatchedOutput
from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.mask_painter import MaskPainter
from onnxplain.explainers.masked.masked_image import lay_out
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.sessions.batch_size import search_batch_size

CALLABLE_BATCH_SIZE = 8

# Several small batches are painted at a time, while the image and the scratch memory are in the processor's cache.
# These are the limits in copies and in bytes.
_PAINTED, _PAINTED_BYTES = 16, 2**20
# Outputs that are read together.
_GATHERED_BYTES = 2**18
# A call scores several batches: reading and counting them together costs less. Limits in copies and in seconds, so that
# Ctrl-C and a budget of seconds are heeded soon.
_TOGETHER, _TOGETHER_SECONDS = 64, 0.25


class MaskedScores(ABC, Generic[AnyDraw]):
    """The explained values of masked copies of one image, one column per target, or per class if none was placed.

    Memory does not depend on the number of copies. `unmasked`: float32 (T,), the values of the whole image. Only one
    thread at a time may use an object.
    """

    unmasked: FloatArray

    @property
    @abstractmethod
    def masks_at_once(self) -> int:
        """How many masks to pass to the next call. More are split into parts; fewer fill a batch only partly."""

    @abstractmethod
    def __call__(self, draw: AnyDraw) -> FloatArray:
        """Values float32 (n, T) of the copies for n ≥ 1 masks."""


class _CallableScores(MaskedScores[AnyDraw]):
    """A callable's scores. Each batch is a new array, which the callable may keep."""

    def __init__(
        self,
        black_box: BlackBox,
        view: View,
        form: MaskForm[AnyDraw],
        batch_size: int | None,
        placed: Sequence[PlacedTarget],
        whole: WholeOutputs,
    ) -> None:
        self._black_box, self._placed = black_box, placed
        self._batch_size = batch_size or CALLABLE_BATCH_SIZE
        self._shape = view.pixels.shape
        self._painter = MaskPainter(lay_out(view, "nchw", np.dtype(np.float32)), form)
        self.unmasked = self._read(whole.outputs[0])[0]

    @property
    def masks_at_once(self) -> int:
        return self._batch_size

    def __call__(self, draw: AnyDraw) -> FloatArray:
        scores = []
        for start in range(0, len(draw), self._batch_size):
            part = draw.part(start, start + self._batch_size)
            copies = np.empty((len(part), *self._shape), np.float32)
            self._painter.paint(part, copies)
            scores.append(self._read(self._black_box.scores(copies)))
        return np.concatenate(scores)

    def _read(self, scores: FloatArray) -> FloatArray:
        return np.stack([each.of(scores) for each in self._placed], axis=1) if self._placed else scores


class _EngineScores(MaskedScores[AnyDraw]):
    """An engine's scores. Its session reads masked copies in place."""

    def __init__(
        self,
        explained: WatchedOutput,
        view: View,
        form: MaskForm[AnyDraw],
        batch_size: int | None,
        whole: WholeOutputs,
    ) -> None:
        engine = explained.engine
        self._explained = explained
        self._fixed_batch = engine.fixed_batch
        self._search = search_batch_size(engine, 1 if explained.one_image else batch_size)
        self._whole = explained.of_whole(whole.outputs)
        # The IoU of a box with itself is 1.
        self.unmasked = explained.read(self._whole, self._whole)[0]
        self._bound = engine.bind(explained.output_names)
        self._input = engine.spec.input.name
        self._most_painted = min(_PAINTED, _PAINTED_BYTES // engine.input_buffer(1).nbytes)
        self._make = choose_maker(engine, view, form)
        self._seconds_per_copy = float("inf")

    @property
    def masks_at_once(self) -> int:
        count = self._search.size
        while 2 * count <= _TOGETHER and 2 * count * self._seconds_per_copy <= _TOGETHER_SECONDS:
            count *= 2
        return count

    @property
    def _painted_at_once(self) -> int:
        batch_size = self._search.size
        return max(1, self._most_painted // batch_size) * batch_size

    def __call__(self, draw: AnyDraw) -> FloatArray:
        begun, count = time.perf_counter(), len(draw)
        values = [self._explained.read(outputs, self._whole) for outputs in self._gather(self._run(draw))]
        self._seconds_per_copy = (time.perf_counter() - begun) / count
        return np.concatenate(values)[:count]

    def _gather(self, batches: Iterator[Outputs]) -> Iterator[Outputs]:
        """Small batches that can be read together; large outputs, as those of a detector, are not collected."""
        if not self._explained.reads_rows:
            yield from batches
            return
        gathered: list[Outputs] = []
        for outputs in batches:
            gathered.append(outputs)
            if len(gathered) * sum(output.nbytes for output in outputs) > _GATHERED_BYTES:
                yield _join(gathered)
                gathered = []
        if gathered:
            yield _join(gathered)

    def _run(self, draw: AnyDraw) -> Iterator[Outputs]:
        start = 0
        while start < len(draw):
            part = draw.part(start, start + self._painted_at_once)
            yield from self._run_painted(part)
            start += len(part)

    def _run_painted(self, draw: AnyDraw) -> Iterator[Outputs]:
        # Only the last part can need padding, so the rows to drop come last.
        draw = draw if self._fixed_batch is None else draw.padded(self._fixed_batch)
        copies = self._make(draw)
        start, count = 0, len(draw)
        while start < count:
            begun, stop = time.perf_counter(), min(start + self._search.size, count)
            self._bound.bind(self._input, copies[start:stop])
            try:
                self._bound.run(stop - start)
            except ModelError:
                if not self._search.give_up(stop - start):
                    raise
                continue
            outputs = self._bound.fetch()
            self._search.record(stop - start, time.perf_counter() - begun)
            start = stop
            yield outputs


def _join(batches: Sequence[Outputs]) -> Outputs:
    if len(batches) == 1:
        return batches[0]
    return [np.concatenate(outputs) for outputs in zip(*batches, strict=True)]


def open_masked_scores(
    black_box: BlackBox,
    view: View,
    form: MaskForm[AnyDraw],
    batch_size: int | None,
    placed: Sequence[PlacedTarget] = (),
    whole: WholeOutputs | None = None,
) -> MaskedScores[AnyDraw]:
    """The values of masked copies of an image, `batch_size` copies at a time.

    None: the fastest size, found by `search_batch_size`, for an engine; 8 for a callable. A batch size that the file
    fixes is kept. `placed`: the targets; none: every class. `whole`: the outputs for the unmasked image; None: this
    call runs the model for them.
    """
    whole = black_box.see_whole(view) if whole is None else whole
    explained = black_box.explained_output(placed)
    if explained is None:
        return _CallableScores(black_box, view, form, batch_size, placed, whole)
    return _EngineScores(explained, view, form, batch_size, whole)
