"""How many evaluations a RISE map needs: each estimator compared with one converged map per photo.

Run it with `make bench-rise`. It writes the tables into docs/rise.md and docs/images/rise_quality.svg. The
reference is the map of the default estimator with 24,000 masks of another seed, all classes at once. It is cached in
runs/rise_quality, so a second run takes only minutes. Correlation and rank correlation are over the pixels of the
model's input.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from onnxplain import Engine
from onnxplain.contract import PRESETS
from onnxplain.explainers import RISE
from onnxplain.exporters import instrument

ROOT = Path(__file__).parents[2]
ASSETS = ROOT.parent / "shared" / "assets"
CACHE = ROOT / "runs" / "rise_quality"
# The tables are between these two lines of rise.md.
MARKS = ("<!-- quality -->\n", "<!-- /quality -->\n")

# name, file, preset
NETWORKS = (
    ("SqueezeNet", "squeezenet_fp16_winml.onnx", "caffe"),
    ("MobileNetV1 0.25", "mobilenet_v1_0.25_128_float.onnx", "raw"),
)
PHOTOS = (
    "both_dogcat.png",
    "coral_owl.jpg",
    "coral_parrot.jpg",
    "onnxtut_dog.jpg",
    "ort_daisy.jpg",
    "winml_kitten.png",
)
# Most masks of each estimator; the paper's result with all its masks is the quality that others are compared with.
MOST_MASKS = {"paper": 4032, "centred": 768, "sobol": 768, "default": 1536}
CHECKPOINTS = (128, 192, 256, 384, 512, 768, 1088, 1536, 2560, 4032)
SHOWN = (128, 256, 512, 768, 1536, 4032)
REFERENCE_MASKS = 24_000
REFERENCE_SEED = 2**32
LIKELY = 0.1
# Ranks of the classes that are measured as unlikely ones.
UNLIKELY_RANKS = (10, 50)


@dataclass(frozen=True)
class Measured:
    """Similarity of a map to the reference, for one class of one photo and one estimator."""

    network: str
    photo: str
    target: int
    probability: float
    estimator: str
    masks: int
    correlation: float
    rank_correlation: float
    stated_error: float

    @property
    def likely(self) -> bool:
        return self.probability > LIKELY


def choose_targets(probabilities: np.ndarray) -> list[int]:
    """The likely classes (at least the most likely one), and some unlikely ones."""
    order = np.argsort(-probabilities, kind="stable")
    likely = [int(index) for index in order if probabilities[index] > LIKELY] or [int(order[0])]
    return [*likely, *(int(order[rank]) for rank in UNLIKELY_RANKS)]


def reference_maps(engine: Engine, name: str, photo: Path, targets: list[int], masks: int) -> np.ndarray:
    """The converged maps (T, h, w), from the cache if they are in it."""
    key = hashlib.sha256(f"{name} {masks} {targets}".encode() + photo.read_bytes()).hexdigest()[:16]
    path = CACHE / f"{photo.stem}-{key}.npy"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(path, RISE(engine, masks=masks, seed=REFERENCE_SEED).all_classes(photo)[targets])
    maps: np.ndarray = np.load(path)
    return maps


def measure(engine: Engine, name: str, photo: Path, reference_masks: int, seeds: int) -> Iterator[Measured]:
    probabilities = engine.predict(photo)[0].scores
    targets = choose_targets(probabilities)
    references = reference_maps(engine, name, photo, targets, reference_masks)
    for estimator, most in MOST_MASKS.items():
        for seed in range(seeds):
            for moment in RISE(engine, masks=most, estimator=estimator, seed=seed).stream(photo, targets):
                if moment.tally.masks not in CHECKPOINTS:
                    continue
                for explanation, reference in zip(moment.explanations(), references, strict=True):
                    yield Measured(
                        name,
                        photo.name,
                        explanation.target,
                        float(probabilities[explanation.target]),
                        estimator,
                        moment.tally.masks,
                        float(np.corrcoef(explanation.raw.ravel(), reference.ravel())[0, 1]),
                        float(spearmanr(explanation.raw, reference, axis=None).statistic),
                        explanation.report.relative_error or np.nan,
                    )


def median(rows: list[Measured], field: str, **equal: object) -> float:
    """Median over photos of the mean over a photo's classes and seeds; NaN if nothing was measured."""
    chosen = [row for row in rows if all(getattr(row, name) == value for name, value in equal.items())]
    photos = sorted({row.photo for row in chosen})
    means = [np.mean([getattr(row, field) for row in chosen if row.photo == photo]) for photo in photos]
    return float(np.median(means)) if means else float("nan")


