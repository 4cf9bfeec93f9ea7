"""What pytorch-grad-cam answers without gradients: python answers_grad_cam.py GIVEN.npz OUT.npz"""

from __future__ import annotations

import sys
from importlib import import_module

import numpy as np
import torch
from network import load

# torchvision beside a torch that it was not built for: see benchmarks/peers/shared.
import_module("torch_model")
methods = import_module("pytorch_grad_cam")


def main(source: str, destination: str) -> None:
    """Write a map on the layer's cells."""
    with np.load(source) as arrays:
        given = dict(arrays)
    network = load(given)
    with torch.no_grad():
        features = network.features(torch.from_numpy(given["image"]).double()).numpy()
    found = {}
    for method in (methods.KPCA_CAM, methods.FEM):
        explainer = method(network, [network.features[-1]])
        found[method.__name__] = explainer.get_cam_image(None, None, None, features, None, False)[0]
    # The sign of a principal component is arbitrary: that of the sum of the maps is taken, as in onnxplain.
    if (found["KPCA_CAM"] * features[0].sum(axis=0)).sum() < 0:
        found["KPCA_CAM"] = -found["KPCA_CAM"]
    np.savez(destination, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
