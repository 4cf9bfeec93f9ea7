"""Targets beyond an index: regions and pixels of masks, reference images, lists; and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import RISE, AugmentedGradCAM, GradCAM, RiseTally, build, explain, localize
from onnxplain.runtime.heads.aim import Aim
from tests.explainers.kinds.kind_networks import COLUMNS, KINDS, REGION, ROWS, Explained, open_kind, photo


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Explained]:
    names = ("curved classes", "labels", "values", "embedding", "mask", "box")
    return {name: open_kind(name, tmp_path_factory.mktemp("kind")) for name in names}


def test_a_pixel_names_its_connected_region(opened: dict[str, Explained]) -> None:
    e = opened["mask"]
    values = e.network.head(e.network.features(e.pixels())).detach()[0]
    y, x = 9, 21  # Cell (4, 10) of the mask, which has 2 × 2 pixels in each cell.
    best = int(values[:, y // 2, x // 2].argmax())
    inside, waiting = set(), [(y // 2, x // 2)]
    while waiting:
        row, column = waiting.pop()
        if (row, column) in inside or not (0 <= row < 16 and 0 <= column < 16):
            continue
        if int(values[:, row, column].argmax()) == best:
            inside.add((row, column))
            waiting += [(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    rows, columns = map(list, zip(*inside, strict=True))
    maps = e.maps().requires_grad_()
    (gradient,) = torch.autograd.grad(e.network.head(maps)[0, best, rows, columns].mean(), maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0].detach().numpy()
    found = GradCAM(e.engine)(e.image, f"{best}@{x},{y}")
    np.testing.assert_allclose(found.raw, expected, atol=1e-5 * np.abs(expected).max())
    assert found.target_name == f"{best} at {x},{y}"
    shares = torch.softmax(values, 0)[best, rows, columns].mean()
    assert found.score == pytest.approx(float(shares), abs=1e-6)
    assert RISE(e.engine, masks=8)(e.image, f"{best}@{x},{y}").score == pytest.approx(float(shares), abs=1e-6)


def test_grad_cam_of_a_region_is_seg_grad_cam(opened: dict[str, Explained]) -> None:
    """Vinogradova et al. 2020, equation 2, has the sum of the region's logits, where this package has their mean."""
    e = opened["mask"]
    maps = e.maps().requires_grad_()
    chosen = e.network.head(maps)[0, 1, ROWS, COLUMNS]
    (gradient,) = torch.autograd.grad(chosen.sum(), maps)
    seg_grad_cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0].detach().numpy()
    found = GradCAM(e.engine)(e.image, 1, region=REGION).raw * chosen.numel()
    np.testing.assert_allclose(found, seg_grad_cam, atol=1e-5 * np.abs(seg_grad_cam).max())


@pytest.mark.parametrize("method", ["grad-cam", "rise", "score-cam", "ablation-cam", "augmented-grad-cam"])
def test_several_aims_of_one_image_are_those_one_by_one(opened: dict[str, Explained], method: str) -> None:
    options = {"rise": {"masks": 16}, "augmented-grad-cam": {"copies": 3}}.get(method, {})
    e, explainer = opened["mask"], build(method, opened["mask"].engine, **options)
    aims = [
        1,
        Aim(1, region=REGION),
        Aim(1, region=(0, 0, 9, 9)),
        Aim(1, against=2),
        "not:0",
        Aim("not:1", region=REGION),
        1,
    ]
    together = explainer(e.image, aims)
    for aim, found in zip(aims, together, strict=True):
        alone = explainer(e.image, aim)
        assert (found.target, found.target_name, found.status) == (alone.target, alone.target_name, alone.status)
        assert found.score == pytest.approx(alone.score, abs=1e-6)
        np.testing.assert_allclose(found.raw, alone.raw, atol=1e-5 * np.abs(alone.raw).max())
    assert len({found.target_name for found in together}) == len(aims) - 1
    listed = explainer([e.image, e.other], [Aim(1, region=REGION), Aim(1, against=2)])
    np.testing.assert_allclose(listed[0].raw, together[1].raw, atol=1e-5 * np.abs(together[1].raw).max())
    np.testing.assert_allclose(
        listed[1].raw, explainer(e.other, 1, against=2).raw, atol=1e-5 * np.abs(listed[1].raw).max()
    )


