"""The table of the package's own explanation methods, one row each. A method is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.explainers.explainer import Explainer
    from onnxplain.explainers.needs import Need
    from onnxplain.runtime.engine import Engine


TEST_TIME = "test_time"
"""The option that every method takes: the copies that its maps are averaged over."""


@dataclass(frozen=True)
class Method:
    """A row of the table: name, location of the class, a summary, and when to use it. The class holds the rest."""

    name: str
    location: str
    summary: str
    use: str = ""

    @property
    def explainer(self) -> type[Explainer]:
        """The class, imported now."""
        module, name = self.location.split(":")
        return cast("type[Explainer]", reduce(getattr, name.split("."), import_module(module)))

    @property
    def needs(self) -> Need:
        """What the method needs from a file."""
        return self.explainer.needs

    @property
    def options(self) -> tuple[str, ...]:
        """The options that `build` takes: those of the constructor in its order, then that of all methods."""
        return (*self.explainer.option_names(), TEST_TIME)

    def build(self, engine: Engine, **options: Any) -> Explainer:
        """An explainer for this engine. Raises OnnxplainError for an option that the method does not take."""
        unknown = sorted(options.keys() - set(self.options))
        if unknown:
            raise OnnxplainError(
                f"{self.name}: found option {', '.join(unknown)}, expected one of {', '.join(self.options)}"
            )
        test_time = options.pop(TEST_TIME, None)
        explainer = cast("Callable[..., Explainer]", self.explainer)(engine, **options)
        if test_time is None:
            return explainer
        from onnxplain.explainers.copies.averaged_copies import average_copies

        return average_copies(explainer, test_time)


OWN_METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            "cam",
            "onnxplain.explainers.cam.cam:CAM",
            "feature maps weighted by the linear layer: class activation map (Zhou et al. 2016)",
            "a first look where it works: one run, all classes at once",
        ),
        Method(
            "grad-cam",
            "onnxplain.explainers.cam.grad_cam:GradCAM",
            "feature maps weighted by the mean of their gradients (Selvaraju et al. 2017)",
            "the usual choice: one run, any head, says for and against",
        ),
        Method(
            "augmented-grad-cam",
            "onnxplain.explainers.augmented.augmented_grad_cam:AugmentedGradCAM",
            "Grad-CAMs of rotated and shifted copies combined at high resolution (Morbidelli et al. 2020)",
            "Grad-CAM with sharper borders, where 101 runs are affordable",
        ),
        Method(
            "grad-cam++",
            "onnxplain.explainers.cam.grad_cam_plus_plus:GradCAMPlusPlus",
            "Grad-CAM with a separate weight for the gradient at each position (Chattopadhay et al. 2018)",
            "several instances of one class",
        ),
        Method(
            "xgrad-cam",
            "onnxplain.explainers.cam.xgrad_cam:XGradCAM",
            "Grad-CAM with gradients weighted by the activity of the feature maps (Fu et al. 2020)",
            "Grad-CAM whose values add up to the answer, in networks of ReLUs",
        ),
        Method(
            "hires-cam",
            "onnxplain.explainers.cam.hires_cam:HiResCAM",
            "feature maps times gradients, cell by cell (Draelos & Carin 2020)",
            "heads that read each position by its own weights (VGG, detectors)",
        ),
        Method(
            "layer-cam",
            "onnxplain.explainers.cam.layer_cam:LayerCAM",
            "feature maps times positive gradients, for one or several layers (Jiang et al. 2021)",
            "fine detail, from one or several layers",
        ),
        Method(
            "smooth-grad-cam++",
            "onnxplain.explainers.cam.smooth_grad_cam_plus_plus:SmoothGradCAMPlusPlus",
            "Grad-CAM++ averaged over noisy copies of the image (Omeiza et al. 2019)",
            "gradients that change much from pixel to pixel",
        ),
        Method(
            "eigen-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenCAM",
            "first principal component of the feature maps, the same for all classes (Muhammad & Yeasin 2020)",
            "what the network sees before any class is chosen",
        ),
        Method(
            "eigen-grad-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenGradCAM",
            "first principal component of feature maps times gradients (Gildenblat 2021)",
            "the strongest pattern that bears on a class",
        ),
        Method(
            "kpca-cam",
            "onnxplain.explainers.cam.kpca_cam:KPCACAM",
            "first kernel principal component of the feature maps, the same for all classes (Karmani et al. 2024)",
            "as eigen-cam, where the background is strong too: it is centred",
        ),
        Method(
            "fem",
            "onnxplain.explainers.cam.fem:FEM",
            "where feature maps are far above their mean, the same for all classes (Fuad et al. 2020)",
            "the few cells that excite single feature maps most, whatever the class",
        ),
        Method(
            "finer-cam",
            "onnxplain.explainers.cam.finer_cam:FinerCAM",
            "Grad-CAM of the difference between a class and the most similar classes (Zhang et al. 2025)",
            "two similar classes: what tells them apart",
        ),
        Method(
            "score-cam",
            "onnxplain.explainers.cam.score_cam:ScoreCAM",
            "feature maps weighted by the score of the image masked with each map (Wang et al. 2020)",
            "no trust in gradients, and few channels",
        ),
        Method(
            "ablation-cam",
            "onnxplain.explainers.cam.ablation_cam:AblationCAM",
            "feature maps weighted by the drop in score without each map (Desai & Ramaswamy 2020)",
            "no trust in gradients, and a tail file",
        ),
        Method(
            "recipro-cam",
            "onnxplain.explainers.cam.recipro_cam:ReciproCAM",
            "class score with only one position of the feature maps kept (Byun & Lee 2022)",
            "no gradients and hardly more than one run: a tail file",
        ),
        Method(
            "rise",
            "onnxplain.explainers.rise.rise:RISE",
            "class scores of randomly masked images, for any model (Petsiuk et al. 2018)",
            "any model: a smooth map with its error; can stop at a tolerance",
        ),
        Method(
            "occlusion",
            "onnxplain.explainers.hiding.occlusion:Occlusion",
            "drop of the score when a window slides over the image (Zeiler & Fergus 2014)",
            "any model: the easiest to explain to others, no chance in it",
        ),
        Method(
            "shap",
            "onnxplain.explainers.hiding.shap:KernelSHAP",
            "Shapley values of superpixels or cells: KernelSHAP (Lundberg & Lee 2017)",
            "any model: numbers per region that add up to the score",
        ),
        Method(
            "lime",
            "onnxplain.explainers.hiding.lime:LIME",
            "linear model of the score near the image, by superpixels or cells (Ribeiro et al. 2016)",
            "any model: regions for and against, and how linear the model is",
        ),
        Method(
            "sobol",
            "onnxplain.explainers.hiding.sobol:Sobol",
            "share of the score's variance in which a cell has a part, without sign (Fel et al. 2021)",
            "any model: regions that matter only together with others",
        ),
        Method(
            "hsic",
            "onnxplain.explainers.hiding.hsic:HSIC",
            "dependence of the score on each cell, without sign (Novello et al. 2022)",
            "any model: which regions matter, from few runs; no sign",
        ),
        Method(
            "aise",
            "onnxplain.explainers.hiding.aise:AISE",
            "Gaussian windows placed where the score is high: adaptive input sampling (OpenVINO XAI)",
            "any model: one compact object, from few runs",
        ),
        Method(
            "saliency",
            "onnxplain.explainers.pixels.saliency:Saliency",
            "largest gradient over the channels of each pixel (Simonyan et al. 2014)",
            "which pixels the answer is most sensitive to; noisy, no sign",
        ),
        Method(
            "input-x-gradient",
            "onnxplain.explainers.pixels.input_x_gradient:InputXGradient",
            "pixel times gradient, summed over the channels (Shrikumar et al. 2016)",
            "a first look at single pixels: for and against, in one run",
        ),
        Method(
            "integrated-gradients",
            "onnxplain.explainers.pixels.integrated_gradients:IntegratedGradients",
            "change of the answer from a baseline, divided over the pixels (Sundararajan et al. 2017)",
            "numbers per pixel that add up to the answer, with the error of the sum",
        ),
        Method(
            "smooth-grad",
            "onnxplain.explainers.pixels.smooth_grad:SmoothGrad",
            "saliency of the mean gradient over noisy copies (Smilkov et al. 2017)",
            "saliency with less noise; no sign",
        ),
        Method(
            "var-grad",
            "onnxplain.explainers.pixels.var_grad:VarGrad",
            "variance of the gradient over noisy copies (Adebayo et al. 2018)",
            "pixels around which the answer bends most; no sign",
        ),
        Method(
            "grad-shap",
            "onnxplain.explainers.pixels.gradient_shap:GradientSHAP",
            "integrated gradients at random points: expected gradients (Erion et al. 2021)",
            "comparison with the shap package; else integrated-gradients",
        ),
        Method(
            "attention-rollout",
            "onnxplain.explainers.attention.attention_rollout:AttentionRollout",
            "attention multiplied through all layers, the same for all classes (Abnar & Zuidema 2020)",
            "transformers: where the tokens that are read get their content from, whatever the class",
        ),
        Method(
            "grad-x-attention",
            "onnxplain.explainers.attention.grad_x_attention:GradXAttention",
            "attention times its positive gradient, carried through all layers (Chefer et al. 2021)",
            "transformers: the usual choice, one run, says for and, with not:, against",
        ),
        Method(
            "legrad",
            "onnxplain.explainers.attention.legrad:LeGrad",
            "positive gradient at the attention of each layer, of what the head says of it (Bousselham et al. 2024)",
            "transformers: what each layer adds to the answer",
        ),
    )
}
