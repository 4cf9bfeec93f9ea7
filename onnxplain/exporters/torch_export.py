"""From a PyTorch module to an explainable ONNX file: the only file of the exporters that imports torch."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch.overrides import TorchFunctionMode

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, BoxFormat, BoxUnits, Preprocessing
from onnxplain.errors import ModelError, VerificationError
from onnxplain.exporters.arrangement import MAP_RANK, TOKEN_RANK, Arrangement
from onnxplain.exporters.directional import allowed_error
from onnxplain.exporters.explainable import Explainable, Request, build
from onnxplain.exporters.layers import AUTO
from onnxplain.exporters.model_file import prepare
from onnxplain.exporters.report import ExportReport, LayerCheck
from onnxplain.exporters.session import GraphSession
from onnxplain.exporters.tail_file import check_tail_path
from onnxplain.exporters.torch_translation import as_strided
from onnxplain.exporters.trial_images import image_batch
from onnxplain.exporters.values import TRANSPARENT, producer_of
from onnxplain.exporters.verify import verify
from onnxplain.exporters.write import write_verified

OPSET = 18
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "box")
TAP_NAME = "onnxplain/tap_{}"
BATCH = 3
OUTPUT_TOLERANCE = 1e-4
SAME_TENSOR = 1e-4


def export(
    module: torch.nn.Module,
    path: str | Path,
    *,
    input_size_hw: tuple[int, int],
    layers: Sequence[str] = (AUTO,),
    labels: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    box_format: BoxFormat = "cxcywh",
    box_units: BoxUnits = "normalized",
    required_inputs: bool = False,
    tail: bool = True,
) -> ExportReport:
    """Write a PyTorch classifier or localizer as an explainable ONNX file with a dynamic batch.

    `module` takes float32 [N, 3, H, W] (one channel where `preprocessing` is gray) and returns logits [N, C], or
    (logits, box [N, 4]). `layers` are module paths such as ``layer4`` whose output is a map [N, K, h, w], shares
    of the multiply-adds such as ``50%``, or ``auto``. `labels`: one per class. Without `preprocessing` ImageNet's
    is assumed, and the file says so; a localizer's image is then stretched, not cropped. `tail`: as in `instrument`.

    Before it is written the file is verified as in `instrument`, and against the module itself: outputs and
    `torch.autograd` gradients for a batch of several images with different targets. The module's training mode is
    left as found. Raises ModelError, UnsupportedError or VerificationError; nothing is written then.
    """
    path = Path(path)
    if tail:
        check_tail_path(path)
    was_training = module.training
    module.eval()
    try:
        paths = [name for name in layers if name != AUTO and not name.endswith("%")]
        modules = dict(module.named_modules())
        unknown = [name for name in paths if name not in modules]
        if unknown:
            raise ModelError(
                f"layer {unknown[0]!r}: the module has no such part; found {', '.join(n for n in modules if n)[:300]}"
            )
        if paths and len(paths) != len(layers):
            raise ModelError(f"layers {list(layers)}: give module paths, or auto and shares, not both in one file")
        request = Request(
            layers=layers,
            labels=labels,
            preprocessing=preprocessing,
            box_format=box_format,
            box_units=box_units,
            required_inputs=required_inputs,
            tail_of=path if tail else None,
        )
        channels = 3 if preprocessing is None else preprocessing.channel_count
        return _export(module, path, (channels, *input_size_hw), paths, request)
    finally:
        module.train(was_training)


def _export(
    module: torch.nn.Module,
    path: Path,
    image_chw: tuple[int, int, int],
    taps: Sequence[str],
    request: Request,
) -> ExportReport:
    plain, has_box = _to_onnx(module, image_chw, taps)
    model = prepare(plain)
    values = _take_taps(model.graph, taps)
    request = replace(request, logits=OUTPUT_NAMES[0], box=OUTPUT_NAMES[1] if has_box else None)
    original = _without_outputs(plain, len(taps))
    explainable = build(model, request, values)
    _check_dynamic(explainable)
    witnessed = _check_against_module(module, explainable, original, taps)
    checks = verify(explainable.base, explainable.proto, explainable.spec, explainable.tails, original, witnessed)
    return write_verified(explainable, path, original, checks)


class _Tapped(torch.nn.Module):
    """The module, returning the outputs of some of its parts as well."""

    def __init__(self, module: torch.nn.Module, paths: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self._paths = tuple(paths)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with _recorded(self.module, self._paths) as tensors:
            outputs = self.module(image)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        return (*outputs, *(tensors[path] for path in self._paths))


@contextlib.contextmanager
def _recorded(module: torch.nn.Module, paths: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of some parts of the module while it runs."""
    tensors: dict[str, torch.Tensor] = {}

    def record(path: str, output: object) -> None:
        if isinstance(output, torch.Tensor):
            tensors[path] = output

    modules = dict(module.named_modules())
    handles = [
        modules[path].register_forward_hook(lambda _m, _args, output, path=path: record(path, output)) for path in paths
    ]
    try:
        yield tensors
    finally:
        for handle in handles:
            handle.remove()