def test_the_region_of_a_mask_moves_with_the_copies(opened: dict[str, Explained]) -> None:
    """Every copy explains what of the region it shows: one whose region is out of sight is left out."""
    e = opened["mask"]
    report = AugmentedGradCAM(e.engine, copies=12, translation=0.6, rotation=0)(e.image, 1, region=(0, 0, 6, 6)).report
    whole = AugmentedGradCAM(e.engine, copies=12, translation=0.6, rotation=0)(e.image, 1).report
    assert 1 <= report.copies_used < whole.copies_used


def test_a_callable_compares_its_scores() -> None:
    rise = RISE(lambda batch: np.stack([batch.mean((1, 2, 3)), batch[:, 0].mean((1, 2))], 1), (32, 32), masks=30)
    one, other, both = (rise(photo(), *target) for target in ((0,), (1,), (Aim(0, against=1),)))
    np.testing.assert_allclose(both.raw, one.raw - other.raw, atol=1e-3)
    np.testing.assert_array_equal(rise(photo(), "not:0").raw, -one.raw)
    assert (both.target_name, both.head, both.answers, both.prediction) == ("0 rather than 1", None, None, None)
    for target, message in (
        (Aim(0, against=0), "^against: found 0"),
        (Aim(0, like="a.jpg"), "^target: found like or region for a callable"),
        ("not:cat", "^target: found 'cat'"),
        (Aim(0, against=2), "^target: found 2, expected 0 to 1"),
    ):
        with pytest.raises(OnnxplainError, match=message):
            rise(photo(), target)


def test_a_tally_of_another_aim_is_refused(opened: dict[str, Explained], tmp_path: Path) -> None:
    e, rise = opened["mask"], RISE(opened["mask"].engine, masks=64)
    *_, moment = rise.stream(e.image, Aim(1, region=REGION))
    moment.tally.save(tmp_path / "tally.npz")
    *_, again = rise.stream(e.image, Aim(1, region=REGION), RiseTally.load(tmp_path / "tally.npz"))
    np.testing.assert_array_equal(again.explanation().raw, moment.explanation().raw)
    with pytest.raises(OnnxplainError, match=r"^tally: found aims"):
        rise.stream(e.image, 1, moment.tally)


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "smooth-grad-cam++"])
def test_a_cosine_with_the_image_itself_is_refused_where_it_is_differentiated(
    opened: dict[str, Explained], method: str
) -> None:
    e = opened["embedding"]
    with pytest.raises(OnnxplainError, match=r"^like: found the image itself.*zero.*another image"):
        build(method, e.engine)(e.image, like=e.image.copy())
    assert RISE(e.engine, masks=8)(e.image, like=e.image).score == pytest.approx(1)


REFUSALS = {
    ("embedding", "e", ()): "^target: found e, an embedding, expected an image to compare with: give like=IMAGE",
    ("embedding", None, ()): "^target: found e, an embedding, expected an image to compare with: give like=IMAGE",
    (
        "embedding",
        "e",
        ("region",),
    ): r"^region: found it for an entry of the head e \(embedding\), .*the model has none",
    ("embedding", "e", ("several",)): "^like: found 2 images, expected one",
    ("labels", 1, ("like",)): r"^like: found it for an entry of the head traits \(labels\), .*the model has none",
    ("curved classes", 1, ("region",)): "^region: found it for .*expected a class of a mask: the model has none",
    ("mask", "1@3,3", ("region",)): "^region: found it beside '1@3,3', expected one of the two",
    ("mask", 1, ("outside",)): "^region: found 100,100,200,200 for an image of 32x32",
    ("mask", 1, ("empty",)): r"^region: found \(5, 5, 5, 9\), expected x1, y1, x2, y2",
    ("mask", 1, ("words",)): r"^region: found 'all', expected x1, y1, x2, y2",
    ("mask", "1@99,3", ()): "^target: found the pixel 99,3, expected one that the model sees",
    ("mask", "1@x,3", ()): "^target: found '1@x,3', expected LABEL@X,Y",
    ("labels", "1@3,3", ()): "^target: found '1@3,3', expected a target without @: the model has no mask",
    ("box", 1, ("coordinate",)): "^against: found 'box:1' of head place, expected an entry of kind",
    ("box", "box:1", ("class",)): "^against: found 1 of head kind, expected an entry of place",
    ("labels", 1, ("class",)): "^against: found 1, the target itself",
    ("labels", "not:not:1", ()): "^target: found 'not:not:1', expected not: once",
    ("values", "age:1", ()): "^target: found '1' of head age, expected an index from 0 to 0",
    ("labels", "age:1", ()): "^target: found 'age:1', expected an index from 0 to 4",
}
BESIDE = {
    "region": {"region": REGION},
    "like": {"like": photo(5)},
    "several": {"like": [photo(5), photo(6)]},
    "outside": {"region": (100, 100, 200, 200)},
    "empty": {"region": (5, 5, 5, 9)},
    "words": {"region": "all"},
    "coordinate": {"against": "box:1"},
    "class": {"against": 1},
}


