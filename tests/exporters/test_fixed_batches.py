"""Files whose batch is a number: freed where the images do not depend on each other, else kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.contract import PRESETS
from onnxplain.errors import VerificationError
from onnxplain.exporters import instrument
from onnxplain.exporters.cost import measure_cost
from onnxplain.exporters.file.batch_axis import BatchPlace, regrouped
from onnxplain.runtime.engine import Engine
from tests.exporters.graphs import open_session
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, WEIGHTS, node, plain_model, save

POSITIONS = SIZE_HW[0] * SIZE_HW[1]
PHOTO = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)


def mixing(batch: int) -> onnx.ModelProto:
    """`plain_model`, the mean over the images added to its logits."""
    more = [node("ReduceMean", ["own", "axes"], ["mean"]), node("Add", ["own", "mean"], ["logits"])]
    model = plain_model(batch=batch)
    model.graph.node[-1].output[0] = "own"
    model.graph.node.extend(more)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axes"))
    return model


def with_repeated_constants(batch: int) -> onnx.ModelProto:
    """`plain_model` with what an exporter folds for a fixed batch: reshapes, a bias and a token for each image."""
    model = plain_model(batch=batch)
    del model.graph.node[4:]
    constants = {
        "flat": np.array([batch * MAPS, POSITIONS]),
        "tokens": np.array([batch, MAPS, POSITIONS]),
        "token": np.repeat(np.arange(MAPS, dtype=np.float32)[None, :, None], batch, axis=0),
        "last": np.array([2]),
        "each": np.repeat(np.full((1, MAPS), 0.5, np.float32), batch, axis=0),
    }
    model.graph.node.extend(
        [
            node("Reshape", ["late", "flat"], ["rows"]),
            node("Reshape", ["rows", "tokens"], ["columns"]),
            node("Concat", ["columns", "token"], ["all"], axis=2),
            node("ReduceMean", ["all", "last"], ["means"], keepdims=0),
            node("Add", ["means", "each"], ["moved"]),
            node("Gemm", ["moved", "weights", "bias"], ["logits"], transB=1),
        ]
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    return model


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    ("build", "weight"),
    [(lambda batch: plain_model(batch=batch), 1 / POSITIONS), (with_repeated_constants, 1 / (POSITIONS + 1))],
    ids=["plain", "repeated constants"],
)
class TestIndependentImages:
    def test_freed(self, build: Callable[[int], onnx.ModelProto], weight: float, batch: int, tmp_path: Path) -> None:
        plain = save(build(batch), tmp_path / "plain.onnx")
        report = instrument(plain, tmp_path / "out.onnx", preprocessing=PRESETS["imagenet"])
        assert f"batch {batch} → dynamic" in report.steps
        assert report.notes == ()
        image = np.random.default_rng(1).normal(size=(2 * batch, 3, *SIZE_HW)).astype(np.float32)
        whole = open_session(plain)
        expected = [np.asarray(whole.run(None, {"image": half})[0]) for half in (image[:batch], image[batch:])]
        targets = np.arange(2 * batch) % CLASSES
        feeds = {"image": image, "target": targets, "explain": np.array([True])}
        logits, gradients = open_session(tmp_path / "out.onnx").run(["logits", "gradients/late"], feeds)
        np.testing.assert_allclose(logits, np.concatenate(expected), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            gradients, np.broadcast_to((WEIGHTS[targets] * weight)[:, :, None, None], gradients.shape), rtol=1e-5
        )

    def test_kept_on_demand(
        self, build: Callable[[int], onnx.ModelProto], weight: float, batch: int, tmp_path: Path
    ) -> None:
        plain = save(build(batch), tmp_path / "plain.onnx")
        preset = PRESETS["imagenet"]
        instrument(plain, tmp_path / "out.onnx", layers=("early", "late"), preprocessing=preset, batch="fixed")
        instrument(plain, tmp_path / "free.onnx", layers=("early", "late"), preprocessing=preset)
        kept, free = Engine(tmp_path / "out.onnx"), Engine(tmp_path / "free.onnx")
        assert (kept.fixed_batch, free.fixed_batch) == (batch, None)
        for layer in ("early", "late"):
            one, other = (engine.activations([PHOTO] * 3, [0, 2, 4], layer) for engine in (kept, free))
            np.testing.assert_allclose(one.features, other.features, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(one.gradients, other.gradients, rtol=1e-4, atol=1e-6)


class TestImagesThatDependOnEachOther:
    @pytest.mark.parametrize("batch", [2, 4])
    def test_kept(self, batch: int, tmp_path: Path) -> None:
        report = instrument(save(mixing(batch), tmp_path / "plain.onnx"), tmp_path / "out.onnx", tail=False)
        (note,) = report.notes
        assert note.startswith(
            f"the batch stays fixed to {batch}: output 'logits' differs between a batch and single images by"
        )
        session = open_session(tmp_path / "out.onnx")
        assert session.get_inputs()[0].shape[0] == batch
        image = np.random.default_rng(1).normal(size=(batch, 3, *SIZE_HW)).astype(np.float32)
        targets = np.arange(batch)
        feeds = {"image": image, "target": targets, "explain": np.array([True])}
        (gradients,) = session.run(["gradients/late"], feeds)
        # Σ over images i of logit(i, target i): each image stands in all of them through the mean.
        expected = (WEIGHTS[targets] + WEIGHTS[targets].mean(0)) / POSITIONS
        np.testing.assert_allclose(gradients[:, :, 0, 0], expected, rtol=1e-4, atol=1e-7)

    def test_refused_on_demand(self, tmp_path: Path) -> None:
        with pytest.raises(VerificationError, match=r"check 'dynamic batch' failed: .*; use --batch fixed"):
            instrument(save(mixing(2), tmp_path / "plain.onnx"), tmp_path / "out.onnx", batch="dynamic")


def test_cost_is_measured_in_the_files_own_batch(tmp_path: Path) -> None:
    plain = save(plain_model(batch=4), tmp_path / "plain.onnx")
    report = instrument(plain, tmp_path / "out.onnx", batch="fixed")
    (cost,) = measure_cost(plain, report.path, report.spec)
    assert cost.closed > 0


@pytest.mark.parametrize(
    ("before", "place", "after", "batch", "expected"),
    [
        ((1, 64, 8), BatchPlace(0), (1, 1, 64, 8), 1, BatchPlace(0)),
        ((4, 64, 8), BatchPlace(0), (256, 8), 4, BatchPlace(0)),
        ((256, 8), BatchPlace(0), (4, 64, 8), 4, BatchPlace(0)),
        ((65, 1, 48), BatchPlace(1), (65, 48), 1, BatchPlace(0, 65)),
        ((65, 48), BatchPlace(0, 65), (65, 1, 48), 1, BatchPlace(1)),
        ((65, 1, 48), BatchPlace(1), (65, 3, 16), 1, BatchPlace(1)),
        ((65, 4, 48), BatchPlace(1), (65, 12, 16), 4, BatchPlace(1)),
        ((65, 4, 48), BatchPlace(1), (260, 48), 4, BatchPlace(0, 65)),
        ((1, 16, 16, 24), BatchPlace(0), (16, 16, 24), 1, BatchPlace(0)),
        ((16, 16, 24), BatchPlace(0), (1, 4, 4, 4, 4, 24), 1, BatchPlace(0)),
        ((4, 6), BatchPlace(0), (3, 8), 4, None),
    ],
)
def test_the_batch_through_a_reshape(
    before: tuple[int, ...], place: BatchPlace, after: tuple[int, ...], batch: int, expected: BatchPlace | None
) -> None:
    assert regrouped(before, place, after, batch) == expected