def _to_onnx(
    module: torch.nn.Module, image_chw: tuple[int, int, int], taps: Sequence[str]
) -> tuple[onnx.ModelProto, bool]:
    """The plain ONNX graph, its taps as last outputs, and whether there is a box head."""
    image = torch.zeros(BATCH, *image_chw)
    with torch.no_grad():
        outputs = module(image)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
    shapes = [tuple(output.shape) for output in outputs if isinstance(output, torch.Tensor)]
    is_localizer = len(outputs) == 2 and len(shapes) == 2 and shapes[1] == (BATCH, 4)
    if len(shapes) != len(outputs) or len(shapes[0]) != 2 or not (len(outputs) == 1 or is_localizer):
        raise ModelError(
            f"the module returned {shapes or type(outputs[0]).__name__} for {BATCH} images, expected logits "
            f"[{BATCH}, C], or logits and a box [{BATCH}, 4]"
        )
    names = [*OUTPUT_NAMES[: len(outputs)], *(TAP_NAME.format(index) for index in range(len(taps)))]
    with _quiet_exporter():
        program = torch.onnx.export(
            _Tapped(module, taps).eval(),
            (image,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=names,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.as_strided.default: as_strided},
            verbose=False,
        )
    assert program is not None
    return program.model_proto, is_localizer


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says of itself: a FutureWarning, and lines about torchvision not being there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _take_taps(graph: ir.Graph, taps: Sequence[str]) -> dict[str, ir.Value]:
    """Remove the tap outputs from the graph; returns the value that each one carried."""
    values = {}
    for path in reversed(taps):
        value = graph.outputs.pop()
        node = producer_of(value)
        while node is not None and node.op_type in TRANSPARENT and node.inputs[0] is not None:
            value = node.inputs[0]
            node = producer_of(value)
        values[path] = value
    return values


def _without_outputs(proto: onnx.ModelProto, count: int) -> onnx.ModelProto:
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    if count:
        del plain.graph.output[-count:]
    return plain


def _check_dynamic(explainable: Explainable) -> None:
    for value in (explainable.proto.graph.input[0], explainable.proto.graph.output[0]):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise VerificationError(
                f"check 'dynamic batch' failed: torch fixed the batch of {value.name!r}; the module's forward must "
                "not read the batch size as a Python number"
            )


def _check_against_module(
    module: torch.nn.Module,
    explainable: Explainable,
    original: onnx.ModelProto,
    taps: Sequence[str],
) -> dict[str, LayerCheck]:
    """Outputs and gradients of several images, each with a target of its own, against torch.autograd.

    Returns the checks of the layers that have a counterpart in the module.
    """
    spec = explainable.spec
    batch = image_batch(original, spec.input, seed=1, count=BATCH)
    columns = spec.classes + (4 if spec.box is not None else 0)
    targets = np.array([0, spec.classes - 1, columns - 1], np.int64)
    feeds = {spec.input.name: batch, TARGET_INPUT: targets, EXPLAIN_INPUT: np.array([True])}
    found = GraphSession(explainable.proto, "explainable graph").run(feeds)

    image = torch.from_numpy(batch)
    for name, output in zip(OUTPUT_NAMES, _outputs(module, image), strict=False):
        error = _relative_error(found[name], output.detach().numpy())
        if not error <= OUTPUT_TOLERANCE:
            raise VerificationError(f"check 'outputs as in torch' failed: {name} differs by {error:.1e}")

    checks = {}
    for layer, tail, arrangement in zip(spec.layers, explainable.tails, explainable.arrangements, strict=True):
        path = layer.name if taps else None
        reference = _autograd(module, image, targets, path, found[layer.features], arrangement)
        if reference is None:
            continue
        error, allowed = _relative_error(found[layer.gradients], reference), allowed_error(tail)
        if not error <= allowed:
            raise VerificationError(
                f"check 'gradient agrees with torch.autograd' failed at layer {layer.name!r}: relative error "
                f"{error:.1e}, allowed {allowed:.0e}"
            )
        checks[layer.name] = LayerCheck(layer.name, error, "torch.autograd", tail.operators)
    return checks


def _outputs(module: torch.nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    outputs = module(image)
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _autograd(
    module: torch.nn.Module,
    image: torch.Tensor,
    targets: np.ndarray,
    path: str | None,
    features: np.ndarray,
    arrangement: Arrangement,
) -> np.ndarray | None:
    """d target / d layer by torch.autograd.

    Where no module path was given, the layer is the tensor that equals `features`; None where there is none, since
    ONNX computes some values (a folded normalization) in another order.
    """
    with torch.enable_grad(), contextlib.ExitStack() as stack:
        if path is not None:
            recorded = stack.enter_context(_recorded(module, [path]))
            outputs = _outputs(module, image.clone().requires_grad_())
            tensors = list(recorded.values())
        else:
            tensors = stack.enter_context(_Results()).tensors
            outputs = _outputs(module, image.clone().requires_grad_())
    layer = next((tensor for tensor in tensors if _is_same(tensor, features, arrangement)), None)
    if layer is None:
        return None
    scalar = torch.cat(outputs, dim=1).gather(1, torch.from_numpy(targets)[:, None]).sum()
    (gradient,) = torch.autograd.grad(scalar, layer)
    return arrangement.array_to_map(gradient.numpy())


class _Results(TorchFunctionMode):
    """Collects what torch functions give out while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[torch.Tensor] = []

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return result
        self.tensors.append(result)
        # What follows may overwrite the result (``out += identity``): it gets a copy, but for views and operands.
        shared = result._is_view() or any(result is operand for operand in args)
        return result if shared else result.clone()


def _is_same(tensor: torch.Tensor, features: np.ndarray, arrangement: Arrangement) -> bool:
    if tensor.dim() != (TOKEN_RANK if arrangement.is_token_sequence else MAP_RANK):
        return False
    tokens = arrangement.tokens_before + arrangement.positions + arrangement.tokens_after
    if arrangement.is_token_sequence and tokens not in tensor.shape[1:]:
        return False
    array = arrangement.array_to_map(tensor.detach().numpy())
    return array.shape == features.shape and _relative_error(array, features) < SAME_TENSOR


def _relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    scale = float(np.linalg.norm(reference))
    return float(np.linalg.norm(found - reference)) / (scale or 1.0)
