"""The copies of one image that a method scores: counted, reported, and ended early by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import numpy as np

from onnxplain.explainers.masked.mask_form import AnyDraw
from onnxplain.explainers.masked.masked_scores import MaskedScores
from onnxplain.runtime.arrays import FloatArray


class Trials(Generic[AnyDraw]):
    """Scores masked copies of one image. `planned`: how many there will be.

    `progress(done, planned)` is called after each run of the model. Ctrl-C, noted by `stop` or raised by the model,
    ends the work: a call then returns the scores so far, and `interrupted` says so. `unmasked`: the scores of the whole
    image, float32 (T,). NaN and infinity are returned as 0, and `finite`, bool (T,), says of which target.
    """

    def __init__(
        self,
        scores: MaskedScores[AnyDraw],
        planned: int,
        progress: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> None:
        self._scores, self._planned, self._progress, self._stop = scores, planned, progress, stop
        self.done, self.interrupted = 0, False
        self.finite = np.isfinite(scores.unmasked)
        self.unmasked = np.where(self.finite, scores.unmasked, np.float32(0))
        self._lowest, self._highest = self.unmasked.copy(), self.unmasked.copy()

    @property
    def changed(self) -> list[bool]:
        """Per target, whether any copy changed the score, or gave none."""
        return [bool(each) for each in (self._lowest != self._highest) | ~self.finite]

    def __call__(self, draw: AnyDraw) -> FloatArray:
        """The scores, float32 (n, T), of the copies of a draw; of fewer if the work was interrupted."""
        found, done = [np.empty((0, len(self.unmasked)), np.float32)], 0
        while done < len(draw) and not self.interrupted:
            if self._stop():
                self.interrupted = True
                break
            try:
                part = self._scores(draw.part(done, done + self._scores.masks_at_once))
            except KeyboardInterrupt:
                self.interrupted = True
                break
            finite = np.isfinite(part)
            if not finite.all():
                self.finite &= finite.all(axis=0)
                part = np.where(finite, part, np.float32(0))
            found.append(part)
            done += len(part)
            self.done += len(part)
            np.minimum(self._lowest, part.min(axis=0), out=self._lowest)
            np.maximum(self._highest, part.max(axis=0), out=self._highest)
            self._progress(self.done, self._planned)
        return np.concatenate(found)
