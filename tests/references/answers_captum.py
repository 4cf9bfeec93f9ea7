"""What captum answers: python answers_captum.py GIVEN.npz OUT.npz

It draws noise and points with torch and numpy, which are made to return the ones given.
"""

from __future__ import annotations

import sys
from unittest import mock

import numpy as np
import torch
from captum.attr import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from network import load


def main(source: str, destination: str) -> None:
    """Write a map, or a number per player, under the name of captum's class."""
    with np.load(source) as arrays:
        given = dict(arrays)
    network, target = load(given), int(given["target"])
    image = torch.from_numpy(given["image"]).double().requires_grad_()
    nothing, found = torch.zeros_like(image), {}

    def scores(batch: torch.Tensor) -> torch.Tensor:
        return torch.softmax(network(batch), dim=1)

    gradient = Saliency(network).attribute(image, target, abs=False)
    found["Saliency"] = Saliency(network).attribute(image, target).amax(1)
    found["InputXGradient"] = InputXGradient(network).attribute(image, target).sum(1)
    assert not torch.equal(gradient, nothing)
    found["IntegratedGradients"] = IntegratedGradients(network).attribute(image, nothing, target, n_steps=50).sum(1)

    noise = torch.from_numpy(given["noise"]).double()
    tunnel = NoiseTunnel(Saliency(network))
    with mock.patch.object(torch, "normal", lambda _mean, deviation: noise * deviation):
        for name, kind in (("NoiseTunnel smoothgrad", "smoothgrad"), ("NoiseTunnel vargrad", "vargrad")):
            options = {"nt_samples": len(noise), "stdevs": float(given["deviation"]), "target": target, "abs": False}
            found[name] = tunnel.attribute(image, nt_type=kind, **options).abs().amax(1)

    with mock.patch.object(np.random, "uniform", lambda *_: given["shares"]):
        points = GradientShap(network).attribute(image, nothing, len(given["shares"]), stdevs=0.0, target=target)
    found["GradientShap"] = points.sum(1)

    window, stride = int(given["window"]), int(given["stride"])
    sizes = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
    found["Occlusion"] = Occlusion(scores).attribute(image, target=target, baselines=0, **sizes)[:, 0]

    torch.manual_seed(0)
    cells = torch.from_numpy(given["few cells"])[None, None]
    values = KernelShap(scores).attribute(
        image, nothing, target, feature_mask=cells, n_samples=8000, perturbations_per_eval=500
    )
    found["KernelShap"] = torch.stack([values[0, 0][cells[0, 0] == cell][0] for cell in cells.unique()])
    np.savez(destination, **{name: array.detach().numpy() for name, array in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
