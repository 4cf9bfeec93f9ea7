"""ONNX Runtime's fused operators in a witness: in float64, and equal to ONNX Runtime's own."""

from __future__ import annotations

import numpy as np
import onnx.helper
import pytest

from onnxplain.exporters.checks.fused_operators import FUSED
from tests.exporters.cases import MADE_OF_CASES
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import OperatorCase, session
from tests.exporters.straight_through import integer_model
from tests.exporters.test_operator_facts import witness_of

KNOWN = {kernel.__name__ for kernel in FUSED} | {"FusedConv", "FusedGemm"}
FUSED_CASES = [case for case in MADE_OF_CASES if case.operator in KNOWN and case.domain == MICROSOFT]


@pytest.mark.parametrize("case", FUSED_CASES, ids=lambda case: case.id)
def test_it_is_evaluated_in_float64(case: OperatorCase) -> None:
    arrays = [None if array is None else np.asarray(array, np.float32) for array in case.inputs]
    names = ["x", *(f"i{index}" if array is not None else "" for index, array in enumerate(arrays[1:]))]
    constants = {name: array for name, array in zip(names, arrays, strict=True) if array is not None and name != "x"}
    x = arrays[0]
    assert x is not None
    node = onnx.helper.make_node(case.operator, names, ["y"], domain=MICROSOFT, **case.attributes)
    proto = integer_model([node], {"x": x}, constants)
    (expected,) = session(proto).run(["y"], {"x": x})
    found = witness_of(proto, "x").values(x, {})[0]
    assert found.dtype == np.float64
    assert np.allclose(found, expected.reshape(len(x), -1), atol=1e-5)


def test_every_kernel_has_a_case() -> None:
    assert {case.operator for case in FUSED_CASES} == KNOWN
