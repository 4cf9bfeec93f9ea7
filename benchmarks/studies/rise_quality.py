"""How many evaluations a RISE map needs: each estimator compared with one converged map per photo.

Run it with `make bench-rise`. It writes the tables into docs/rise.md and docs/images/rise_quality.svg. The
reference is the map of the default estimator with 24,000 masks of another seed. All scores are cached in
runs/rise_quality, by network, photo, kind of masks and seed. So all estimators of a kind of masks use the same
evaluations, and a second run takes only minutes. Correlation and rank correlation are over the pixels of the model's
input.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from scipy.stats import spearmanr

from benchmarks.studies.rise_quality_tables import CHECKPOINTS, LIKELY, MOST_MASKS, Measured, draw_plot, write_table
from onnxplain import Engine
from onnxplain.contract import PRESETS
from onnxplain.explainers.masked.masked_scores import open_masked_scores
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.rise.estimator import ESTIMATORS, Estimator, EstimatorName
from onnxplain.explainers.rise.log_linear_map import shrink_map
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.explainers.rise.principal_components import find_components
from onnxplain.explainers.rise.samplers import MaskSampler
from onnxplain.explainers.rise.tally import BLOCK
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
REFERENCE_MASKS = 24_000
REFERENCE_SEED = 2**32
# Ranks of the classes that are measured as unlikely ones.
UNLIKELY_RANKS = (10, 50)


def choose_targets(probabilities: np.ndarray) -> list[int]:
    """The likely classes (at least the most likely one), and some unlikely ones."""
    order = np.argsort(-probabilities, kind="stable")
    likely = [int(index) for index in order if probabilities[index] > LIKELY] or [int(order[0])]
    return [*likely, *(int(order[rank]) for rank in UNLIKELY_RANKS)]


@dataclass(frozen=True, eq=False)
class Subject:
    """One photo seen by one network, and the classes whose scores are watched."""

    engine: Engine
    network: str
    photo: Path
    targets: Sequence[int]
    probabilities: np.ndarray

    def scores(self, sampler: MaskSampler, masks: int) -> np.ndarray:
        """The scores under masks 0 … `masks` − 1, float32 (masks, T). The cache grows by what it does not hold."""
        text = f"{self.network} {type(sampler).__name__} {sampler.geometry} {sampler.seed} {self.targets}"
        key = hashlib.sha256(text.encode() + self.photo.read_bytes()).hexdigest()[:16]
        path = CACHE / f"{self.photo.stem}-{key}.npy"
        cached = np.load(path) if path.exists() else np.zeros((0, len(self.targets)), np.float32)
        if len(cached) < masks:
            CACHE.mkdir(parents=True, exist_ok=True)
            cached = np.concatenate([cached, self._score(sampler, len(cached), masks)])
            np.save(path, cached)
        scores: np.ndarray = cached[:masks]
        return scores

    def _score(self, sampler: MaskSampler, start: int, stop: int) -> np.ndarray:
        box = open_black_box(self.engine, None, "mean", "score")
        view = box.look(self.photo)
        whole = box.see_whole(view)
        placed = box.place([box.aim(target) for target in self.targets], view, whole)
        scores = open_masked_scores(box, view, sampler.geometry, None, placed, whole)
        return np.concatenate([scores(sampler.draw(at, min(at + BLOCK, stop))) for at in range(start, stop, BLOCK)])

    def maps(self, name: EstimatorName, seed: int, masks: Sequence[int]) -> Iterator[tuple[int, list[Found]]]:
        """The maps of all targets after so many masks each, multiples of 64 in rising order."""
        estimator = ESTIMATORS[name]
        geometry = MaskGeometry(self.engine.spec.input.size_hw)
        sampler = estimator.open_sampler(geometry, seed)
        components = find_components(geometry) if estimator.control_variate else None
        maker = MapEstimator(geometry, estimator.centred, components)
        sums = MaskSums.empty(geometry, len(self.targets), components, logs=estimator.log_linear)
        scores = self.scores(sampler, masks[-1])
        for start in range(0, masks[-1], BLOCK):
            stop = start + BLOCK
            sums.add(start, sampler.draw(start, stop), scores[start:stop], components)
            if stop in masks:
                yield stop, [_map_of(maker, sums, position, estimator) for position in range(len(self.targets))]


# A map (H, W), and the relative error that is stated of it.
Found: TypeAlias = tuple[np.ndarray, float]


def _map_of(maker: MapEstimator, sums: MaskSums, position: int, estimator: Estimator) -> Found:
    """The map that the heatmap shows."""
    lattice = (slice(None, None, 4), slice(None, None, 4))
    if estimator.log_linear:
        shrunk = shrink_map(maker, sums, position, lattice)
        return shrunk.values, shrunk.relative_error or np.nan
    mean, (estimate,) = maker.mean_and_estimates(sums, position, [lattice])
    return np.asarray(mean), estimate.relative_error() or np.nan


def measure(subject: Subject, reference_masks: int, seeds: int) -> Iterator[Measured]:
    """Every estimator, seed and checkpoint."""
    ((_, references),) = subject.maps("default", REFERENCE_SEED, [reference_masks // BLOCK * BLOCK])
    for estimator, most in MOST_MASKS.items():
        for seed in range(seeds):
            for masks, maps in subject.maps(estimator, seed, [each for each in CHECKPOINTS if each <= most]):
                for target, (found, error), (reference, _) in zip(subject.targets, maps, references, strict=True):
                    yield Measured(
                        subject.network,
                        subject.photo.name,
                        target,
                        float(subject.probabilities[target]),
                        estimator,
                        masks,
                        float(np.corrcoef(found.ravel(), reference.ravel())[0, 1]),
                        float(spearmanr(found, reference, axis=None).statistic),
                        error,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos", type=int, nargs="+", default=[len(PHOTOS)], metavar="N", help="of each network, or for all"
    )
    parser.add_argument("--networks", nargs="+", choices=[name for name, *_ in NETWORKS], metavar="NAME")
    parser.add_argument("--reference", type=int, default=REFERENCE_MASKS, metavar="MASKS")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    arguments = parser.parse_args()
    rows: list[Measured] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = arguments.photos * len(NETWORKS) if len(arguments.photos) == 1 else arguments.photos
        for (name, file, preset), count in zip(NETWORKS, counts, strict=True):
            if arguments.networks and name not in arguments.networks:
                continue
            # Instrumenting adds the logits as an output: a uint8 softmax is 0 for most classes.
            path = Path(folder) / file
            instrument(ASSETS / "models" / file, path, preprocessing=PRESETS[preset])
            engine = Engine(path, threads=arguments.threads)
            for photo in PHOTOS[:count]:
                image = ASSETS / "images" / photo
                probabilities = engine.predict(image)[0].scores
                subject = Subject(engine, name, image, choose_targets(probabilities), probabilities)
                rows += measure(subject, arguments.reference, arguments.seeds)
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
