"""The checks that every explainable graph passes before it is written.

The original outputs are unchanged; the gradients change with the class, and with the input unless the graph is
affine in between; they agree with the directional derivatives of the part behind the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx.helper

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, InputSpec, LayerSpec, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.report import Checks, LayerCheck
from onnxplain.exporters.session import GraphSession
from onnxplain.exporters.tail import Tail, in_float32
from onnxplain.exporters.widen import widen

OUTPUT_TOLERANCE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5}
# Beyond these a rule is wrong, not imprecise: float32 gates flip where a ReLU's input is near zero.
GRADIENT_TOLERANCE = 5e-2
SMOOTH_GRADIENT_TOLERANCE = 2e-3
GATED_OPERATORS = frozenset({"Relu", "Clip", "MaxPool", "QuantizeLinear"})
DIRECTIONS = 6
# The first step of float64 moves a value by a few times its size, so neighbours that were equal have to lie further
# apart. The wider ones are for gradients so small that the logits' own rounding hides them at the first.
STEPS_FLOAT64 = (1e-9, 1e-6, 1e-3)
TIE_BREAK = 2e-8
WIDEST_WINDOW = 16
STEPS_FLOAT32 = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
AFFINE_TOLERANCE = 1e-6
SEED = 20


@dataclass(frozen=True)
class _Run:
    """One pass through the explainable graph, gates open; arrays by output name."""

    values: Mapping[str, np.ndarray]
    captured: Mapping[str, np.ndarray]


def verify(
    base: onnx.ModelProto,
    explainable: onnx.ModelProto,
    spec: ModelSpec,
    tails: Sequence[Tail],
    original: onnx.ModelProto,
    witnessed: Mapping[str, LayerCheck] = MappingProxyType({}),
) -> Checks:
    """Run all checks; raises VerificationError that says which one failed.

    `original` is the file as found, `base` the prepared graph with the values that the tails need as outputs.
    Layers in `witnessed`, by name, have been compared with a better reference: they need no finite differences.
    """
    inputs = [image_batch(original, spec.input, seed) for seed in (SEED, SEED + 1)]
    session = GraphSession(explainable, "explainable graph")
    output_error = _check_outputs(GraphSession(original, "original model"), session, spec, inputs[0])
    targets = _targets(spec)
    if _rounds(base):
        # A value that rounds to either side of zero, or of saturation, changes the gradient behind it. So the rules are
        # checked without roundings: no fused integer kernels, which differ from graph to graph, and no float16.
        session = GraphSession(widen(explainable), "explainable graph", optimised=False)
        base_session = GraphSession(widen(base), "prepared graph", optimised=False)
        inputs = [batch.astype(np.float32) if batch.dtype == np.float16 else batch for batch in inputs]
    else:
        base_session = GraphSession(base, "prepared graph")
    runs = _open_runs(session, base_session, spec, inputs, targets)
    layers = []
    for layer, tail in zip(spec.layers, tails, strict=True):
        _check_gradient(layer, runs[0], targets)
        known = witnessed.get(layer.name)
        layers.append(_check_derivative(layer, tail, runs, targets) if known is None else known)
    return Checks(output_error, tuple(layers))


def _rounds(proto: onnx.ModelProto) -> bool:
    """Whether the graph computes in float16 or in integers."""
    narrow = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    return narrow or any("Quantize" in node.op_type or "Integer" in node.op_type for node in proto.graph.node)


def image_batch(original: onnx.ModelProto, spec: InputSpec, seed: int, count: int = 1) -> np.ndarray:
    """Random smooth images as the model takes them: its layout, size, type and preprocessing."""
    rng = np.random.default_rng(seed)
    height, width = spec.size_hw
    preprocessing = spec.preprocessing
    shape = (count, preprocessing.channel_count)
    coarse = rng.uniform(0, 255, (*shape, -(-height // 8), -(-width // 8)))
    pixels = np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3)[:, :, :height, :width]
    pixels = np.clip(pixels + rng.normal(0, 20, pixels.shape), 0, 255)
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (preprocessing.mean, preprocessing.std))
    batch = (np.round(pixels) * preprocessing.scale - mean) / std
    if spec.layout == "nhwc":
        batch = batch.transpose(0, 2, 3, 1)
    dtype = _input_dtype(original, spec)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        batch = np.clip(np.round(batch), info.min, info.max)
    return np.ascontiguousarray(batch, dtype=dtype)


def _input_dtype(original: onnx.ModelProto, spec: InputSpec) -> np.dtype:
    (elem,) = [v.type.tensor_type.elem_type for v in original.graph.input if v.name == spec.name]
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))


def _check_outputs(original: GraphSession, explainable: GraphSession, spec: ModelSpec, batch: np.ndarray) -> float:
    """Largest difference of any original output, relative to that output's largest value."""
    expected = original.run({spec.input.name: batch})
    largest = 0.0
    for name, reference in expected.items():
        if reference.dtype.kind == "f" and not np.isfinite(reference).all():
            raise VerificationError(f"output {name!r} of the original model is not finite on a random image")
    for explain in (False, True):
        feeds = _feeds(spec, batch, target=-1, explain=explain)
        found = explainable.run(feeds, list(expected))
        for name, reference in expected.items():
            error = _relative_difference(found[name], reference)
            allowed = OUTPUT_TOLERANCE.get(reference.dtype, 0.0)
            if not error <= allowed:
                raise VerificationError(
                    f"check 'outputs unchanged' failed: output {name!r} differs by {error:.1e} of its largest value "
                    f"(explain {str(explain).lower()}), allowed {allowed:.0e}"
                )
            largest = max(largest, error)
    return largest


