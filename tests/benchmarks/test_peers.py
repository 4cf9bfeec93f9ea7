"""What is written again in PyTorch to be measured against: it must be what it says, or the comparison means nothing."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import benchmarks.peers.shared.protocol
from benchmarks.environments import PEERS
from onnxplain.explainers.augmented.downsampling import build_downsampling
from onnxplain.explainers.augmented.published_optimiser import descend
from onnxplain.explainers.augmented.super_resolution import SuperResolution


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of a peer's folder, which knows `protocol` under that name alone."""
    monkeypatch.setitem(sys.modules, "protocol", benchmarks.peers.shared.protocol)

    def load_module(path: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(f"peer_{path.replace('/', '_')}", PEERS / f"{path}.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load_module


def test_masks_are_shifted_enlarged_coin_flips(load) -> None:
    rise = load("torch/rise")
    masks = rise.draw_masks(200, (40, 64), seed=3)
    assert masks.shape == (200, 1, 40, 64)
    # The same draws, enlarged by OpenCV.
    generator = torch.Generator().manual_seed(3)
    cells = (torch.rand(200, 1, 8, 8, generator=generator) < 0.5).float().numpy()
    tops, lefts = (torch.randint(cell, (200,), generator=generator) for cell in (5, 8))
    for number in range(0, 200, 17):
        enlarged = cv2.resize(cells[number, 0], (9 * 8, 9 * 5), interpolation=cv2.INTER_LINEAR)
        top, left = int(tops[number]), int(lefts[number])
        np.testing.assert_allclose(masks[number, 0], enlarged[top : top + 40, left : left + 64], atol=1e-6)
    assert abs(float(masks.mean()) - 0.5) < 0.02
    assert torch.equal(masks, rise.draw_masks(200, (40, 64), seed=3))
    assert not torch.equal(masks, rise.draw_masks(200, (40, 64), seed=4))


def test_rise_is_the_score_weighted_mean_of_the_masks(load) -> None:
    rise = load("torch/rise")
    method = rise.RISE({"masks": 50, "seed": 1, "target": 2})
    method.image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 24, 32)).astype(np.float32))
    method.score = lambda batch: torch.stack([batch.mean(dim=(1, 2, 3)) * factor for factor in (0, 1, 5)], dim=1)
    method.run()
    masks = rise.draw_masks(50, (24, 32), 1).numpy()
    scores = 5 * (masks * method.image.numpy()).mean(axis=(1, 2, 3))
    expected = sum(score * mask[0] for score, mask in zip(scores, masks, strict=True)) / (50 * 0.5)
    np.testing.assert_allclose(method.answer(), expected, atol=1e-5)
    assert method.evaluations == 50


def test_the_published_solver_reaches_what_our_own_copy_of_it_reaches(load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is numpy's Adam on a sparse matrix. They differ in which four pixels a cell's centre is read from."""
    augmented = load("torch/augmented")
    monkeypatch.setattr(augmented, "STEPS", 60)
    size_hw, grid_hw, copies = (40, 40), (4, 4), 6
    rng = np.random.default_rng(0)
    transforms = []
    for angle in rng.uniform(-0.2, 0.2, copies):
        # Zoomed in, so that no copy sees beyond the image, where the two differ on purpose.
        turn = 0.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = 20 - turn @ [20, 20] + rng.uniform(-2, 2, 2)
        transforms.append(np.column_stack([turn, shift]))
    operator = build_downsampling(np.array(transforms), size_hw, grid_hw, points=1)
    assert operator.seen.all()
    maps = rng.normal(0.3, 0.4, (copies, *grid_hw)).astype(np.float32)
    positive = np.maximum(maps, 0) / maps.max(axis=(1, 2), keepdims=True)
    problem = SuperResolution(operator.matrix, positive.ravel(), size_hw, 0.002 * copies, 0.0001 * copies)
    grid = augmented.sampling_grid(np.array(transforms), size_hw)
    found = augmented.descend(torch.from_numpy(maps), grid, size_hw).numpy()
    expected = descend(problem, steps=60)
    assert problem.objective(found) == pytest.approx(problem.objective(expected), rel=0.02)
    assert problem.objective(expected) < 0.9 * problem.objective(np.zeros(size_hw, np.float32))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85


def test_copies_without_positive_evidence_are_left_out(load) -> None:
    augmented = load("torch/augmented")
    grid = augmented.sampling_grid(np.array([[[1.0, 0, 0], [0, 1, 0]]] * 2), (16, 16))
    maps = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[1] = -1
    both = augmented.descend(maps, grid, (16, 16))
    assert torch.equal(both, augmented.descend(maps[:1], grid[:1], (16, 16)))


def test_a_warp_without_change_shows_the_image(load) -> None:
    augmented = load("torch/augmented")
    image = torch.rand(1, 3, 10, 14, generator=torch.Generator().manual_seed(0))
    identity = augmented.sampling_grid(np.array([[[1.0, 0, 0], [0, 1, 0]]]), (10, 14))
    torch.testing.assert_close(augmented.warp(image, identity), image, atol=1e-5, rtol=0)
    shifted = augmented.warp(image, augmented.sampling_grid(np.array([[[1.0, 0, 2], [0, 1, 0]]]), (10, 14)))
    torch.testing.assert_close(shifted[..., :-2], image[..., 2:], atol=1e-5, rtol=0)
    assert float(shifted[..., -2:].abs().max()) < 1e-4


def test_tokens_shown_as_a_grid_change_nothing_and_have_the_tokens_gradient(load) -> None:
    torch_model = load("shared/torch_model")
    torch.manual_seed(0)
    layer, head = torch.nn.Linear(5, 6), torch.nn.Linear(6, 1)
    tokens = torch.randn(2, 1 + 9, 5)
    shown = torch_model.TokenGrid(layer)
    kept: list[torch.Tensor] = []
    shown.grid.register_forward_hook(lambda _module, _inputs, output: kept.append(output))

    def score(values: torch.Tensor) -> torch.Tensor:
        return head(values).tanh().prod(dim=1).sum()

    plain, through = layer(tokens), shown(tokens)
    assert torch.equal(plain, through)
    (expected,) = torch.autograd.grad(score(plain), plain)
    (found,) = torch.autograd.grad(score(through), kept[0])
    assert found.shape == (2, 6, 3, 3)
    torch.testing.assert_close(found, torch_model.tokens_to_grid(expected))
    torch.testing.assert_close(found[1, 4, 2, 0], expected[1, 1 + 6, 4])


def test_throughput_explains_every_photo_in_order(load, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    torch_grad_cam = load("shared/torch_grad_cam")
    seen = SimpleNamespace(preprocess_photos=lambda photos, _model: np.stack(photos)[:, None, :, :, 0])
    monkeypatch.setitem(sys.modules, "torch_model", seen)
    monkeypatch.setattr(torch_grad_cam.TorchGradCAM, "prepare", lambda self: None)
    paths = []
    for number in range(5):
        paths.append(str(tmp_path / f"{number}.npy"))
        np.save(paths[-1], np.full((2, 3, 3), number, np.uint8))

    class Tool(torch_grad_cam.TorchGradCAM):
        def explain(self, batch: np.ndarray) -> np.ndarray:
            assert len(batch) <= 2
            return batch[:, 0]

    method = torch_grad_cam.over_photos(Tool)({"photos": paths, "options": {"batch_size": 2}, "model": {}})
    method.prepare()
    method.run()
    assert method.answer()[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
