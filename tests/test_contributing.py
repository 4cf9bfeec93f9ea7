"""CONTRIBUTING.md holds: its paths exist, and its worked example is a rule that agrees with central differences."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain.demo import IMAGES, MODEL
from onnxplain.errors import UnsupportedError
from onnxplain.explainers import METHODS, build
from onnxplain.exporters.gradient import rules
from onnxplain.exporters.gradient.rules import rearranging
from onnxplain.exporters.operators import table
from onnxplain.exporters.operators.operator import Operator
from onnxplain.runtime import Engine
from tests.exporters import cases, test_rules
from tests.exporters.cases import indexing as indexing_cases
from tests.exporters.graphs import OperatorCase

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# The modules that the blocks of the worked example are lines of.
MODULES = {
    "onnxplain/exporters/gradient/rules/rearranging.py": rearranging,
    "onnxplain/exporters/gradient/rules/__init__.py": rules,
    "onnxplain/exporters/operators/table.py": table,
    "tests/exporters/cases/indexing.py": indexing_cases,
}
RULE, RULES_ROW, OPERATOR_ROW, CASES = MODULES
OPERATOR = "ReverseSequence"


def blocks() -> dict[str, str]:
    """The Python blocks, by the path in the comment of their first line."""
    found = re.findall(r"```python\n# ([^\s,]+)[^\n]*\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(found) == PAGE.count("```python")
    return dict(found)


def run(path: str, name: str) -> Any:
    """What the block calls `name`, the block run among the names of its module."""
    names = dict(vars(MODULES[path]))
    exec(blocks()[path], names)
    return names[name]


def rows() -> tuple[Operator, ...]:
    return run(OPERATOR_ROW, "ROWS")


def written_cases() -> tuple[OperatorCase, ...]:
    return run(CASES, "INDEXING_CASES")


def paths() -> list[str]:
    """What stands between backticks and looks like a path of the repository, or like a file at its root."""
    spans = set(re.findall(r"`([^`\s]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    return sorted(span for span in spans if "/" in span or re.fullmatch(r"[\w.]+\.(toml|md)", span))


@pytest.fixture
def other_cases(monkeypatch: pytest.MonkeyPatch) -> tuple[OperatorCase, ...]:
    """The tables as if the operator of the example had never been added; the cases of all others."""
    monkeypatch.delitem(rules.RULES, OPERATOR)
    monkeypatch.delitem(table.OPERATORS, ("", OPERATOR))
    others = tuple(case for case in cases.RULE_CASES if case.operator != OPERATOR)
    monkeypatch.setattr(test_rules, "RULE_CASES", others)
    monkeypatch.setattr(test_rules, "ROWS", tuple(row for row in table.ROWS if row.name != OPERATOR))
    return others


@pytest.fixture
def example(other_cases: tuple[OperatorCase, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[OperatorCase, ...]:
    """The worked example in its places; its cases."""
    (name,) = [node.name for node in ast.parse(blocks()[RULE]).body if isinstance(node, ast.FunctionDef)]
    monkeypatch.setattr(rearranging, name, run(RULE, name))
    for operator, rule in run(RULES_ROW, "RULES").items():
        monkeypatch.setitem(rules.RULES, operator, rule)
    for row in rows():
        monkeypatch.setitem(table.OPERATORS, (row.domain, row.name), row)
    return written_cases()


def test_the_blocks_are_those_of_one_operator() -> None:
    assert [row.name for row in rows()] == [OPERATOR] == list(run(RULES_ROW, "RULES"))
    assert [case.operator for case in written_cases()] == [OPERATOR] * 2
    assert blocks().keys() == MODULES.keys()


@pytest.mark.usefixtures("other_cases")
@pytest.mark.parametrize("index", range(2))
def test_without_the_rule_the_operator_is_refused(index: int) -> None:
    case = written_cases()[index]
    with pytest.raises(UnsupportedError, match=f"no gradient rule for operator {OPERATOR}"):
        case.emitted_gradient(0, test_rules.cotangent_of(case), open_batch=False)


@pytest.mark.parametrize("index", range(2))
def test_the_rule_of_the_example_agrees_with_central_differences(
    example: tuple[OperatorCase, ...], index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = example[index]
    test_rules.test_the_reference_is_what_onnxruntime_computes(case)
    test_rules.test_gradient_agrees_with_central_differences(case)
    test_rules.test_float16_is_differentiated_in_float32(case)
    monkeypatch.setattr(test_rules, "RULES", rules.RULES)
    test_rules.test_a_wrong_rule_is_caught(case, monkeypatch)


def test_the_tables_ask_for_every_step_of_the_example(
    other_cases: tuple[OperatorCase, ...], example: tuple[OperatorCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all steps the walk over the tables passes; without the cases, or without the row, it fails."""
    with pytest.raises(AssertionError):
        test_rules.test_the_tables_cover_every_rule()
    with pytest.raises(AssertionError):
        test_rules.test_the_tables_do_not_contradict_each_other()
    monkeypatch.setattr(test_rules, "RULE_CASES", (*other_cases, *example))
    monkeypatch.setattr(test_rules, "ROWS", (*test_rules.ROWS, *rows()))
    test_rules.test_the_tables_cover_every_rule()
    test_rules.test_the_tables_do_not_contradict_each_other()


def test_the_method_of_docs_methods_is_its_formula() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "weigh" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    engine, image = Engine(MODEL), next(IMAGES.glob("*.png"))
    features = engine.activations(image, gradients=False).features[0]
    assert names["explanation"].method not in METHODS
    np.testing.assert_allclose(names["explanation"].raw, features.mean(0), rtol=1e-5)
    assert names["explanation"].heatmap.shape == build("grad-cam", engine)(image).heatmap.shape


@pytest.mark.parametrize("path", paths())
def test_every_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_paths_are_found() -> None:
    assert {"onnxplain/cli/main.py", "tests/data/written.py", "pyproject.toml", "README.md"} <= set(paths())
