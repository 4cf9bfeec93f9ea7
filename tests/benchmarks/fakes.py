"""Tools that need nothing and answer at once: peers in a temporary folder, spoken to as the real ones are."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.environments import Environment

WORKER = """
    import os
    import sys
    import time

    import numpy as np
    from protocol import Method, RefusalError, serve


    class Map(Method):
        def prepare(self):
            print("noise on standard output")
            os.system("echo more of it")
            if self.case["options"].get("refuse"):
                raise RefusalError("it cannot")

        def run(self):
            self.map = np.arange(12.0).reshape(3, 4) + self.case["seed"]
            self.evaluations = self.case["masks"]

        def answer(self):
            return self.map


    class Broken(Map):
        def run(self):
            raise ValueError("first line\\nsecond line")


    class Dying(Map):
        def run(self):
            print("last words", file=sys.stderr, flush=True)
            os._exit(3)


    class Silent(Map):
        def run(self):
            time.sleep(60)


    class Noisy(Map):
        # One map and noise that falls with the masks: what RISE does.
        def run(self):
            rng = np.random.default_rng([self.case["seed"], self.case["masks"]])
            noise = rng.normal(0, NOISE / self.case["masks"] ** 0.5, (20, 20))
            self.map = np.arange(400.0).reshape(20, 20) / 100 + noise
            self.evaluations = self.case["masks"] + 1


    NOISE = 10
    serve(
        NAME,
        packages=("numpy",),
        methods={
            "map": Map,
            "map@other": Map,
            "map@forward": Map,
            "broken": Broken,
            "dying": Dying,
            "silent": Silent,
            "rise": Noisy,
        },
    )
"""


def write_peer(folder: Path, name: str) -> Path:
    """A peer of that name; returns its worker file."""
    path = folder / "peers" / name / "worker.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(WORKER).replace("NAME", repr(name)), encoding="utf-8")
    return path


def make_bench(folder: Path, missing: tuple[str, ...] = ()) -> Bench:
    """A bench on fake peers; the `missing` ones are not installed."""

    def locate(name: str) -> Environment:
        worker = write_peer(folder, name)
        if name in missing:
            return Environment(name, Path(sys.executable), worker, None, reason=f"not installed: {name}")
        return Environment(name, Path(sys.executable), worker, "import numpy", installed_bytes=1000)

    return Bench(threads=1, scratch=folder / "scratch", locate=locate, describe=describe)


def describe(_name: str) -> dict[str, Any]:
    return {"name": "fake", "input": "", "photos": [], "target": 0}


def noise_free() -> np.ndarray:
    """The map that `map` answers with seed 0."""
    return np.arange(12.0).reshape(3, 4)
