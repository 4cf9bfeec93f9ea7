"""The floor: only the forward passes of a case, on raw ONNX Runtime."""

from __future__ import annotations

import statistics
import time

import numpy as np
import onnxruntime as ort
from onnx_session import open_session
from protocol import Method, RefusalError, serve

BATCH_SIZES = (1, 2, 4, 8, 16)
# Time per size. The floor must use the fastest batch size, or all tools would look better than they are.
CHOOSING_SECONDS = 0.3


class Forward(Method):
    """The model's logits (or scores) on bound memory, for `passes()` images in batches of the fastest size."""

    file = "onnx"

    def prepare(self) -> None:
        self.session = open_session(self.case["model"][self.file], self.case["threads"], self.case["provider"])
        self.inputs = np.load(self.case["input"])
        self.size: int | None = None
        self.bindings: dict[int, ort.IOBinding] = {}

    def passes(self) -> int:
        return int(self.case["batch"])

    def run(self) -> None:
        if self.size is None:
            # In the first call, the warm-up: during `prepare` other tools are running.
            self.size = self.choose_size()
        whole, rest = divmod(self.passes(), self.size)
        for _ in range(whole):
            self.pass_batch(self.size)
        if rest:
            self.pass_batch(rest)
        self.evaluations = self.passes()

    def choose_size(self) -> int:
        """The size with the least median time per image."""
        sizes = [size for size in BATCH_SIZES if size <= self.passes()]
        return min(sizes, key=self.seconds_per_image)

    def seconds_per_image(self, size: int) -> float:
        self.pass_batch(size)
        seconds: list[float] = []
        while sum(seconds) < CHOOSING_SECONDS:
            start = time.perf_counter()
            self.pass_batch(size)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) / size

    def pass_batch(self, size: int) -> None:
        if size not in self.bindings:
            self.bindings[size] = self.bind(size)
        self.session.run_with_iobinding(self.bindings[size])

    def bind(self, size: int) -> ort.IOBinding:
        repeated = np.resize(self.inputs, (size, *self.inputs.shape[1:]))
        binding = self.session.io_binding()
        batch = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(repeated))
        binding.bind_ortvalue_input(self.case["model"]["input_name"], batch)
        binding.bind_output(self.session.get_outputs()[0].name, "cpu")
        return binding

    def answer(self) -> np.ndarray:
        raise RefusalError("the floor makes no map")


class Masked(Forward):
    """The passes of RISE: one per mask, and one without a mask."""

    file = "scores"

    def passes(self) -> int:
        return int(self.case["masks"]) + 1


class Copies(Forward):
    """The passes of Augmented Grad-CAM: one per copy, and one for the original image."""

    def passes(self) -> int:
        return int(self.case["options"]["copies"]) + 1


class Photos(Forward):
    """One pass per photo, without reading or resizing."""

    def passes(self) -> int:
        return len(self.case["photos"])


serve(
    "floor",
    packages=("onnxruntime", "numpy"),
    methods={
        "forward": Forward,
        "grad-cam": Forward,
        "gradient": Forward,
        "closed": Forward,
        "open": Forward,
        "rise": Masked,
        "augmented-grad-cam": Copies,
        "throughput": Photos,
    },
)
