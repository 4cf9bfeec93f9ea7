"""Standard operators that deliberately have no rule: a new one of onnx shows up here, and has to be decided on."""

from __future__ import annotations

import onnx.defs
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema, get_all_opkernel_def

from onnxplain.exporters.gradient.rules import RULES
from onnxplain.exporters.operators.table import ROWS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.test_operators_page import NAMED, PAGE

# No map leads through them: they make constants, windows, random numbers, texts and images of files.
WITHOUT_INPUTS = {
    *("BlackmanWindow", "Constant", "HammingWindow", "HannWindow", "MelWeightMatrix"),
    *("ImageDecoder", "RandomNormal", "RandomUniform"),
    *("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
}
# Refused by name where a layer lies in front of them; docs/operators.md says so.
REFUSED = {
    *("CumProd", "DFT", "DeformConv", "Det", "GRU", "LSTM", "MaxRoiPool", "RNN", "STFT", "TensorScatter", "BitCast"),
    *("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"),
    *("SequenceLength", "SequenceMap", "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
}
# Deprecated; raising the opset turns them into Resize and ScatterElements.
CONVERTED = {"Scatter", "Upsample"}
# Losses, and layers of language models: differentiated through their function body, if at all.
NOT_OF_VISION = {
    *("CausalConvWithState", "LinearAttention", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "SwiGLU"),
}
# Of com.microsoft: ONNX Runtime's CPU provider, which checks every file, has no kernel for them.
WITHOUT_A_KERNEL = {
    *("BiasAdd", "BiasSplitGelu", "GroupNorm", "NhwcConv", "NhwcFusedConv", "PackedAttention"),
    *("PackedMultiHeadAttention", "QLinearReduceMean", "QOrderedMatMul", "SkipGroupNorm"),
}


def test_every_standard_operator_is_decided_on() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    decided = [WITHOUT_INPUTS, REFUSED, CONVERTED, NOT_OF_VISION]
    with_rule = set(RULES) | {row.name for row in ROWS if not row.domain and row.name not in CONVERTED}
    assert standard - with_rule == set().union(*decided)
    assert sum(map(len, decided)) == len(set().union(*decided))


def test_the_page_names_what_is_refused() -> None:
    assert REFUSED <= NAMED
    assert WITHOUT_A_KERNEL <= NAMED
    assert "com.microsoft.nchwc" in PAGE


def test_what_has_no_kernel_cannot_be_checked() -> None:
    """Were one to get a kernel, it would be time for a row."""
    microsoft = {schema.name for schema in get_all_operator_schema() if schema.domain == MICROSOFT}
    on_cpu = {kernel.op_name for kernel in get_all_opkernel_def() if kernel.provider == "CPUExecutionProvider"}
    assert microsoft >= WITHOUT_A_KERNEL
    assert not on_cpu & WITHOUT_A_KERNEL
    assert not {row.name for row in ROWS} & WITHOUT_A_KERNEL
