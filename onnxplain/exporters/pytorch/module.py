"""Tracing a PyTorch module to ONNX, running it and differentiating it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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
LOGITS_NAME, BOX_NAME = "logits", "box"
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


def is_module(value: Any) -> bool:
    """Whether it is a PyTorch module."""
    return isinstance(value, torch.nn.Module)


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


@dataclass(frozen=True)
class Traced:
    """The plain ONNX graph of a module, with its taps as last outputs, and the names of the module's own outputs.

    `is_localizer`: the module returns logits and a box.
    """

    proto: onnx.ModelProto
    outputs: tuple[str, ...]
    is_localizer: bool


def trace(module: torch.nn.Module, image_chw: tuple[int, int, int], taps: Sequence[str]) -> Traced:
    """The plain ONNX graph.

    A dictionary of tensors keeps its names; a tensor or a tuple gets some. Raises ModelError if the module returns
    something else than float tensors with a row per image.
    """
    image = torch.zeros(TRIAL_IMAGES, *image_chw)
    with torch.no_grad():
        returned = module(image)
    own = _named_outputs(returned)
    if own is None or not all(output.dim() > 0 and len(output) == TRIAL_IMAGES for output in own.values()):
        found = type(returned).__name__ if own is None else [tuple(output.shape) for output in own.values()]
        raise ModelError(
            f"found module outputs {found} for {TRIAL_IMAGES} images, expected a tensor, a tuple or a dictionary of "
            f"tensors [{TRIAL_IMAGES}, …]: change what the module returns"
        )
    names = [*own, *(TAP_NAME.format(index) for index in range(len(taps)))]
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
    return Traced(proto, tuple(own), tuple(own) == (LOGITS_NAME, BOX_NAME) and not isinstance(returned, Mapping))


def _named_outputs(returned: object) -> dict[str, torch.Tensor] | None:
    """The tensors that a module returns, by name; None if it returns something else."""
    if isinstance(returned, Mapping):
        named = {str(name): output for name, output in returned.items() if output is not None}
    elif isinstance(returned, torch.Tensor):
        named = {LOGITS_NAME: returned}
    elif isinstance(returned, tuple | list):
        named = {f"output_{index}": output for index, output in enumerate(returned)}
        shapes = [tuple(output.shape[1:]) for output in returned if isinstance(output, torch.Tensor)]
        if len(returned) == 2 and len(shapes) == 2 and len(shapes[0]) == 1 and shapes[1] == (4,):
            named = dict(zip((LOGITS_NAME, BOX_NAME), returned, strict=True))
    else:
        return None
    tensors = {name: output for name, output in named.items() if isinstance(output, torch.Tensor)}
    return tensors if tensors and len(tensors) == len(named) else None


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
        return (*_own(outputs), *(tensors[path] for path in self._paths))


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


def run(module: torch.nn.Module, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The module's outputs by name."""
    with torch.no_grad():
        return {name: output.numpy() for name, output in _outputs(module, torch.from_numpy(batch)).items()}


@dataclass(frozen=True)
class ModuleScalar:
    """A scalar of one image: entry `index` of an output of the module, its cosine with a reference, or a mean.

    `reference`: float32 [D]. `region`: float32 [h, w]; the scalar is then the mean logit of class `index` over it.
    """

    output: str
    index: int
    reference: np.ndarray | None = None
    region: np.ndarray | None = None

    def of(self, answer: torch.Tensor) -> torch.Tensor:
        """The scalar, of what the module answers for one image."""
        if self.reference is not None:
            return torch.nn.functional.cosine_similarity(answer.flatten(), torch.from_numpy(self.reference), dim=0)
        if self.region is not None:
            weights = torch.from_numpy(self.region)
            return (answer.reshape(-1, *weights.shape)[self.index] * weights).sum() / weights.sum()
        return answer.flatten()[self.index]


def gradients(
    module: torch.nn.Module, batch: np.ndarray, scalars: Sequence[ModuleScalar], layers: Sequence[Wanted]
) -> list[np.ndarray | None]:
    """d scalar / d layer by torch.autograd, [N, K, h, w], for each of the layers; one scalar per image.

    None if the module computes no such tensor: ONNX computes some values (a folded normalization) in another order.
    """
    paths = [layer.path for layer in layers if layer.path is not None]
    with torch.enable_grad(), _recorded(module, paths) as parts, contextlib.ExitStack() as stack:
        results = [] if len(paths) == len(layers) else stack.enter_context(_Results()).tensors
        outputs = _outputs(module, torch.tensor(batch, requires_grad=True))
    scalar = torch.stack([each.of(outputs[each.output][row]) for row, each in enumerate(scalars)]).sum()
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


def _outputs(module: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    found = _named_outputs(module(image))
    assert found is not None
    return found


def _own(returned: object) -> tuple[torch.Tensor, ...]:
    found = _named_outputs(returned)
    assert found is not None
    return tuple(found.values())


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
