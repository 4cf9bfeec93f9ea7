"""The table of explanation methods, one row each. A method is imported only when it is used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from onnxplain.contract.arguments import Instance, checked
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.plugins import PluginTable, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from onnxplain.contract import ModelSpec
    from onnxplain.explainers.explainer import Explainer
    from onnxplain.explainers.needs import Need
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True)
class Method:
    """A row of the table: the method's name, the location of its class, and a summary. The class holds the rest."""

    name: str
    location: str
    summary: str

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
        """The options that `build` takes, in the order of the constructor."""
        return self.explainer.option_names()

    def build(self, engine: Engine, **options: Any) -> Explainer:
        """An explainer for this engine. Raises OnnxplainError for an option that the method does not take."""
        unknown = sorted(options.keys() - set(self.options))
        if unknown:
            raise OnnxplainError(
                f"{self.name}: found option {', '.join(unknown)}, expected one of {', '.join(self.options)}"
            )
        return cast("Callable[..., Explainer]", self.explainer)(engine, **options)


_OWN: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            "cam",
            "onnxplain.explainers.cam.cam:CAM",
            "feature maps weighted by the linear layer: class activation map (Zhou et al. 2016)",
        ),
        Method(
            "grad-cam",
            "onnxplain.explainers.cam.grad_cam:GradCAM",
            "feature maps weighted by the mean of their gradients (Selvaraju et al. 2017)",
        ),
        Method(
            "augmented-grad-cam",
            "onnxplain.explainers.augmented.augmented_grad_cam:AugmentedGradCAM",
            "Grad-CAMs of rotated and shifted copies combined at high resolution (Morbidelli et al. 2020)",
        ),
        Method(
            "grad-cam++",
            "onnxplain.explainers.cam.grad_cam_plus_plus:GradCAMPlusPlus",
            "Grad-CAM with a separate weight for the gradient at each position (Chattopadhay et al. 2018)",
        ),
        Method(
            "xgrad-cam",
            "onnxplain.explainers.cam.xgrad_cam:XGradCAM",
            "Grad-CAM with gradients weighted by the activity of the feature maps (Fu et al. 2020)",
        ),
        Method(
            "hires-cam",
            "onnxplain.explainers.cam.hires_cam:HiResCAM",
            "feature maps times gradients, cell by cell (Draelos & Carin 2020)",
        ),
        Method(
            "layer-cam",
            "onnxplain.explainers.cam.layer_cam:LayerCAM",
            "feature maps times positive gradients, for one or several layers (Jiang et al. 2021)",
        ),
        Method(
            "smooth-grad-cam++",
            "onnxplain.explainers.cam.smooth_grad_cam_plus_plus:SmoothGradCAMPlusPlus",
            "Grad-CAM++ averaged over noisy copies of the image (Omeiza et al. 2019)",
        ),
        Method(
            "eigen-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenCAM",
            "first principal component of the feature maps, the same for all classes (Muhammad & Yeasin 2020)",
        ),
        Method(
            "eigen-grad-cam",
            "onnxplain.explainers.cam.eigen_cam:EigenGradCAM",
            "first principal component of feature maps times gradients (Gildenblat 2021)",
        ),
        Method(
            "finer-cam",
            "onnxplain.explainers.cam.finer_cam:FinerCAM",
            "Grad-CAM of the difference between a class and the most similar classes (Zhang et al. 2025)",
        ),
        Method(
            "score-cam",
            "onnxplain.explainers.cam.score_cam:ScoreCAM",
            "feature maps weighted by the score of the image masked with each map (Wang et al. 2020)",
        ),
        Method(
            "ablation-cam",
            "onnxplain.explainers.cam.ablation_cam:AblationCAM",
            "feature maps weighted by the drop in score without each map (Desai & Ramaswamy 2020)",
        ),
        Method(
            "recipro-cam",
            "onnxplain.explainers.cam.recipro_cam:ReciproCAM",
            "class score with only one position of the feature maps kept (Byun & Lee 2022)",
        ),
        Method(
            "rise",
            "onnxplain.explainers.rise.rise:RISE",
            "class scores of randomly masked images, for any model (Petsiuk et al. 2018)",
        ),
    )
}


