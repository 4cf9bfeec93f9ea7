"""One-node graphs: the operator as ONNX specifies it, and the gradient that its rule emits beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import onnx_ir as ir
import onnxruntime as ort

from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient.differentiate import differentiate
from onnxplain.exporters.gradient.many_targets import RepeatedParts
from onnxplain.exporters.graph.branch import Branch
from tests.exporters.definitions import DEFINITIONS
from tests.exporters.processors import require_same_everywhere

# The reference evaluator's and ONNX Runtime's windows and grids differ in corners (ceil_mode, groups, antialiasing,
# negative pads); what a user runs is ONNX Runtime. It has these in float32 only. They are linear, or piecewise so: with
# whole numbers and a wide step, float32 is exact or nearly.
ON_ONNXRUNTIME = frozenset({"AveragePool", "Conv", "ConvTranspose", "MaxPool", "MaxUnpool", "Pad", "Resize", "Slice"})
COTANGENT, GRADIENT = "cotangent", "gradient"


@dataclass(frozen=True)
class OperatorCase:
    """An operator with attributes and inputs; None stands for an input that is left out.

    `wrt` are the inputs that are differentiated; the others are constants. `step`: half width of the central
    difference. `seeded` is the output that is differentiated. `open_batch` is false where the first axis of the
    differentiated inputs cannot be symbolic.
    """

    operator: str
    inputs: tuple[np.ndarray | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    wrt: tuple[int, ...] = (0,)
    note: str = ""
    opset: int = 18
    step: float = 1e-5
    outputs: tuple[str, ...] = ("y",)
    seeded: str = "y"
    domain: str = ""
    open_batch: bool = True

    @property
    def id(self) -> str:
        """The name under which pytest lists the case."""
        text = ",".join(f"{key}={value}" for key, value in self.attributes.items()).replace(" ", "")
        shapes = ",".join("x".join(map(str, array.shape)) or "scalar" for array in self.inputs if array is not None)
        seeded = "" if self.seeded == "y" else self.seeded
        return "-".join(part for part in (self.domain, self.operator, shapes, text, self.note, seeded) if part)

    def array(self, index: int) -> np.ndarray:
        """Input `index`, which is given."""
        array = self.inputs[index]
        assert array is not None
        return array

    def forward(self, replaced: Mapping[int, np.ndarray]) -> np.ndarray:
        """The operator's output with some inputs replaced, on an evaluator that is not the project's."""
        feeds = {f"x{index}": replaced.get(index, self.array(index)).astype(self._dtype) for index in self.wrt}
        return np.asarray(self._evaluator.run([self.seeded], feeds)[0])

    @cached_property
    def _evaluator(self) -> Any:
        if self.operator in ON_ONNXRUNTIME:
            return session(self.model(np.float32, open_batch=False))
        model = self.model(np.float64, open_batch=False)
        return onnx.reference.ReferenceEvaluator(model, new_ops=list(DEFINITIONS))

    def model(self, dtype: type[np.floating], open_batch: bool) -> onnx.ModelProto:
        """The operator alone in a graph, its floats in `dtype`; the first axis of what varies may be symbolic."""
        names = [f"x{index}" if array is not None else "" for index, array in enumerate(self.inputs)]
        inputs, constants = [], []
        for index, array in enumerate(self.inputs):
            if array is None:
                continue
            # Resize's scales and regions are float32 whatever it resizes.
            varies = array.dtype.kind == "f" and (self.operator != "Resize" or index == 0)
            stored = array.astype(dtype) if varies else array
            if index in self.wrt:
                shape: list[int | str] = list(array.shape)
                if open_batch and shape:
                    shape[0] = "N" if shape[0] != 1 else 1
                elem = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
                inputs.append(onnx.helper.make_tensor_value_info(names[index], elem, shape))
            else:
                constants.append(onnx.numpy_helper.from_array(stored, names[index]))
        node = onnx.helper.make_node(
            self.operator, names, list(self.outputs), name="node", domain=self.domain, **self.attributes
        )
        output = onnx.ValueInfoProto(name=self.seeded)
        graph = onnx.helper.make_graph([node], "one_node", inputs, [output], constants)
        opsets = [onnx.helper.make_opsetid("", self.opset), onnx.helper.make_opsetid("com.microsoft", 1)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def emitted_gradient(self, wrt: int, cotangent: np.ndarray, *, open_batch: bool) -> np.ndarray:
        """What the rule's nodes compute on ONNX Runtime in float32."""
        model = prepare(self.model(np.float32, open_batch))
        feeds = {f"x{index}": np.asarray(self.array(index), np.float32) for index in self.wrt}
        return run_gradient(model, f"x{wrt}", {self.seeded: cotangent}, feeds)

    def numerical_gradient(self, wrt: int, cotangent: np.ndarray) -> np.ndarray:
        """⟨cotangent, ∂y/∂x⟩ by central differences, one entry of input `wrt` at a time."""
        x = self.array(wrt).astype(np.float64)
        gradient = np.zeros_like(x)
        for position in np.ndindex(x.shape):
            sides = []
            for sign in (1.0, -1.0):
                moved = x.copy()
                moved[position] += sign * self.step
                side = self.forward({wrt: moved})
                sides.append((side.astype(np.float64) * cotangent).sum())
            gradient[position] = (sides[0] - sides[1]) / (2 * self.step)
        return gradient

    @property
    def _dtype(self) -> type[np.floating]:
        return np.float32 if self.operator in ON_ONNXRUNTIME else np.float64


