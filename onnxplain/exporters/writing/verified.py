"""Building an explainable graph that passes its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx
import onnx_ir as ir

from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.graph.values import name_of
from onnxplain.exporters.writing.explainable import Explainable, build_explainable
from onnxplain.exporters.writing.request import Request


def build_verified(
    model: ir.Model,
    request: Request,
    check: Callable[[Explainable], Checks],
    taps: Mapping[str, ir.Value] | None = None,
) -> tuple[Explainable, Checks]:
    """Instrument a prepared model, see `build_explainable`, and check it.

    If a layer gives other gradients for several targets at once than for one, the graph is built a second time, with
    one target per image for this layer. The errors are those of `check`.
    """
    outputs, names = len(model.graph.outputs), {key: name_of(value) for key, value in (taps or {}).items()}
    explainable = build_explainable(model, request, taps)
    checks = check(explainable)
    if not checks.one_target:
        return explainable, checks
    plain = onnx.ModelProto()
    plain.CopyFrom(explainable.base)
    del plain.graph.output[outputs:]
    again = ir.from_proto(plain)
    values = {value.name: value for node in again.graph for value in node.outputs}
    rebuilt = build_explainable(
        again, request, {key: values[name] for key, name in names.items()}, one_target=checks.one_target
    )
    return rebuilt, check(rebuilt)
