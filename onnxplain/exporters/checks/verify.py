"""The checks that every explainable graph passes before it is written.

The original outputs are unchanged; the gradients change with the class, and with the input unless the graph is
affine in between; they agree with the directional derivatives of the part behind the layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx
import onnx.helper

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, LayerSpec, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.directional import Run, allowed_error, direction_error
from onnxplain.exporters.checks.report import Checks, LayerCheck
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.witness import Tail, in_float32
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.widen import widen

OUTPUT_TOLERANCE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5}
AFFINE_TOLERANCE = 1e-6
SEED = 20


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
    # One session at a time: each holds the weights again.
    expected = GraphSession(original, "original model").run({spec.input.name: inputs[0]})
    session = GraphSession(explainable, "explainable graph")
    output_error = _check_outputs(expected, session, spec, inputs[0])
    targets = _targets(spec)
    base_session = None
    unseen = any(layer.name not in witnessed for layer in spec.layers)
    if rounds(base):
        # A value that rounds to either side of zero, or of saturation, changes the gradient behind it. So the rules are
        # checked without roundings: no fused integer kernels, which differ from graph to graph, and no float16.
        session = GraphSession(widen(explainable), "explainable graph", optimised=False)
        base_session = GraphSession(widen(base), "prepared graph", optimised=False) if unseen else None
        inputs = [batch.astype(np.float32) if batch.dtype == np.float16 else batch for batch in inputs]
    elif unseen:
        base_session = GraphSession(base, "prepared graph")
    runs = _open_runs(session, base_session, spec, inputs, targets)
    layers = []
    for layer, tail in zip(spec.layers, tails, strict=True):
        _check_gradient(layer, runs[0], targets)
        known = witnessed.get(layer.name)
        layers.append(_check_derivative(layer, tail, runs, targets) if known is None else known)
    return Checks(output_error, tuple(layers))


def rounds(proto: onnx.ModelProto) -> bool:
    """Whether the graph computes in float16 or in integers."""
    narrow = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    return narrow or any(
        kind in node.op_type for node in proto.graph.node for kind in ("Quantize", "Integer", "QLinear", "QGemm")
    )


def _check_outputs(
    expected: Mapping[str, np.ndarray], explainable: GraphSession, spec: ModelSpec, batch: np.ndarray
) -> float:
    """Largest difference of any original output, relative to that output's largest value."""
    largest = 0.0
    for name, reference in expected.items():
        if reference.dtype.kind == "f" and not np.isfinite(reference).all():
            raise VerificationError(f"output {name!r} of the original model is not finite on a random image")
    for explain in (False, True):
        feeds = feeds_of(spec, batch, target=-1, explain=explain)
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
    base: GraphSession | None,
    spec: ModelSpec,
    inputs: Sequence[np.ndarray],
    targets: Sequence[int],
) -> list[dict[int, Run]]:
    """For each input and each target, the values with all gates open, and what `base` says of the input."""
    names = [name for layer in spec.layers for name in (layer.features, layer.gradients)]
    runs = []
    for batch in inputs:
        captured = {} if base is None else base.run({spec.input.name: batch})
        runs.append(
            {
                target: Run(explainable.run(feeds_of(spec, batch, target, explain=True), names), captured)
                for target in targets
            }
        )
    return runs


def feeds_of(spec: ModelSpec, batch: np.ndarray, target: int, explain: bool) -> dict[str, np.ndarray]:
    """All inputs of the explainable graph, whether or not two of them have defaults."""
    return {
        spec.input.name: batch,
        TARGET_INPUT: np.array([target], np.int64),
        EXPLAIN_INPUT: np.array([explain]),
    }


def _check_gradient(layer: LayerSpec, runs: Mapping[int, Run], targets: Sequence[int]) -> None:
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


def _check_derivative(
    layer: LayerSpec, tail: Tail, runs: Sequence[Mapping[int, Run]], targets: Sequence[int]
) -> LayerCheck:
    """That the gradient is the derivative of the part behind the layer."""
    tail = _working(tail, layer, runs)
    _check_input_dependence(layer, tail, runs, targets)
    error, allowed = direction_error(layer, tail, runs[0], targets), allowed_error(tail)
    if not error <= allowed:
        raise VerificationError(
            f"check 'gradient agrees with finite differences' failed at layer {layer.name!r}: relative error "
            f"{error:.1e}, allowed {allowed:.0e}"
        )
    exact = tail.dtype is np.float64
    reference = "finite differences, float64 on onnx.reference" if exact else "finite differences, float32"
    return LayerCheck(layer.name, error, reference, tail.operators)


def _working(tail: Tail, layer: LayerSpec, runs: Sequence[Mapping[int, Run]]) -> Tail:
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
    layer: LayerSpec, tail: Tail, runs: Sequence[Mapping[int, Run]], targets: Sequence[int]
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
