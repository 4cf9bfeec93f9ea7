from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import scipy.optimize
import torch

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.augmented.aggregation import aggregate
from onnxplain.explainers.augmented.downsampling import build_downsampling, choose_points
from onnxplain.explainers.augmented.published_optimiser import descend
from onnxplain.explainers.augmented.random_copies import RandomCopies
from onnxplain.explainers.augmented.super_resolution import (
    SuperResolution,
    add_adjoint_differences,
    differences,
    solve,
)
from onnxplain.explainers.regions import CAM_THRESHOLD

TINY_HW = (4, 5)


def tiny_problem(seed: int, total_variation: float = 0.05, ridge: float = 0.02) -> SuperResolution:
    """Twelve copies of a 2 × 2 grid over 20 pixels, dense enough to solve by other means."""
    rng = np.random.default_rng(seed)
    transforms = RandomCopies(12, seed=seed).draw(TINY_HW)
    operator = build_downsampling(transforms, TINY_HW, (2, 2))
    rows = operator.seen.ravel()
    maps = np.maximum(rng.normal(0.4, 0.5, rows.sum()), 0).astype(np.float32)
    return SuperResolution(operator.matrix[rows], maps, TINY_HW, total_variation, ridge)


def dense_differences() -> np.ndarray:
    """∇ as a matrix, (31, 20)."""
    basis = np.eye(20).reshape(20, *TINY_HW)
    return np.stack([np.concatenate([np.diff(b, axis=1).ravel(), np.diff(b, axis=0).ravel()]) for b in basis], axis=1)


def dense_objective(problem: SuperResolution, h: np.ndarray) -> float:
    """The formula as one reads it."""
    fit = ((problem.matrix.toarray().astype(float) @ h - problem.maps) ** 2).sum()
    variation = np.abs(dense_differences() @ h).sum()
    return fit + problem.total_variation * variation + problem.ridge * (h**2).sum()


def minimise_with_slacks(problem: SuperResolution) -> np.ndarray:
    """The minimum by sequential quadratic programming: ‖∇h‖₁ = min Σ s subject to −s ≤ ∇h ≤ s."""
    matrix, gradient = problem.matrix.toarray().astype(float), dense_differences()
    edges, pixels = gradient.shape

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        h, slack = z[:pixels], z[pixels:]
        residual = matrix @ h - problem.maps
        value = residual @ residual + problem.total_variation * slack.sum() + problem.ridge * h @ h
        slope = 2 * matrix.T @ residual + 2 * problem.ridge * h
        return value, np.concatenate([slope, np.full(edges, problem.total_variation)])

    bounds_matrix = np.block([[-gradient, np.eye(edges)], [gradient, np.eye(edges)]])
    solution = scipy.optimize.minimize(
        objective,
        np.full(pixels + edges, 0.5),
        jac=True,
        method="SLSQP",
        bounds=[(0, None)] * (pixels + edges),
        constraints={"type": "ineq", "fun": lambda z: bounds_matrix @ z, "jac": lambda z: bounds_matrix},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert solution.success
    return solution.x[:pixels]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("total_variation", "ridge"), [(0.05, 0.02), (0.0, 0.1), (0.5, 0.02), (3, 0.1)])
def test_the_solver_finds_the_minimum_that_another_method_finds(
    seed: int, total_variation: float, ridge: float
) -> None:
    problem = tiny_problem(seed, total_variation, ridge)
    expected = minimise_with_slacks(problem)
    solution = solve(problem, gap=1e-5, max_iterations=20_000)
    minimum = dense_objective(problem, expected)
    assert solution.gap <= 1e-5
    assert solution.objective == pytest.approx(minimum, rel=3e-5)
    assert solution.bound <= minimum * (1 + 1e-6)
    np.testing.assert_allclose(solution.heatmap.ravel(), expected, atol=0.02 * max(expected.max(), 0.1))


