"""onnxplain's RISE on ONNX Runtime's OpenVINO provider, the engine of openvino-xai: float32 or bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from own_engine import NormalisedEngine
from protocol import Method, RefusalError, serve

from onnxplain.contract import Preprocessing
from onnxplain.explainers import RISE
from onnxplain.runtime.sessions.precision import Precision

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


class OpenVinoRISE(Method):
    """RISE on the plain file: OpenVINO does not load files with gradients."""

    precision: Precision = "float32"

    def prepare(self) -> None:
        model = self.case["model"]
        self.engine = NormalisedEngine(
            model["onnx"],
            providers=["openvino"],
            threads=self.case["threads"],
            precision=self.precision,
            preprocessing=Preprocessing(model["channels"], model["scale"], tuple(model["mean"]), tuple(model["std"])),
        )
        self.engine.pixels = np.load(self.case["input"])[:1]
        self.image = np.zeros((*model["input_hw"], 3), np.uint8)

    def run(self) -> None:
        explainer = RISE(self.engine, masks=self.case["masks"], seed=self.case["seed"])
        self.explanation = explainer(self.image, self.case["target"])
        self.evaluations = self.explanation.evaluations

    def answer(self) -> np.ndarray:
        return self.explanation.raw


class BFloat16RISE(OpenVinoRISE):
    precision = "bfloat16"

    def prepare(self) -> None:
        # Without bfloat16, OpenVINO would silently compute in float32.
        flags = Path("/proc/cpuinfo")
        if flags.exists() and not BFLOAT16_FLAGS & set(flags.read_text().split()):
            raise RefusalError("this processor has no bfloat16, see onnxplain-openvino")
        super().prepare()


serve(
    "onnxplain-openvino",
    packages=("onnxruntime-openvino", "numpy", "opencv-python-headless"),
    methods={"rise": OpenVinoRISE, "rise@bf16": BFloat16RISE},
)
