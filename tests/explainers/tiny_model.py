"""A model small enough to differentiate by hand, as an explainable file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxplain.contract import (
    INPUT_LAYER,
    METADATA_KEY,
    TAIL_METADATA_KEY,
    AttentionSpec,
    BoxSpec,
    InputSpec,
    LayerSpec,
    MapFrame,
    ModelSpec,
    OutputRoles,
    Preprocessing,
    TailSpec,
    attention_gradients_output,
    attention_layerwise_output,
    attention_output,
    features_output,
    gradients_output,
)
from onnxplain.runtime import Engine

LAYER = "stem/relu"
INPUT_SIZE_HW, GRID_HW = (24, 32), (6, 8)
CHANNELS, CLASSES = 5, 4
HEADS, TOKENS = 2, GRID_HW[0] * GRID_HW[1]
LABELS = ("ant", "bee", "cat", "dog")


@dataclass(frozen=True)
class TinyModel:
    """``A = ReLU(conv(x))``; ``logits = w · mean(A^power)``; ``box = v · mean(A^power)``."""

    engine: Engine
    kernel: np.ndarray
    weights: np.ndarray
    box_weights: np.ndarray | None
    power: int

    def features(self, pixels_nchw: np.ndarray) -> np.ndarray:
        n, c, h, w = pixels_nchw.shape
        cells = pixels_nchw.reshape(n, c, h // 4, 4, w // 4, 4)
        return np.maximum(np.einsum("ncyixj,kcij->nkyx", cells, self.kernel), 0)


MakeModel = Callable[..., TinyModel]


def make_tiny_model(
    path: Path,
    *,
    power: int = 1,
    box: bool = False,
    instrumented: bool = True,
    tail: bool = True,
    head_is_linear: bool = True,
    labels: tuple[str, ...] = LABELS,
    preprocessing: Preprocessing | None = None,
    kernel: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    pixels: bool = False,
) -> TinyModel:
    """Write the model to `path` and load it.

    `power` 1 is CAM's head, `power` 2 makes gradients that vary over the map. `tail`: its tail file stands beside it.
    `pixels`: the layer `input` is instrumented too, and attention: matrices that the features make, and gradients that
    are these matrices times a weight of the target, since nothing depends on them.
    """
    preprocessing = preprocessing or Preprocessing(scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3, resize="stretch")
    rng = np.random.default_rng(7)
    kernel = rng.normal(size=(CHANNELS, 3, 4, 4)) if kernel is None else kernel
    weights = rng.normal(size=(CLASSES, len(kernel))) if weights is None else weights
    kernel, weights = kernel.astype(np.float32), weights.astype(np.float32)
    box_weights = rng.normal(size=(4, len(kernel))).astype(np.float32) if box else None
    model = _build(kernel, weights, box_weights, power, pixels)
    if not instrumented:
        del model.graph.output[2 if box else 1 :]
    else:
        spec = _spec(kernel, weights, box, power == 1 and head_is_linear, labels, preprocessing)
        if pixels:
            image = LayerSpec(
                INPUT_LAYER, features_output(INPUT_LAYER), gradients_output(INPUT_LAYER), 3, INPUT_SIZE_HW
            )
            spec = replace(spec, layers=(image, *spec.layers), attention=_attention(len(spec.heads)))
        if tail:
            spec = replace(spec, tail=_write_tail(path, weights, box_weights, power))
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
    stated = {} if instrumented else {"preprocessing": preprocessing, "labels": labels}
    return TinyModel(Engine(path, threads=1, **stated), kernel, weights, box_weights, power)


def _write_tail(path: Path, weights: np.ndarray, box_weights: np.ndarray | None, power: int) -> TailSpec:
    tail = TailSpec(
        f"{path.stem}.tail.onnx", "tiny", LAYER, outputs=("logits",) if box_weights is None else ("logits", "box")
    )
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Pow", ["features", "power"], ["powered"]),
        node("GlobalAveragePool", ["powered"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    outputs = [info("logits", TensorProto.FLOAT, ["N", len(weights)])]
    constants = {"power": np.array(power, np.float32), "weights": weights}
    if box_weights is not None:
        nodes.append(node("Gemm", ["flat", "box_weights"], ["box"], transB=1))
        outputs.append(info("box", TensorProto.FLOAT, ["N", 4]))
        constants["box_weights"] = box_weights
    features = info("features", TensorProto.FLOAT, ["N", weights.shape[1], *GRID_HW])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tail", [features], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {TAIL_METADATA_KEY: tail.id})
    onnx.save(model, path.with_name(tail.file))
    return tail


def _build(
    kernel: np.ndarray, weights: np.ndarray, box_weights: np.ndarray | None, power: int, pixels: bool
) -> onnx.ModelProto:
    heads = weights if box_weights is None else np.vstack([weights, box_weights])
    cells = np.float32(GRID_HW[0] * GRID_HW[1])
    constants = {
        "kernel": kernel,
        "heads": heads,
        "cam_weights": weights,
        "target": np.array([-1], np.int64),
        "zero": np.array(0, np.int64),
        "spread": np.array([-1, len(kernel), 1, 1], np.int64),
        "slope": power / cells,
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "kernel"], ["convolved"], strides=[4, 4]),
        node("Relu", ["convolved"], [features_output(LAYER)]),
        node("Mul", [features_output(LAYER)] * 2, ["squared"]) if power == 2 else None,
        node("GlobalAveragePool", ["squared" if power == 2 else features_output(LAYER)], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "heads"], ["answers"], transB=1),
        node("Split", ["answers", "sizes"], ["logits", "box"], axis=1) if box_weights is not None else None,
        node("Identity", ["answers"], ["logits"]) if box_weights is None else None,
        # d answer / d A = heads[target] · power · A^(power − 1) / cells; a negative target is the best class.
        node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        node("Less", ["target", "zero"], ["automatic"]),
        node("Where", ["automatic", "best", "target"], ["chosen"]),
        node("Gather", ["heads", "chosen"], ["row"]),
        node("Mul", ["row", "slope"], ["scaled"]),
        node("Reshape", ["scaled", "spread"], ["per_channel"]),
        node("Pow", [features_output(LAYER), "exponent"], ["inner"]),
        node("Mul", ["per_channel", "inner"], [gradients_output(LAYER)]),
    ]
    if pixels:
        nodes += [
            node("Identity", ["image"], [features_output(INPUT_LAYER)]),
            node("Sign", [features_output(LAYER)], ["positive"]),
            node("Mul", [gradients_output(LAYER), "positive"], ["before_relu"]),
            node("ConvTranspose", ["before_relu", "kernel"], [gradients_output(INPUT_LAYER)], strides=[4, 4]),
            node("Reshape", [features_output(LAYER), "tokens"], ["rows"]),
            node("Transpose", ["rows"], ["columns"], perm=[0, 1, 3, 2]),
            node("MatMul", ["columns", "rows"], ["agreement"]),
            node("Softmax", ["agreement"], ["attended"], axis=-1),
            node("Concat", ["attended", "attended"], [attention_output(LAYER)], axis=1),
            node("Slice", ["row", "first", "second", "second"], ["weight_row"]),
            node("Reshape", ["weight_row", "single"], ["weight"]),
            node("Mul", [attention_output(LAYER), "weight"], [attention_gradients_output(LAYER)]),
            node("Neg", [attention_gradients_output(LAYER)], [attention_layerwise_output(LAYER)]),
        ]
        constants |= {
            "tokens": np.array([0, 1, len(kernel), -1], np.int64),
            "first": np.array([0], np.int64),
            "second": np.array([1], np.int64),
            "single": np.array([-1, 1, 1, 1], np.int64),
        }
    constants["exponent"] = np.array(power - 1, np.float32)
    if box_weights is not None:
        constants["sizes"] = np.array([len(weights), 4], np.int64)
    used = {name for item in nodes if item is not None for name in item.input}
    kept = {name: value for name, value in constants.items() if name in used or name == "cam_weights"}

    def tensor(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    maps: list[int | str] = ["N", len(kernel), *GRID_HW]
    outputs = [
        tensor("logits", ["N", len(weights)]),
        *([tensor("box", ["N", 4])] if box_weights is not None else []),
        tensor(features_output(LAYER), maps),
        tensor(gradients_output(LAYER), maps),
        tensor("cam_weights", list(weights.shape)),
        *(
            tensor(name(INPUT_LAYER), ["N", 3, *INPUT_SIZE_HW])
            for name in (features_output, gradients_output)
            if pixels
        ),
    ]
    if pixels:
        square = ["N", HEADS, TOKENS, TOKENS]
        named = attention_output, attention_gradients_output, attention_layerwise_output
        outputs += [tensor(name(LAYER), square) for name in named]
    graph = helper.make_graph(
        [item for item in nodes if item is not None],
        "tiny",
        [tensor("image", ["N", 3, *INPUT_SIZE_HW]), tensor("target", ["T"], TensorProto.INT64)],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in kept.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _attention(heads: int) -> AttentionSpec:
    layer = LayerSpec(LAYER, attention_output(LAYER), attention_gradients_output(LAYER), HEADS, (TOKENS, TOKENS))
    return AttentionSpec(
        (layer,), GRID_HW, 0, 0, MapFrame.over(INPUT_SIZE_HW, GRID_HW), ((0, TOKENS),) * heads, layerwise=True
    )


def _spec(
    kernel: np.ndarray,
    weights: np.ndarray,
    box: bool,
    head_is_linear: bool,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
) -> ModelSpec:
    return ModelSpec.of_classifier(
        input=InputSpec("image", "nchw", INPUT_SIZE_HW, preprocessing),
        outputs=OutputRoles(
            logits="logits",
            box="box" if box else None,
            cam_weights="cam_weights" if head_is_linear else None,
            cam_layer=LAYER if head_is_linear else None,
            linear_head=head_is_linear,
        ),
        classes=len(weights),
        box=BoxSpec() if box else None,
        layers=(LayerSpec(LAYER, features_output(LAYER), gradients_output(LAYER), len(kernel), GRID_HW),),
        labels=labels,
    )
