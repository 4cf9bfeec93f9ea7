"""Write the graph that tells whether a processor's eight-bit kernels saturate: python -m tools.saturation_probe

x · w with all of w 127: with all of x 255, the sum of two products does not fit in 16 bits (`eight_bit_saturates`).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxplain.machine.processor import PROBE

# Old enough for every release of ONNX Runtime that is supported.
OPSET, IR_VERSION = 18, 10
SHAPE = [4, 4]


def build() -> onnx.ModelProto:
    """The graph."""
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "saturation probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, SHAPE)],
        [numpy_helper.from_array(np.full(SHAPE, 127, np.int8), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write it."""
    onnx.save(build(), PROBE)


if __name__ == "__main__":
    main()
