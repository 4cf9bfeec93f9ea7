"""Whether the numbers that close the image input are those that the graph takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from onnxplain.contract import AXES, DeclaredInput, ImageInput, StatedShape
from onnxplain.contract.weight_channels import find_misfit
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.exporters.file.plain_model import plain_model
from onnxplain.exporters.graph.session import GraphSession

_OPTIONS = ("--channels", "--size", "--size")


@dataclass(frozen=True)
class ClosedInput:
    """The image input as the graph declares it, and as it was read: what is open in it is closed."""

    declared: DeclaredInput
    image: ImageInput

    def check_channels(self, proto: onnx.ModelProto, stated: StatedShape) -> None:
        """Raise ModelError where weights of the graph need another number of channels."""
        if None not in self._fixed[:1]:
            return
        misfit = find_misfit(plain_model(proto).graph, self.declared, self.image, stated.channels)
        if misfit is not None:
            raise ModelError(str(misfit))

    def misfit(self, proto: onnx.ModelProto) -> ModelError | None:
        """The error of a graph that ONNX Runtime cannot run with these numbers; `proto` is the closed graph.

        None where nothing was open, where the graph runs, and where it has inputs besides the image.
        """
        options = dict.fromkeys(option for option, size in zip(_OPTIONS, self._fixed, strict=True) if size is None)
        stored = {tensor.name for tensor in proto.graph.initializer}
        if not options or {value.name for value in proto.graph.input} - stored != {self.declared.name}:
            return None
        shape = [size or 1 for size in self.image.shape]
        try:
            GraphSession(proto, "graph").run({self.declared.name: np.zeros(shape, self.image.dtype)})
        except OnnxplainError as error:
            closed = ", ".join("?" if size is None else str(size) for size in self.image.shape)
            return ModelError(
                f"found an input {self.declared.name} {self.declared.dtype} {self.declared.shape_text}, closed to "
                f"[{closed}], expected numbers with which the graph runs: give others with {' and '.join(options)} "
                f"({error})"
            )
        return None

    @property
    def _fixed(self) -> tuple[int | None, ...]:
        """Channels, height and width as the graph declares them; None for what is open."""
        sizes = [(self.declared.dims or ())[axis] for axis in AXES[self.image.layout]]
        return tuple(size if isinstance(size, int) else None for size in sizes)
