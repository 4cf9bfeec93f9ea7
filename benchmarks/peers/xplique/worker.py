"""Xplique: RISE in batches of 32, its default, on a callable that runs the shared session."""

from __future__ import annotations

import numpy as np
from protocol import Method, serve


class RISE(Method):
    def prepare(self) -> None:
        import tensorflow as tf
        from onnx_session import open_session
        from xplique.attributions import Rise

        tf.config.threading.set_intra_op_parallelism_threads(self.case["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(1)
        # Its mask functions are compiled once, with the seed set at that time. So the case's seed fixes the sequence
        # of runs, not each run.
        tf.random.set_seed(self.case["seed"])
        self.Rise = Rise
        session = open_session(self.case["model"]["scores"], self.case["threads"], self.case["provider"])
        name = session.get_inputs()[0].name
        self.score = lambda batch_nhwc: session.run(
            None, {name: np.ascontiguousarray(batch_nhwc.transpose(0, 3, 1, 2))}
        )[0]
        self.image_nhwc = np.load(self.case["input"])[:1].transpose(0, 2, 3, 1)
        self.target = np.eye(self.case["model"]["classes"], dtype=np.float32)[[self.case["target"]]]

    def run(self) -> None:
        rise = self.Rise(self.score, nb_samples=self.case["masks"], grid_size=8, preservation_probability=0.5)
        self.map = rise(self.image_nhwc, self.target).numpy()[0, ..., 0]
        self.evaluations = self.case["masks"]

    def answer(self) -> np.ndarray:
        return self.map


serve("xplique", packages=("xplique", "tensorflow_cpu", "onnxruntime"), methods={"rise": RISE})
