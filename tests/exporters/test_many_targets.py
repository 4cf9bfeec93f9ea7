"""Several targets of one image: a walk with T cotangents over one row of forward values, against T walks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient.many_targets import plan_many_targets
from tests.exporters.cases import OPERATOR_CASES
from tests.exporters.graphs import GRADIENT, OperatorCase, append_gradient, relative_error, session, values_of

TOLERANCE = 1e-6
TARGETS = (1, 2, 7)
CASES_PER_OPERATOR = 10
# They count images, in their indices or in the size that they are given, or differentiate a table without images.
NEVER = frozenset({"AffineGrid", "GatherND", "RoiAlign", "ScatterND", "com.microsoft.GatherBlockQuantized"})
# Their inputs besides the first hold sizes, no images.
OF_SIZES = frozenset({"Tile"})
# Their expansion loses a fixed batch of 1: the check before a file is written finds that.
ONLY_WITH_AN_OPEN_BATCH = frozenset({"Attention"})


@dataclass(frozen=True)
class FirstImage:
    """The first image of a case whose images do not depend on each other.

    `per_image`: the inputs that have a row per image; the others are the same for all images.
    """

    case: OperatorCase
    per_image: tuple[int, ...]

    @cached_property
    def answer(self) -> np.ndarray:
        return self.case.forward({})

    def model(self, batch: int | str) -> onnx.ModelProto:
        """The operator alone in a graph; what images have is an input, its first axis `batch`."""
        model = self.case.model(np.float32, open_batch=False)
        arrays = {f"x{index}": self.case.array(index) for index in self.per_image}
        others = [tensor for tensor in model.graph.initializer if tensor.name not in arrays]
        inputs = [value for value in model.graph.input if value.name not in arrays]
        elements = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        for name, array in arrays.items():
            element = elements.get(name, onnx.TensorProto.FLOAT)
            inputs.append(onnx.helper.make_tensor_value_info(name, element, [batch, *array.shape[1:]]))
        element = self.case.attributes.get("to", onnx.TensorProto.FLOAT)
        answer = onnx.helper.make_tensor_value_info(self.case.seeded, element, [batch, *self.answer.shape[1:]])
        graph = onnx.helper.make_graph(list(model.graph.node), "one_image", inputs, [answer], others)
        return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        given = {*self.per_image, *self.case.wrt}
        arrays = {f"x{index}": self.case.array(index) for index in given}
        return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def first_image(case: OperatorCase, wrt: int) -> FirstImage | None:
    """None where the images of the case depend on each other, or where there are none."""
    rows, answer = len(case.array(wrt)) if case.array(wrt).ndim else 0, case.forward({})
    if not rows or not answer.ndim or len(answer) != rows:
        return None
    others = [
        index
        for index, array in enumerate(case.inputs)
        if index != wrt and array is not None and array.ndim and len(array) == rows and case.operator not in OF_SIZES
    ]
    for count in range(len(others), -1, -1):
        for more in itertools.combinations(others, count):
            per_image = (wrt, *more)
            alone = [_row(case, per_image, row) for row in range(rows)]
            if all(_gives(one, answer[row : row + 1]) for row, one in enumerate(alone)):
                return FirstImage(alone[0], per_image)
    return None


def _row(case: OperatorCase, per_image: Sequence[int], row: int) -> OperatorCase:
    inputs = [
        array[row : row + 1] if array is not None and index in per_image else array
        for index, array in enumerate(case.inputs)
    ]
    return replace(case, inputs=tuple(inputs))


def _gives(case: OperatorCase, answer: np.ndarray) -> bool:
    try:
        found = case.forward({})
    except Exception:  # inputs that do not fit together raise errors of many kinds
        return False
    return found.shape == answer.shape and np.allclose(found, answer)


def compare(image: FirstImage, wrt: int, batch: int | str) -> bool:
    """Whether the input claims many targets; if so, they are compared with single ones."""
    case = image.case
    model = prepare(image.model(batch))
    values = values_of(model.graph)
    repeated = plan_many_targets(model.graph, values[f"x{wrt}"], [values[case.seeded]])
    if repeated is None:
        return False
    shape = image.answer.shape[1:]
    names = append_gradient(model, f"x{wrt}", {case.seeded: ["rows", *shape]}, repeated)
    run = session(ir.to_proto(model)).run
    cotangents = np.random.default_rng(11).integers(-4, 5, (max(TARGETS), *shape)).astype(np.float32)

    def gradients(rows: np.ndarray) -> np.ndarray:
        return np.asarray(run([GRADIENT], {**image.feeds, names[case.seeded]: rows})[0])

    expected = np.concatenate([gradients(cotangents[row : row + 1]) for row in range(max(TARGETS))])
    for count in TARGETS:
        assert relative_error(gradients(cotangents[:count]), expected[:count]) < TOLERANCE, f"{count} targets"
    return True


def name_of(case: OperatorCase) -> str:
    return f"{case.domain}.{case.operator}".lstrip(".")


def some_of_each() -> dict[str, list[OperatorCase]]:
    """So many cases of each operator at most, of all its forms."""
    groups: dict[str, list[OperatorCase]] = {}
    for case in OPERATOR_CASES:
        groups.setdefault(name_of(case), []).append(case)
    return {name: cases[:: -(-len(cases) // CASES_PER_OPERATOR)] for name, cases in groups.items()}


OF_EACH = some_of_each()


@pytest.mark.parametrize("operator", OF_EACH)
def test_targets_at_once_are_as_one_by_one(operator: str) -> None:
    claimed = 0
    for case in OF_EACH[operator]:
        for wrt in case.wrt:
            image = first_image(case, wrt)
            # A case whose batch cannot be open has constants with a row per image; here they are inputs.
            if image is not None and (case.open_batch or len(image.per_image) > 1):
                claimed += compare(image, wrt, "N")
    assert bool(claimed) == (operator not in NEVER)


@pytest.mark.parametrize("operator", sorted(OF_EACH.keys() - NEVER - ONLY_WITH_AN_OPEN_BATCH))
def test_a_fixed_batch_of_one_takes_several_targets(operator: str) -> None:
    for case in OF_EACH[operator]:
        image = first_image(case, case.wrt[0])
        if image is not None:
            compare(image, case.wrt[0], 1)
            return
    raise AssertionError("no case has images that do not depend on each other")
