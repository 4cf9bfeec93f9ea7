"""What the frames say that a product sums, against numpy's Einstein sum and ONNX Runtime's own definition."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxplain.exporters.anatomy.products import product_letters, summed_axis
from tests.exporters.cases import OPERATOR_CASES
from tests.exporters.graphs import OperatorCase

PRODUCTS = [
    case
    for case in OPERATOR_CASES
    if case.operator in ("FusedMatMul", "Gemm", "MatMul", "TransposeMatMul") and len(case.inputs) == 2
]


@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: case.id)
def test_the_letters_are_the_product(case: OperatorCase) -> None:
    node = ir.from_proto(case.model(np.float32, open_batch=False)).graph[0]
    a, b = case.array(0), case.array(1)
    first, second, out = product_letters(node, a.ndim, b.ndim)
    # numpy broadcasts sizes of 1.
    product = case.attributes.get("alpha", 1.0) * np.einsum(f"{first},{second}->{out}", a, b)
    np.testing.assert_allclose(product, case.forward({}), rtol=1e-6, atol=1e-9)
    for number, letters in enumerate((first, second)):
        if a.ndim == b.ndim:
            assert letters[summed_axis(node, number, a.ndim)] not in out