def run_gradient(
    model: ir.Model, layer: str, cotangents: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Append the gradient of Σ cotangent · value with respect to the value named `layer`, and run it."""
    seeded = append_gradient(model, layer, {name: cotangent.shape for name, cotangent in cotangents.items()})
    seeds = {seeded[name]: np.asarray(cotangent, np.float32) for name, cotangent in cotangents.items()}
    return np.asarray(session(ir.to_proto(model)).run([GRADIENT], {**feeds, **seeds})[0])


def values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """The inputs of a graph and all that its nodes compute, by name."""
    values = {str(value.name): value for value in graph.inputs}
    return values | {str(output.name): output for node in graph for output in node.outputs}


def append_gradient(
    model: ir.Model, layer: str, seeded: Mapping[str, Sequence[int | str]], repeated: RepeatedParts | None = None
) -> dict[str, str]:
    """Append the gradient with respect to the value named `layer` as the output GRADIENT.

    `seeded`: names of the values at which it starts, and the shapes of their cotangents. `repeated`: what has to be
    repeated where these have more rows than the image. Returns the names of the inputs that take the cotangents.
    """
    graph = model.graph
    values = values_of(graph)
    branch = Branch("gradient_of")
    seeds, inputs = {}, {}
    for index, (name, shape) in enumerate(seeded.items()):
        inputs[name] = f"{COTANGENT}_{index}"
        seed = ir.Value(name=inputs[name], shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(seed)
        seeds[values[name]] = seed
    if repeated is not None:
        repeated.read_in(branch, next(iter(seeds.values())))
    gradient = branch.Identity(differentiate(branch, seeds, values[layer]))
    gradient.name = GRADIENT
    graph.extend(branch.nodes)
    graph.outputs.append(gradient)
    gradient.type = ir.TensorType(ir.DataType.FLOAT)
    return inputs


def session(model: onnx.ModelProto | Path) -> ort.InferenceSession:
    """A quiet CPU session on a graph in memory, or on a file, whose integers are those of any other processor."""
    require_same_everywhere(onnx.load(model, load_external_data=False) if isinstance(model, Path) else model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = 1
    source = model if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the largest value of the reference; shapes must be equal."""
    assert found.shape == reference.shape, f"found shape {found.shape}, expected {reference.shape}"
    if reference.size == 0:
        return 0.0
    return float(np.abs(found - reference).max() / max(np.abs(reference).max(), 1e-12))


def integers(rng: np.random.Generator, shape: Sequence[int], low: int = -4, high: int = 5) -> np.ndarray:
    """Small whole numbers, with which products and sums are exact in float32."""
    return rng.integers(low, high, tuple(shape)).astype(np.float32)


def open_session(path: Path) -> ort.InferenceSession:
    """A quiet CPU session on a file."""
    return session(path)
