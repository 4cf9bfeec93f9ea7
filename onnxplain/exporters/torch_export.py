"""Exporting a PyTorch module as an explainable ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from onnxplain.contract import (
    BoxFormat,
    BoxUnits,
    GivenHeads,
    GivenLabels,
    Preprocessing,
    PreprocessingParts,
    as_parts,
    count_channels,
)
from onnxplain.contract.arguments import checked
from onnxplain.contract.expected import LARGEST_SIDE, Expected, Listed, Whole
from onnxplain.errors import ModelError, OnnxplainError, VerificationError
from onnxplain.exporters.anatomy.layers import AUTO
from onnxplain.exporters.checks.report import Checks, LayerCheck
from onnxplain.exporters.checks.trial_images import feeds_of, image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import producer_of
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on
from onnxplain.exporters.pytorch.module import (
    BOX_NAME,
    LOGITS_NAME,
    TRIAL_IMAGES,
    evaluating,
    is_module,
    relative_error,
    run,
    trace,
)
from onnxplain.exporters.pytorch.module_gradients import check_module_gradients
from onnxplain.exporters.writing.explainable import Explainable
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.tail_file import check_tail_path
from onnxplain.exporters.writing.verified import build_verified
from onnxplain.exporters.writing.write import write_verified

if TYPE_CHECKING:
    import torch

TORCH_OUTPUT_TOLERANCE = 1e-4


@checked
def export(
    module: torch.nn.Module,
    path: str | Path,
    *,
    input_size_hw: tuple[int, int],
    layers: Sequence[str] = (AUTO,),
    heads: GivenHeads = (),
    labels: GivenLabels = (),
    preprocessing: Preprocessing | PreprocessingParts | None = None,
    box_format: BoxFormat = "cxcywh",
    box_units: BoxUnits = "normalized",
    required_inputs: bool = False,
    tail: bool = True,
) -> ExportReport:
    """Write a PyTorch module as an explainable ONNX file with a dynamic batch.

    `module` takes float32 [N, C, H, W], with the channels of `preprocessing` or 3, and returns a tensor, (logits
    [N, classes], box [N, 4]), another tuple, or a dictionary of tensors. What they mean is told as in `instrument`.
    A single tensor is named ``logits``; the names of a dictionary become names of heads; the tensors of a tuple are
    ``output_0``, ``output_1`` and so on. `heads`: as in `instrument`. `layers` are module paths such as ``layer4``
    whose output is a map [N, K, h, w], shares of the multiply-adds such as ``50%``, or ``auto``. `labels`: one per
    class, or by the name of a head. What `preprocessing` leaves out is assumed as in `instrument`; the image of a
    localizer is then stretched, not cropped. `required_inputs`, `tail`: as in `instrument`.

    Before the file is written, it is verified as in `instrument`. It is also compared with the module itself: outputs
    and `torch.autograd` gradients for a batch of several images with different targets. The training mode of the
    module and of each of its parts does not change. Raises ModelError, UnsupportedError or VerificationError; no file
    is written then.
    """
    if not is_module(module):
        raise OnnxplainError(f"module: found {type(module).__name__}, expected a torch.nn.Module")
    size: Expected = Listed(Whole(1, LARGEST_SIDE), 2, least=2)
    size.check("input_size_hw", input_size_hw)
    path = Path(path)
    if tail:
        check_tail_path(path)
    with evaluating(module):
        paths = [name for name in layers if name != AUTO and not name.endswith("%")]
        modules = dict(module.named_modules())
        unknown = [name for name in paths if name not in modules]
        if unknown:
            raise ModelError(
                f"layer {unknown[0]!r}: not found in the module, expected one of its parts: "
                f"{', '.join(n for n in modules if n)[:300]}"
            )
        if paths and len(paths) != len(layers):
            raise ModelError(
                f"layers: found {list(layers)}, expected either module paths only, or auto and shares only: "
                "write two files to have both"
            )
        request = Request(
            layers=layers,
            heads=heads,
            labels=labels,
            preprocessing=preprocessing,
            box_format=box_format,
            box_units=box_units,
            required_inputs=required_inputs,
            tail_of=path if tail else None,
        )
        channels = count_channels(as_parts(preprocessing).channels or "rgb")
        return _export(module, path, (channels, *input_size_hw), paths, request)


def _export(
    module: torch.nn.Module,
    path: Path,
    image_chw: tuple[int, int, int],
    taps: Sequence[str],
    request: Request,
) -> ExportReport:
    traced = trace(module, image_chw, taps)
    plain = traced.proto
    model = prepare(plain)
    values = _take_taps(model.graph, taps)
    if traced.is_localizer and not {LOGITS_NAME, BOX_NAME} & {head.name for head in request.asked.stated}:
        request = replace(request, logits=LOGITS_NAME, box=BOX_NAME)
    if taps:
        del plain.graph.output[-len(taps) :]

    def check(built: Explainable) -> Checks:
        _check_dynamic(built)
        checked = _check_against_module(module, built, plain, taps)
        return verify(built.base, built.proto, built.spec, built.witnesses, plain, checked)

    explainable, checks = build_verified(model, request, check, values)
    return write_verified(explainable, path, plain, checks)


def _take_taps(graph: ir.Graph, taps: Sequence[str]) -> dict[str, ir.Value]:
    """Remove the outputs that were added for `taps`; returns the layer's value for each module path."""
    values = {}
    for path in reversed(taps):
        value = graph.outputs.pop()
        node = producer_of(value)
        while node is not None and hands_on(node, Hands.WHOLE) and node.inputs[0] is not None:
            value = node.inputs[0]
            node = producer_of(value)
        values[path] = value
    return values


def _check_dynamic(explainable: Explainable) -> None:
    for value in (explainable.proto.graph.input[0], explainable.proto.graph.output[0]):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise VerificationError(
                f"check 'dynamic batch' failed: torch fixed the batch size of {value.name!r}, expected a symbolic one: "
                "do not read the batch size as a Python number in the module's forward"
            )


def _check_against_module(
    module: torch.nn.Module,
    explainable: Explainable,
    original: onnx.ModelProto,
    taps: Sequence[str],
) -> dict[str, LayerCheck]:
    """Compare outputs and gradients with the module and torch.autograd, for several images with different targets.

    Returns the checks of the layers whose maps the module computes too.
    """
    spec = explainable.spec
    batch = image_batch(original, spec.input, seed=1, count=TRIAL_IMAGES)
    expected = run(module, batch)
    found = GraphSession(explainable.proto, "explainable graph").run(feeds_of(spec, batch, target=0, explain=False))
    for name, output in expected.items():
        error = relative_error(found[name].reshape(output.shape), output)
        if not error <= TORCH_OUTPUT_TOLERANCE:
            raise VerificationError(
                f"check 'outputs as in torch' failed: {name} differs by a relative error of {error:.1e}, "
                f"allowed {TORCH_OUTPUT_TOLERANCE:.0e}"
            )
    return check_module_gradients(module, explainable, batch, set(expected), taps)
