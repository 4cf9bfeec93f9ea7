"""Which provider runs each node of a session, as ONNX Runtime recorded it when it divided the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.machine.onnx_runtime import import_onnxruntime

# onnxruntime_session_options_config_keys.h, since 1.24. Set before the session is made.
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class PlacedNode:
    """A node of the graph, after the optimisations that come before it is divided; in branches of an If too.

    `provider`: ONNX Runtime's name of the one that runs it.
    """

    provider: str
    name: str
    operator: str
    domain: str


def find_placement(session: Any) -> tuple[PlacedNode, ...]:
    """Every node of a session that was opened with `RECORD_PLACEMENT` = "1", once.

    Raises OnnxplainError for an ONNX Runtime that does not record it (before 1.24).
    """
    onnxruntime = import_onnxruntime()
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        raise OnnxplainError(
            f"onnxruntime: found {onnxruntime.__version__}, expected 1.24 or newer, which tells where nodes run: "
            "upgrade it"
        )
    # OpenVINO names a node several times.
    nodes = enumerate(_nodes(session.get_provider_graph_assignment_info()))
    return tuple({(node.provider, node.name or index): node for index, node in nodes}.values())


def _nodes(groups: Iterable[Any]) -> Iterable[PlacedNode]:
    for group in groups:
        for node in group.get_nodes():
            yield PlacedNode(group.ep_name, node.name, node.op_type, node.domain)
