"""OpenVINO Explainable AI: RISE, one mask at a time, in float32 or in bfloat16."""

from __future__ import annotations

import numpy as np
from protocol import Method, RefusalError, serve


class RISE(Method):
    precision = "f32"

    def prepare(self) -> None:
        import openvino as ov
        from openvino_xai.methods.black_box.rise import RISE

        model = ov.Core().read_model(self.case["model"]["scores"])
        self.image_nchw = np.load(self.case["input"])[:1]
        model.reshape(self.image_nchw.shape)
        self.rise = RISE(model, postprocess_fn=lambda outputs: outputs[0], prepare_model=False)
        # The same as its prepare_model, which takes no options.
        self.rise._model_compiled = ov.Core().compile_model(
            model,
            "CPU",
            {"INFERENCE_NUM_THREADS": self.case["threads"], "INFERENCE_PRECISION_HINT": self.precision},
        )

    def run(self) -> None:
        target, masks = self.case["target"], self.case["masks"]
        maps = self.rise.generate_saliency_map(
            self.image_nchw,
            [target],
            num_masks=masks,
            num_cells=8,
            prob=0.5,
            seed=self.case["seed"],
            scale_output=False,
        )
        self.map = maps[target]
        self.evaluations = masks + 1

    def answer(self) -> np.ndarray:
        return self.map


class BFloat16RISE(RISE):
    """bfloat16: OpenVINO's default on processors that support it."""

    precision = "bf16"

    def prepare(self) -> None:
        import openvino as ov

        if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RefusalError("this processor has no bfloat16: OpenVINO computes in float32, see openvino-xai")
        super().prepare()


serve(
    "openvino-xai",
    packages=("openvino-xai", "openvino", "numpy"),
    methods={"rise": RISE, "rise@bf16": BFloat16RISE},
)
