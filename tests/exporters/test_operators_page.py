"""docs/operators.md says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxplain.exporters.gradient.rules import RULES
from onnxplain.exporters.operators.table import ROWS

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
NAMED = set(re.findall(r"`(\w+)`", PAGE))


WRITTEN_OUT = [row.name for row in ROWS if row.made_of is not None or row.twin is not None]
CONTROL_FLOW = [row.name for row in ROWS if row.control_flow]


@pytest.mark.parametrize("table", [RULES, WRITTEN_OUT, CONTROL_FLOW], ids=["rules", "written out", "control flow"])
def test_every_operator_of_the_table_is_on_the_page(table):
    missing = sorted(set(table) - NAMED)
    assert not missing, "docs/operators.md: add each in its group"
