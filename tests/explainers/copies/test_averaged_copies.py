"""Maps averaged over mirrored and scaled copies, against maps of copies that OpenCV makes and brings back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import METHODS, RISE, AveragedCopies, Explainer, Explanation, GradCAM, Occlusion, build
from onnxplain.explainers.copies.copies_report import CopiesReport
from onnxplain.explainers.copies.moved_copy import MovedCopy
from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max
from onnxplain.explainers.pixels.noise_report import NoiseReport
from onnxplain.explainers.pixels.path_explainer import CompletenessReport
from onnxplain.explainers.rise.sampling_report import SamplingReport
from onnxplain.runtime import Engine
from onnxplain.runtime.heads.aim import Aim
from tests.detectors.seeing import open_dense
from tests.explainers.kinds.kind_networks import REGION, SIDE, open_kind
from tests.explainers.test_contract_of_methods import OPTIONS, photo
from tests.explainers.tiny_model import INPUT_SIZE_HW, MakeModel

PLAIN = Preprocessing(mean=(0,) * 3, std=(1,) * 3, resize="stretch")


def enlarge(raw: np.ndarray, size_hw: tuple[int, int] = INPUT_SIZE_HW) -> np.ndarray:
    """A map spread over the whole input, on its pixels."""
    return cv2.resize(raw, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("name", METHODS)
def test_flips_give_the_mean_of_two_maps_for_every_method(make_model: MakeModel, name: str) -> None:
    engine, image = make_model(pixels=True, power=1).engine, photo(INPUT_SIZE_HW)
    options = OPTIONS.get(name, {})
    both = {key: 2 * each if key == "evaluations" else each for key, each in options.items()}
    averaged = build(name, engine, **both, test_time="flips")
    own, mirrored = (
        build(name, engine, **options, **({"seed": number} if "seed" in METHODS[name].options else {}))(copy, "cat")
        for number, copy in enumerate((image, cv2.flip(image, 1)))
    )
    found = averaged(image, "cat")
    expected = (own.raw + cv2.flip(mirrored.raw, 1)) / 2
    np.testing.assert_allclose(found.raw, expected, atol=2e-6 * max(1e-6, np.abs(expected).max()))
    normalise = relu_over_max if own.heat_from_zero else minus_min_over_range
    np.testing.assert_array_equal(found.heatmap, normalise(found.raw, found.frame)[0])
    assert (found.method, found.label, found.score) == (name, "cat", own.score)
    assert found.report.copies == ("image", "mirrored")
    assert found.evaluations == own.evaluations + mirrored.evaluations
    assert averaged.passes == build(name, engine, **options).passes.times(2)
    # Nothing is kept between calls.
    np.testing.assert_array_equal(averaged(image, "cat").raw, found.raw)


def test_a_symmetric_model_gives_its_own_map(make_model: MakeModel) -> None:
    kernel = np.random.default_rng(1).normal(size=(5, 3, 4, 4))
    engine, image = make_model(kernel=kernel + kernel[..., ::-1], power=2).engine, photo(INPUT_SIZE_HW)
    own = GradCAM(engine)(image, "dog")
    np.testing.assert_allclose(
        AveragedCopies(GradCAM(engine), flips=True)(image, "dog").heatmap, own.heatmap, atol=1e-5
    )


@dataclass(frozen=True)
class Shown(Explainer):
    """A method whose map is the first channel of the model's input: brought back, it shows the photo again."""

    engine: Engine

    name: ClassVar[str] = "shown"

    def _explain_all(self, images: Sequence[object], targets: Sequence[object]) -> list[Explanation]:
        found = []
        for image in images:
            batch = self.engine.prepare(image)
            raw, frame = np.ascontiguousarray(batch.pixels[0, 0]), batch.frames[0]
            heatmap, status = relu_over_max(raw, frame)
            found.append(Explanation(heatmap, raw, status, self.name, 0, "ant", 0.5, "ant", None, frame, 1))
        return found


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox", "letterbox-corner"])
@pytest.mark.parametrize("size_hw", [(96, 128), (97, 181), (150, 61)], ids=str)
@pytest.mark.parametrize("test_time", ["flips", (0.8,), (1.25,), "flips,scales,2,0.5"], ids=str)
def test_every_copy_is_brought_back_to_where_it_was(make_model: MakeModel, resize, size_hw, test_time) -> None:
    preprocessing = Preprocessing(mean=(0,) * 3, std=(1,) * 3, resize=resize)
    explainer = Shown(make_model(preprocessing=preprocessing, instrumented=False).engine)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    ramps = 40 + 80 * x / size_hw[1] + 90 * y / size_hw[0]
    image = np.repeat(np.rint(ramps).astype(np.uint8)[..., None], 3, axis=2)
    own = explainer(image)
    averaged = build_averaged(explainer, test_time)(image)
    assert averaged.frame == own.frame
    x1, y1, x2, y2 = own.frame.boxes_to_input([own.frame.visible_xyxy])[0]
    # A pixel at the border of the photo holds some of the colour around it, in copies that show that.
    inside = slice(int(np.ceil(y1)) + 3, int(y2) - 3), slice(int(np.ceil(x1)) + 3, int(x2) - 3)
    assert averaged.raw[inside].size
    np.testing.assert_allclose(averaged.raw[inside], own.raw[inside], atol=1.5)


