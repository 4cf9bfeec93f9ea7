"""A session with inputs and outputs bound to memory, so that repeated runs copy and allocate nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.machine.providers import BY_FULL_NAME, HOST
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.sessions.session import Session, run_failure, with_batch_axis


def memory_of(providers: Sequence[str]) -> str:
    """ONNX Runtime's name for the memory in which the first provider computes: cpu or cuda."""
    row = BY_FULL_NAME.get(providers[0])
    return HOST if row is None else row.memory


@dataclass(frozen=True)
class DeviceArray:
    """An array in device memory that a session owns: row-major, at address `pointer` of `device` `number`."""

    device: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pointer: int
    number: int = 0

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Entries start … stop − 1 of the first axis."""
        start, stop, _ = rows.indices(self.shape[0])
        step = prod(self.shape[1:]) * self.dtype.itemsize
        shape = (stop - start, *self.shape[1:])
        return replace(self, shape=shape, pointer=self.pointer + start * step)

    def reshaped(self, shape: tuple[int, ...]) -> DeviceArray:
        """The same data with another shape of the same size."""
        if prod(shape) != prod(self.shape):
            raise ValueError(f"found shape {self.shape}, expected as many elements as in {shape}")
        return replace(self, shape=shape)


class BoundSession:
    """A session bound to memory: bind the inputs that changed, run, fetch the outputs.

    `output_names`: the outputs to compute; their first axis is the image. `device`: the memory that holds them (see
    `memory_of`); `number`: which of several. `unbatched`: the name of an input without a batch axis. It takes batches
    of one, and outputs get such an axis. `beside`: what the other inputs are given for a number of images. `any_rows`:
    each run may return another number of rows, and outputs are returned as they are. Only one thread at a time may use
    an object.
    """

    def __init__(
        self,
        session: Session,
        path: Path,
        output_names: Sequence[str],
        device: str = HOST,
        number: int = 0,
        unbatched: str | None = None,
        beside: Callable[[int], Mapping[str, AnyArray]] | None = None,
        *,
        any_rows: bool = False,
    ) -> None:
        self._session, self._path = session, path
        self._output_names, self._device, self._number = tuple(output_names), device, number
        self._unbatched, self._beside, self._any_rows = unbatched, beside, any_rows
        self._binding = session.io_binding()
        self._count = 0

    def bind(self, name: str, array: AnyArray | DeviceArray) -> None:
        """Set an input.

        On the CPU, `run` reads a C-contiguous numpy array in place. For another device, `bind` copies the array there,
        so bind it again after its values change. A device array is read in place and must not be overwritten before
        the run.
        """
        if name == self._unbatched:
            shape = array.shape[1:]
            array = array.reshaped(shape) if isinstance(array, DeviceArray) else array.reshape(shape)
        try:
            if isinstance(array, DeviceArray):
                self._binding.bind_input(name, array.device, array.number, array.dtype.type, array.shape, array.pointer)
            else:
                self._binding.bind_cpu_input(name, array)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise run_failure(self._path, error) from error

    def run(self, count: int) -> None:
        """Compute the outputs for `count` images. Raises ModelError if ONNX Runtime fails."""
        if count != self._count or self._any_rows:
            # ONNX Runtime reuses the memory of a bound output, so another shape needs a new binding.
            self._binding.clear_binding_outputs()
            for name in self._output_names:
                self._binding.bind_output(name, self._device, self._number)
            if self._beside is not None:
                self._bind_beside(self._beside(count))
            self._count = count
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            raise run_failure(self._path, error) from error

    def _bind_beside(self, arrays: Mapping[str, AnyArray]) -> None:
        """Set inputs that may have defaults: `bind_cpu_input` does not know those."""
        for name, array in arrays.items():
            value = import_onnxruntime().OrtValue.ortvalue_from_numpy(array)
            try:
                self._binding.bind_ortvalue_input(name, value)
            except Exception as error:  # as above
                raise run_failure(self._path, error) from error

    def fetch(self) -> list[AnyArray]:
        """The outputs of the last run as new numpy arrays, in the order of `output_names`."""
        outputs: list[AnyArray] = self._binding.copy_outputs_to_cpu()
        as_they_are = self._unbatched is None or self._any_rows
        return outputs if as_they_are else [with_batch_axis(output) for output in outputs]

    def first_in_place(self, dtype: np.dtype[Any]) -> DeviceArray:
        """The first output of the last run, of type `dtype`, without a copy. The next run overwrites it."""
        value = self._binding.get_outputs()[0]
        return DeviceArray(self._device, dtype, tuple(value.shape()), value.data_ptr(), self._number)
