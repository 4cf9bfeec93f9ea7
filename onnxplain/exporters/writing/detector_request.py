"""The detector that a file is: its layout, its labels, and the sizes that the prepared graph shows."""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnx_ir as ir

from onnxplain.contract import ImageInput, ModelSpec, UnreadInput
from onnxplain.contract.detectors import (
    DetectorHints,
    DetectorSpec,
    NoDetector,
    detector_labels,
    read_hints,
    read_outputs,
    recognise,
)
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.exporters.anatomy.detector_ends import check_gradients
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.exporters.anatomy.inputs import find_image_value
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.writing.request import Request
from onnxplain.sidecars import SidecarFacts, label_detector


def find_detector_in(
    proto: onnx.ModelProto, image: ImageInput | UnreadInput | None, request: Request, facts: SidecarFacts
) -> DetectorSpec | None:
    """The detector that a file is; None for other models. Raises UnsupportedError for one of no known layout.

    `image`: its image input, as far as it could be read. Raises OnnxplainError for a stated layout and heads.
    """
    stated = request.detector_layout
    if stated is not None and request.asked.stated:
        raise OnnxplainError(
            f"found heads and the detector {stated}, expected one of both: a detector has no heads, so leave out "
            "--head (heads=…) or --detector (detector=…)"
        )
    known = image if isinstance(image, ImageInput) else None
    props = {entry.key: entry.value for entry in proto.metadata_props}
    hints = read_hints(
        props,
        stated=stated,
        classes=None if facts.labels is None else len(facts.labels.value),
        model_type=None if facts.model_type is None else facts.model_type.value,
    )
    model = ir.from_proto(proto)
    if any(output.shape is None for output in model.graph.outputs):
        infer_shapes(model)
    outputs = read_outputs(read_graph_end(model.graph, known))
    found = recognise(outputs, None if known is None else known.size_hw, hints)
    if isinstance(found, NoDetector) and found.is_refused:
        raise UnsupportedError(
            f"{found}; `onnxplain predict` prints boxes, and rise explains them; if the model is no detector, name its "
            "class logits with --head NAME:classes (heads=…)"
        )
    if isinstance(found, NoDetector):
        return None
    check_gradients(found)
    return found


def label_detector_of(request: Request, earlier: ModelSpec | None) -> Request:
    """The request with the labels of the detector's classes: stated, read, those of its family, or as before."""
    if request.detector is None:
        return request
    stated = detector_labels(request.labels) if request.labels else None
    if stated is None and earlier is not None and earlier.detector is not None:
        stated = earlier.detector.labels
    detector, read = label_detector(request.detector, stated, request.read)
    return replace(request, detector=detector, read=read)


def settle_detector(request: Request, graph: ir.Graph) -> Request:
    """The request with the numbers of candidates and classes that the prepared graph shows, where the file leaves them
    open.
    """
    detector = request.detector
    if detector is None:
        return request
    _, image = find_image_value(graph, request.shape)
    hints = DetectorHints(stated=detector.layout_name, classes=detector.classes)
    found = recognise(read_outputs(read_graph_end(graph, image)), image.size_hw, hints)
    if not isinstance(found, DetectorSpec) or found.outputs != detector.outputs:
        return request
    known = replace(
        detector,
        classes=detector.classes or found.classes,
        candidates=found.candidates if detector.candidates is None else detector.candidates,
        strides=detector.strides or found.strides,
    )
    return replace(request, detector=known)
