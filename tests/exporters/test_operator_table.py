"""What the operators' table says of places and integers, against what the operators do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxplain.exporters.operators.operator import Hands, Operator, Places
from onnxplain.exporters.operators.table import OPERATORS, ROWS, look_up
from tests.exporters.cases import OPERATOR_CASES
from tests.exporters.graphs import OperatorCase, session

# Their order along an axis is what they are about: they keep places, but a turned input does not give a turned output.
ORDERED = frozenset({"CumSum", "RotaryEmbedding", "ScatterElements", "ScatterND", "Trilu"})


def _turned_axes(case: OperatorCase) -> tuple[int, ...]:
    """Axes along which the case's other operands and its parameters do not tell the places apart."""
    x, *others = [array for array in case.inputs if array is not None]
    if not others:
        return tuple(range(x.ndim))
    batched = [other for other in others if other.ndim >= x.ndim and other.shape[0] > 1]
    return () if batched or x.ndim < 2 else (0,)


KEEPING = [
    case
    for case in OPERATOR_CASES
    if (row := OPERATORS.get((case.domain, case.operator))) is not None
    and row.places is Places.KEPT
    and case.operator not in ORDERED
    and case.wrt == (0,)
    and _turned_axes(case)
]
HANDING = {row.name for row in ROWS if row.hands in (Hands.WHOLE, Hands.RESHAPED) and not row.domain}


def _run(case: OperatorCase, first: np.ndarray) -> np.ndarray:
    feeds = {"x0": first.astype(np.float32)}
    (found,) = session(case.model(np.float32, open_batch=False)).run([case.seeded], feeds)
    return np.asarray(found)


@pytest.mark.parametrize("case", KEEPING, ids=lambda case: case.id)
def test_an_operator_that_keeps_places_turns_with_its_input(case: OperatorCase) -> None:
    axes, x = _turned_axes(case), case.array(0)
    np.testing.assert_allclose(_run(case, np.flip(x, axes)), np.flip(_run(case, x), axes), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", sorted(HANDING))
def test_an_operator_that_hands_its_input_on_computes_nothing(operator: str) -> None:
    cases = [case for case in OPERATOR_CASES if case.operator == operator]
    assert cases
    for case in cases:
        np.testing.assert_array_equal(_run(case, case.array(0)).ravel(), case.array(0).astype(np.float32).ravel())


# onnx has no schema of ONNX Runtime's own operators: test_quantized_functions.py runs them.
@pytest.mark.parametrize("row", [row for row in ROWS if row.integers and not row.domain], ids=lambda row: row.name)
def test_the_places_of_integers_are_those_of_the_schema(row: Operator) -> None:
    """A scale stands one place behind its integers, and has the name of one in onnx's own schema."""
    assert row.integers is not None
    names = [formal.name for formal in onnx.defs.get_schema(row.name, 18).inputs]
    if row.integers.result is not None:
        assert names[row.integers.result].endswith("scale")
    for index in row.integers.operands or ():
        assert "scale" not in names[index] and "zero_point" not in names[index]
    if row.integers.bias is not None:
        assert names[row.integers.bias] == "B"


def test_an_unknown_operator_has_a_row_that_says_nothing() -> None:
    assert look_up("com.example", "Conv") == Operator("Conv", domain="com.example")
    assert look_up("ai.onnx", "Conv") is OPERATORS["", "Conv"]