def build_averaged(explainer: Explainer, test_time: str | tuple[float, ...]) -> AveragedCopies:
    from onnxplain.explainers.copies.averaged_copies import average_copies

    return average_copies(explainer, test_time)


def test_a_window_that_ends_inside_counts_only_there(make_model: MakeModel) -> None:
    """Of a photo of the input's size, scale 2 shows the middle half, in which one pixel is two of the copy's."""
    engine, image = make_model(power=2).engine, photo(INPUT_SIZE_HW)
    own, window = enlarge(GradCAM(engine)(image, 1).raw), GradCAM(engine)(image[6:18, 8:24], 1)
    # Two by two pixels of the copy's input lie under a pixel; the map is linear between them, up to its cells' centres.
    part = enlarge(window.raw, INPUT_SIZE_HW).reshape(12, 2, 16, 2).mean(axis=(1, 3))
    expected = own.copy()
    expected[6:18, 8:24] = (own[6:18, 8:24] + part) / 2
    found = AveragedCopies(GradCAM(engine), scales=(2,))(image, 1)
    np.testing.assert_allclose(found.raw, expected, atol=1e-5 * np.abs(expected).max())
    assert found.report.copies == ("image", "scale 2")


def test_the_predicted_class_of_the_image_is_explained_in_every_copy(make_model: MakeModel) -> None:
    kernel = np.zeros((2, 3, 4, 4))
    kernel[0, :, :, 0], kernel[1, :, :, 3] = 1, 1
    engine = make_model(kernel=kernel, weights=np.eye(2), labels=("left", "right"), preprocessing=PLAIN).engine
    image = np.zeros((*INPUT_SIZE_HW, 3), np.uint8)
    image[:, ::4] = np.random.default_rng(0).integers(100, 200, (24, 8, 3))
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert (engine.predict(image)[0].label, engine.predict(mirrored)[0].label) == ("left", "right")
    found = AveragedCopies(GradCAM(engine), flips=True)(image)
    assert found.label == "left"
    expected = GradCAM(engine)(image, "left").raw + cv2.flip(GradCAM(engine)(mirrored, "left").raw, 1)
    np.testing.assert_allclose(found.raw, expected / 2, rtol=1e-5, atol=1e-6)
    # not: and against go with it.
    opposite = AveragedCopies(GradCAM(engine), flips=True)(image, "not:-1")
    np.testing.assert_allclose(opposite.raw, -found.raw, rtol=1e-5, atol=1e-6)
    rather = AveragedCopies(GradCAM(engine), flips=True)(image, against="right")
    assert rather.target_name == "left rather than right"


