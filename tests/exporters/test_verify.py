"""Every check of a written graph can fail: a sound graph is spoilt in one place, and the right check says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import pytest

from onnxplain.contract import ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import verify
from onnxplain.exporters.checks.witness import in_float32
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.writing.explainable import Explainable, build_explainable
from onnxplain.exporters.writing.request import Request
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, node, plain_model

EARLY_SHAPE = (1, 4, *SIZE_HW)


@dataclass(frozen=True)
class Subject:
    """A plain model and what was built from it."""

    plain: onnx.ModelProto
    built: Explainable

    def verify(self, spoilt: onnx.ModelProto | None = None) -> Checks:
        explainable = self.built.proto if spoilt is None else spoilt
        return verify(self.built.base, explainable, self.built.spec, self.built.witnesses, self.plain)


def subject(layer: str = "early", **options: bool) -> Subject:
    plain = plain_model(**options)
    request = Request(layers=[layer], box="box" if options.get("box") else None)
    return Subject(plain, build_explainable(prepare(plain), request))


def spoil_gradient(model: onnx.ModelProto, *nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """Put nodes between the gradient's gate and its output: they read ``sound`` and write ``spoilt``."""
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(model)
    graph = spoilt.graph
    (gate,) = [step for step in graph.node if step.output[0].startswith("gradients/")]
    name = gate.output[0]
    gate.output[0] = "sound"
    graph.node.extend(nodes)
    graph.node[-1].output[0] = name
    graph.initializer.extend(onnx.numpy_helper.from_array(array, key) for key, array in constants.items())
    return spoilt


def scaled(model: onnx.ModelProto) -> onnx.ModelProto:
    return spoil_gradient(model, node("Mul", ["sound", "factor"], ["spoilt"]), factor=np.array(1.2, np.float32))


def one_position_off(model: onnx.ModelProto) -> onnx.ModelProto:
    mask = np.ones(EARLY_SHAPE, np.float32)
    mask[0, :, 0] = -1
    return spoil_gradient(model, node("Mul", ["sound", "mask"], ["spoilt"]), mask=mask)


def same_for_all_classes(model: onnx.ModelProto) -> onnx.ModelProto:
    return spoil_gradient(
        model,
        node("Mul", ["sound", "none"], ["zero"]),
        node("Add", ["zero", "constant"], ["spoilt"]),
        none=np.array(0, np.float32),
        constant=np.random.default_rng(1).normal(size=EARLY_SHAPE).astype(np.float32),
    )


def same_for_all_images(model: onnx.ModelProto) -> onnx.ModelProto:
    """A constant that still depends on the class: its number as the gradient."""
    return spoil_gradient(
        model,
        node("Cast", ["target"], ["number"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["sound", "none"], ["zero"]),
        node("Add", ["zero", "number"], ["spoilt"]),
        none=np.array(0, np.float32),
    )


def not_a_number(model: onnx.ModelProto) -> onnx.ModelProto:
    return spoil_gradient(model, node("Div", ["sound", "none"], ["spoilt"]), none=np.array(0, np.float32))


def half_a_map(model: onnx.ModelProto) -> onnx.ModelProto:
    bounds = {"start": np.array([0]), "end": np.array([4]), "axis": np.array([2])}
    return spoil_gradient(model, node("Slice", ["sound", *bounds], ["spoilt"]), **bounds)


def other_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(model)
    (gemm,) = [step for step in spoilt.graph.node if step.output[0] == "logits"]
    gemm.attribute.append(onnx.helper.make_attribute("alpha", 1.001))
    return spoilt


def no_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(model)
    spoilt.graph.node[0].op_type = "NoSuchOperator"
    return spoilt


@pytest.mark.parametrize("layer", ["early", "late"])
@pytest.mark.parametrize("box", [False, True])
def test_a_sound_graph_passes(layer: str, box: bool) -> None:
    checks = subject(layer, box=box).verify()
    assert checks.output_error < 1e-6
    (check,) = checks.layers
    assert check.layer == layer
    assert check.relative_error < 1e-5
    assert "float64" in check.reference


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (scaled, r"'gradient agrees with finite differences' failed at layer 'early'"),
        (one_position_off, "'gradient agrees with finite differences' failed"),
        (same_for_all_classes, "'gradient changes with the class' failed"),
        (same_for_all_images, "'gradient changes with the input' failed"),
        (not_a_number, "'gradient finite' failed"),
        (half_a_map, r"'gradient shape' failed at layer 'early': found \(1, 4, 4, 6\), expected \(1, 4, 8, 6\)"),
        (other_outputs, "'outputs unchanged' failed: output 'logits'"),
        (no_graph, "ONNX Runtime cannot load the explainable graph"),
    ],
)
def test_each_check_can_fail(spoil: Callable[[onnx.ModelProto], onnx.ModelProto], says: str) -> None:
    sound = subject()
    with pytest.raises(VerificationError, match=says):
        sound.verify(spoil(sound.built.proto))


