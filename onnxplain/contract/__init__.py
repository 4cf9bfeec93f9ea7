"""The contract, version 2: the names and the metadata of an explainable graph.

Exporters and runtime share nothing else. Exporters write these names and this JSON into a file. The runtime reads
them with ``session.get_modelmeta().custom_metadata_map``. Full description: docs/contract.md.
"""

from onnxplain.contract.choices import BatchChoice, BoxFormat, BoxUnits, Channels, Layout, Resize, Task
from onnxplain.contract.choices import BatchChoice as Batch
from onnxplain.contract.metadata import ModelSpec
from onnxplain.contract.names import (
    CAM_WEIGHTS_OUTPUT,
    CONTRACT_VERSION,
    EXPLAIN_INPUT,
    EXPLAINED_DIMENSION,
    LOGITS_OUTPUT,
    METADATA_KEY,
    READABLE_VERSIONS,
    TAIL_BOX_OUTPUT,
    TAIL_FEATURES_INPUT,
    TAIL_LOGITS_OUTPUT,
    TAIL_METADATA_KEY,
    TAIL_SUFFIX,
    TARGET_INPUT,
    features_output,
    gradients_output,
)
from onnxplain.contract.origins import ASSUMED, STATED, Origin, Origins
from onnxplain.contract.parts import Completed, PreprocessingParts, complete
from onnxplain.contract.preprocessing import CROP_SHARE, GRAY_PRESETS, LETTERBOX_GREY, PRESETS, Preprocessing
from onnxplain.contract.specs import (
    BOX_COORDINATES,
    BoxSpec,
    CellSpan,
    InputSpec,
    LayerSpec,
    MapFrame,
    OutputRoles,
    TailSpec,
)

__all__ = [
    "ASSUMED",
    "BOX_COORDINATES",
    "CAM_WEIGHTS_OUTPUT",
    "CONTRACT_VERSION",
    "CROP_SHARE",
    "EXPLAINED_DIMENSION",
    "EXPLAIN_INPUT",
    "GRAY_PRESETS",
    "LETTERBOX_GREY",
    "LOGITS_OUTPUT",
    "METADATA_KEY",
    "PRESETS",
    "READABLE_VERSIONS",
    "STATED",
    "TAIL_BOX_OUTPUT",
    "TAIL_FEATURES_INPUT",
    "TAIL_LOGITS_OUTPUT",
    "TAIL_METADATA_KEY",
    "TAIL_SUFFIX",
    "TARGET_INPUT",
    "Batch",
    "BatchChoice",
    "BoxFormat",
    "BoxSpec",
    "BoxUnits",
    "CellSpan",
    "Channels",
    "Completed",
    "InputSpec",
    "LayerSpec",
    "Layout",
    "MapFrame",
    "ModelSpec",
    "Origin",
    "Origins",
    "OutputRoles",
    "Preprocessing",
    "PreprocessingParts",
    "Resize",
    "TailSpec",
    "Task",
    "complete",
    "features_output",
    "gradients_output",
]
