"""Tiny ONNX models made by hand, each with a closed form that tests compare with.

Every model sees only the mean colour of its input: ``mean_c = spatial mean of channel c``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxplain.contract import (
    CAM_WEIGHTS_OUTPUT,
    EXPLAIN_INPUT,
    LOGITS_OUTPUT,
    METADATA_KEY,
    TARGET_INPUT,
    BoxSpec,
    InputSpec,
    LayerSpec,
    ModelSpec,
    OutputRoles,
    Preprocessing,
    features_output,
    gradients_output,
)

Array = npt.NDArray[np.float32]
Batch = int | str

CLASSES, CHANNELS = 5, 3
RNG = np.random.default_rng(7)
WEIGHTS: Array = RNG.normal(size=(CLASSES, CHANNELS)).astype(np.float32)
BIAS: Array = RNG.normal(size=CLASSES).astype(np.float32)
# The head of the uint8 model sees 0–255, so its weights are small: the softmax is then not one-hot.
UINT8_WEIGHTS: Array = (WEIGHTS / 100).astype(np.float32)

_OPSET, _IR = 18, 10


def reference_logits(batch_nchw: Array, weights: Array = WEIGHTS) -> Array:
    """Logits (N, C) of the classifiers below: ``W · mean + b``."""
    return (batch_nchw.mean(axis=(2, 3)) @ weights.T + BIAS).astype(np.float32)


def write_classifier(
    path: Path,
    *,
    batch: Batch = "N",
    size_hw: tuple[int | str, int | str] = (8, 8),
    dtype: int = TensorProto.FLOAT,
    softmax: bool = False,
    both: bool = False,
) -> Path:
    """NCHW float classifier: its output is ``logits``, or ``scores``, or `both`."""
    array_type = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    names = ["logits", "scores"] if both else ["scores"] if softmax else ["logits"]
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("image", dtype, [batch, CHANNELS, *size_hw])],
        [helper.make_tensor_value_info(name, dtype, [batch, CLASSES]) for name in names],
        {"weights": WEIGHTS.astype(array_type), "bias": BIAS.astype(array_type)},
    )


def write_uint8_classifier(path: Path, *, size_hw: tuple[int, int] = (8, 8)) -> Path:
    """NHWC uint8 classifier, batch 1, with a uint8 softmax in steps of 1/256, as TFLite's files have."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node("QuantizeLinear", ["shares", "step", "zero"], ["scores"]),
    ]
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *size_hw, CHANNELS])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, [1, CLASSES])],
        {
            "axes": np.array([1, 2]),
            "weights": UINT8_WEIGHTS,
            "bias": BIAS,
            "step": np.float32(1 / 256),
            "zero": np.uint8(0),
        },
    )


