"""RISE for a model behind an HTTP endpoint: python -m onnxplain.examples.rise_http URL IMAGE HEIGHTxWIDTH [-o OUT.png]

The endpoint receives a .npy file, float32 (N, 3, H, W), RGB, 0–255. It answers with a .npy file, class scores (N, C).
For Triton, URL is http://HOST:8000/v2/models/NAME/infer, the body is JSON, {"inputs": [{"name": "INPUT", "shape":
batch.shape, "datatype": "FP32", "data": batch.ravel().tolist()}]}, and the scores of the answer are
outputs[0]["data"], reshaped to outputs[0]["shape"].
"""

import argparse
import functools
import io
import sys
from urllib.request import urlopen

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain import OnnxplainError, load_image
from onnxplain.explainers import RISE


def scores(url: str, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The endpoint's answer for a batch."""
    body = io.BytesIO()
    np.save(body, batch)
    with urlopen(url, body.getvalue(), timeout=60) as answer:
        found: npt.NDArray[np.float32] = np.load(io.BytesIO(answer.read()))
        return found


def explain_endpoint() -> None:
    """Explain the image that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("image")
    parser.add_argument("size", metavar="HEIGHTxWIDTH", help="the endpoint's input size")
    parser.add_argument("--masks", type=int, default=800, help="number of masked copies to score (default 800)")
    parser.add_argument("-o", "--output", default="rise.png", help="file for the overlay (default rise.png)")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    image = load_image(options.image)
    explanation = RISE(functools.partial(scores, options.url), (height, width), masks=options.masks)(image)
    cv2.imwrite(options.output, explanation.overlay(image)[..., ::-1])
    print(f"class {explanation.label}, score {explanation.score:.2f}, {explanation.evaluations} evaluations")


if __name__ == "__main__":
    try:
        explain_endpoint()
    except OnnxplainError as problem:
        sys.exit(str(problem))