@pytest.mark.parametrize("method", ["grad-cam", "ablation-cam", "rise"])
@pytest.mark.parametrize(("asked", "message"), REFUSALS.items(), ids=[f"{a}-{b}-{c}" for a, b, c in REFUSALS])
def test_what_does_not_fit_is_one_line(opened: dict[str, Explained], asked, message: str, method: str) -> None:
    name, target, parts = asked
    e = opened[name]
    given = {key: value for part in parts for key, value in BESIDE[part].items()}
    if method == "rise" and name == "box" and target != 1:
        message = "^(rise: found target|against: found)"
    with pytest.raises(OnnxplainError, match=message) as refused:
        build(method, e.engine)(e.image, target, **given)
    assert "\n" not in str(refused.value)


def test_a_reference_of_zeros_is_refused(opened: dict[str, Explained], monkeypatch: pytest.MonkeyPatch) -> None:
    e = opened["embedding"]
    answers = e.engine.answers(e.other)
    object.__setattr__(answers[0][0], "vector", np.zeros(6, np.float32))
    monkeypatch.setattr(e.engine, "answers", lambda images: answers)
    with pytest.raises(OnnxplainError, match=r"^reference: found a vector of zeros"):
        GradCAM(e.engine)(e.image, like=e.other)


def test_the_predicted_class_is_not_compared_with_itself(opened: dict[str, Explained]) -> None:
    e = opened["curved classes"]
    predicted = GradCAM(e.engine)(e.image).target
    for method in ("grad-cam", "rise", "ablation-cam"):
        with pytest.raises(OnnxplainError, match=f"^against: found {predicted}, which is the predicted entry itself"):
            build(method, e.engine)(e.image, against=predicted)
        other = (predicted + 1) % 5
        assert build(method, e.engine)(e.image, against=other).target_name == f"{predicted} rather than {other}"


def test_the_call_takes_what_stands_beside_a_target(opened: dict[str, Explained]) -> None:
    e = opened["mask"]
    found = explain(e.engine, e.image, "grad-cam", 1, region=REGION)
    np.testing.assert_array_equal(found.raw, GradCAM(e.engine)(e.image, 1, region=REGION).raw)
    with pytest.raises(OnnxplainError, match=r"^target: found an Aim beside against, like or region"):
        GradCAM(e.engine)(e.image, Aim(1, against=2), region=REGION)


def test_models_without_classes_say_where_their_boxes_are(opened: dict[str, Explained]) -> None:
    e = opened["labels"]
    with pytest.raises(UnsupportedError, match=r"^localize: found the heads traits \(labels\).*\.boxes\(\)"):
        localize(e.engine, e.image)
    found = GradCAM(e.engine)(e.image, 1)
    assert (found.status != "ok") == (len(found.boxes()) == 0)


@pytest.mark.parametrize("name", KINDS)
def test_titles_and_lines_name_the_entry(opened: dict[str, Explained], name: str) -> None:
    from onnxplain.explainers.drawing.explained import title_of

    if name not in opened:
        return
    e = opened[name]
    found = GradCAM(e.engine)(e.image, e.kind.target, **e.beside)
    title = title_of(found)[0]
    assert found.label in title
    assert found.score_text() in title
    assert found.target_name in title
    assert "nan" not in repr(found)
