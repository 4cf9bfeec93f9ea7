"""Tracing a PyTorch module to ONNX, running it and differentiating it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch.overrides import TorchFunctionMode

from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.arrangement import MAP_RANK, TOKEN_RANK, Arrangement
from onnxplain.exporters.pytorch.translation import as_strided

EXPORT_OPSET = 18
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "box")
TAP_NAME = "onnxplain/tap_{}"
TRIAL_IMAGES = 3
SAME_TENSOR = 1e-4


@dataclass(frozen=True)
class Wanted:
    """A layer whose gradient is wanted: its feature maps in one run, and the path of the module that outputs them.

    Without a path, the layer is the tensor that equals `features`, float32 [N, K, h, w].
    """

    path: str | None
    features: np.ndarray
    arrangement: Arrangement

    def is_in(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor holds the feature maps."""
        form = self.arrangement
        if tensor.dim() != (TOKEN_RANK if form.is_token_sequence else MAP_RANK):
            return False
        if form.is_token_sequence and form.tokens_before + form.positions + form.tokens_after not in tensor.shape[1:]:
            return False
        array = form.array_to_map(tensor.detach().numpy())
        return array.shape == self.features.shape and relative_error(array, self.features) < SAME_TENSOR


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Set the module to eval mode inside the context; afterwards each part has its earlier mode again."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        # `train` is called because some parts do more in it than set the flag (torchvision's feature extractors
        # change graphs). It also changes all submodules, so the flags are set last.
        for part, was_training in modes:
            part.train(was_training)
        for part, was_training in modes:
            part.training = was_training


def trace(
    module: torch.nn.Module, image_chw: tuple[int, int, int], taps: Sequence[str]
) -> tuple[onnx.ModelProto, bool]:
    """The plain ONNX graph with its taps as last outputs, and whether there is a box head.

    Raises ModelError if the module returns neither logits [N, C] nor logits and a box [N, 4].
    """
    image = torch.zeros(TRIAL_IMAGES, *image_chw)
    with torch.no_grad():
        outputs = module(image)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
    shapes = [tuple(output.shape) for output in outputs if isinstance(output, torch.Tensor)]
    is_localizer = len(outputs) == 2 and len(shapes) == 2 and shapes[1] == (TRIAL_IMAGES, 4)
    if len(shapes) != len(outputs) or len(shapes[0]) != 2 or not (len(outputs) == 1 or is_localizer):
        raise ModelError(
            f"found module outputs {shapes or type(outputs[0]).__name__} for {TRIAL_IMAGES} images, expected logits "
            f"[{TRIAL_IMAGES}, C], or logits and a box [{TRIAL_IMAGES}, 4]: change what the module returns"
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
            opset_version=EXPORT_OPSET,
            custom_translation_table={torch.ops.aten.as_strided.default: as_strided},
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # The exporter's rewriting rules keep a reference to the last graph, and so to the module's weights.
    for value in program.model.graph.initializers.values():
        value.const_value = None
    return proto, is_localizer


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Suppress messages of torch's exporter: a FutureWarning, and lines that say that torchvision is missing."""
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


class _Tapped(torch.nn.Module):
    """The module, extended to return also the outputs of some of its parts."""

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


def run(module: torch.nn.Module, batch: np.ndarray) -> list[np.ndarray]:
    """The module's outputs: logits, then the box if it has one."""
    with torch.no_grad():
        return [output.numpy() for output in _outputs(module, torch.from_numpy(batch))]


def gradients(
    module: torch.nn.Module, batch: np.ndarray, targets: np.ndarray, layers: Sequence[Wanted]
) -> list[np.ndarray | None]:
    """d target / d layer by torch.autograd, [N, K, h, w], for each of the layers.

    None if the module computes no such tensor: ONNX computes some values (a folded normalization) in another order.
    """
    paths = [layer.path for layer in layers if layer.path is not None]
    with torch.enable_grad(), _recorded(module, paths) as parts, contextlib.ExitStack() as stack:
        results = [] if len(paths) == len(layers) else stack.enter_context(_Results()).tensors
        outputs = _outputs(module, torch.tensor(batch, requires_grad=True))
    scalar = torch.cat(outputs, dim=1).gather(1, torch.from_numpy(targets)[:, None]).sum()
    found = []
    for layer in layers:
        tensors = results if layer.path is None else [parts[layer.path]]
        found.append(next((tensor for tensor in tensors if layer.is_in(tensor)), None))
    present = [tensor for tensor in found if tensor is not None]
    known = iter(torch.autograd.grad(scalar, present) if present else ())
    return [
        None if tensor is None else layer.arrangement.array_to_map(next(known).numpy())
        for layer, tensor in zip(layers, found, strict=True)
    ]


def _outputs(module: torch.nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    outputs = module(image)
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


class _Results(TorchFunctionMode):
    """Collects the results of torch functions while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[torch.Tensor] = []

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return result
        self.tensors.append(result)
        # Later code may overwrite the result (``out += identity``), so a copy is kept, except for views and operands.
        shared = result._is_view() or any(result is operand for operand in args)
        return result if shared else result.clone()


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """‖found − reference‖ / ‖reference‖; only the numerator if the reference is zero."""
    scale = float(np.linalg.norm(reference))
    return float(np.linalg.norm(found - reference)) / (scale or 1.0)
