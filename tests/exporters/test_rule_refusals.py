"""Forms of an operator that its rule does not cover: refused with the node, never a wrong or a silent zero gradient."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx
import onnx.helper
import pytest

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.file.model_file import prepare
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import OperatorCase, run_gradient

_X, _MAP = np.ones((2, 3)), np.ones((1, 2, 4, 4))
_TOKENS, _PROJECTION, _BIAS = np.ones((1, 2, 4)), np.ones((4, 12)), np.ones(12)
_INTEGERS = (_TOKENS.astype(np.uint8), _PROJECTION.astype(np.int8), _BIAS, np.array(0.5), np.array(0.5))
_BY_LENGTH, _CACHE = np.array([2], np.int32), np.ones((2, 1, 2, 1, 2))
_ATTENTION = {"domain": MICROSOFT, "open_batch": False}
_TWO, _CAUSAL = {"num_heads": 2}, {"num_heads": 2, "unidirectional": 1}
REFUSED: Mapping[str, tuple[OperatorCase, str]] = {
    "Conv weight": (OperatorCase("Conv", (_MAP, np.ones((2, 2, 1, 1))), wrt=(1,)), "weight or bias depends"),
    "Clip bound": (OperatorCase("Clip", (_X, np.array(0.0)), wrt=(1,)), "bound depends"),
    "Dropout": (OperatorCase("Dropout", (_X, np.array(0.5, np.float32), np.array(True))), "training mode"),
    "BatchNormalization training": (
        OperatorCase(
            "BatchNormalization",
            (_MAP, *[np.ones(2)] * 4),
            {"training_mode": 1},
            outputs=("y", "mean", "variance"),
        ),
        "training mode",
    ),
    "BatchNormalization scale": (
        OperatorCase("BatchNormalization", (_MAP, *[np.ones(2)] * 4), wrt=(1,)),
        "statistics depend",
    ),
    "QuantizeLinear scale": (
        OperatorCase("QuantizeLinear", (_X, np.array(0.1), np.array(0, np.uint8)), wrt=(1,)),
        "scale depends",
    ),
    "ConvTranspose weight": (
        OperatorCase("ConvTranspose", (_MAP, np.ones((2, 2, 1, 1))), wrt=(1,)),
        "weight or bias depends",
    ),
    "LayerNormalization scale": (
        OperatorCase("LayerNormalization", (_X, np.ones(3)), wrt=(1,)),
        "scale or bias depends",
    ),
    "InstanceNormalization bias": (
        OperatorCase("InstanceNormalization", (_MAP, np.ones(2), np.ones(2)), wrt=(2,)),
        "scale or bias depends",
    ),
    "GroupNormalization scale": (
        OperatorCase("GroupNormalization", (_MAP, np.ones(2), np.ones(2)), {"num_groups": 1}, (1,), opset=21),
        "scale or bias depends",
    ),
    "GroupNormalization before opset 21": (
        OperatorCase("GroupNormalization", (_MAP, np.ones(1), np.ones(1)), {"num_groups": 1}),
        "expected one per channel: export with opset 21",
    ),
    "RMSNormalization scale": (
        OperatorCase("RMSNormalization", (_X, np.ones(3)), wrt=(1,), opset=23),
        "scale depends",
    ),
    "LayerNormalization statistics": (
        OperatorCase("LayerNormalization", (_X, np.ones(3)), outputs=("y", "mean", "inverse"), seeded="mean"),
        "its output 1 is used, and its rule supports only output 0",
    ),
    "RotaryEmbedding angles": (
        OperatorCase(
            "RotaryEmbedding", (np.ones((1, 1, 2, 2)), np.ones((1, 2, 1)), np.ones((1, 2, 1))), wrt=(1,), opset=23
        ),
        "angles depend",
    ),
    "Mod divisor": (OperatorCase("Mod", (_X, np.ones((2, 3))), {"fmod": 1}, (1,)), "divisor depends"),
    "Pad value": (OperatorCase("Pad", (_X, np.zeros(4, np.int64), np.array(0.0)), wrt=(2,)), "constant .* depends"),
    "ScatterND added": (
        OperatorCase("ScatterND", (_X, np.array([[0]]), np.ones((1, 3))), {"reduction": "add"}),
        "found a reduction",
    ),
    "ScatterElements multiplied": (
        OperatorCase("ScatterElements", (_X, np.zeros((1, 3), np.int64), np.ones((1, 3))), {"reduction": "mul"}),
        "found a reduction",
    ),
    "GatherND batch": (
        OperatorCase("GatherND", (_X, np.array([[0], [1]])), {"batch_dims": 1}),
        "batch_dims",
    ),
    "Resize rounded aspect": (
        OperatorCase(
            "Resize",
            (np.ones((1, 2, 4, 6)), None, None, np.array([7, 8])),
            {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger", "mode": "linear"},
            note="sizes",
        ),
        "keep_aspect_ratio_policy not_larger",
    ),
    "Attention mask": (
        OperatorCase("Attention", (_TOKENS, _PROJECTION, _BIAS, _BY_LENGTH), _TWO, **_ATTENTION),
        "its mask_index",
    ),
    "Attention cache": (
        OperatorCase("Attention", (_TOKENS, _PROJECTION, _BIAS, None, _CACHE), _TWO, **_ATTENTION),
        "its past",
    ),
    "Attention causal": (
        OperatorCase("Attention", (_TOKENS, _PROJECTION, _BIAS), _CAUSAL, **_ATTENTION),
        "its unidirectional",
    ),
    "QAttention mask": (
        OperatorCase("QAttention", (*_INTEGERS, _BY_LENGTH), _TWO, (2,), **_ATTENTION),
        "its mask_index",
    ),
    "QAttention cache": (
        OperatorCase("QAttention", (*_INTEGERS, None, None, None, _CACHE), _TWO, (2,), **_ATTENTION),
        "its past",
    ),
    "QAttention causal": (
        OperatorCase("QAttention", _INTEGERS, _CAUSAL, (2,), **_ATTENTION),
        "its unidirectional",
    ),
    "GatherBlockQuantized float8": (
        OperatorCase(
            "GatherBlockQuantized",
            (np.ones((2, 16), ml_dtypes.float8_e4m3fn), np.array([0]), np.ones((2, 1))),
            {"block_size": 16},
            (2,),
            opset=21,
            **_ATTENTION,
        ),
        "its data of type FLOAT8E4M3FN",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_forms_without_a_gradient_are_refused_with_the_node(case: OperatorCase, reason: str) -> None:
    shape = (1, 2, 4, 4) if case.array(0).ndim == 4 else (2, 3)
    with pytest.raises(UnsupportedError, match=rf"{case.operator} 'node': .*{reason}"):
        case.emitted_gradient(case.wrt[0], np.ones(shape), open_batch=False)


def test_axes_computed_at_run_time_are_refused() -> None:
    case = OperatorCase("ReduceMean", (_X, np.array([1])))
    proto = case.model(np.float32, open_batch=False)
    del proto.graph.initializer[0]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("x1", onnx.TensorProto.INT64, [1]))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 1]))
    with pytest.raises(UnsupportedError, match="axes are computed at run time"):
        run_gradient(prepare(proto), "x0", {"y": np.ones((2, 1))}, {})
