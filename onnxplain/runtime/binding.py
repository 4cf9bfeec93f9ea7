"""A session whose inputs and outputs stay bound to memory between runs: no copies, no allocation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.session import Session, run_failure, with_batch_axis

HOST = "cpu"
# The memory in which these providers compute; the others take and give arrays of the host.
_DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}


def memory_of(providers: Sequence[str]) -> str:
    """ONNX Runtime's name of the memory in which the first of the providers computes: cpu or cuda."""
    return _DEVICES.get(providers[0], HOST)


@dataclass(frozen=True)
class DeviceArray:
    """An array that a session made and still owns, where it lies: row-major, at `pointer` of `device` number 0."""

    device: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pointer: int

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Entries start … stop − 1 of the first axis."""
        start, stop, _ = rows.indices(self.shape[0])
        step = prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceArray(self.device, self.dtype, (stop - start, *self.shape[1:]), self.pointer + start * step)

    def reshaped(self, shape: tuple[int, ...]) -> DeviceArray:
        """The same numbers in another shape of the same size."""
        if prod(shape) != prod(self.shape):
            raise ValueError(f"found shape {self.shape}, expected as many elements as in {shape}")
        return DeviceArray(self.device, self.dtype, shape, self.pointer)


class BoundSession:
    """A session bound to memory: bind what changes, run, fetch.

    `output_names` are the outputs computed, `device` (see `memory_of`) is where they stay; their first axis counts the
    images. `unbatched` names an input without a batch axis: it takes batches of one, and outputs get such an axis.
    One object serves one thread at a time.
    """

    def __init__(
        self,
        session: Session,
        path: Path,
        output_names: Sequence[str],
        device: str = HOST,
        unbatched: str | None = None,
    ) -> None:
        self._session, self._path = session, path
        self._output_names, self._device = tuple(output_names), device
        self._unbatched = unbatched
        self._binding = session.io_binding()
        self._count = 0

    def bind(self, name: str, array: AnyArray | DeviceArray) -> None:
        """Feed an input.

        On the CPU a C-contiguous numpy array is read in place, at the run; for another device it is copied there
        now: so bind an array again when its numbers have changed. A device array is read in place, and must not be
        overwritten before the run.
        """
        if name == self._unbatched:
            shape = array.shape[1:]
            array = array.reshaped(shape) if isinstance(array, DeviceArray) else array.reshape(shape)
        try:
            if isinstance(array, DeviceArray):
                self._binding.bind_input(name, array.device, 0, array.dtype.type, array.shape, array.pointer)
            else:
                self._binding.bind_cpu_input(name, array)
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise run_failure(self._path, error) from error

    def run(self, count: int) -> None:
        """Compute the outputs for `count` images; raises ModelError where ONNX Runtime fails."""
        if count != self._count:
            # ONNX Runtime keeps the memory of an output from run to run, so it must keep its shape.
            self._binding.clear_binding_outputs()
            for name in self._output_names:
                self._binding.bind_output(name, self._device)
            self._count = count
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            raise run_failure(self._path, error) from error

    def fetch(self) -> list[AnyArray]:
        """The outputs of the last run, in the order of their names, as numpy arrays of their own."""
        outputs: list[AnyArray] = self._binding.copy_outputs_to_cpu()
        return outputs if self._unbatched is None else [with_batch_axis(output) for output in outputs]

    def first_in_place(self, dtype: np.dtype[Any]) -> DeviceArray:
        """The first output of the last run, of that type, where it lies; the next run overwrites it."""
        value = self._binding.get_outputs()[0]
        return DeviceArray(self._device, dtype, tuple(value.shape()), value.data_ptr())
