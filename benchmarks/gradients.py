"""What a gradient costs beside the forward pass, here and in PyTorch, at the last and at a middle layer.

Run it with `make bench-gradients` (timm's networks, randomly initialised). Ours: the explainable graph with the gate
open over the plain graph, on ONNX Runtime. Torch's: forward plus `torch.autograd.grad` at the same layer over forward
without gradients. Same image, same threads; every figure is the median of paired ratios with its 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.overhead import session
from benchmarks.pairs import compare
from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.exporters import export

# name in timm, last layer, middle layer
NETWORKS = (
    ("resnet50", "layer4", "layer2"),
    ("mobilenetv2_100", "bn2", "blocks.3"),
    ("efficientnet_b0", "bn2", "blocks.3"),
    ("convnext_tiny", "stages.3", "stages.1"),
    ("vit_small_patch16_224", "blocks.11.norm1", "blocks.5"),
)
SIZE_HW = (224, 224)
TARGET = 1


def load_timm():
    """timm without a build of torchvision: its two operators need only be declared."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    return timm


def torch_actions(network: torch.nn.Module, layer: str, image: torch.Tensor):
    """Forward and gradient, and forward alone."""
    module = dict(network.named_modules())[layer]

    def forward() -> object:
        with torch.no_grad():
            return network(image)

    def with_gradient() -> object:
        kept = []
        handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            logits = network(image)
        finally:
            handle.remove()
        return torch.autograd.grad(logits[0, TARGET], kept[0])

    return with_gradient, forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    timm = load_timm()
    print(
        f"{platform.machine()}, {arguments.threads} threads, onnxruntime {ort.__version__}, torch {torch.__version__}, "
        f"timm {timm.__version__}, {arguments.pairs} pairs, batch 1, gradient over forward alone [95 % interval]"
    )
    image = np.random.default_rng(0).standard_normal((1, 3, *SIZE_HW)).astype(np.float32)
    for name, *layers in NETWORKS:
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
        for layer in layers:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "explainable.onnx"
                report = export(network, path, input_size_hw=SIZE_HW, layers=[layer])
                explainable = session(path, arguments.threads)
                (spec,) = report.spec.layers
                feed = {report.spec.input.name: image, TARGET_INPUT: np.array([TARGET])}
                closed = {**feed, EXPLAIN_INPUT: np.array([False])}
                opened = {**feed, EXPLAIN_INPUT: np.array([True])}
                ours = compare(
                    lambda run=explainable.run, f=opened, names=["logits", spec.features, spec.gradients]: run(
                        names, f
                    ),
                    lambda run=explainable.run, f=closed: run(["logits"], f),
                    arguments.pairs,
                )
                theirs = compare(*torch_actions(network, layer, torch.from_numpy(image)), arguments.pairs)
                print(f"{name:24} {layer:16} ours  {ours}\n{'':41} torch {theirs}", flush=True)


if __name__ == "__main__":
    main()