def test_a_constant_gradient_is_right_where_the_rest_is_linear() -> None:
    # Behind the last ReLU lie only pooling and the linear layer.
    sound = subject("late")
    assert sound.verify().layers[0].relative_error < 1e-6
    assert set(sound.built.witnesses[0].operators) == {"GlobalAveragePool", "Flatten", "Gemm"}


def test_each_box_coordinate_is_checked() -> None:
    sound = subject("late", box=True)
    # The last coordinate's weights are changed inside the branch only: classes and other coordinates stay right.
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(sound.built.proto)
    (gate,) = [step for step in spoilt.graph.node if step.output[0].startswith("gradients/")]
    then = next(entry.g for entry in gate.attribute if entry.name == "then_branch")
    weights = next(t for t in spoilt.graph.initializer if t.name == "corner_weights")
    changed = onnx.numpy_helper.to_array(weights).copy()
    changed[3] *= 2
    spoilt.graph.initializer.append(onnx.numpy_helper.from_array(changed, "changed"))
    readers = [step for step in then.node if "corner_weights" in step.input]
    assert readers
    for step in readers:
        step.input[:] = ["changed" if name == "corner_weights" else name for name in step.input]
    with pytest.raises(VerificationError, match="finite differences"):
        sound.verify(spoilt)


class TestWitness:
    def test_it_is_the_model_behind_the_layer(self) -> None:
        sound = subject()
        (witness,) = sound.built.witnesses
        batch = image_batch(sound.plain, sound.built.spec.input, seed=1, count=2)
        plain = onnx.reference.ReferenceEvaluator(_with_output(sound.plain, "early"))
        logits, features = plain.run(["logits", "early"], {"image": batch})
        assert witness.dtype is np.float64
        np.testing.assert_allclose(witness.values(features, {})[0], logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(in_float32(witness).values(features, {})[0], logits, rtol=1e-5, atol=1e-6)

    def test_a_box_follows_the_logits(self) -> None:
        (witness,) = subject(box=True).built.witnesses
        assert [head.output for head in witness.heads] == ["logits", "box"]
        assert [value.shape for value in witness.values(np.zeros(EARLY_SHAPE), {})] == [(1, CLASSES), (1, 4)]

    def test_side_inputs_are_captured(self) -> None:
        plain = plain_model()
        steps = list(plain.graph.node)
        (relu,) = [index for index, step in enumerate(steps) if step.output[0] == "late"]
        steps[relu].output[0] = "late_alone"
        aside = node("Conv", ["image", "side_kernel"], ["side"], pads=[1, 1, 1, 1])
        steps[relu + 1 : relu + 1] = [aside, node("Add", ["late_alone", "side"], ["late"])]
        del plain.graph.node[:]
        plain.graph.node.extend(steps)
        kernel = np.random.default_rng(2).normal(size=(MAPS, 3, 3, 3)).astype(np.float32)
        plain.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "side_kernel"))
        built = build_explainable(prepare(plain), Request(layers=["early"]))
        assert built.witnesses[0].captured == ("side",)
        verify(built.base, built.proto, built.spec, built.witnesses, plain)


class TestImageBatch:
    @pytest.mark.parametrize("layout", ["nchw", "nhwc"])
    @pytest.mark.parametrize(
        ("elem", "dtype"),
        [
            (onnx.TensorProto.FLOAT, np.float32),
            (onnx.TensorProto.FLOAT16, np.float16),
            (onnx.TensorProto.UINT8, np.uint8),
        ],
    )
    def test_it_is_what_the_model_takes(self, layout: str, elem: int, dtype: type[np.generic]) -> None:
        spec = _spec(layout)
        plain = plain_model()
        plain.graph.input[0].type.tensor_type.elem_type = elem
        batch = image_batch(plain, spec.input, seed=3, count=2)
        assert batch.dtype == dtype
        assert batch.shape == ((2, 3, *SIZE_HW) if layout == "nchw" else (2, *SIZE_HW, 3))
        assert not np.array_equal(batch, image_batch(plain, spec.input, seed=4, count=2))


def _spec(layout: str) -> ModelSpec:
    spec = subject().built.spec
    return replace(spec, input=replace(spec.input, layout=layout))


def _with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy
