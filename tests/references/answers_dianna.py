"""What the packages lime and shap answer: python answers_dianna.py GIVEN.npz OUT.npz MODEL.onnx

Both are in the environment of the benchmarks' peer dianna.
"""

from __future__ import annotations

import sys

import numpy as np
import shap
from lime.lime_image import LimeImageExplainer
from scores import open_scores
from sklearn.linear_model import LinearRegression


class GivenBits(np.random.RandomState):
    """Draws the bits that are given."""

    def __init__(self, bits: np.ndarray) -> None:
        super().__init__(0)
        self.bits = bits

    def randint(self, *_arguments: object, **_options: object) -> np.ndarray:
        """The bits, in one row as lime asks for them."""
        return self.bits.astype(int).ravel()


def main(source: str, destination: str, model: str) -> None:
    """Write a number per player."""
    with np.load(source) as arrays:
        given = dict(arrays)
    scores, target = open_scores(model), int(given["target"])
    image_hwc, cells, bits = given["image"][0].transpose(1, 2, 0), given["cells"], given["lime bits"]
    found = {}
    for name, selection, count, regressor in (
        ("lime ridge", "auto", 10**5, None),
        ("lime lasso", "lasso_path", int(given["features"]), LinearRegression()),
    ):
        explainer = LimeImageExplainer(feature_selection=selection, random_state=GivenBits(bits))
        explained = explainer.explain_instance(
            image_hwc,
            scores,
            labels=(target,),
            hide_color=0,
            top_labels=None,
            num_features=count,
            num_samples=len(bits),
            segmentation_fn=lambda _image: cells,
            model_regressor=regressor,
            random_seed=0,
        )
        found[name] = np.zeros(bits.shape[1])
        for player, value in explained.local_exp[target]:
            found[name][player] = value

    few, players = given["few cells"], given["few cells"].max() + 1

    def score_of(shown: np.ndarray) -> np.ndarray:
        return scores(image_hwc * shown[:, few][..., None])[:, target]

    explainer = shap.KernelExplainer(score_of, np.zeros((1, players)))
    found["shap"] = explainer.shap_values(np.ones((1, players)), nsamples=2**players, l1_reg=False, silent=True)[0]
    np.savez(destination, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
