"""DIANNA: RISE in batches of 100, its default, on the shared session (by itself it opens one per batch)."""

from __future__ import annotations

import numpy as np
from protocol import Method, serve


class RISE(Method):
    def prepare(self) -> None:
        import dianna
        from onnx_session import open_session

        self.explain_image = dianna.explain_image
        session = open_session(self.case["model"]["scores"], self.case["threads"], self.case["provider"])
        name = session.get_inputs()[0].name
        self.score = lambda batch: session.run(None, {name: batch})[0]
        self.image_chw = np.load(self.case["input"])[0]

    def run(self) -> None:
        np.random.seed(self.case["seed"])
        (self.map,) = self.explain_image(
            self.score,
            self.image_chw,
            "RISE",
            labels=[self.case["target"]],
            axis_labels={0: "channels"},
            n_masks=self.case["masks"],
            feature_res=8,
            p_keep=0.5,
        )
        self.evaluations = self.case["masks"]

    def answer(self) -> np.ndarray:
        return np.asarray(self.map)


serve("dianna", packages=("dianna", "onnxruntime", "numpy"), methods={"rise": RISE})
