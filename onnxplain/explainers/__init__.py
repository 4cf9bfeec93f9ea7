"""Methods of explanation: an engine (or any scores) and a photo in, a heatmap over the photo out."""

from onnxplain.explainers.ablation_cam import AblationCAM
from onnxplain.explainers.augmented_grad_cam import AugmentedGradCAM
from onnxplain.explainers.cam import CAM
from onnxplain.explainers.eigen_cam import EigenCAM, EigenGradCAM
from onnxplain.explainers.estimator import Estimator
from onnxplain.explainers.explain import explain
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.finer_cam import FinerCAM
from onnxplain.explainers.grad_cam import GradCAM
from onnxplain.explainers.grad_cam_plus_plus import GradCAMPlusPlus
from onnxplain.explainers.hires_cam import HiResCAM
from onnxplain.explainers.layer_cam import LayerCAM
from onnxplain.explainers.localize import localize
from onnxplain.explainers.recipro_cam import ReciproCAM
from onnxplain.explainers.regions import Regions, find_regions
from onnxplain.explainers.registry import METHODS, build, supported
from onnxplain.explainers.rise import RISE
from onnxplain.explainers.sampling_report import SamplingReport
from onnxplain.explainers.score_cam import ScoreCAM
from onnxplain.explainers.smooth_grad_cam_plus_plus import SmoothGradCAMPlusPlus
from onnxplain.explainers.tally import RiseTally
from onnxplain.explainers.xgrad_cam import XGradCAM

__all__ = [
    "CAM",
    "METHODS",
    "RISE",
    "AblationCAM",
    "AugmentedGradCAM",
    "EigenCAM",
    "EigenGradCAM",
    "Estimator",
    "Explainer",
    "Explanation",
    "FinerCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "ReciproCAM",
    "Regions",
    "RiseTally",
    "SamplingReport",
    "ScoreCAM",
    "SmoothGradCAMPlusPlus",
    "XGradCAM",
    "build",
    "explain",
    "find_regions",
    "localize",
    "supported",
]
