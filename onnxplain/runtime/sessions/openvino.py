"""Explainable files on ONNX Runtime's OpenVINO provider, which takes the default of an input for a constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxplain.contract import CONTROL_INPUTS, METADATA_KEY
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.graph_reader import read_graph, without_initializers
from onnxplain.runtime.protobuf.wire import WireError

# onnxruntime_session_options_config_keys.h: where the external data of a model in memory lie.
EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"


def source_for_openvino(path: Path, session_options: Any) -> str | bytes:
    """What to load: the file itself, or, where it is explainable, its bytes without the contract's defaults.

    With them OpenVINO would ignore what `target` and `explain` are fed, and `explain` true would give no gradients. May
    change `session_options`. Raises ModelError for a file that is no ONNX model, and for an explainable file of an
    older onnxplain whose `cam_weights` are a constant: OpenVINO takes none for an output.
    """
    model = path.read_bytes()
    try:
        graph = read_graph(model)
        if METADATA_KEY not in graph.metadata:
            return str(path)
        constants = sorted(set(graph.outputs).intersection(graph.initializers))
        if constants:
            raise ModelError(
                f"{path}: found the constants {', '.join(constants)} among the outputs, expected none on the openvino "
                "provider: instrument the original again with this onnxplain, or ask for `cpu`"
            )
        if not set(CONTROL_INPUTS).intersection(graph.initializers):
            return str(path)
        session_options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(path.absolute().parent))
        return without_initializers(model, CONTROL_INPUTS)
    except WireError as error:
        raise ModelError(
            f"{path}: found no whole ONNX model ({error}), expected one: the file is truncated or of another format, "
            "fetch or export it again"
        ) from error
