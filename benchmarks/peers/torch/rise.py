"""RISE directly from its formula: S = 1/(N p) Σ f(x ⊙ m_i) m_i (Petsiuk et al. 2018, equation 6), all masks kept."""

from __future__ import annotations

import numpy as np
import torch
from protocol import Method

GRID, KEEP, BATCH = 8, 0.5, 32


class RISE(Method):
    """PyTorch runs the network if there are weights, else the shared ONNX Runtime session does."""

    def prepare(self) -> None:
        torch.set_num_threads(self.case["threads"])
        model = self.case["model"]
        if model["weights"] is None:
            from onnx_session import open_session

            session = open_session(model["scores"], self.case["threads"], self.case["provider"])
            name = model["input_name"]
            self.score = lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])
        else:
            from torch_model import load_model

            network = load_model(model)
            self.score = lambda batch: network(batch).softmax(dim=1)
        self.image = torch.from_numpy(np.load(self.case["input"])[:1])

    def run(self) -> None:
        with torch.inference_mode():
            masks = draw_masks(self.case["masks"], tuple(self.image.shape[2:]), self.case["seed"])
            scores = torch.cat([self.score(self.image * part)[:, self.case["target"]] for part in masks.split(BATCH)])
            self.map = (scores @ masks.flatten(1)).unflatten(0, masks.shape[2:]) / (len(masks) * KEEP)
        self.evaluations = len(masks)

    def answer(self) -> np.ndarray:
        return self.map.numpy()


def draw_masks(count: int, size_hw: tuple[int, int], seed: int) -> torch.Tensor:
    """float32 (N, 1, H, W): random 0 or 1 on a grid, enlarged to one cell more than the image, randomly shifted."""
    generator = torch.Generator().manual_seed(seed)
    cells = (torch.rand(count, 1, GRID, GRID, generator=generator) < KEEP).float()
    height, width = size_hw
    cell_height, cell_width = -(-height // GRID), -(-width // GRID)
    enlarged_hw = ((GRID + 1) * cell_height, (GRID + 1) * cell_width)
    tops = torch.randint(cell_height, (count,), generator=generator).tolist()
    lefts = torch.randint(cell_width, (count,), generator=generator).tolist()
    masks = torch.empty(count, 1, height, width)
    for mask, grid, top, left in zip(masks, cells, tops, lefts, strict=True):
        enlarged = torch.nn.functional.interpolate(grid[None], enlarged_hw, mode="bilinear", align_corners=False)[0]
        mask.copy_(enlarged[:, top : top + height, left : left + width])
    return masks