def test_regions_pixels_and_reference_images(tmp_path: Path) -> None:
    mask, vector = (open_kind(name, tmp_path) for name in ("mask", "embedding"))
    x1, y1, x2, y2 = REGION
    (answer,) = mask.engine.answers(mask.image)[0]
    (seen,) = mask.engine.answers(cv2.flip(mask.image, 1))[0]
    # A pixel that is of one class in both, inside a cell.
    y, x = np.argwhere(answer.label_map[3:-3, 3:-3] == seen.label_map[3:-3, -4:2:-1])[0] + 3
    label = answer.label_map[y, x]
    for explained, target, moved in (
        (mask, Aim(1, region=REGION), Aim(1, region=(SIDE - x2, y1, SIDE - x1, y2))),
        (mask, f"{label}@{x},{y}", f"{label}@{SIDE - 1 - x},{y}"),
        (vector, Aim("e", like=vector.other), Aim("e", like=vector.other)),
    ):
        engine, image = explained.engine, explained.image
        for name, options, seeded in (("grad-cam", {}, {}), ("rise", {"masks": 16}, {"masks": 16, "seed": 1})):
            (own,) = build(name, engine, **options).for_targets(image, [target])
            (mirrored,) = build(name, engine, **seeded).for_targets(cv2.flip(image, 1), [moved])
            (found,) = build(name, engine, **options, test_time="flips").for_targets(image, [target])
            assert found.target_name == own.target_name
            # Cells of a layer of stride 2 do not meet their mirror images: the map is read between them.
            centres = np.arange(SIDE) + 0.5
            if own.map_frame is not None:
                span = own.map_frame.columns
                centres = span.offset + span.scale * (np.arange(own.raw.shape[1]) + 0.5)
            back = [np.interp(SIDE - centres, centres, row) for row in mirrored.raw]
            np.testing.assert_allclose(found.raw, (own.raw + back) / 2, atol=2e-5 * np.abs(own.raw).max())


def test_label_maps_and_images_that_fill_move_too(make_model: MakeModel) -> None:
    engine, image = make_model().engine, photo(INPUT_SIZE_HW)
    labels = np.random.default_rng(2).integers(0, 6, INPUT_SIZE_HW)
    other = photo(INPUT_SIZE_HW) // 2
    own = Occlusion(engine, players=labels, fill=other)(image, 0)
    mirrored = Occlusion(engine, players=labels[:, ::-1], fill=cv2.flip(other, 1))(cv2.flip(image, 1), 0)
    found = AveragedCopies(Occlusion(engine, players=labels, fill=other), flips=True)(image, 0)
    np.testing.assert_allclose(found.raw, (own.raw + cv2.flip(mirrored.raw, 1)) / 2, atol=1e-6)
    # A label of its own lies around the photo.
    window = MovedCopy.of((4, 6), 0.5).cut_labels(np.array([[7, 8, 9] * 2] * 4, np.uint8))
    assert window.shape == (8, 12)
    assert sorted(np.unique(window)) == [7, 8, 9, 10]


def test_the_budget_is_that_of_all_copies_and_the_error_that_of_the_mean(make_model: MakeModel) -> None:
    engine, image = make_model(instrumented=False).engine, photo(INPUT_SIZE_HW)
    averaged = AveragedCopies(RISE(engine, evaluations=402), flips=True, scales=(0.8,))
    found = averaged(image, 1)
    # 402 // 4 = 100 for each copy, the unmasked one among them.
    assert averaged.passes.evaluations == found.evaluations == 400
    reports = found.report.reports
    assert [each.masks for each in reports] == [99] * 4
    assert [each.seed for each in reports] == [0, 1, 2, 3]
    raws = [RISE(engine, evaluations=100, seed=seed)(copy, 1).raw for seed, copy in enumerate(
        (image, cv2.flip(image, 1), *(MovedCopy.of(INPUT_SIZE_HW, 0.8, mirrored=side).cut_image(image)
                                      for side in (False, True))))]  # fmt: skip
    squares = sum((each.map_error * raw.std()) ** 2 for each, raw in zip(reports, raws, strict=True))
    assert found.report.map_error == pytest.approx(squares**0.5 / 4 / found.raw.std(), rel=1e-4)
    line = found.report.as_json()
    assert line["test_time"]["copies"] == ["image", "mirrored", "scale 0.8", "mirrored, scale 0.8"]
    assert (line["masks"], line["relative_error"]) == (99, found.report.map_error)
    assert found.report.summary() == f"error {100 * found.report.map_error:.1f} % (mean of 4 copies)"


