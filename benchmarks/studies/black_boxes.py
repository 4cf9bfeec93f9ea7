"""What the methods that hide parts of an image cost beside the model's own forward passes.

Run it with `make bench-black-boxes`. A round is one explanation, and as many raw forward passes of a plain session on
the same file in batches of the fastest size, in random order. "processor" and "wall" are ratios of the medians over
rounds, of the process's processor time and of wall time, with the quartiles of the pairs. "beside" is the processor
time of an explanation over the part of it that ONNX Runtime spends in the model: other load hardly changes it.
`--memory` prints the peak memory of a process of its own per method and number of evaluations instead. `--only NAME`
(repeatable) takes a method or a network.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from benchmarks.studies.rise_quality import ASSETS, NETWORKS
from onnxplain import Engine
from onnxplain.contract import PRESETS
from onnxplain.explainers.hiding.hiding_explainer import HidingExplainer
from onnxplain.explainers.method_table import OWN_METHODS
from onnxplain.explainers.rise.rise import RISE
from onnxplain.exporters import instrument

PHOTO = ASSETS / "images" / "both_dogcat.png"
MEMORY_EVALUATIONS = (1000, 4000, 16_000)
# Some runs without a record: the search for the batch size ends.
WARM_UPS = 2
BATCH_SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Spent:
    """Seconds of the process's own processors, and of the clock."""

    processor: float
    wall: float


@dataclass(frozen=True)
class Measured:
    """One method on one network: ratios to the raw passes with the quartiles over rounds, and `beside`."""

    evaluations: int
    forward_ms: float
    beside: float
    processor: tuple[float, float, float]
    wall: tuple[float, float, float]


def black_boxes() -> list[str]:
    """The methods that need only scores."""
    return [name for name, method in OWN_METHODS.items() if issubclass(method.explainer, (HidingExplainer, RISE))]


def options_of(name: str, evaluations: int | None, size_hw: tuple[int, int]) -> dict[str, object]:
    """The method's defaults, with about so many evaluations."""
    if evaluations is None:
        return {}
    if name != "occlusion":
        return {"evaluations": evaluations}
    # Windows of a twentieth of the side, as far apart as leaves the number that is wanted.
    side = max(1, round(0.05 * min(size_hw)))
    step = min(range(1, side + 1), key=lambda each: abs((-(-(min(size_hw) - side) // each) + 1) ** 2 - evaluations))
    return {"window": 0.05, "stride": step / min(size_hw)}


def measure(path: Path, name: str, evaluations: int | None, rounds: int, threads: int) -> Measured:
    engine = Engine(path, threads=threads)
    explainer = OWN_METHODS[name].build(engine, **options_of(name, evaluations, engine.spec.input.size_hw))
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    for _ in range(WARM_UPS):
        count = explainer(photo).evaluations
    forms: tuple[Callable[[], object], ...] = (lambda: explainer(photo), raw_passes(engine, count, threads))
    forms[1]()
    order = np.random.default_rng(0)
    found: tuple[list[Spent], list[Spent]] = ([], [])
    inside = watch_model(engine)
    shares = []
    for _ in range(rounds):
        for which in order.permutation(2).tolist():
            inside.clear()
            found[which].append(spend(forms[which]))
            if which == 0:
                shares.append(found[0][-1].processor / sum(inside))
    raw_ms = 1000 * statistics.median(each.processor for each in found[1]) / count
    return Measured(
        count, raw_ms, statistics.median(shares), *(quartiles(*found, attribute) for attribute in ("processor", "wall"))
    )


def watch_model(engine: Engine) -> list[float]:
    """Grows by the processor seconds of each run of the engine's model on bound memory."""
    spent: list[float] = []
    session = engine._session._session
    run = session.run_with_iobinding

    def timed(*arguments: object) -> None:
        start = time.process_time()
        run(*arguments)
        spent.append(time.process_time() - start)

    session.run_with_iobinding = timed
    return spent


def raw_passes(engine: Engine, count: int, threads: int) -> Callable[[], None]:
    """So many forward passes of a plain session on the same file and bound memory, in batches of the fastest size."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = ort.InferenceSession(str(engine.source), options, providers=["CPUExecutionProvider"])
    sizes = BATCH_SIZES if engine.fixed_batch is None else (engine.fixed_batch,)
    bindings = {}
    for size in sizes:
        batch = engine.input_buffer(size)
        batch[:] = np.random.default_rng(0).integers(0, 3, batch.shape)
        binding = bindings[size] = session.io_binding()
        binding.bind_ortvalue_input(engine.spec.input.name, ort.OrtValue.ortvalue_from_numpy(batch))
        binding.bind_output(engine.head_outputs[0], "cpu")

    def run(size: int, images: int) -> None:
        for _ in range(max(1, images // size)):
            session.run_with_iobinding(bindings[size])

    trials = {size: [spend(lambda size=size: run(size, 32)).processor for _ in range(5)] for size in sizes}
    fastest = min(sizes, key=lambda size: statistics.median(trials[size]))
    return lambda: run(fastest, count)


def spend(action: Callable[[], object]) -> Spent:
    processor, wall = time.process_time(), time.perf_counter()
    action()
    return Spent(time.process_time() - processor, time.perf_counter() - wall)


def quartiles(explained: list[Spent], raw: list[Spent], attribute: str) -> tuple[float, float, float]:
    """The ratio of the medians, and the quartiles of the pairs' ratios."""
    first, second = ([getattr(each, attribute) for each in spent] for spent in (explained, raw))
    pairs = np.divide(first, second)
    low, high = np.quantile(pairs, (0.25, 0.75))
    return statistics.median(first) / statistics.median(second), float(low), float(high)


def networks(names: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """The instrumented files of the networks that are asked for."""
    for name, file, preset in NETWORKS:
        if name in names:
            instrument(ASSETS / "models" / file, folder / file, preprocessing=PRESETS[preset])
            yield name, folder / file


def peak_of(path: Path, name: str, evaluations: int) -> float:
    """Peak memory in MiB of a process that makes one explanation."""
    command = [sys.executable, "-m", "benchmarks.studies.black_boxes", "--peak", str(path), name, str(evaluations)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(path: str, name: str, evaluations: str) -> None:
    engine = Engine(path, threads=1)
    options = options_of(name, int(evaluations), engine.spec.input.size_hw)
    OWN_METHODS[name].build(engine, **options)(PHOTO)
    # Not ru_maxrss: that counts the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = black_boxes(), [name for name, _, _ in NETWORKS]
    parser.add_argument("--only", action="append", default=[], choices=[*known[0], *known[1]], metavar="NAME")
    parser.add_argument("--evaluations", type=int, metavar="N", help="default: each method's own")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(*arguments.peak)
        return
    methods, names = ([name for name in each if name in arguments.only] or each for each in known)
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for network, path in networks(names, Path(folder)):
            for method in methods:
                print(f"{network:17} {method:10} ", end="", flush=True)
                if arguments.memory:
                    peaks = [peak_of(path, method, count) for count in MEMORY_EVALUATIONS]
                    print("  ".join(f"{peak:6.1f} MiB" for peak in peaks), flush=True)
                    continue
                found = measure(path, method, arguments.evaluations, arguments.rounds, arguments.threads)
                ratios = (
                    f"{name} {ratio:.3f} [{low:.3f}, {high:.3f}]"
                    for name, (ratio, low, high) in (("processor", found.processor), ("wall", found.wall))
                )
                forward = f"{found.evaluations:6} × {found.forward_ms:.3f} ms"
                print(f"{forward}  beside {found.beside:.3f}  {'  '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
