"""Finding and building explanation methods: the package's own, and those that other packages add."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnxplain.contract.arguments import Instance, checked
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.method_table import OWN_METHODS, Method
from onnxplain.plugins import PluginTable, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from onnxplain.contract import ModelSpec
    from onnxplain.explainers.explainer import Explainer
    from onnxplain.explainers.needs import Need
    from onnxplain.runtime.engine import Engine


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


METHODS = PluginTable("onnxplain.methods", OWN_METHODS, _read_plugin)
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
    if not explainer.needs.met(engine.spec):
        working = ", ".join(supported(engine)) or "none"
        lack = lack_of(explainer, engine.spec)
        raise UnsupportedError(
            f"{explainer.name}: needs {lack.what}, but {lack.otherwise}; methods that work with this file: {working}"
        )


def lack_of(explainer: type[Explainer], spec: ModelSpec) -> Need:
    """What a file lacks for a method that does not work with it. A detector lacks class scores before anything else."""
    from onnxplain.explainers.needs import COMPARABLE, LAYERS, OF_BOXES, SCORES

    if spec.detector is None and explainer.needs is COMPARABLE and not LAYERS.met(spec):
        return LAYERS
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
