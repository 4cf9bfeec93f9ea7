"""What an engine answers on one provider, for a Python that has onnxplain's core alone.

python answers.py PROVIDER OUT.npz MODEL.onnx …: arrays named MODEL:OUTPUT, a refusal as MODEL:error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.runtime import Engine

COUNT = 2


def answers(path: Path, provider: str) -> dict[str, np.ndarray]:
    """Logits, and of every layer features and gradients, closed and open; the weights, scores of the tail."""
    try:
        engine = Engine(path, [provider])
        rng = np.random.default_rng(0)
        count = engine.fixed_batch or COUNT
        images = [rng.integers(0, 256, (*engine.spec.input.size_hw, 3), np.uint8) for _ in range(count)]
        pixels = engine.preprocess(images)
        found = {"logits": engine.run(pixels, [engine.class_output])[0]}
        targets = np.arange(count) % engine.spec.classes
        for index, layer in enumerate(engine.spec.layers):
            names = [layer.features, layer.gradients]
            found[f"features {index}"], found[f"gradients {index}"] = engine.run(pixels, names, targets, layer.name)
            found[f"closed {index}"] = engine.run(pixels, [layer.gradients], targets)[0]
        if engine.spec.outputs.cam_weights is not None:
            found["cam_weights"] = engine.cam_weights()
        if engine.spec.tail is not None:
            found["tail"] = engine.tail.logits(found[f"features {len(engine.spec.layers) - 1}"])
    except OnnxplainError as error:
        return {"error": np.array(str(error))}
    return found


def main(provider: str, destination: str, *paths: str) -> None:
    """Write the answers of all models."""
    found = {
        f"{Path(path).stem}:{name}": array for path in paths for name, array in answers(Path(path), provider).items()
    }
    np.savez(destination, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
