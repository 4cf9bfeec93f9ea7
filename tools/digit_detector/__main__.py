"""Train the detector of the demo and write its file.

python -m tools.digit_detector OUT.onnx [--seed SEED]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.digit_detector.recipe import Recipe, train, write_file


def _show(step: int, loss: float, seconds: float) -> None:
    print(f"batch {step}: loss {loss:.4f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # Another number adds in another order and gives other weights.
    write_file(train(Recipe(seed=asked.seed), _show), asked.output)
    print(asked.output)