def test_objective_and_bound_are_their_formulas() -> None:
    problem = tiny_problem(0)
    rng = np.random.default_rng(5)
    h, y = rng.random(20), rng.normal(size=len(problem.maps))
    flow = rng.uniform(-problem.total_variation, problem.total_variation, 31)
    assert problem.objective(h.reshape(TINY_HW).astype(np.float32)) == pytest.approx(dense_objective(problem, h))
    v = problem.matrix.toarray().T @ y + dense_differences().T @ flow
    expected = -(y @ y) / 4 - y @ problem.maps - (np.minimum(v, 0) ** 2).sum() / (4 * problem.ridge)
    found = problem.bound(y.astype(np.float32), v.reshape(TINY_HW).astype(np.float32))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_no_dual_point_bounds_more_than_any_heatmap_costs(seed: int) -> None:
    problem = tiny_problem(seed)
    rng = np.random.default_rng(seed)
    best = solve(problem, gap=1e-4).heatmap
    for spread in (0.01, 0.1, 1.0):
        h = np.maximum(best + spread * rng.normal(size=TINY_HW), 0).astype(np.float32)
        y = (2 * problem.residual(h) + spread * rng.normal(size=len(problem.maps))).astype(np.float32)
        back = (problem.matrix.T @ y).reshape(TINY_HW)
        flow = rng.uniform(-problem.total_variation, problem.total_variation, 31).astype(np.float32)
        add_adjoint_differences((flow[:16].reshape(4, 4), flow[16:].reshape(3, 5)), back)
        assert problem.bound(y, back) <= problem.objective(h)


def test_adjoint_differences_are_adjoint() -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(7, 9)).astype(np.float32)
    flow = tuple(rng.normal(size=part.shape).astype(np.float32) for part in differences(h))
    adjoint = np.zeros_like(h)
    add_adjoint_differences(flow, adjoint)
    forward = sum(float((a * b).sum()) for a, b in zip(differences(h), flow, strict=True))
    assert forward == pytest.approx(float((adjoint * h).sum()), rel=1e-5)


def test_too_few_iterations_leave_an_honest_gap() -> None:
    problem = tiny_problem(1)
    short, long = solve(problem, gap=1e-6, max_iterations=7), solve(problem, gap=1e-5, max_iterations=20_000)
    assert short.iterations == 7
    assert short.gap > 1e-5
    assert short.bound <= long.objective <= short.objective


def test_the_published_optimiser_is_adam_on_the_same_objective() -> None:
    problem = tiny_problem(2)
    h = torch.zeros(TINY_HW, requires_grad=True)
    optimiser = torch.optim.Adam([h], lr=0.001)
    matrix, maps = torch.from_numpy(problem.matrix.toarray()), torch.from_numpy(problem.maps)
    for _ in range(200):
        optimiser.zero_grad()
        variation = (h[:, 1:] - h[:, :-1]).abs().sum() + (h[1:] - h[:-1]).abs().sum()
        loss = ((matrix @ h.ravel() - maps) ** 2).sum() + problem.total_variation * variation
        (loss + problem.ridge * (h**2).sum()).backward()
        optimiser.step()
    np.testing.assert_allclose(descend(problem), h.detach().clamp(min=0).numpy(), atol=2e-3)
    assert descend(problem).max() <= 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_variation": -1e-9}, "^total_variation: found -1e-09, expected a weight of at least 0"),
        ({"total_variation": np.nan}, "^total_variation: found nan"),
        ({"ridge": 0}, "^ridge: found 0, expected a weight above 0"),
        ({"ridge": -1}, "^ridge: found -1"),
        ({"size_hw": (5, 5)}, r"^super-resolution: found a matrix of \(\d+, 20\) .* expected \(\d+, 25\)"),
        ({"maps": np.zeros((2, 3), np.float32)}, "^super-resolution: found a matrix"),
    ],
)
def test_bad_problems_are_refused(changes: dict, message: str) -> None:
    problem = tiny_problem(0)
    given = {name: getattr(problem, name) for name in ("matrix", "maps", "size_hw", "total_variation", "ridge")}
    with pytest.raises(OnnxplainError, match=message):
        SuperResolution(**(given | changes))


