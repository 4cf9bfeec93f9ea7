"""The image input as a layer: pixels have a gradient like any other map."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxplain.contract import INPUT_LAYER, MapFrame
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.arrangement import Arrangement, channels_of
from onnxplain.exporters.anatomy.inputs import Inputs
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.positions import FrameEnd
from onnxplain.exporters.graph.values import FLOATS, name_of


def input_layer(
    inputs: Inputs,
    arrangements: Mapping[ir.Value, Arrangement],
    frames: Mapping[ir.Value, MapFrame | FrameEnd],
) -> Layer:
    """The layer ``input``. Its map is the image as the network computes with it, [N, C, H, W] of floats.

    That is the input itself, or, for integers, the first floats that are made of all of them. Raises ModelError where
    there is no such value.
    """
    value = _first_floats(inputs.image)
    arrangement, frame = arrangements.get(value), frames.get(value)
    channels = None if arrangement is None else channels_of(value, arrangement)
    if arrangement is None or channels is None or arrangement.form not in ("nchw", "nhwc"):
        raise ModelError(
            f"layer {INPUT_LAYER}: found the input {name_of(inputs.image)} without a batch axis or of unknown size, "
            "expected [N, C, H, W] or [N, H, W, C]: choose another layer"
        )
    if not isinstance(frame, MapFrame):
        frame = MapFrame.over(inputs.image_input.size_hw, arrangement.size_hw)
    return Layer(INPUT_LAYER, value, arrangement, channels, 0, frame, automatic=False)


def _first_floats(image: ir.Value) -> ir.Value:
    value = image
    while value.dtype not in FLOATS:
        readers = {id(node): node for node in value.consumers()}
        if len(readers) != 1:
            raise ModelError(
                f"layer {INPUT_LAYER}: found integers that {len(readers)} operators read ({name_of(value)}), expected "
                "one that makes floats of them: choose another layer"
            )
        (node,) = readers.values()
        value = node.outputs[0]
    return value