def test_statuses_and_interrupts(make_model: MakeModel) -> None:
    image = photo(INPUT_SIZE_HW)

    def blank(batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 2), 0.5)

    constant = AveragedCopies(RISE(blank, INPUT_SIZE_HW, masks=16), flips=True)(image, 0)
    assert (constant.status, constant.heatmap.max()) == ("constant", 0)
    calls = []

    def stops(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return batch.mean(axis=(2, 3)) / 255 * np.arange(3)

    stopped = AveragedCopies(RISE(stops, INPUT_SIZE_HW, masks=16, batch_size=8), flips=True, scales=(0.8, 2))(image, 1)
    assert stopped.report.interrupted
    assert stopped.report.copies == ("image",)
    assert stopped.report.planned == 6
    assert stopped.report.summary().endswith("mean of 1 copy, interrupted)")
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        AveragedCopies(RISE(stops, INPUT_SIZE_HW, masks=16, batch_size=8), flips=True)([image, image], 1)


LARGE, SMALL = NoiseReport(16, 0, 1.2), NoiseReport(16, 0, 0.7)
FEW = SamplingReport("default", 0, 40, "masks", 2.0, None)


@pytest.mark.parametrize(
    ("reports", "error", "caution"),
    [
        ((LARGE, SMALL), 0.8, ""),
        ((SMALL, LARGE), 1.1, "error as large as the map"),
        ((LARGE, None), None, "error as large as the map"),
        ((FEW, LARGE), 0.8, "only 40 masks"),
        ((CompletenessReport(3.0, 1.0, 5, 0.4), SMALL), 0.5, "the map does not add up"),
        ((None, None), None, ""),
    ],
)
def test_the_caution_is_that_of_the_means_error(reports, error: float | None, caution: str) -> None:
    assert CopiesReport(("image", "mirrored"), 2, reports, error).caution == caution


def test_progress_counts_all_copies_of_all_images(make_model: MakeModel) -> None:
    seen = []
    explainer = RISE(
        make_model().engine, masks=8, batch_size=8, progress=lambda done, total: seen.append((done, total))
    )
    AveragedCopies(explainer, flips=True)([photo((9, 9))] * 2, 1)
    assert seen == [(8, 32), (16, 32), (24, 32), (32, 32)]


@pytest.mark.parametrize(
    ("test_time", "message"),
    [
        ("flip", r"test_time: found 'flip', expected flips, scales"),
        ("", r"test_time: found '', expected flips, scales"),
        ((), r"test_time: found \(\), expected flips, scales"),
        ("flips,1", r"test_time: found the scale 1, expected 0.5 to 2 and not 1"),
        ("2.5", r"test_time: found the scale 2.5, expected 0.5 to 2"),
        ("nan", r"test_time: found the scale nan, expected 0.5 to 2"),
    ],
)
def test_what_is_no_copy_is_refused(make_model: MakeModel, test_time, message: str) -> None:
    with pytest.raises(OnnxplainError, match=f"^{message}"):
        build("grad-cam", make_model().engine, test_time=test_time)


def test_what_moves_with_no_copy_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"^test_time: found a detector, whose candidates are others in every"):
        build("rise", open_dense(tmp_path / "detector.onnx"), test_time="flips")
    engine = make_model(box=True).engine
    averaged = AveragedCopies(GradCAM(engine), flips=True)
    for call in (averaged, averaged.check_target):
        with pytest.raises(UnsupportedError, match=r"^test_time: found target box:0, a coordinate"):
            call(*((photo((9, 9)), "box:0") if call is averaged else (4,)))
    with pytest.raises(OnnxplainError, match=r"^evaluations: found 2 for 4 copies of an image, expected at least one"):
        AveragedCopies(RISE(engine, evaluations=2), flips=True, scales=(0.8,))
    with pytest.raises(OnnxplainError, match=r"^test_time: 2 copies of an image share the evaluations: evaluations: "):
        AveragedCopies(RISE(engine, evaluations=3), flips=True)
