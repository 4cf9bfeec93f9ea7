"""Measuring what each layer's gradient costs on this machine, compared with the original file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from onnxplain.contract import ATTENTION_INPUT, ATTENTION_LAYER, EXPLAIN_INPUT, TARGET_INPUT, ModelSpec
from onnxplain.contract.arguments import checked
from onnxplain.exporters.checks.scalars import control_feeds
from onnxplain.exporters.checks.trial_images import image_batch, plain_feeds
from onnxplain.exporters.file.bad_graph import refuses_bad_graphs
from onnxplain.exporters.file.model_file import load_proto
from onnxplain.exporters.graph.names import PREFIX
from onnxplain.exporters.graph.session import GraphSession

ROUNDS = 15


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer's gradient.

    `nodes`: number of nodes in the layer's gradient branch. The ratios are medians of paired times, explainable file
    / original file, for one image.
    """

    layer: str
    nodes: int
    closed: float
    open: float


@refuses_bad_graphs
@checked
def measure_cost(original: str | Path, explainable: str | Path, spec: ModelSpec) -> tuple[LayerCost, ...]:
    """Run both files in turn and compare their times.

    Closed gates: the original outputs are fetched. Open gates: the layer's features and gradients are fetched too.
    Raises OnnxplainError for files that are not an original and its explainable file.
    """
    plain_proto, proto = load_proto(Path(original)), load_proto(Path(explainable))
    plain, session = GraphSession(plain_proto, "original model"), GraphSession(proto, "explainable graph")
    image = plain_feeds(spec, image_batch(plain_proto, spec.input, seed=0))
    outputs = [output.name for output in plain_proto.graph.output]
    own = [name for name in outputs if name in {output.name for output in proto.graph.output}]
    costs = []
    for index, layer in enumerate(spec.layers):
        gates = np.arange(len(spec.layers)) == index
        closed = opened = {**image, TARGET_INPUT: np.array([0]), **control_feeds(spec.heads)}
        if spec.gated:
            closed, opened = ({**closed, EXPLAIN_INPUT: asked} for asked in (np.zeros_like(gates), gates))
        ratios = _ratios(plain, session, image, own, [(closed, own), (opened, [*own, layer.features, layer.gradients])])
        costs.append(LayerCost(layer.name, _branch_size(proto, str(index)), *ratios))
    if spec.attention is not None:
        closed = {**image, TARGET_INPUT: np.array([0]), **control_feeds(spec.heads)}
        opened = {**closed, ATTENTION_INPUT: np.array([True])} if spec.gated else closed
        ratios = _ratios(plain, session, image, own, [(closed, own), (opened, [*own, *spec.attention.outputs])])
        costs.append(LayerCost(ATTENTION_LAYER, _branch_size(proto, "attention_gradients"), *ratios))
    return tuple(costs)


def _ratios(
    plain: GraphSession,
    session: GraphSession,
    image: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    cases: Sequence[tuple[Mapping[str, np.ndarray], Sequence[str]]],
) -> list[float]:
    times: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        row = [_seconds(plain, image, outputs), *(_seconds(session, feeds, names) for feeds, names in cases)]
        times.append([seconds / row[0] for seconds in row[1:]])
    return [float(ratio) for ratio in np.median(times[1:], axis=0)]


def _seconds(session: GraphSession, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> float:
    start = time.perf_counter()
    session.run(feeds, outputs)
    return time.perf_counter() - start


def _branch_size(proto: onnx.ModelProto, name: str) -> int:
    for node in proto.graph.node:
        if node.name == f"{PREFIX}/{name}" and node.op_type == "If":
            (branch,) = [attribute.g for attribute in node.attribute if attribute.name == "then_branch"]
            return len(branch.node)
    return sum(node.name.startswith(f"{PREFIX}/{name}/then/") for node in proto.graph.node)
