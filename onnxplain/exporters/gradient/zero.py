"""Whether a value has a gradient at a layer at all: a scalar about the graph, answered without a run."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.gradient.differentiate import ZeroGradientError, differentiate
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.operators.expansion import let_go


def has_gradient(value: ir.Value, layer: ir.Value) -> bool:
    """False where every path from the layer to the value passes an operator without a derivative.

    True for operators without a rule: the walk itself refuses them by name.
    """
    branch = Branch("tried")
    seed = ir.Value(name="tried/seed", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
    try:
        differentiate(branch, {value: seed}, layer)
    except ZeroGradientError:
        return False
    except UnsupportedError:
        return True
    finally:
        let_go(branch.nodes)
    return True
