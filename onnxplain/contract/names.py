"""Names of inputs, outputs and metadata in the explainable graph and in its tail file."""

from __future__ import annotations

CONTRACT_VERSION = 2
READABLE_VERSIONS = (1, 2)
METADATA_KEY = "onnxplain"

TARGET_INPUT = "target"
EXPLAIN_INPUT = "explain"
REFERENCE_INPUT = "reference"
REGION_INPUT = "region"
ATTENTION_INPUT = "explain_attention"
CONTROL_INPUTS = (TARGET_INPUT, EXPLAIN_INPUT, ATTENTION_INPUT, REFERENCE_INPUT, REGION_INPUT)
CAM_WEIGHTS_OUTPUT = "cam_weights"
LOGITS_OUTPUT = "logits"
EXPLAINED_DIMENSION = "explained"
# The layer that is the image itself.
INPUT_LAYER = "input"
# Asks for the attention matrices of a transformer, which are no feature maps.
ATTENTION_LAYER = "attention"

TAIL_SUFFIX = ".tail.onnx"
TAIL_METADATA_KEY = "onnxplain_tail"
TAIL_FEATURES_INPUT = "features"
TAIL_LOGITS_OUTPUT = "logits"
TAIL_BOX_OUTPUT = "box"


def features_output(layer: str) -> str:
    """Name of the output that holds the feature maps of `layer`."""
    return f"features/{layer}"


def gradients_output(layer: str) -> str:
    """Name of the output that holds d target / d features of `layer`."""
    return f"gradients/{layer}"


def attention_output(layer: str) -> str:
    """Name of the output that holds the attention matrices of `layer`."""
    return f"attention/{layer}"


def attention_gradients_output(layer: str) -> str:
    """Name of the output that holds d target / d attention matrices of `layer`."""
    return f"attention_gradients/{layer}"


def attention_layerwise_output(layer: str) -> str:
    """Name of the output with the gradient of what the model's head says of the tokens at the end of `layer`."""
    return f"attention_layerwise/{layer}"


def logits_output(head: str) -> str:
    """Name of the output that is added for `head`, if it is not the default head: ``logits/<head>``."""
    return f"{LOGITS_OUTPUT}/{head}"
