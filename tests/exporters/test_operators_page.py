"""docs/operators.md says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxplain.exporters.gradient.rules import CONTROL_FLOW, RULES, ZERO
from onnxplain.exporters.operators.fused import FUSED

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
NAMED = set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize("table", [RULES, ZERO, FUSED, CONTROL_FLOW], ids=["rules", "zero", "fused", "control flow"])
def test_every_operator_of_the_table_is_on_the_page(table):
    assert set(table) <= NAMED
