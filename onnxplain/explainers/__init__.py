"""Explanation methods: they make a heatmap over an image from an engine (or from any function that gives scores)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxplain.explainers.attention.attention_rollout import AttentionRollout
from onnxplain.explainers.attention.grad_x_attention import GradXAttention
from onnxplain.explainers.attention.legrad import LeGrad
from onnxplain.explainers.augmented.augmented_grad_cam import AugmentedGradCAM
from onnxplain.explainers.cam.ablation_cam import AblationCAM
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer
from onnxplain.explainers.cam.cam import CAM
from onnxplain.explainers.cam.eigen_cam import EigenCAM, EigenGradCAM
from onnxplain.explainers.cam.fem import FEM
from onnxplain.explainers.cam.finer_cam import FinerCAM
from onnxplain.explainers.cam.grad_cam import GradCAM
from onnxplain.explainers.cam.grad_cam_plus_plus import GradCAMPlusPlus
from onnxplain.explainers.cam.hires_cam import HiResCAM
from onnxplain.explainers.cam.kpca_cam import KPCACAM
from onnxplain.explainers.cam.layer_cam import LayerCAM
from onnxplain.explainers.cam.recipro_cam import ReciproCAM
from onnxplain.explainers.cam.score_cam import ScoreCAM
from onnxplain.explainers.cam.smooth_grad_cam_plus_plus import SmoothGradCAMPlusPlus
from onnxplain.explainers.cam.xgrad_cam import XGradCAM
from onnxplain.explainers.copies.averaged_copies import AveragedCopies
from onnxplain.explainers.copies.copies_report import CopiesReport
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.hiding.aise import AISE
from onnxplain.explainers.hiding.hiding_report import HidingReport
from onnxplain.explainers.hiding.hsic import HSIC
from onnxplain.explainers.hiding.lime import LIME
from onnxplain.explainers.hiding.occlusion import Occlusion
from onnxplain.explainers.hiding.shap import KernelSHAP
from onnxplain.explainers.hiding.sobol import Sobol
from onnxplain.explainers.localize import localize
from onnxplain.explainers.pixels.gradient_shap import GradientSHAP
from onnxplain.explainers.pixels.input_x_gradient import InputXGradient
from onnxplain.explainers.pixels.integrated_gradients import IntegratedGradients
from onnxplain.explainers.pixels.noise_report import NoiseReport
from onnxplain.explainers.pixels.path_explainer import CompletenessReport
from onnxplain.explainers.pixels.saliency import Saliency
from onnxplain.explainers.pixels.smooth_grad import SmoothGrad
from onnxplain.explainers.pixels.var_grad import VarGrad
from onnxplain.explainers.regions import Regions, find_regions
from onnxplain.explainers.registry import METHODS, build, supported
from onnxplain.explainers.rise.estimator import Estimator
from onnxplain.explainers.rise.rise import RISE
from onnxplain.explainers.rise.sampling_report import SamplingReport
from onnxplain.explainers.rise.tally import RiseTally

if TYPE_CHECKING:
    from onnxplain.explanations.explain import explain

__all__ = [
    "AISE",
    "CAM",
    "FEM",
    "HSIC",
    "KPCACAM",
    "LIME",
    "METHODS",
    "RISE",
    "AblationCAM",
    "ActivationMapExplainer",
    "AttentionRollout",
    "AugmentedGradCAM",
    "AveragedCopies",
    "CompletenessReport",
    "CopiesReport",
    "EigenCAM",
    "EigenGradCAM",
    "Estimator",
    "Explainer",
    "Explanation",
    "FinerCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradXAttention",
    "GradientSHAP",
    "HiResCAM",
    "HidingReport",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "LeGrad",
    "NoiseReport",
    "Occlusion",
    "ReciproCAM",
    "Regions",
    "RiseTally",
    "Saliency",
    "SamplingReport",
    "ScoreCAM",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "Sobol",
    "VarGrad",
    "XGradCAM",
    "build",
    "explain",
    "find_regions",
    "localize",
    "supported",
]


def __getattr__(name: str) -> Any:
    """`explain` also opens files, so it stands above this package, in explanations. It is found here on first use."""
    if name == "explain":
        return importlib.import_module("onnxplain.explanations.explain").explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
