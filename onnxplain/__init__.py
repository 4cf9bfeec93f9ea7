"""Explain ONNX image models: the predicted class, a box around the object, and a heatmap of the evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.version import __version__

if TYPE_CHECKING:
    from onnxplain.contract import PRESETS, Preprocessing, PreprocessingParts, Quantization
    from onnxplain.errors import ImageError, ModelError, UnsupportedError
    from onnxplain.explainers import (
        AISE,
        CAM,
        FEM,
        HSIC,
        KPCACAM,
        LIME,
        METHODS,
        RISE,
        AblationCAM,
        ActivationMapExplainer,
        AttentionRollout,
        AugmentedGradCAM,
        AveragedCopies,
        CompletenessReport,
        CopiesReport,
        EigenCAM,
        EigenGradCAM,
        Estimator,
        Explainer,
        Explanation,
        FinerCAM,
        GradCAM,
        GradCAMPlusPlus,
        GradientSHAP,
        GradXAttention,
        HidingReport,
        HiResCAM,
        InputXGradient,
        IntegratedGradients,
        KernelSHAP,
        LayerCAM,
        LeGrad,
        NoiseReport,
        Occlusion,
        ReciproCAM,
        Regions,
        RiseTally,
        Saliency,
        SamplingReport,
        ScoreCAM,
        SmoothGrad,
        SmoothGradCAMPlusPlus,
        Sobol,
        VarGrad,
        XGradCAM,
        build,
        find_regions,
        localize,
        supported,
    )
    from onnxplain.explainers.augmented.random_copies import RandomCopies
    from onnxplain.explainers.augmented.super_resolution_report import SuperResolutionReport
    from onnxplain.explainers.registry import methods
    from onnxplain.explanations.explain import explain
    from onnxplain.runtime import (
        DEFAULT_MAX_MEGAPIXELS,
        Activations,
        Batch,
        Detection,
        Detections,
        Engine,
        Frame,
        ImageLike,
        Prediction,
        as_image,
        bilinear_matrix,
        load_image,
        make_frame,
    )
    from onnxplain.runtime.sessions.binding import BoundSession

__all__ = [
    "AISE",
    "CAM",
    "DEFAULT_MAX_MEGAPIXELS",
    "FEM",
    "HSIC",
    "KPCACAM",
    "LIME",
    "METHODS",
    "PRESETS",
    "RISE",
    "AblationCAM",
    "ActivationMapExplainer",
    "Activations",
    "AttentionRollout",
    "AugmentedGradCAM",
    "AveragedCopies",
    "Batch",
    "BoundSession",
    "CompletenessReport",
    "CopiesReport",
    "Detection",
    "Detections",
    "EigenCAM",
    "EigenGradCAM",
    "Engine",
    "Estimator",
    "Explainer",
    "Explanation",
    "FinerCAM",
    "Frame",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradXAttention",
    "GradientSHAP",
    "HiResCAM",
    "HidingReport",
    "ImageError",
    "ImageLike",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "LeGrad",
    "ModelError",
    "NoiseReport",
    "Occlusion",
    "OnnxplainError",
    "Prediction",
    "Preprocessing",
    "PreprocessingParts",
    "Quantization",
    "RandomCopies",
    "ReciproCAM",
    "Regions",
    "RiseTally",
    "Saliency",
    "SamplingReport",
    "ScoreCAM",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "Sobol",
    "SuperResolutionReport",
    "UnsupportedError",
    "VarGrad",
    "XGradCAM",
    "__version__",
    "as_image",
    "bilinear_matrix",
    "build",
    "explain",
    "find_regions",
    "load_image",
    "localize",
    "make_frame",
    "methods",
    "supported",
]

# The names that each module gives, with a space between.
_MODULES = {
    "onnxplain.contract": "PRESETS Preprocessing PreprocessingParts Quantization",
    "onnxplain.errors": "ImageError ModelError UnsupportedError",
    "onnxplain.explainers": (
        "AISE CAM FEM HSIC KPCACAM LIME METHODS RISE AblationCAM ActivationMapExplainer AttentionRollout "
        "AugmentedGradCAM AveragedCopies CompletenessReport CopiesReport EigenCAM EigenGradCAM Estimator Explainer "
        "Explanation FinerCAM GradCAM GradCAMPlusPlus GradXAttention GradientSHAP HiResCAM HidingReport InputXGradient "
        "IntegratedGradients KernelSHAP LayerCAM LeGrad NoiseReport Occlusion ReciproCAM Regions RiseTally "
        "SamplingReport Saliency ScoreCAM SmoothGrad SmoothGradCAMPlusPlus Sobol VarGrad XGradCAM build find_regions "
        "localize supported"
    ),
    "onnxplain.explainers.augmented.random_copies": "RandomCopies",
    "onnxplain.explainers.augmented.super_resolution_report": "SuperResolutionReport",
    "onnxplain.explainers.registry": "methods",
    "onnxplain.explanations.explain": "explain",
    "onnxplain.runtime": (
        "DEFAULT_MAX_MEGAPIXELS Activations Batch Detection Detections Engine Frame ImageLike Prediction "
        "as_image bilinear_matrix load_image make_frame"
    ),
    "onnxplain.runtime.sessions.binding": "BoundSession",
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that importing the package does no work."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