def _read_plugin(entry: EntryPoint) -> Method:
    """The row of a method that another package brings: the entry point's name is the method's."""
    from onnxplain.explainers.explainer import Explainer

    explainer = load(entry)
    if not (isinstance(explainer, type) and issubclass(explainer, Explainer)):
        raise OnnxplainError(f"found {explainer!r}, expected a subclass of onnxplain.explainers.Explainer")
    explainer.check_definition()
    if explainer.name != entry.name:
        raise OnnxplainError(f"found a class whose name is {explainer.name!r}, expected {entry.name!r}")
    return Method(entry.name, f"{entry.module}:{entry.attr}", _summary_of(explainer))


def _summary_of(explainer: type[Explainer]) -> str:
    """The first line of the docstring, else the name. Python's own docstring of a dataclass does not count."""
    first, *_ = (explainer.__doc__ or "").strip().split("\n")
    return explainer.__name__ if not first or first.startswith(f"{explainer.__name__}(") else first


METHODS = PluginTable("onnxplain.methods", _OWN, _read_plugin)
"""All methods by name: the package's own, and those that installed packages add."""


def supported(engine: Engine) -> tuple[str, ...]:
    """Names of the methods that work with the engine's file, in the order of the table.

    Raises OnnxplainError for anything but an engine.
    """
    from onnxplain.runtime import Engine

    Instance(Engine).check("engine", engine)
    return tuple(name for name, method in METHODS.items() if method.needs.met(engine.spec))


def find_method(name: str) -> Method:
    """The row of a method.

    Raises OnnxplainError for an unknown name (the message lists all names) and for a broken plug-in.
    """
    METHODS.check(name)
    if name not in METHODS:
        # "GradCAM" and "grad_cam" mean grad-cam.
        spelled = {each.replace("-", ""): each for each in METHODS}
        plain = name.lower().replace("-", "").replace("_", "").replace(" ", "").replace("plusplus", "++")
        near = [spelled[plain]] if plain in spelled else difflib.get_close_matches(name.lower(), METHODS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise OnnxplainError(f"method: found {name!r}{hint}, expected one of {', '.join(METHODS)}")
    return METHODS[name]


def methods(engine: Engine | None = None) -> tuple[str, ...]:
    """The names of all methods; with an engine, of those that work with its file."""
    return tuple(METHODS) if engine is None else tuple(supported(engine))


def require(explainer: type[Explainer], engine: Engine) -> None:
    """Raise UnsupportedError, with the reason and the methods that work, if the file lacks what the class needs."""
    from onnxplain.runtime.engine import Engine

    Instance(Engine).check("engine", engine)
    needs = explainer.needs
    if not needs.met(engine.spec):
        working = ", ".join(supported(engine)) or "none"
        lack = lack_of(explainer, engine.spec)
        raise UnsupportedError(
            f"{explainer.name}: needs {lack.what}, but {lack.otherwise}; methods that work with this file: {working}"
        )


def lack_of(explainer: type[Explainer], spec: ModelSpec) -> Need:
    """What a file lacks for a method that does not work with it. A detector lacks class scores before anything else."""
    from onnxplain.explainers.needs import OF_BOXES, SCORES

    if spec.detector is None or explainer.needs in OF_BOXES:
        return explainer.needs
    reason = f" ({explainer.no_boxes})" if explainer.no_boxes else ""
    return replace(SCORES, otherwise=f"{SCORES.otherwise}{reason}")


@checked
def build(name: str, engine: Engine, **options: Any) -> Explainer:
    """The explainer called `name` for this engine, e.g. ``build("rise", engine, masks=2000)``.

    Raises OnnxplainError for an unknown name or option, UnsupportedError if the file lacks what the method needs.
    """
    method = find_method(name)
    require(method.explainer, engine)
    return method.build(engine, **options)
