"""Methods of explanation: an engine (or any scores) and a photo in, a heatmap over the photo out."""

from onnxplain.explainers.cam import CAM
from onnxplain.explainers.estimator import Estimator
from onnxplain.explainers.explain import explain
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.grad_cam import GradCAM
from onnxplain.explainers.localize import localize
from onnxplain.explainers.regions import Regions, find_regions
from onnxplain.explainers.registry import METHODS, build, supported
from onnxplain.explainers.rise import RISE
from onnxplain.explainers.sampling_report import SamplingReport
from onnxplain.explainers.tally import RiseTally

__all__ = [
    "CAM",
    "METHODS",
    "RISE",
    "Estimator",
    "Explainer",
    "Explanation",
    "GradCAM",
    "Regions",
    "RiseTally",
    "SamplingReport",
    "build",
    "explain",
    "find_regions",
    "localize",
    "supported",
]