def _relative_difference(found: np.ndarray, reference: np.ndarray) -> float:
    if found.shape != reference.shape or found.dtype != reference.dtype:
        return float("inf")
    if reference.size == 0 or reference.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(found, reference) else float("inf")
    difference = np.abs(found.astype(np.float64) - reference.astype(np.float64)).max()
    return float(difference / max(np.abs(reference.astype(np.float64)).max(), 1e-30))


def _targets(spec: ModelSpec) -> tuple[int, ...]:
    """Two classes, and every box coordinate."""
    box = range(spec.classes, spec.classes + 4) if spec.box is not None else ()
    return (0, spec.classes - 1, *box)


def _open_runs(
    explainable: GraphSession,
    base: GraphSession,
    spec: ModelSpec,
    inputs: Sequence[np.ndarray],
    targets: Sequence[int],
) -> list[dict[int, _Run]]:
    """For each input and each target, the values with all gates open."""
    names = [name for layer in spec.layers for name in (layer.features, layer.gradients)]
    runs = []
    for batch in inputs:
        captured = base.run({spec.input.name: batch})
        runs.append(
            {
                target: _Run(explainable.run(_feeds(spec, batch, target, explain=True), names), captured)
                for target in targets
            }
        )
    return runs


def _feeds(spec: ModelSpec, batch: np.ndarray, target: int, explain: bool) -> dict[str, np.ndarray]:
    return {
        spec.input.name: batch,
        TARGET_INPUT: np.array([target], np.int64),
        EXPLAIN_INPUT: np.array([explain]),
    }


def _check_gradient(layer: LayerSpec, runs: Mapping[int, _Run], targets: Sequence[int]) -> None:
    """Its shape, that it is finite, that it changes with the class."""
    gradients = {target: run.values[layer.gradients] for target, run in runs.items()}
    for target, gradient in gradients.items():
        if gradient.shape != (1, layer.channels, *layer.size_hw):
            raise VerificationError(
                f"check 'gradient shape' failed at layer {layer.name!r}: found {gradient.shape}, expected "
                f"{(1, layer.channels, *layer.size_hw)}"
            )
        if not np.isfinite(gradient).all():
            raise VerificationError(f"check 'gradient finite' failed at layer {layer.name!r}, target {target}")
    if np.array_equal(gradients[targets[0]], gradients[targets[1]]):
        raise VerificationError(
            f"check 'gradient changes with the class' failed at layer {layer.name!r}: classes {targets[0]} and "
            f"{targets[1]} have the same gradient; choose another layer"
        )


def allowed_error(tail: Tail) -> float:
    """The relative error beyond which a gradient through the tail is refused."""
    return GRADIENT_TOLERANCE if GATED_OPERATORS & set(tail.operators) else SMOOTH_GRADIENT_TOLERANCE


def _check_derivative(
    layer: LayerSpec, tail: Tail, runs: Sequence[Mapping[int, _Run]], targets: Sequence[int]
) -> LayerCheck:
    """That the gradient is the derivative of the part behind the layer."""
    tail = _working(tail, layer, runs)
    _check_input_dependence(layer, tail, runs, targets)
    error, allowed = _direction_error(layer, tail, runs[0], targets), allowed_error(tail)
    if not error <= allowed:
        raise VerificationError(
            f"check 'gradient agrees with finite differences' failed at layer {layer.name!r}: relative error "
            f"{error:.1e}, allowed {allowed:.0e}"
        )
    exact = tail.dtype is np.float64
    reference = "finite differences, float64 on onnx.reference" if exact else "finite differences, float32"
    return LayerCheck(layer.name, error, reference, tail.operators)


