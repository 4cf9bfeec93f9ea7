"""Which axis holds the images behind each operator, against what a change of one image changes on ONNX Runtime.

And the types and sizes of what operators give, those of ONNX Runtime's domain without a gradient too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from onnxplain.exporters.file.batch_axis import BatchPlace, follow_batch
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.graph.values import maybe_dims
from tests.exporters.cases import MADE_OF_CASES, OPERATOR_CASES
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import OperatorCase, session, values_of

# Far enough to change which entry is the largest.
MOVED_BY = (0.25, -0.5, 9.0, -9.0)
# A table of weights holds no images.
FUSED = {(case.domain, case.operator) for case in MADE_OF_CASES if case.operator != "GatherBlockQuantized"}
make = onnx.helper.make_node


def _influence(case: OperatorCase, axis: int) -> Iterator[np.ndarray]:
    """For each slice of the first input along the axis, which entries of the output depend on it."""
    running = session(case.model(np.float32, open_batch=False))
    feeds = {f"x{index}": case.array(index).astype(np.float32) for index in case.wrt}
    (still,) = running.run([case.seeded], feeds)
    first = f"x{case.wrt[0]}"
    for image in range(feeds[first].shape[axis]):
        changed = np.zeros(np.shape(still), bool)
        for distance in MOVED_BY:
            array = feeds[first].copy()
            part = np.moveaxis(array, axis, 0)[image : image + 1]
            part += distance * np.random.default_rng(1).uniform(0.5, 1, part.shape).astype(np.float32)
            (moved,) = running.run([case.seeded], {**feeds, first: array})
            changed |= (moved != still) & ~(np.isnan(moved) & np.isnan(still))
        yield changed


def _of_image(place: BatchPlace, shape: tuple[int, ...], batch: int) -> np.ndarray:
    """The image of each entry of the output, by its place."""
    inside = shape[place.axis] // (place.outside * batch)
    images = np.arange(shape[place.axis]) // inside % batch
    return images.reshape([-1 if axis == place.axis else 1 for axis in range(len(shape))])


@pytest.mark.parametrize("case", [case for case in OPERATOR_CASES if case.array(case.wrt[0]).ndim], ids=lambda c: c.id)
def test_the_batch_is_where_images_change_the_output(case: OperatorCase) -> None:
    graph = prepare(case.model(np.float32, open_batch=False)).graph
    values = values_of(graph)
    first, output = values[f"x{case.wrt[0]}"], values[case.seeded]
    for axis, batch in enumerate(case.array(case.wrt[0]).shape):
        changed = np.stack(list(_influence(case, axis)))
        if (changed.sum(0) > 1).any():
            # The operator mixes the images.
            continue
        place = follow_batch(graph, {first: BatchPlace(axis)}, batch).get(output)
        if place is None:
            assert axis > 0 or (case.domain, case.operator) not in FUSED, "the batch is lost"
            continue
        images = np.broadcast_to(_of_image(place, changed.shape[1:], batch), changed.shape[1:])
        for image, moved in enumerate(changed):
            assert (images[moved] == image).all(), f"axis {axis}: {place}"


# Of tokens x [N, 3, 8]. ONNX Runtime computes them, and their gradient is refused by name.
FORMS_WITHOUT_A_GRADIENT: Mapping[str, onnx.NodeProto] = {
    "causal": make("Attention", ["x", "w", "b"], ["y"], domain=MICROSOFT, num_heads=2, unidirectional=1),
    "causal heads": make("MultiHeadAttention", ["x"] * 3, ["y"], domain=MICROSOFT, num_heads=2, unidirectional=1),
    "no row": make("Inverse", ["square"], ["y"], domain=MICROSOFT),
}


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize("form", FORMS_WITHOUT_A_GRADIENT)
def test_types_and_sizes_behind_a_form_without_a_gradient(form: str, batch: int | str) -> None:
    nodes = [
        make("Slice", ["x", "zero", "three", "last"], ["square"]),
        FORMS_WITHOUT_A_GRADIENT[form],
        make("Add", ["y", "y"], ["twice"]),
        make("ReduceSum", ["twice", "last"], ["sums"], keepdims=1),
        make("Add", ["sums", "x"], ["skip"]),
        make("SkipLayerNormalization", ["x", "skip", "gamma"], ["z"], domain=MICROSOFT),
    ]
    rng = np.random.default_rng(2)
    constants: dict[str, np.ndarray] = {
        **{"zero": np.array([0]), "three": np.array([3]), "last": np.array([2]), "gamma": np.ones(8, np.float32)},
        **{"w": rng.normal(size=(8, 24)).astype(np.float32), "b": np.zeros(24, np.float32)},
    }
    graph = onnx.helper.make_graph(
        nodes,
        "form",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, 8])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [batch, 3, 8])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(MICROSOFT, 1)]
    model = prepare(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))
    found = {output.name: output for node in model.graph for output in node.outputs}
    assert {value.dtype for value in found.values()} == {ir.DataType.FLOAT}
    last = 3 if form == "no row" else 8
    expected = {"square": 3, "y": last, "twice": last, "sums": 1, "skip": 8, "z": 8}
    assert {name: maybe_dims(value) for name, value in found.items()} == {
        name: (batch, 3, size) for name, size in expected.items() if name in found
    }
