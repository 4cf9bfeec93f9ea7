"""Boxes from heatmaps: one Grad-CAM compared with 100 of them, by overlap with true boxes.

For each image the predicted class is explained, and the box is that of the largest region of the heatmap. The threshold
with the best mean IoU is chosen on every other image and measured on the rest. There are two tasks. First, the images
themselves; their objects are centred, so the mean box of the other half is printed as the baseline. Second, mosaics of
four images; the class predicted for one of them is explained, and its box is the true box.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from onnxplain import Engine, load_image
from onnxplain.explainers import AugmentedGradCAM, GradCAM, find_regions
from onnxplain.explainers.regions import CAM_THRESHOLD, Threshold
from onnxplain.explainers.stable_threshold import stable_threshold

DATA = Path(__file__).parents[3] / "shared" / "assets" / "wsol"
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
TILE = 224
MODES = ("mean", "max", "paper", "super-resolution")

Example = tuple[np.ndarray, int | None, np.ndarray]


def compare_boxes(model: Path, count: int, threads: int) -> None:
    """Print, for each task and method, the share of boxes with IoU ≥ 0.5 and the mean IoU."""
    engine = Engine(model, threads=threads)
    examples = list(read_examples(count))
    tasks = {"images": examples, "mosaics": list(make_mosaics(engine, examples))}
    for task, chosen in tasks.items():
        heatmaps: dict[str, list[np.ndarray]] = {"single": [], **{mode: [] for mode in MODES}}
        for image, target, _ in chosen:
            for name, heatmap in explain_all(engine, image, target).items():
                heatmaps[name].append(heatmap)
        truths = [boxes for _, _, boxes in chosen]
        sizes = [image.shape[:2] for image, _, _ in chosen]
        print(f"{task}: {len(chosen)}, half to choose the threshold, half to measure", flush=True)
        centred = [best_iou(box, boxes) for box, boxes in zip(mean_boxes(truths, sizes), truths, strict=True)]
        report("mean box", 0, centred[1::2])
        for name, maps in heatmaps.items():
            pairs = zip(maps, truths, strict=True)
            overlaps = np.array([[box_iou(heatmap, level, boxes) for level in THRESHOLDS] for heatmap, boxes in pairs])
            best = int(overlaps[::2].mean(axis=0).argmax())
            report(name, THRESHOLDS[best], overlaps[1::2, best])
            report(f"{name}, as it comes", 0.15, overlaps[1::2, THRESHOLDS.index(0.15)])


def compare_thresholds(model: Path, count: int, threads: int) -> None:
    """Print the quality of Grad-CAM's boxes at the default, the best fixed and the stable threshold."""
    engine = Engine(model, threads=threads)
    explainer = GradCAM(engine)
    examples = list(read_examples(count))
    for task, chosen in {"images": examples, "mosaics": list(make_mosaics(engine, examples))}.items():
        pairs = [(explainer(image, target).heatmap, boxes) for image, target, boxes in chosen]
        thresholds: tuple[Threshold, ...] = (*THRESHOLDS, "stable")
        overlaps = np.array([[box_iou(heatmap, level, boxes) for level in thresholds] for heatmap, boxes in pairs])
        best = int(overlaps[::2, :-1].mean(axis=0).argmax())
        print(f"{task}: {len(chosen)}, half to choose the threshold, half to measure", flush=True)
        report("default", CAM_THRESHOLD, overlaps[1::2, THRESHOLDS.index(CAM_THRESHOLD)])
        report("best fixed", THRESHOLDS[best], overlaps[1::2, best])
        shares = [stable_threshold(heatmap) for heatmap, _ in pairs[1::2] if heatmap.any()]
        report("stable, the median of its", float(np.median(shares)), overlaps[1::2, -1])


def report(name: str, threshold: float, overlaps: Sequence[float]) -> None:
    values = np.asarray(overlaps)
    print(f"  {name:32} threshold {threshold:.2f}  IoU ≥ 0.5: {100 * (values >= 0.5).mean():4.1f} %  "
          f"mean IoU {values.mean():.3f}", flush=True)  # fmt: skip


def explain_all(engine: Engine, image: np.ndarray, target: int | None) -> dict[str, np.ndarray]:
    """Heatmaps by method; the network runs only once on the copies of an image, for all modes."""
    heatmaps = {"single": GradCAM(engine)(image, target).heatmap}
    answers: dict[bytes, list[np.ndarray]] = {}
    run = engine.run

    def run_once(batch_nchw: np.ndarray, *rest: object) -> list[np.ndarray]:
        question = batch_nchw.tobytes() + repr(rest).encode()
        if question not in answers:
            answers[question] = run(batch_nchw, *rest)
        return answers[question]

    engine.run = run_once
    try:
        for mode in MODES:
            heatmaps[mode] = AugmentedGradCAM(engine, mode=mode)(image, target).heatmap
    finally:
        del engine.run
    return heatmaps


def read_examples(count: int) -> Iterator[Example]:
    """Images spread evenly over the folder, with all their boxes, float (M, 4), x1, y1, x2, y2."""
    boxes: dict[str, list[list[float]]] = {}
    with (DATA / "boxes.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            boxes.setdefault(row["file"], []).append([float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")])
    names = sorted(boxes)
    for position in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int):
        yield load_image(DATA / "images" / names[position]), None, np.array(boxes[names[position]])


def make_mosaics(engine: Engine, examples: Sequence[Example]) -> Iterator[Example]:
    """A mosaic for each image with three others, stretched to equal tiles; the image's place changes."""
    quarter = len(examples) // 4
    for position, (image, _, boxes) in enumerate(examples):
        target = engine.predict(image)[0].class_id
        mosaic = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8)
        # Both halves of the examples (every other one) get all four places.
        place = position // 2
        for offset in range(4):
            other = examples[(position + offset * quarter) % len(examples)][0]
            row, column = divmod((place + offset) % 4, 2)
            tile = cv2.resize(other, (TILE, TILE), interpolation=cv2.INTER_AREA)
            mosaic[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
        row, column = divmod(place % 4, 2)
        scale = TILE / np.array(image.shape[1::-1] * 2)
        yield mosaic, target, boxes * scale + TILE * np.array([column, row, column, row])


def mean_boxes(truths: Sequence[np.ndarray], sizes_hw: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """For each image, the mean relative box of the half on which thresholds are chosen."""
    sides = [np.array([width, height, width, height]) for height, width in sizes_hw]
    mean = np.mean([boxes[0] / side for boxes, side in zip(truths[::2], sides[::2], strict=True)], axis=0)
    return [mean * side for side in sides]


def box_iou(heatmap: np.ndarray, threshold: Threshold, boxes: np.ndarray) -> float:
    """IoU of the largest region's box with its best true box; 0 without a region."""
    regions = find_regions(heatmap, threshold)
    return best_iou(regions.xyxy[0], boxes) if len(regions) else 0.0


def best_iou(box: np.ndarray, boxes: np.ndarray) -> float:
    corner, opposite = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.maximum(opposite - corner, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return float((common / (areas - common)).max())
