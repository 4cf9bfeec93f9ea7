"""Putting constants in the place of shape arithmetic whose result is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import VerificationError
from onnxplain.exporters.file.certainty import certain_contents
from onnxplain.exporters.file.dependence import Dependence
from onnxplain.exporters.file.probe import Probed, run_at
from onnxplain.exporters.graph.values import name_of

# What may be stored in the file.
LARGEST_CONSTANT = 65_536
CONSTANTS_BYTES = 2**20
# Folding moves no operation of the network, so no sum is taken in another order.
FOLDING_TOLERANCE = 1e-6


def fold(model: ir.Model, dependence: Dependence, measured: Probed, compared: int) -> None:
    """Put constants in the place of what is certain; undone where the outputs of the last `compared` runs change."""
    graph = model.graph
    constants = _constants(certain_contents(graph, dependence, measured), dependence, measured)
    if not constants:
        return
    for value, constant in constants.items():
        graph.register_initializer(constant)
        ir.convenience.replace_all_uses_with(value, constant)
    repeated = measured.batches[-compared:] if compared else ()
    try:
        same = not repeated or _are_same(run_at(model, repeated), measured.outputs[-compared:])
    except VerificationError:
        same = False
    if not same:
        for value, constant in constants.items():
            ir.convenience.replace_all_uses_with(constant, value)
            del graph.initializers[name_of(constant)]
        return
    _remove_dead(graph, set(measured.contents))


def _constants(certain: Sequence[ir.Value], dependence: Dependence, measured: Probed) -> dict[ir.Value, ir.Value]:
    """A constant for each certain value within the limits that anything else reads."""
    left, small = CONSTANTS_BYTES, {}
    for value in certain:
        array = measured.contents[value][0]
        if not value.is_graph_output() and array.size <= LARGEST_CONSTANT and array.nbytes <= left:
            left -= array.nbytes
            small[value] = array
    constants = {}
    for value, array in small.items():
        # What ONNX Runtime computes once, when it loads the file, may stay where only arithmetic reads it.
        passed_on = measured.contents if value in dependence.constants else small
        if any(output not in passed_on for reader in value.consumers() for output in reader.outputs):
            name = f"{name_of(value)}/known"
            constant = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            constant.shape, constant.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
            constants[value] = constant
    return constants


def _are_same(found: Sequence[Mapping[str, np.ndarray]], expected: Sequence[Mapping[str, np.ndarray]]) -> bool:
    return all(
        _is_same(run[name], reference)
        for run, references in zip(found, expected, strict=True)
        for name, reference in references.items()
    )


def _is_same(found: np.ndarray, reference: np.ndarray) -> bool:
    if found.shape != reference.shape or found.dtype != reference.dtype:
        return False
    if reference.dtype.kind != "f":
        return np.array_equal(found, reference)
    exact = reference.astype(np.float64)
    largest = float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0))
    return np.allclose(found.astype(np.float64), exact, rtol=0, atol=FOLDING_TOLERANCE * largest, equal_nan=True)


def _remove_dead(graph: ir.Graph, arithmetic: set[ir.Value]) -> None:
    """Remove the shape arithmetic that nothing reads any more."""
    for node in reversed(list(graph)):
        if all(output in arithmetic for output in node.outputs) and not any(
            output.consumers() or output.is_graph_output() for output in node.outputs
        ):
            graph.remove(node, safe=True)
