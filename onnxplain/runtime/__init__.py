"""The engine: runs an ONNX file on images and returns classes, boxes, feature maps and gradients."""

from onnxplain.runtime.detection.detections import Detection, Detections
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import Frame, bilinear_matrix, make_frame
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, ImageLike, as_image, load_image
from onnxplain.runtime.results import Activations, Batch, Prediction

__all__ = [
    "DEFAULT_MAX_MEGAPIXELS",
    "Activations",
    "Batch",
    "Detection",
    "Detections",
    "Engine",
    "Frame",
    "ImageLike",
    "Prediction",
    "as_image",
    "bilinear_matrix",
    "load_image",
    "make_frame",
]
