"""Known boxes, written into outputs by each layout's published formula, come out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from onnxplain.contract import Quantization
from onnxplain.contract.detectors import LAYOUTS, DetectorSpec, recognise
from onnxplain.errors import ModelError
from onnxplain.runtime.detection.box_codes import BOX_CODES
from onnxplain.runtime.detection.cells import make_cells
from onnxplain.runtime.detection.columns import read_columns
from onnxplain.runtime.detection.decode import Candidates, class_scores, decode_candidates
from tests.detectors.fakes import FAKES
from tests.detectors.written import WRITERS, Known, blank, known_detections


def spec_of(name: str) -> DetectorSpec:
    fake = FAKES[name]
    found = recognise(fake.end, fake.size_hw, fake.hints)
    assert isinstance(found, DetectorSpec)
    return found


def written(name: str, detections: Sequence[Known]) -> dict[str, np.ndarray]:
    outputs = blank(FAKES[name])
    for known in detections:
        WRITERS[name](outputs, FAKES[name], known)
    return outputs


def decoded(name: str, outputs: dict[str, np.ndarray], min_score: float = 0.5) -> Candidates:
    spec = spec_of(name)
    (columns,) = read_columns(spec, outputs)
    return decode_candidates(spec, columns, FAKES[name].size_hw, min_score)


def assert_equal(found: Candidates, known: Sequence[Known], pixels: float = 2e-3, score: float = 1e-5) -> None:
    assert found.index.tolist() == [each.candidate for each in known]
    assert found.class_ids.tolist() == [each.class_id for each in known]
    np.testing.assert_allclose(found.scores, [each.score for each in known], atol=score)
    np.testing.assert_allclose(found.boxes_xyxy, [each.xyxy for each in known], atol=pixels)
    assert found.best_score == pytest.approx(max(each.score for each in known), abs=score)
    assert (found.boxes_xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int64)


def test_every_layout_and_every_box_code_is_written() -> None:
    assert list(WRITERS) == list(LAYOUTS)
    assert set(BOX_CODES) == {row.box for row in LAYOUTS.values()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_boxes_come_out_again(name: str) -> None:
    known = known_detections(name)
    assert_equal(decoded(name, written(name, known)), known)


@pytest.mark.parametrize("name", LAYOUTS)
def test_float16_outputs(name: str) -> None:
    known = known_detections(name)
    outputs = {
        key: array.astype(np.float16) if array.dtype == np.float32 else array
        for key, array in written(name, known).items()
    }
    assert_equal(decoded(name, outputs), known, pixels=2.0, score=4e-3)


@pytest.mark.parametrize("name", LAYOUTS)
def test_scores_of_all_classes_have_the_best_one_as_maximum(name: str) -> None:
    """`class_scores` computes every class, `decode` the best one alone."""
    spec, known = spec_of(name), known_detections(name)
    (columns,) = read_columns(spec, written(name, known))
    scores = class_scores(spec.layout, columns)
    assert scores.shape == (columns.count, spec.classes or 1)
    for each in known:
        assert scores[each.candidate].max() == pytest.approx(each.score, abs=1e-5)
        assert spec.classes is None or scores[each.candidate].argmax() == each.class_id


@pytest.mark.parametrize("name", [name for name, row in LAYOUTS.items() if not row.one_image])
def test_images_of_a_batch_stay_apart(name: str) -> None:
    known, spec = known_detections(name), spec_of(name)
    parts = [written(name, [each]) for each in known]
    batch = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    for columns, expected in zip(read_columns(spec, batch), known, strict=True):
        assert_equal(decode_candidates(spec, columns, FAKES[name].size_hw, 0.5), [expected])


@pytest.mark.parametrize("name", ["yolo-dense", "yunet", "detr", "ssd"])
def test_eight_bit_outputs_with_their_scale(name: str) -> None:
    """Scores in steps of 1/255, boxes in steps of their own output."""
    known, spec = known_detections(name), spec_of(name)
    outputs = written(name, known)
    quantized, steps = {}, {}
    for key, array in outputs.items():
        low, high = float(array.min()), float(array.max())
        step = (high - low) / 255 or 1.0
        steps[key] = Quantization(step, round(-low / step), "uint8")
        quantized[key] = np.rint(array / steps[key].scale + steps[key].zero_point).clip(0, 255).astype(np.uint8)
    (columns,) = read_columns(spec, quantized, steps)
    expected = {key: (quantized[key].astype(float) - steps[key].zero_point) * steps[key].scale for key in outputs}
    (reference,) = read_columns(spec, {key: array.astype(np.float32) for key, array in expected.items()})
    found, wanted = (decode_candidates(spec, each, FAKES[name].size_hw, 0.0) for each in (columns, reference))
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, rtol=1e-4, atol=1e-2)


def test_scores_and_boxes_of_one_eight_bit_output_round_to_zero() -> None:
    """The trap of int8 exports: one scale for pixels up to 640 and scores up to 1."""
    spec = spec_of("yolo-dense")
    outputs = written("yolo-dense", known_detections("yolo-dense"))
    step = Quantization(640 / 255, 0, "uint8")
    quantized = {key: np.rint(array / step.scale).astype(np.uint8) for key, array in outputs.items()}
    (columns,) = read_columns(spec, quantized, dict.fromkeys(outputs, step))
    assert decode_candidates(spec, columns, (640, 640), 0.01).best_score == 0


def test_candidates_of_the_cells_stand_in_the_order_of_the_levels() -> None:
    cells = make_cells((32, 64), (16, 32), (2, 1))
    assert cells.column.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2 + [0, 1]
    assert cells.row.tolist() == [0] * 8 + [1] * 8 + [0, 0]
    assert cells.stride.tolist() == [16] * 16 + [32] * 2
    assert (cells.across[0], cells.down[0], cells.across[-1], cells.down[-1]) == (4, 2, 2, 1)


def test_blazefaces_896_anchors() -> None:
    """MediaPipe's anchors: two at each of 16 × 16 cells, six at each of 8 × 8."""
    cells = make_cells((128, 128), (8, 16), (2, 6))
    assert len(cells.column) == 16 * 16 * 2 + 8 * 8 * 6 == 896


