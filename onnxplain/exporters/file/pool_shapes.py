"""Correcting the sizes after pools with ceil_mode: onnx's shape inference can return a size one too large."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes

from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import downstream, int_attribute, maybe_dims
from onnxplain.exporters.operators.fused_shapes import infer_behind_fused
from onnxplain.exporters.operators.site import Site
from onnxplain.exporters.operators.window import Window, pooled_size, read_window, transposed_padding


def infer_shapes(model: ir.Model) -> None:
    """Infer the shapes of all values as ONNX Runtime will compute them.

    Shape inference does not replace a shape that is already there. So the wrong shape is corrected, the shapes of all
    values after it are removed, and inference runs again.
    """
    _infer(model)
    while infer_behind_fused(model.graph):
        _infer(model)
    for node in model.graph:
        if int_attribute(node, "ceil_mode", 0) and _correct(node):
            for later in downstream(node.outputs[0]):
                for output in later.outputs:
                    output.shape = None
            _infer(model)


def _infer(model: ir.Model) -> None:
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for node in model.graph:
        for output in node.outputs:
            if output.dtype is None:
                # A shape without a type cannot be written to a file.
                output.shape = None


def _correct(node: ir.Node) -> bool:
    """Correct the spatial size of the pool's output; returns whether it was wrong."""
    site = Site(node, Branch("shapes"), frozenset(), ())
    size_in, output = (maybe_dims(site.value(0)) or ())[2:], node.outputs[0]
    known = [size for size in size_in if isinstance(size, int)]
    if output.shape is None or len(known) != len(size_in) or not known:
        return False
    window = read_window(site, tuple(site.attribute("kernel_shape")))
    size_out = pooled_size(window, tuple(known), ceil_mode=True)
    if output.shape[2:] == size_out:
        return False
    for value in node.outputs:
        value.shape = ir.Shape([*output.shape[:2], *size_out])
    if not int_attribute(node, "count_include_pad", 0):
        _pad_instead(node, window, tuple(known), size_out)
    return True


def _pad_instead(node: ir.Node, window: Window, size_in: tuple[int, ...], size_out: tuple[int, ...]) -> None:
    """The same windows without ceil_mode, by padding at the end.

    ONNX Runtime infers the larger size too. It infers again after an optimisation, whatever the file says, and then
    refuses a graph that counts on the smaller one.
    """
    pads, _ = transposed_padding(window, size_in, size_out)
    for name in ("ceil_mode", "auto_pad"):
        node.attributes.pop(name, None)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
