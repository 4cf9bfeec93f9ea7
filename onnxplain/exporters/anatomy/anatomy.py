"""The anatomy of a graph: its image input, its heads, and the feature maps that lead to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxplain.contract import MapFrame, StatedShape, UnusedOutput
from onnxplain.contract.detectors import DetectorSpec
from onnxplain.errors import ModelError, UnboundedLoopError
from onnxplain.exporters.anatomy.arrangement import Arrangement, arrange
from onnxplain.exporters.anatomy.attention import FoundAttention, find_attention
from onnxplain.exporters.anatomy.detector_ends import DetectorEnds, find_detector_ends
from onnxplain.exporters.anatomy.found_maps import arrange_by_positions
from onnxplain.exporters.anatomy.frames import follow_positions, read_frames
from onnxplain.exporters.anatomy.heads import NOTHING_ASKED, AskedHeads, Head, ModelHeads, find_heads
from onnxplain.exporters.anatomy.input_layer import input_layer
from onnxplain.exporters.anatomy.inputs import Inputs, find_inputs
from onnxplain.exporters.anatomy.layers import Layer, Unplaced, find_layers
from onnxplain.exporters.anatomy.level_maps import before_weights
from onnxplain.exporters.anatomy.live import live_values
from onnxplain.exporters.anatomy.moves import Followed
from onnxplain.exporters.anatomy.pooled_head import HeadFault, NoPooledHead, PooledHead, find_pooled_head
from onnxplain.exporters.anatomy.positions import FrameEnd
from onnxplain.exporters.anatomy.token_reading import Read, tokens_read
from onnxplain.exporters.graph.loops import BOUND_IT, NO_BOUND, first_unbounded
from onnxplain.exporters.graph.values import describe


@dataclass(frozen=True)
class Anatomy:
    """The parts of a graph. `layers` lists all feature maps that can be instrumented, in the graph's order.

    `heads`: in the order in which targets count them; the first is the default. `unused`: outputs that are no head.
    `detector`: the end of a detector, which has no heads; None for other models.
    `pooled`: the global average pooling + linear layer that computes the default head, or why it has none. `unplaced`:
    maps that would be layers if it were known where they lie in the image. `arrangements`, `frames`, `places`: of all
    values.
    """

    inputs: Inputs
    heads: tuple[Head, ...]
    pooled: PooledHead | NoPooledHead
    layers: tuple[Layer, ...]
    unplaced: tuple[Unplaced, ...] = ()
    unused: tuple[UnusedOutput, ...] = ()
    detector: DetectorEnds | None = None
    arrangements: Mapping[ir.Value, Arrangement] = field(default_factory=dict)
    frames: Mapping[ir.Value, MapFrame | FrameEnd] = field(default_factory=dict)
    places: Mapping[ir.Value, Followed] = field(default_factory=dict)

    @property
    def input_layer(self) -> Layer:
        """The image itself as a layer, which is in no list. Raises ModelError where it cannot be one."""
        return input_layer(self.inputs, self.arrangements, self.frames)

    @property
    def attention(self) -> FoundAttention:
        """The attention matrices of a transformer. Raises ModelError where there are none that can be explained."""
        return find_attention(self.places, self.targets, self.inputs.image_input.size_hw)

    def reads(self, attention: FoundAttention) -> tuple[Read | None, ...]:
        """The tokens that each head reads behind the last attention."""
        return tuple(tokens_read(attention, self.arrangements, head.value) for head in self.heads)

    @property
    def targets(self) -> tuple[ir.Value, ...]:
        """The values to differentiate."""
        if self.detector is not None:
            return self.detector.starts
        return tuple(head.value for head in self.heads)

    @property
    def preferred(self) -> Layer | None:
        """The layer that ``auto`` prefers to the last one.

        Of a pooled head it is the map that is pooled. Of a mask it is the last of the smallest maps, which has seen
        most of the image: close to the mask a map is little else than the mask.
        """
        layers = [layer for layer in self.layers if layer.automatic]
        if self.detector is not None:
            return None
        if isinstance(self.pooled, PooledHead):
            return next((layer for layer in layers if layer.tap is self.pooled.layer), None)
        if self.heads[0].kind != "mask" or not layers:
            return None
        end = max(layer.macs_before for layer in self.layers)
        before = [layer for layer in layers if layer.macs_before < end] or layers
        smallest = min(layer.arrangement.positions for layer in before)
        return [layer for layer in before if layer.arrangement.positions == smallest][-1]


def study(
    graph: ir.Graph,
    asked: AskedHeads = NOTHING_ASKED,
    shape: StatedShape | None = None,
    detector: DetectorSpec | None = None,
) -> Anatomy:
    """Find the parts of a prepared graph. Raises ModelError.

    `asked`: what is said of the heads. `shape`: what the user states about the input. `detector`: the detector that the
    graph is; it has no heads then. Raises UnsupportedError for a layout whose gradients are not offered.
    """
    inputs = find_inputs(graph, shape)
    ends = None if detector is None else find_detector_ends(graph, detector, inputs.image_input.size_hw)
    found = ModelHeads(()) if ends is not None else find_heads(graph, inputs.image_input, asked)
    layout = inputs.image_input.layout
    targets = [head.value for head in found.heads] if ends is None else list(ends.values)
    places = follow_positions(graph, inputs.image, layout)
    arrangements = arrange(graph, inputs.image, layout)
    arrangements |= arrange_by_positions(places, arrangements)
    frames = read_frames(places, arrangements, inputs.image_input.size_hw) if places else {}

    def layers_of(values: Sequence[ir.Value]) -> tuple[list[Layer], list[Unplaced]]:
        live = live_values(graph, values, places, every=ends is None)
        return find_layers(graph, values, arrangements, frames, live, every=ends is None)

    layers, unplaced = layers_of(targets)
    if ends is not None:
        features = before_weights(graph, ends.values)
        layers = [layer for layer in layers if layer.tap in features]
        no_classes = NoPooledHead(HeadFault.DETECTOR)
        return Anatomy(inputs, (), no_classes, tuple(layers), tuple(unplaced), detector=ends)
    loop = None if layers else first_unbounded(graph)
    if loop is not None:
        raise UnboundedLoopError(
            f"no feature map leads to the outputs, because of {describe(loop)}: {NO_BOUND}; {BOUND_IT}"
        )
    if not layers and not unplaced and len(targets) > 1:
        apart = [head for head in found.heads if layers_of([head.value]) == ([], [])]
        raise ModelError(_no_common_layer(found.heads, apart))
    pooled = _pooled(found.heads[0])
    return Anatomy(
        inputs,
        found.heads,
        pooled,
        tuple(layers),
        tuple(unplaced),
        found.unused,
        arrangements=arrangements,
        frames=frames,
        places=places,
    )


def _pooled(head: Head) -> PooledHead | NoPooledHead:
    if head.kind not in ("classes", "labels", "values"):
        return NoPooledHead(HeadFault.KIND, value=head.kind)
    return find_pooled_head(head.value)


def _no_common_layer(heads: Sequence[Head], apart: Sequence[Head]) -> str:
    """Why there is no layer: some heads have no map of the image before them, or no map leads to all heads."""
    names = ", ".join(head.name for head in apart or heads)
    left = (apart or heads[1:])[0].name
    if len(apart) == len(heads):
        return f"no feature map of the image leads to the heads {names}; rise works on this file"
    if apart:
        return f"no feature map of the image leads to the heads {names}: leave them out, --head {left}:none"
    return f"no feature map leads to all of the heads {names}: leave some of them out, such as --head {left}:none"
