"""Write the graphs that make masked copies on the model's device: python -m tools.mask_graphs

One graph per form of masks and per input type of models: ``copies = delta · mask + hidden``. Masks of RISE:
``R · grid · Cᵀ`` with bilinear matrices (`rows`, `columns`) that are cut at each mask's shift. Masks of cells: a value
per cell, read at each pixel's label. Products: ``mask_rows · mask_columns``, different for each mask. All sizes are
symbols: n masks, g × g cells, c cells, k columns of a product, P planes of h lines of l numbers (see
`onnxplain.explainers.masked.mask_chain`).
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FOLDER = Path(__file__).resolve().parents[1] / "onnxplain" / "explainers" / "masked" / "mask_graphs"
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
# Every supported release of ONNX Runtime can read these versions.
OPSET, IR_VERSION = 18, 10


node, value = helper.make_node, helper.make_tensor_value_info

# From a form's inputs to `masks`, (n, h, l).
NODES = {
    "": [
        node("Cast", ["grids"], ["tosses"], to=TensorProto.FLOAT),
        node("Split", ["shifts_yx"], ["shift_y", "shift_x"], axis=1, num_outputs=2),
        node("Add", ["shift_y", "row_numbers"], ["row_indices"]),
        node("Add", ["shift_x", "column_numbers"], ["column_indices"]),
        node("Gather", ["rows", "row_indices"], ["R"]),
        node("Gather", ["columns", "column_indices"], ["C"]),
        node("Transpose", ["C"], ["C_transposed"], perm=[0, 2, 1]),
        node("MatMul", ["tosses", "C_transposed"], ["strips"]),
        node("MatMul", ["R", "strips"], ["masks"]),
    ],
    "cells.": [node("Gather", ["shown_of_cells", "labels"], ["masks"], axis=1)],
    "products.": [
        node("Gather", ["mask_columns", "column_numbers"], ["lines"], axis=2),
        node("MatMul", ["mask_rows", "lines"], ["masks"]),
    ],
}
INPUTS = {
    "": [
        value("grids", TensorProto.UINT8, ["n", "g", "g"]),
        value("shifts_yx", TensorProto.INT64, ["n", 2]),
        value("rows", TensorProto.FLOAT, ["H", "g"]),
        value("columns", TensorProto.FLOAT, ["W", "g"]),
        value("row_numbers", TensorProto.INT64, ["h"]),
        value("column_numbers", TensorProto.INT64, ["l"]),
    ],
    "cells.": [
        value("shown_of_cells", TensorProto.FLOAT, ["n", "c"]),
        value("labels", TensorProto.INT64, ["h", "l"]),
    ],
    "products.": [
        value("mask_rows", TensorProto.FLOAT, ["n", "h", "k"]),
        value("mask_columns", TensorProto.FLOAT, ["n", "k", "W"]),
        value("column_numbers", TensorProto.INT64, ["l"]),
    ],
}


def build(dtype: str, form: str = "") -> onnx.ModelProto:
    """The graph of a form (see `MaskForm.graph`) whose copies have this type."""
    last = {
        "float32": [node("Identity", ["mixed"], ["copies"])],
        "float16": [node("Cast", ["mixed"], ["copies"], to=TensorProto.FLOAT16)],
        # Round half to even, as numpy does on the host.
        "uint8": [node("Round", ["mixed"], ["rounded"]), node("Cast", ["rounded"], ["copies"], to=TensorProto.UINT8)],
    }
    nodes = [
        *NODES[form],
        node("Unsqueeze", ["masks", "plane_axis"], ["masks_of_planes"]),
        node("Mul", ["masks_of_planes", "delta"], ["shown"]),
        node("Add", ["shown", "hidden"], ["mixed"]),
        *last[dtype],
    ]
    inputs = [
        *INPUTS[form],
        value("delta", TensorProto.FLOAT, ["P", "h", "l"]),
        value("hidden", TensorProto.FLOAT, ["P", "h", "l"]),
    ]
    outputs = [value("copies", TYPES[dtype], ["n", "P", "h", "l"])]
    constants = [helper.make_tensor("plane_axis", TensorProto.INT64, [1], [1])]
    graph = helper.make_graph(nodes, f"masked copies, {dtype}", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write every graph."""
    for form in NODES:
        for dtype in TYPES:
            onnx.save(build(dtype, form), FOLDER / f"{form}{dtype}.onnx")


if __name__ == "__main__":
    main()
