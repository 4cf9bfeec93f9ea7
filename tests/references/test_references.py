"""Each method against another library on the same network, image, masks and noise (make test-references)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.client import ROOT
from benchmarks.environments import SHARED, environment
from onnxplain.explainers import build
from onnxplain.explainers.explanation import Explanation
from tests.references import given as g
from tests.references.given import Given

pytestmark = pytest.mark.references
FOLDER = Path(__file__).parent
GRID = {"players": "grid", "cells": g.CELLS, "seed": g.SEED}
SAMPLED = {"samples": g.SAMPLES, "seed": g.SEED}
FEW = {"players": "grid", "cells": g.FEW}


def _map(explanation: Explanation) -> np.ndarray:
    return explanation.raw


def _values(explanation: Explanation) -> np.ndarray:
    return explanation.report.values


@dataclass(frozen=True)
class Reference:
    """A method, and what a peer calls it. `most`: the largest difference, over the largest value of the peer's.

    `least`: for another formula, the smallest difference; the documentation says why.
    """

    method: str
    peer: str
    called: str
    most: float
    options: dict[str, Any] = field(default_factory=dict)
    read: Callable[[Explanation], np.ndarray] = _map
    least: float = 0.0


# Rounding: onnxplain's float32 against float64 (captum, lime, shap), or float32 on either side (Xplique).
REFERENCES = (
    Reference("saliency", "captum", "Saliency", 1e-5),
    Reference("input-x-gradient", "captum", "InputXGradient", 1e-5),
    Reference("integrated-gradients", "captum", "IntegratedGradients", 1e-5, {"steps": 50}),
    Reference("smooth-grad", "captum", "NoiseTunnel smoothgrad", 1e-5, {**SAMPLED, "noise": g.NOISE}),
    Reference("var-grad", "captum", "NoiseTunnel vargrad", 1e-5, {**SAMPLED, "noise": g.NOISE}),
    Reference("grad-shap", "captum", "GradientShap", 1e-5, SAMPLED),
    Reference("occlusion", "captum", "Occlusion", 1e-5, {"window": g.WINDOW / g.SIDE, "stride": g.STRIDE / g.SIDE}),
    # Captum draws 8,000 of 510 coalitions, as often as their weights say.
    Reference("shap", "captum", "KernelShap", 0.1, {**FEW, "evaluations": 600}, _values),
    Reference("shap", "dianna", "shap", 1e-5, {**FEW, "evaluations": 600}, _values),
    Reference("lime", "dianna", "lime ridge", 1e-5, {**GRID, "evaluations": g.COPIES}, _values),
    Reference(
        "lime",
        "dianna",
        "lime lasso",
        1e-5,
        {**GRID, "evaluations": g.COPIES, "fit": "lasso", "features": g.FEATURES},
        _values,
    ),
    Reference("sobol", "xplique", "sobol", 1e-4, {**GRID, "designs": g.DESIGNS}, _values),
    Reference("hsic", "xplique", "hsic", 1e-4, {**GRID, "evaluations": 1 + g.COPIES}, _values),
    Reference("hsic", "xplique", "hsic, its own width", inf, {**GRID, "evaluations": 1 + g.COPIES}, _values, 0.01),
    Reference("kpca-cam", "grad-cam", "KPCA_CAM", 1e-4),
    Reference("fem", "grad-cam", "FEM", inf, {}, _map, 0.01),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return g.write(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def answers(given: Given) -> Callable[[str], dict[str, np.ndarray]]:
    """What a peer answers, by its name for each method; skipped with the reason where it is not installed."""
    known: dict[str, dict[str, np.ndarray]] = {}
    failed: dict[str, str] = {}

    def ask(peer: str) -> dict[str, np.ndarray]:
        found = environment(peer)
        if found.reason is not None:
            pytest.skip(f"{peer}: {found.reason}")
        if peer in failed:
            pytest.fail(failed[peer])
        if peer not in known:
            script, out = FOLDER / f"answers_{peer.replace('-', '_')}.py", given.path.with_name(f"{peer}.npz")
            variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
            variables |= {"PYTHONPATH": str(SHARED), "CUDA_VISIBLE_DEVICES": ""}
            command = [str(part) for part in (found.python, script, given.path, out)]
            command += [] if peer in ("captum", "grad-cam") else [str(given.model)]
            done = subprocess.run(
                command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=900
            )
            if done.returncode != 0:
                failed[peer] = f"{peer}: {done.stderr}"
                pytest.fail(failed[peer])
            with np.load(out) as arrays:
                known[peer] = dict(arrays)
        return known[peer]

    return ask


@pytest.mark.parametrize("row", REFERENCES, ids=lambda row: f"{row.method} {row.called}")
def test_a_method_is_the_peers(given: Given, answers, row: Reference) -> None:
    theirs = np.squeeze(answers(row.peer)[row.called])
    ours = row.read(build(row.method, given.engine, **row.options)(g.PHOTO, g.TARGET))
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    correlation = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
    print(f"{row.method:22} {row.peer:9} {row.called:24} {difference:.1e}, correlation {correlation:.4f}")
    assert row.least <= difference <= row.most
