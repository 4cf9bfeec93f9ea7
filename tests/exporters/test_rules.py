"""Every rule, and every body, against central differences of the operator itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient import rules
from onnxplain.exporters.gradient.rules import RULES, Gradients, Rule, Site
from onnxplain.exporters.operators.operator import MICROSOFT
from onnxplain.exporters.operators.table import OPERATORS, ROWS
from tests.exporters.cases import BODY_CASES, MADE_OF_CASES, OPERATOR_CASES, RULE_CASES
from tests.exporters.graphs import OperatorCase, relative_error, run_gradient, session

TOLERANCE = 5e-6
HALF_TOLERANCE = 1e-2
# Tested beside their definition, in test_quantization.py: a straight-through gradient is no difference quotient.
QUANTIZING = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
# Fused operators of integers, which test_fused_integers.py has.
OF_INTEGERS = frozenset({"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "NhwcMaxPool", "QAttention"})
STEPS = {name for name, rule in RULES.items() if rule is rules.step}
# ONNX Runtime has no float16 form of these.
NO_HALF = frozenset({"Celu", "MeanVarianceNormalization"})


def cotangent_of(case: OperatorCase) -> np.ndarray:
    """Small whole numbers in the shape of the output, the same at every call."""
    return np.random.default_rng(11).integers(-4, 5, case.forward({}).shape).astype(np.float64)


def reference_gradient(case: OperatorCase, wrt: int) -> np.ndarray:
    reference = case.numerical_gradient(wrt, cotangent_of(case))
    assert np.any(reference), "the reference gradient is zero: the case proves nothing"
    return reference


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=lambda case: case.id)
def test_gradient_agrees_with_central_differences(case: OperatorCase) -> None:
    cotangent = cotangent_of(case)
    for wrt in case.wrt:
        reference = reference_gradient(case, wrt)
        for open_batch in (False, True)[: 1 + case.open_batch]:
            found = case.emitted_gradient(wrt, cotangent, open_batch=open_batch)
            assert relative_error(found, reference) < TOLERANCE, (
                f"input {wrt}, batch {'open' if open_batch else 'fixed'}"
            )


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=lambda case: case.id)
def test_the_reference_is_what_onnxruntime_computes(case: OperatorCase) -> None:
    feeds = {f"x{index}": case.array(index).astype(np.float32) for index in case.wrt}
    (found,) = session(case.model(np.float32, open_batch=False)).run([case.seeded], feeds)
    assert relative_error(found, case.forward({})) < 1e-5


def test_the_tables_cover_every_rule() -> None:
    tested, rules_with_a_gradient = {case.operator for case in RULE_CASES} | QUANTIZING, set(RULES) - STEPS
    assert not rules_with_a_gradient - tested, "tests/exporters/cases/: add a case of each"
    assert not tested - rules_with_a_gradient, "gradient/rules/__init__.py: add a row for each, or move its case"
    written_out = {(row.domain, row.name) for row in ROWS if row.made_of is not None and row.name not in OF_INTEGERS}
    assert {(case.domain, case.operator) for case in MADE_OF_CASES} == written_out
    assert not {case.operator for case in BODY_CASES} & set(RULES)


def test_the_tables_do_not_contradict_each_other() -> None:
    assert len(OPERATORS) == len(ROWS)
    standard = {row.name: row for row in ROWS if row.domain != MICROSOFT}
    assert not set(RULES) - set(standard), "operators/table.py: add a row for each"
    assert {row.name for row in standard.values() if row.broadcasts or row.every_output} <= set(RULES) - STEPS
    assert not {row.name for row in standard.values() if row.control_flow} & set(RULES)


def _slightly_wrong(rule: Rule) -> Rule:
    def apply(at: Site, g: ir.Value) -> Gradients:
        return [None if gradient is None else at.branch.Mul(gradient, 1.001) for gradient in rule(at, g)]

    return apply


def _error_with(case: OperatorCase, wrong: Mapping[str, Rule], monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(rules, "RULES", wrong)
    wrt = case.wrt[0]
    return relative_error(
        case.emitted_gradient(wrt, cotangent_of(case), open_batch=False), reference_gradient(case, wrt)
    )


def _first(cases: tuple[OperatorCase, ...]) -> list[OperatorCase]:
    """The first case of each operator."""
    return list({(case.domain, case.operator): case for case in reversed(cases)}.values())


def _name(case: OperatorCase) -> str:
    return f"{case.domain}.{case.operator}".lstrip(".")


@pytest.mark.parametrize("case", _first(RULE_CASES), ids=_name)
def test_a_wrong_rule_is_caught(case: OperatorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**RULES, case.operator: _slightly_wrong(RULES[case.operator])}
    assert _error_with(case, wrong, monkeypatch) > TOLERANCE


@pytest.mark.parametrize("case", _first((*BODY_CASES, *MADE_OF_CASES)), ids=_name)
def test_wrong_rules_inside_a_body_are_caught(case: OperatorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {name: _slightly_wrong(rule) for name, rule in RULES.items()}
    assert _error_with(case, wrong, monkeypatch) > TOLERANCE


@pytest.mark.parametrize(
    "case",
    [case for case in (*_first(RULE_CASES), *BODY_CASES, *MADE_OF_CASES) if case.operator not in NO_HALF],
    ids=lambda case: case.id,
)
def test_float16_is_differentiated_in_float32(case: OperatorCase) -> None:
    cotangent, wrt = cotangent_of(case), case.wrt[0]
    feeds = {f"x{index}": case.array(index).astype(np.float16) for index in case.wrt}
    model = prepare(case.model(np.float16, open_batch=case.open_batch))
    found = run_gradient(model, f"x{wrt}", {case.seeded: cotangent}, feeds)
    assert found.dtype == np.float32
    assert relative_error(found, case.emitted_gradient(wrt, cotangent, open_batch=False)) < HALF_TOLERANCE