def _working(tail: Tail, layer: LayerSpec, runs: Sequence[Mapping[int, _Run]]) -> Tail:
    """The tail to use: float64 where the reference evaluator can run it."""
    run = next(iter(runs[0].values()))
    if tail.dtype is np.float64:
        try:
            tail.evaluate(run.values[layer.features], run.captured)
        except Exception:
            # The reference evaluator lacks some operators and forms of operators (ConvTranspose with groups,
            # for one) and fails on each in its own way; ONNX Runtime then evaluates the same tail in float32.
            return in_float32(tail)
    return tail


def _check_input_dependence(
    layer: LayerSpec, tail: Tail, runs: Sequence[Mapping[int, _Run]], targets: Sequence[int]
) -> None:
    """The same gradient at two inputs is right only where the tail is affine between them."""
    one, other = (run[targets[0]] for run in runs)
    if not np.array_equal(one.values[layer.gradients], other.values[layer.gradients]):
        return
    ends = [run.values[layer.features].astype(np.float64) for run in (one, other)]
    at_ends = [tail.evaluate(end, one.captured)[:, targets[0]] for end in ends]
    middle = tail.evaluate((ends[0] + ends[1]) / 2, one.captured)[:, targets[0]]
    scale = max(np.abs(at_ends[0]).max(), np.abs(at_ends[1]).max(), 1e-30)
    bend = np.abs(middle - (at_ends[0] + at_ends[1]) / 2).max() / scale
    tolerance = AFFINE_TOLERANCE if tail.dtype is np.float64 else 1e-4
    if bend > tolerance:
        raise VerificationError(
            f"check 'gradient changes with the input' failed at layer {layer.name!r}: two images have the same "
            f"gradient, but the graph behind the layer bends by {bend:.1e} between them"
        )


def _direction_error(layer: LayerSpec, tail: Tail, runs: Mapping[int, _Run], targets: Sequence[int]) -> float:
    """‖⟨g, v⟩ − (f(A + εv) − f(A − εv)) / 2ε‖ / ‖·‖ over random v, for the best step ε and the worst target."""
    # Features and captured values are those of the forward pass, whatever the target.
    run = runs[targets[0]]
    features = run.values[layer.features].astype(np.float64)
    gradients = np.stack([runs[target].values[layer.gradients].astype(np.float64) for target in targets])
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    exact = tail.dtype is np.float64
    if exact:
        features = _off_the_ties(features, TIE_BREAK * scale)
    best = np.full(len(targets), np.inf)
    for step in STEPS_FLOAT64 if exact else STEPS_FLOAT32:
        best = np.fmin(best, _errors_at_step(tail, run, features, gradients, targets, step * scale))
        if exact and best.max() <= allowed_error(tail):
            break
    return float(best.max())


def _off_the_ties(features: np.ndarray, amount: float) -> np.ndarray:
    """Lower each position a little more than the one before it; raise those at the very top instead.

    Where features are exactly equal (0 behind a ReLU, 6 behind a ReLU6, integers of a quantized file) a pool or
    a bound behind them has no derivative. Moved so, the first of the equals wins and what lies on a bound lies
    beyond it, which is what the rules say there. `amount` is the distance of two neighbours; a row lies below the
    one before it by more than a window is wide, so that the order of a window is that of its rows.
    """
    rows, columns = features.shape[-2:]
    depth = 1.0 + WIDEST_WINDOW * np.arange(rows)[:, None] + np.arange(columns)
    return features + amount * np.where(features == features.max(), 1.0 + depth.max() - depth, -depth)


def _errors_at_step(
    tail: Tail, run: _Run, features: np.ndarray, gradients: np.ndarray, targets: Sequence[int], step: float
) -> np.ndarray:
    """The error of each target, float64 (T,)."""
    found, reference = [], []
    for direction in _directions(features.shape):
        forward = tail.evaluate(features + step * direction, run.captured)[0, targets]
        backward = tail.evaluate(features - step * direction, run.captured)[0, targets]
        reference.append((forward.astype(np.float64) - backward) / (2 * step))
        found.append((gradients * direction).reshape(len(targets), -1).sum(1))
    distance = np.linalg.norm(np.subtract(found, reference), axis=0)
    scale = np.linalg.norm(reference, axis=0)
    return np.asarray(distance / np.maximum(scale, np.finfo(np.float64).tiny))


def _directions(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(SEED)
    for _ in range(DIRECTIONS):
        yield rng.standard_normal(shape)