# Known maps, seen through copies of 6 × 6 cells of 16 × 16 pixels.
SIZE_HW, GRID_HW, COPIES, NOISE = (96, 96), (6, 6), 40, 0.03


def two_blobs(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.exp(-((x - 0.3) ** 2 + (y - 0.35) ** 2) / 0.015) + 0.8 * np.exp(
        -((x - 0.7) ** 2 + (y - 0.65) ** 2) / 0.01
    )


def bar(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ((abs(x - 0.5) < 0.06) & (abs(y - 0.5) < 0.3)).astype(float)


def ring(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (abs(np.hypot(x - 0.5, y - 0.5) - 0.27) < 0.06).astype(float)


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    return -10 * np.log10(((estimate - truth) ** 2).mean())


def region_iou(estimate: np.ndarray, truth: np.ndarray) -> float:
    one, other = estimate >= CAM_THRESHOLD * estimate.max(), truth >= CAM_THRESHOLD * truth.max()
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("draw", [two_blobs, bar, ring])
def test_a_known_map_is_found_better_than_by_one_copy_the_mean_or_the_maximum(draw: Callable, seed: int) -> None:
    height, width = SIZE_HW
    truth = draw(*(np.mgrid[:height, :width] + 0.5) / [[[height]], [[width]]]).astype(np.float32)
    truth /= truth.max()
    transforms = RandomCopies(COPIES, seed=seed).draw(SIZE_HW)
    # Seen with more sample points than the solver assumes.
    camera = build_downsampling(transforms, SIZE_HW, GRID_HW, points=8)
    noise = NOISE * np.random.default_rng(seed).normal(size=camera.seen.shape)
    maps = np.maximum((camera.matrix @ truth.ravel()).reshape(camera.seen.shape) + noise, 0).astype(np.float32)
    maps[~camera.seen] = 0
    operator = build_downsampling(transforms, SIZE_HW, GRID_HW)
    problem = SuperResolution(
        operator.matrix[operator.seen.ravel()], maps[operator.seen], SIZE_HW, 0.0008 * COPIES, 0.0001 * COPIES
    )
    solution = solve(problem)
    assert solution.gap <= 0.01
    published = descend(problem)
    assert solution.objective < 0.5 * problem.objective(published)
    others = {
        "single": cv2.resize(maps[0], (width, height), interpolation=cv2.INTER_LINEAR),
        "mean": aggregate(maps, transforms, SIZE_HW, "mean"),
        "max": aggregate(maps, transforms, SIZE_HW, "max"),
        "published": published,
    }
    for name, other in others.items():
        assert psnr(solution.heatmap, truth) > psnr(other, truth) + 2, name
        assert region_iou(solution.heatmap, truth) > region_iou(other, truth) + 0.1, name


def test_points_that_are_close_enough_leave_no_spikes() -> None:
    """Cells of 32 pixels, weights as the published ones are brought to such a grid."""
    size_hw, grid_hw, copies = (128, 128), (4, 4), 30
    truth = two_blobs(*(np.mgrid[:128, :128] + 0.5) / 128).astype(np.float32)
    transforms = RandomCopies(copies).draw(size_hw)
    camera = build_downsampling(transforms, size_hw, grid_hw, points=16)
    # Maps of real copies agree no better: each is divided by a maximum of its own.
    noise = 0.2 * np.random.default_rng(0).normal(size=camera.matrix.shape[0])
    maps = np.maximum(camera.matrix @ truth.ravel() + noise, 0).astype(np.float32)

    def solve_with(points: int) -> np.ndarray:
        operator = build_downsampling(transforms, size_hw, grid_hw, points)
        rows = operator.seen.ravel()
        weights = (0.0003 * copies, 0.00003 * copies)
        return solve(SuperResolution(operator.matrix[rows], maps[rows], size_hw, *weights)).heatmap

    def peak_above_its_neighbours(heatmap: np.ndarray) -> float:
        return heatmap.max() / cv2.medianBlur(heatmap, 5).max()

    assert peak_above_its_neighbours(solve_with(choose_points(size_hw, grid_hw))) < 1.1
    assert peak_above_its_neighbours(solve_with(4)) > 1.5
