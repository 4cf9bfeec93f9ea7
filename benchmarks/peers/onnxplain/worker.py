"""onnxplain itself, through its public calls, on the same normalised arrays as the other tools."""

from __future__ import annotations

import numpy as np
from box_levels import THRESHOLDS, read_heatmap
from onnx_session import PROVIDERS
from own_engine import NormalisedEngine
from protocol import Method, serve

from onnxplain import Engine
from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.explainers import RISE, AugmentedGradCAM, GradCAM


class OwnMethod(Method):
    """An engine on the explainable file, and one blank image per input of the case."""

    engine_class: type[Engine] = NormalisedEngine

    def prepare(self) -> None:
        model = self.case["model"]
        providers = [PROVIDERS[self.case["provider"]]]
        self.engine = self.engine_class(model["explainable"], providers=providers, threads=self.case["threads"])
        self.engine.pixels = np.load(self.case["input"])[: self.case["batch"]]
        self.images = [np.zeros((*self.engine.spec.input.size_hw, 3), np.uint8)] * self.case["batch"]
        self.build()

    def build(self) -> None:
        """Make the objects that are kept between calls."""


class OwnGradCAM(OwnMethod):
    def build(self) -> None:
        self.explainer = GradCAM(self.engine)

    def run(self) -> None:
        self.explanations = self.explainer(self.images, self.case["target"])
        self.evaluations = len(self.images)

    def answer(self) -> np.ndarray:
        return np.stack([explanation.raw for explanation in self.explanations])


class OwnAugmentedGradCAM(OwnMethod):
    def build(self) -> None:
        self.explainer = AugmentedGradCAM(self.engine, copies=self.case["options"]["copies"])

    def run(self) -> None:
        self.explanation = self.explainer(self.images[0], self.case["target"])
        self.evaluations = self.explanation.evaluations

    def answer(self) -> np.ndarray:
        return self.explanation.raw


class OwnSolver(OwnMethod):
    """Only the super-resolution, from given maps."""

    def build(self) -> None:
        self.maps_lhw = np.load(self.case["model"]["copies_maps"])[: self.case["options"]["copies"]]
        self.explainer = AugmentedGradCAM(self.engine, copies=len(self.maps_lhw))

    def run(self) -> None:
        self.heatmap, _ = self.explainer._combine(self.maps_lhw)

    def answer(self) -> np.ndarray:
        return self.heatmap


class OwnRISE(OwnMethod):
    def run(self) -> None:
        explainer = RISE(self.engine, masks=self.case["masks"], seed=self.case["seed"])
        self.explanation = explainer(self.images[0], self.case["target"])
        self.evaluations = self.explanation.evaluations

    def answer(self) -> np.ndarray:
        return self.explanation.raw


class Graph(OwnMethod):
    """The explainable file in a raw session, with the gate open or closed."""

    opened = False

    def build(self) -> None:
        engine = self.engine
        layer = engine.spec.layers[-1]
        batch = np.load(self.case["input"])[: self.case["batch"]]
        self.feed = {
            engine.spec.input.name: batch,
            TARGET_INPUT: np.full(len(batch), self.case["target"]),
            EXPLAIN_INPUT: np.full(len(engine.spec.layers), self.opened),
        }
        # A plain prediction fetches only the output of the original file.
        added = [layer.features, layer.gradients] if self.opened else []
        self.names = [self.case["model"]["output_name"], *added]

    def run(self) -> None:
        self.outputs = self.engine._session.run(self.names, self.feed)

    def answer(self) -> np.ndarray:
        return self.outputs[0].reshape(1, -1)


class OpenGraph(Graph):
    opened = True


class Gradient(OpenGraph):
    """Features and gradients of one layer: the cost by depth."""

    def answer(self) -> np.ndarray:
        _, features, gradients = self.outputs
        return np.einsum("nk,nkhw->nhw", gradients.mean(axis=(2, 3)), features)


class Throughput(OwnMethod):
    """Many photos, with resizing and normalising."""

    engine_class = Engine

    def build(self) -> None:
        self.photos = [np.load(path) for path in self.case["photos"]]
        self.explainer = GradCAM(self.engine)

    def run(self) -> None:
        size = self.case["options"]["batch_size"]
        self.explanations = []
        for start in range(0, len(self.photos), size):
            self.explanations += self.explainer(self.photos[start : start + size], self.case["target"])

    def answer(self) -> np.ndarray:
        return np.stack([explanation.raw for explanation in self.explanations])


class ManyImages(OwnMethod):
    """The case's number of explanations, one after the other: memory must not grow."""

    engine_class = Engine

    def build(self) -> None:
        self.photo = np.load(self.case["photos"][0])
        self.explainer = GradCAM(self.engine)

    def run(self) -> None:
        for _ in range(self.case["options"]["images"]):
            self.explanation = self.explainer(self.photo)

    def answer(self) -> np.ndarray:
        return self.explanation.raw


class Boxes(Method):
    """The boxes of an 8-bit heatmap at all its levels."""

    def prepare(self) -> None:
        import cv2

        from onnxplain.explainers.levels import cut_at_levels, largest_contour

        cv2.setNumThreads(self.case["threads"])
        self.bounding_box, self.cut_at_levels, self.largest_contour = cv2.boundingRect, cut_at_levels, largest_contour
        self.heatmap = read_heatmap(self.case["model"])

    def run(self) -> None:
        self.boxes = np.zeros((255, 4))
        for levels, contours in self.cut_at_levels(self.heatmap):
            every = [self.bounding_box(contour) for contour in contours]
            if every:
                self.boxes[levels.start : levels.stop] = self.bounding_box(self.largest_contour(contours))

    def answer(self) -> np.ndarray:
        return self.boxes[[int(255 * index / THRESHOLDS) for index in range(THRESHOLDS)]]


serve(
    "onnxplain",
    packages=("onnxruntime", "numpy", "opencv-python-headless"),
    methods={
        "grad-cam": OwnGradCAM,
        "augmented-grad-cam": OwnAugmentedGradCAM,
        "augmented-solve": OwnSolver,
        "rise": OwnRISE,
        "closed": Graph,
        "open": OpenGraph,
        "gradient": Gradient,
        "throughput": Throughput,
        "images": ManyImages,
        "boxes": Boxes,
    },
)