def write_localizer(
    path: Path,
    box: Sequence[float],
    box_spec: BoxSpec,
    *,
    size_hw: tuple[int, int] = (8, 8),
    preprocessing: Preprocessing | None = None,
) -> Path:
    """A localizer whose box head gives the same four numbers for every image."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Gemm", ["means", "no_weights", "corner"], ["box"], transB=1),
    ]
    spec = ModelSpec.of_classifier(
        input=InputSpec("image", "nchw", size_hw, preprocessing or Preprocessing(resize="stretch")),
        outputs=OutputRoles(logits="logits", box="box"),
        classes=CLASSES,
        box=box_spec,
    )
    return _save(
        path,
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", CHANNELS, *size_hw])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]),
            helper.make_tensor_value_info("box", TensorProto.FLOAT, ["N", 4]),
        ],
        {
            "weights": WEIGHTS,
            "bias": BIAS,
            "no_weights": np.zeros((4, CHANNELS), np.float32),
            "corner": np.asarray(box, np.float32),
        },
        spec,
    )


class ExplainableModel:
    """A localizer in the form of the contract, written by hand, whose gradients are constants.

    Layers ``fine`` (the image itself) and ``coarse`` (2 × 2 average pooling of it), both of 3 channels. The
    class head is global average pooling + linear, so d logit_c / d A_k = W[c, k] / (h · w); the box head is
    linear in the pooled map, d box_j / d A = B[j].
    """

    size_hw = (6, 8)
    coarse_hw = (3, 4)
    labels = ("zero", "one", "two", "two", "3")
    box_weights: Array = np.random.default_rng(8).normal(size=(4, CHANNELS * 12)).astype(np.float32) / 10

    def write(
        self,
        path: Path,
        *,
        batch: Batch = "N",
        required_inputs: bool = False,
        preprocessing: Preprocessing | None = None,
    ) -> Path:
        """Write the file; `batch` fixes the batch size, `required_inputs` leaves out the two defaults."""
        (height, width), (rows, columns) = self.size_hw, self.coarse_hw
        nodes = [
            helper.make_node("Identity", ["image"], [features_output("fine")]),
            helper.make_node(
                "AveragePool", ["image"], [features_output("coarse")], kernel_shape=[2, 2], strides=[2, 2]
            ),
            helper.make_node("GlobalAveragePool", [features_output("coarse")], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("Gemm", ["means", CAM_WEIGHTS_OUTPUT, "bias"], [LOGITS_OUTPUT], transB=1),
            helper.make_node("Flatten", [features_output("coarse")], ["cells"]),
            helper.make_node("Gemm", ["cells", "box_weights"], ["box"], transB=1),
            *self._one_hot_nodes(),
        ]
        constants: dict[str, Any] = {
            CAM_WEIGHTS_OUTPUT: WEIGHTS,
            "bias": BIAS,
            "box_weights": self.box_weights,
            "zero": np.array([0]),
            "classes": np.array([CLASSES]),
            "targets": np.array([CLASSES + 4]),
            "one": np.array([[1.0]], np.float32),
            "no_seed": np.zeros((1, CLASSES + 4), np.float32),
        }
        for index, (layer, shape_hw) in enumerate((("fine", self.size_hw), ("coarse", self.coarse_hw))):
            constants[f"jacobian/{layer}"] = self.jacobian(layer).reshape(CLASSES + 4, -1)
            constants[f"shape/{layer}"] = np.array([-1, CHANNELS, *shape_hw])
            constants[f"index/{layer}"] = np.array(index)
            nodes += self._gate_nodes(layer)
        float_info, symbols = helper.make_tensor_value_info, ["explained", CHANNELS]
        inputs = [
            float_info("image", TensorProto.FLOAT, [batch, CHANNELS, height, width]),
            float_info(TARGET_INPUT, TensorProto.INT64, ["targets_given"]),
            float_info(EXPLAIN_INPUT, TensorProto.BOOL, ["gates_given"]),
        ]
        if not required_inputs:
            constants |= {TARGET_INPUT: np.array([-1]), EXPLAIN_INPUT: np.array([False])}
        outputs = [
            float_info(LOGITS_OUTPUT, TensorProto.FLOAT, [batch, CLASSES]),
            float_info("box", TensorProto.FLOAT, [batch, 4]),
            float_info(features_output("fine"), TensorProto.FLOAT, [batch, CHANNELS, height, width]),
            float_info(gradients_output("fine"), TensorProto.FLOAT, [*symbols, height, width]),
            float_info(features_output("coarse"), TensorProto.FLOAT, [batch, CHANNELS, rows, columns]),
            float_info(gradients_output("coarse"), TensorProto.FLOAT, [*symbols, rows, columns]),
            float_info(CAM_WEIGHTS_OUTPUT, TensorProto.FLOAT, [CLASSES, CHANNELS]),
        ]
        return _save(path, nodes, inputs, outputs, constants, self.spec(preprocessing))

    def spec(self, preprocessing: Preprocessing | None = None) -> ModelSpec:
        """The metadata of the file."""
        return ModelSpec.of_classifier(
            input=InputSpec("image", "nchw", self.size_hw, preprocessing or Preprocessing(resize="stretch")),
            outputs=OutputRoles(LOGITS_OUTPUT, None, "box", CAM_WEIGHTS_OUTPUT, "coarse"),
            classes=CLASSES,
            box=BoxSpec(),
            layers=tuple(
                LayerSpec(name, features_output(name), gradients_output(name), CHANNELS, shape_hw)
                for name, shape_hw in (("fine", self.size_hw), ("coarse", self.coarse_hw))
            ),
            labels=self.labels,
        )

    def jacobian(self, layer: str) -> Array:
        """d (logits, box) / d features of a layer, (C + 4, K, h, w), whatever the image."""
        rows, columns = self.coarse_hw
        logits = np.broadcast_to(WEIGHTS[:, :, None, None], (CLASSES, CHANNELS, rows, columns)) / (rows * columns)
        coarse = np.concatenate([logits, self.box_weights.reshape(4, CHANNELS, rows, columns)])
        # Each pixel of the image is a quarter of its 2 × 2 cell.
        full = coarse if layer == "coarse" else coarse.repeat(2, axis=2).repeat(2, axis=3) / 4
        return full.astype(np.float32)

    @staticmethod
    def _one_hot_nodes() -> list[onnx.NodeProto]:
        """Seeds (N, C + 4): 1 at the target of each image, the largest logit where it is negative."""
        return [
            helper.make_node("ArgMax", [LOGITS_OUTPUT], ["best"], axis=1, keepdims=0),
            helper.make_node("Less", [TARGET_INPUT, "zero"], ["automatic"]),
            helper.make_node("Where", ["automatic", "best", TARGET_INPUT], ["chosen"]),
            helper.make_node("Shape", ["best"], ["count"]),
            helper.make_node("Expand", ["chosen", "count"], ["per_image"]),
            helper.make_node("Unsqueeze", ["per_image", "last_axis"], ["indices"]),
            helper.make_node("Concat", ["count", "targets"], ["seed_shape"], axis=0),
            helper.make_node("Expand", ["no_seed", "seed_shape"], ["no_seeds"]),
            helper.make_node("Concat", ["count", "unit"], ["column_shape"], axis=0),
            helper.make_node("Expand", ["one", "column_shape"], ["ones"]),
            helper.make_node("ScatterElements", ["no_seeds", "indices", "ones"], ["seeds"], axis=1),
        ]

    @staticmethod
    def _gate_nodes(layer: str) -> list[onnx.NodeProto]:
        """``If explain[i]: seeds · jacobian, else no rows``; one default gate serves all layers."""
        name = gradients_output(layer)
        then_name, else_name = f"then/{name}", f"else/{name}"
        then_branch = helper.make_graph(
            [
                helper.make_node("MatMul", ["seeds", f"jacobian/{layer}"], [f"flat/{name}"]),
                helper.make_node("Reshape", [f"flat/{name}", f"shape/{layer}"], [then_name]),
            ],
            then_name,
            [],
            [helper.make_tensor_value_info(then_name, TensorProto.FLOAT, None)],
        )
        else_branch = helper.make_graph(
            [helper.make_node("Slice", [features_output(layer), "zero", "zero", "zero"], [else_name])],
            else_name,
            [],
            [helper.make_tensor_value_info(else_name, TensorProto.FLOAT, None)],
        )
        return [
            helper.make_node("Size", [EXPLAIN_INPUT], [f"gates/{layer}"]),
            helper.make_node("Mod", [f"index/{layer}", f"gates/{layer}"], [f"gate_index/{layer}"]),
            helper.make_node("Gather", [EXPLAIN_INPUT, f"gate_index/{layer}"], [f"gate/{layer}"]),
            helper.make_node("If", [f"gate/{layer}"], [name], then_branch=then_branch, else_branch=else_branch),
        ]


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
    spec: ModelSpec | None = None,
) -> Path:
    constants = {"last_axis": np.array([1]), "unit": np.array([1]), **constants}
    used = {name for node in nodes for name in node.input} | {value.name for value in (*inputs, *outputs)}
    used |= {name for name in constants if name.startswith(("jacobian/", "shape/"))}
    initializers = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
