"""The operators that have a rule, several forms of each; and those that are differentiated through a body."""

from __future__ import annotations

from tests.exporters.cases.bodies import BODY_CASES, FUSED_CASES
from tests.exporters.cases.elementwise import ARITHMETIC_CASES, FUNCTION_CASES
from tests.exporters.cases.fused import FUSED_FLOAT_CASES
from tests.exporters.cases.indexing import INDEXING_CASES
from tests.exporters.cases.normalizations import NORMALIZATION_CASES
from tests.exporters.cases.pools import AVERAGE_POOL_CASES, LP_POOL_CASES, MAX_POOL_CASES
from tests.exporters.cases.products import PRODUCT_CASES
from tests.exporters.cases.reductions import REDUCING_CASES
from tests.exporters.cases.resampling import RESAMPLING_CASES
from tests.exporters.cases.sampling import SAMPLED_CASES, SAMPLING_CASES
from tests.exporters.cases.shaping import SHAPING_CASES
from tests.exporters.cases.windows import CONV_CASES, CONV_TRANSPOSE_CASES
from tests.exporters.graphs import OperatorCase

RULE_CASES: tuple[OperatorCase, ...] = (
    *CONV_CASES,
    *CONV_TRANSPOSE_CASES,
    *AVERAGE_POOL_CASES,
    *MAX_POOL_CASES,
    *LP_POOL_CASES,
    *ARITHMETIC_CASES,
    *FUNCTION_CASES,
    *PRODUCT_CASES,
    *SHAPING_CASES,
    *INDEXING_CASES,
    *RESAMPLING_CASES,
    *REDUCING_CASES,
    *NORMALIZATION_CASES,
    *SAMPLING_CASES,
)
MADE_OF_CASES: tuple[OperatorCase, ...] = (*FUSED_CASES, *FUSED_FLOAT_CASES, *SAMPLED_CASES)
OPERATOR_CASES: tuple[OperatorCase, ...] = (*RULE_CASES, *BODY_CASES, *MADE_OF_CASES)

__all__ = ["BODY_CASES", "MADE_OF_CASES", "OPERATOR_CASES", "RULE_CASES"]
