"""What onnx's reference evaluator lacks, in numpy, from the operators' own documentation.

The fused operators of ONNX Runtime: onnxruntime/docs/ContribOperators.md. Erf: the evaluator's own rounds to float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from scipy.special import erf, expit
from scipy.signal import correlate

MICROSOFT = "com.microsoft"