def write_table(rows: list[Measured], network: str, likely: bool) -> str:
    """A Markdown table: correlation / rank correlation by estimator and number of masks."""
    kind = {"network": network, "likely": likely}
    lines = [f"{network}, classes with a score {'above' if likely else 'below'} {LIKELY}:", ""]
    lines += ["| masks | " + " | ".join(MOST_MASKS) + " |", "| ---: |" + " --- |" * len(MOST_MASKS)]
    for masks in SHOWN:
        cells = []
        for estimator in MOST_MASKS:
            where = {**kind, "estimator": estimator, "masks": masks}
            values = [median(rows, field, **where) for field in ("correlation", "rank_correlation")]
            cells.append("" if np.isnan(values[0]) else " / ".join(f"{value:.3f}" for value in values))
        lines.append(f"| {masks} | " + " | ".join(cells) + " |")
    goal = median(rows, "correlation", **kind, estimator="paper", masks=MOST_MASKS["paper"])
    reached = [
        masks for masks in CHECKPOINTS if median(rows, "correlation", **kind, estimator="default", masks=masks) >= goal
    ]
    first = f"at {reached[0]}" if reached else f"beyond {MOST_MASKS['default']}"
    return "\n".join([*lines, "", f"The paper's {MOST_MASKS['paper']} masks are reached {first}.", ""])


def draw_plot(rows: list[Measured], path: Path) -> None:
    """Correlation over evaluations, a panel per network and kind of class."""
    import matplotlib as mpl

    mpl.use("Agg")
    # Text stays text and no date is written: the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rise", "font.size": 9})
    from matplotlib import pyplot as plt

    networks = list(dict.fromkeys(row.network for row in rows))
    figure, axes = plt.subplots(1, 2 * len(networks), figsize=(5.2 * len(networks), 3.2), sharey=True, squeeze=False)
    panels = [(network, likely) for network in networks for likely in (True, False)]
    for axis, (network, likely) in zip(axes[0], panels, strict=True):
        for number, (estimator, most) in enumerate(MOST_MASKS.items()):
            points = [masks for masks in CHECKPOINTS if masks <= most]
            heights = [
                median(rows, "correlation", network=network, likely=likely, estimator=estimator, masks=masks)
                for masks in points
            ]
            axis.plot(points, heights, marker="o", markersize=3, color=f"C{number}", label=estimator)
            if estimator == "paper":
                axis.axhline(heights[-1], color=f"C{number}", linewidth=0.8, linestyle=":")
        axis.set_xscale("log", base=2)
        axis.set_xticks([128, 512, 2048], ["128", "512", "2048"])
        axis.set_title(f"{network}, p {'>' if likely else '≤'} {LIKELY}", fontsize=9)
        axis.set_xlabel("masks")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("correlation with the converged map")
    axes[0, 0].legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=len(PHOTOS), metavar="N")
    parser.add_argument("--networks", nargs="+", choices=[name for name, *_ in NETWORKS], metavar="NAME")
    parser.add_argument("--reference", type=int, default=REFERENCE_MASKS, metavar="MASKS")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    arguments = parser.parse_args()
    rows: list[Measured] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, file, preset in NETWORKS:
            if arguments.networks and name not in arguments.networks:
                continue
            # Instrumenting adds the logits as an output: a uint8 softmax is 0 for most classes.
            path = Path(folder) / file
            instrument(ASSETS / "models" / file, path, preprocessing=PRESETS[preset])
            engine = Engine(path)
            for photo in PHOTOS[: arguments.photos]:
                rows += measure(engine, name, ASSETS / "images" / photo, arguments.reference, arguments.seeds)
                print(f"{name}, {photo}: {time.perf_counter() - started:.0f} s", flush=True)
    tables = [
        write_table(rows, network, likely)
        for network in dict.fromkeys(row.network for row in rows)
        for likely in (True, False)
    ]
    page = arguments.docs / "rise.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(before + MARKS[0] + "\n" + "\n".join(tables) + "\n" + MARKS[1] + after, encoding="utf-8")
    print("\n".join(tables))
    draw_plot(rows, arguments.docs / "images" / "rise_quality.svg")


if __name__ == "__main__":
    main()
