"""Every method of explanation, one row each; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from onnxplain.errors import OnnxplainError, UnsupportedError

if TYPE_CHECKING:
    from onnxplain.contract import ModelSpec
    from onnxplain.explainers.explainer import Explainer
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True)
class Need:
    """What a method asks of a file: in words, how to tell, and what to do where it is missing."""

    what: str
    met: Callable[[ModelSpec], bool]
    otherwise: str


SCORES = Need("any model with class scores", lambda spec: True, "")
LAYERS = Need(
    "an instrumented layer",
    lambda spec: any(layer.size_hw != (1, 1) for layer in spec.layers),
    "the file has no instrumented layer of more than one cell: run `onnxplain instrument` first",
)
LINEAR_HEAD = Need(
    "global average pooling + linear head",
    lambda spec: spec.outputs.cam_weights is not None,
    "the file has no output `cam_weights`: either its head is not global average pooling + linear, "
    "or `onnxplain instrument` has not seen it",
)
TAIL = Need(
    "a tail file",
    lambda spec: spec.tail is not None,
    "the file names none: run `onnxplain instrument` without --no-tail; its report says why where there can be none",
)


@dataclass(frozen=True)
class Method:
    """A row of the table: the method's name, where its class stands, what it needs, what it does."""

    name: str
    location: str
    needs: Need
    summary: str

    @property
    def explainer(self) -> type[Explainer]:
        """The class, imported now."""
        module, name = self.location.split(":")
        return cast("type[Explainer]", getattr(import_module(module), name))

    @property
    def options(self) -> tuple[str, ...]:
        """The options that `build` takes, in the order of the constructor."""
        parameters = list(inspect.signature(self.explainer).parameters)
        return tuple(parameters[1:])

    def build(self, engine: Engine, **options: Any) -> Explainer:
        """An explainer for this engine. Raises OnnxplainError for an option that the method does not take."""
        unknown = sorted(options.keys() - set(self.options))
        if unknown:
            raise OnnxplainError(
                f"{self.name}: found option {', '.join(unknown)}, expected one of {', '.join(self.options)}"
            )
        return cast("Callable[..., Explainer]", self.explainer)(engine, **options)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            "cam",
            "onnxplain.explainers.cam.cam:CAM",
            LINEAR_HEAD,
            "class activation map: feature maps weighted by the linear layer (Zhou et al. 2016)",
        ),
        Method(
            "grad-cam",
            "onnxplain.explainers.cam.grad_cam:GradCAM",
            LAYERS,
            "feature maps weighted by the mean of their gradients (Selvaraju et al. 2017)",
        ),
        Method(
            "augmented-grad-cam",
            "onnxplain.explainers.augmented.augmented_grad_cam:AugmentedGradCAM",
            LAYERS,
            "Grad-CAMs of turned and moved copies, made one of high resolution (Morbidelli et al. 2020)",
        ),
        Method(
            "grad-cam++",
            "onnxplain.explainers.cam.grad_cam_plus_plus:GradCAMPlusPlus",
            LAYERS,
            "Grad-CAM with a weight for every position's gradient (Chattopadhay et al. 2018)",
        ),
        Method(
            "xgrad-cam",
            "onnxplain.explainers.cam.xgrad_cam:XGradCAM",
            LAYERS,
            "Grad-CAM, gradients weighted by the feature maps' activity (Fu et al. 2020)",
        ),
        Method(
            "hires-cam",
            "onnxplain.explainers.cam.hires_cam:HiResCAM",
            LAYERS,
            "features times gradients, cell by cell (Draelos & Carin 2020)",
        ),
        Method(
            "layer-cam",
            "onnxplain.explainers.cam.layer_cam:LayerCAM",
            LAYERS,
            "features times positive gradients, also of several layers (Jiang et al. 2021)",
        ),
        Method(
            "smooth-grad-cam++",
            "onnxplain.explainers.cam.smooth_grad_cam_plus_plus:SmoothGradCAMPlusPlus",
            LAYERS,
            "Grad-CAM++ averaged over noisy copies of the image (Omeiza et al. 2019)",
        ),
        Method(
            "eigen-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenCAM",
            LAYERS,
            "first principal component of the feature maps, whatever the class (Muhammad & Yeasin 2020)",
        ),
        Method(
            "eigen-grad-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenGradCAM",
            LAYERS,
            "first principal component of features times gradients (Gildenblat 2021)",
        ),
        Method(
            "finer-cam",
            "onnxplain.explainers.cam.finer_cam:FinerCAM",
            LAYERS,
            "Grad-CAM of a class against the classes most like it (Zhang et al. 2025)",
        ),
        Method(
            "score-cam",
            "onnxplain.explainers.cam.score_cam:ScoreCAM",
            LAYERS,
            "feature maps weighted by the score of the image seen through each (Wang et al. 2020)",
        ),
        Method(
            "ablation-cam",
            "onnxplain.explainers.cam.ablation_cam:AblationCAM",
            TAIL,
            "feature maps weighted by how much the score falls without each (Desai & Ramaswamy 2020)",
        ),
        Method(
            "recipro-cam",
            "onnxplain.explainers.cam.recipro_cam:ReciproCAM",
            TAIL,
            "class score of one position of the feature maps at a time (Byun & Lee 2022)",
        ),
        Method(
            "rise",
            "onnxplain.explainers.rise.rise:RISE",
            SCORES,
            "class score under random masks, whatever the network (Petsiuk et al. 2018)",
        ),
    )
}


def supported(engine: Engine) -> tuple[str, ...]:
    """Names of the methods that work with the engine's file, in the order of the table."""
    return tuple(name for name, method in METHODS.items() if method.needs.met(engine.spec))


def find_method(name: str) -> Method:
    """The row of a method. Raises OnnxplainError for an unknown name: the nearest one, and all there are."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise OnnxplainError(f"method: found {name!r}{hint}, expected one of {', '.join(METHODS)}")
    return METHODS[name]


def require(name: str, engine: Engine) -> None:
    """Raise UnsupportedError, with the reason and the methods that work, unless the file supports `name`."""
    needs = find_method(name).needs
    if not needs.met(engine.spec):
        working = ", ".join(supported(engine))
        raise UnsupportedError(
            f"{name}: needs {needs.what}, but {needs.otherwise}; methods that work with this file: {working}"
        )


def build(name: str, engine: Engine, **options: Any) -> Explainer:
    """The explainer called `name` for this engine, e.g. ``build("rise", engine, masks=2000)``.

    Raises OnnxplainError for an unknown name or option and UnsupportedError where the file lacks what the
    method needs.
    """
    method = find_method(name)
    require(name, engine)
    return method.build(engine, **options)
