"""Float16 weights and activations in place of float32, by ONNX Runtime's own converter."""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx.inliner

from onnxplain.errors import ModelError
from onnxplain.machine.onnx_runtime import import_float16_converter

# They take float32 scales; their integers stay what they are.
_STAY_WIDE = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def to_float16(proto: onnx.ModelProto, constants: Collection[str] = ()) -> tuple[onnx.ModelProto, int]:
    """A copy of the model that computes in float16, and the number of weights that became float16.

    Inputs and outputs keep their types. `constants`: inputs that keep their default; of others the weight remains.
    Operators that the converter leaves in float32 get casts. Values beyond
    float16's range are cut to it. Raises ModelError if there are no float32 weights, or if the converter fails.
    """
    narrow = onnx.ModelProto()
    narrow.CopyFrom(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    weights = {tensor.name for tensor in narrow.graph.initializer}.difference(constants)
    inputs = [value for value in narrow.graph.input if value.name not in weights]
    # Before version 4 every weight had to be an input.
    narrow.ir_version = max(narrow.ir_version, 4)
    del narrow.graph.input[:]
    narrow.graph.input.extend(inputs)
    before = _count(narrow)
    converter = import_float16_converter()
    try:
        narrow = converter.convert_float_to_float16(
            narrow, keep_io_types=True, op_block_list=[*converter.DEFAULT_OP_BLOCK_LIST, *_STAY_WIDE]
        )
    except Exception as error:  # The converter asserts, and passes on the errors of onnx.
        raise ModelError(
            "found a model that ONNX Runtime's converter to float16 does not take "
            f"({' '.join(str(error).split())[:300]}), expected another: instrument it in float32"
        ) from error
    converted = _count(narrow) - before
    if not converted:
        raise ModelError("found no float32 weights, expected some to convert: leave out --float16")
    return narrow, converted


def _count(proto: onnx.ModelProto) -> int:
    constants = [attribute.t for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t")]
    return sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in (*proto.graph.initializer, *constants))