NOT_PROBABILITIES = {
    "raw logits": lambda array: array.__setitem__((0, slice(4, None)), -3.0),
    "coordinates of points among the classes": lambda array: array.__setitem__((0, 60), 311.0),
}


@pytest.mark.parametrize("case", NOT_PROBABILITIES)
def test_scores_that_are_no_probabilities_are_refused(case: str) -> None:
    outputs = blank(FAKES["yolo-dense"])
    NOT_PROBABILITIES[case](outputs["output0"])
    with pytest.raises(ModelError, match=r"found scores from .* expected 0 to 1 .* --detector"):
        decoded("yolo-dense", outputs)


@pytest.mark.parametrize(("name", "output", "value"), [
    ("tensorflow", "detection_classes:0", 0.0),
    ("tensorflow", "detection_classes:0", 2.5),
    ("torchvision", "labels", 0),
    ("end2end", "output0", np.nan),
])  # fmt: skip
def test_classes_that_cannot_be_are_refused(name: str, output: str, value: float) -> None:
    outputs = written(name, known_detections(name))
    if name == "end2end":
        outputs[output][..., 5] = value
    else:
        outputs[output][:] = value
    with pytest.raises(ModelError, match="expected whole numbers from"):
        decoded(name, outputs)


def test_scores_that_are_not_a_number_are_counted_and_left_out() -> None:
    known = known_detections("yolo-dense")
    outputs = written("yolo-dense", known)
    outputs["output0"][0, 10, [5, 6, 7]] = np.nan
    found = decoded("yolo-dense", outputs)
    assert_equal(found, known)
    assert found.not_finite == 3


def test_all_scores_not_a_number() -> None:
    outputs = blank(FAKES["yolo-dense"])
    outputs["output0"][:] = np.nan
    found = decoded("yolo-dense", outputs)
    assert (len(found.index), found.not_finite, np.isnan(found.best_score)) == (0, 8400, True)


@pytest.mark.parametrize("name", ["end2end-batch", "torchvision"])
def test_no_rows_are_no_candidates(name: str) -> None:
    spec = spec_of(name)
    (columns,) = read_columns(spec, blank(FAKES[name], rows=0))
    found = decode_candidates(spec, columns, FAKES[name].size_hw, 0.5)
    assert (found.boxes_xyxy.shape, np.isnan(found.best_score)) == ((0, 4), True)


@pytest.mark.parametrize("name", ["end2end-batch", "openvino"])
def test_rows_of_other_images_and_of_none_are_left_out(name: str) -> None:
    known = known_detections(name)
    outputs = written(name, known)
    rows = next(iter(outputs.values())).reshape(-1, 7)
    rows[known[0].candidate, 0], rows[known[1].candidate, 0] = 1, -1
    assert_equal(decoded(name, outputs), known[2:])


def test_rows_beyond_the_number_of_detections_are_left_out() -> None:
    known = known_detections("tensorflow")
    outputs = written("tensorflow", known)
    outputs["num_detections:0"][:] = known[1].candidate + 1
    assert_equal(decoded("tensorflow", outputs), known[:2])


def test_further_columns_are_not_read() -> None:
    """A segmenting YOLO file: 32 coefficients of masks behind 80 classes."""
    known = known_detections("yolo-dense")
    outputs = written("yolo-dense", known)
    more = np.full((1, 32, 8400), 50, np.float32)
    spec = replace(spec_of("yolo-dense"), rest=32)
    (columns,) = read_columns(spec, {"output0": np.concatenate([outputs["output0"], more], axis=1)})
    assert_equal(decode_candidates(spec, columns, (640, 640), 0.5), known)


@pytest.mark.parametrize("shape", [(1, 84), (1, 83, 8400), (1, 90, 8400)])
def test_an_output_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"expected .*--detector"):
        read_columns(spec_of("yolo-dense"), {"output0": np.zeros(shape, np.float32)})


def test_outputs_of_different_batches_are_refused() -> None:
    outputs = blank(FAKES["detr"]) | {"pred_boxes": np.zeros((2, 100, 4), np.float32)}
    with pytest.raises(ModelError, match=r"found \[1, 2\] images"):
        read_columns(spec_of("detr"), outputs)
