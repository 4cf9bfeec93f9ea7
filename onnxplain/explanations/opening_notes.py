"""What a user should know of a model that was opened: what was instrumented, with which assumptions; what was not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxplain.contract import Origins, presets_of
from onnxplain.explanations.open_model import InstrumentedCopy, OpenedModel, is_plain
from onnxplain.explanations.warning_texts import describe_products, problem_text

if TYPE_CHECKING:
    from onnxplain.runtime import Engine


@dataclass(frozen=True)
class Note:
    """One line. `warning`: it says that something is not as the user may expect."""

    text: str
    warning: bool = False


def notes(opened: OpenedModel) -> Iterator[Note]:
    """The lines about a model, in the order in which things happened; none for an explainable file."""
    source = opened.engine.source
    for unused in opened.engine.sidecars.problems if opened.copy is None else opened.copy.not_used:
        yield _note(problem_text(unused), True)
    if opened.copy is not None:
        problem = opened.copy.problem
        if problem is not None:
            yield _note(f"{problem.folder}: the cache cannot be written ({problem.reason}), going on without it", True)
        spec = opened.engine.spec
        layers = ", ".join(layer.name for layer in spec.layers)
        preprocessing = f"{_name(opened.engine)} ({_describe(spec.input.origins)})"
        title = "layers" if len(spec.layers) > 1 else "layer"
        layers += "" if spec.attention is None else f", attention of {len(spec.attention.layers)} layers"
        yield _note(f"{source}: {_how(opened.copy)}, {title} {layers}, preprocessing {preprocessing}")
        if saturating := products_wrong_here(opened.engine):
            yield _note(f"{source}: {describe_products(saturating)}", True)
    if opened.obstacle is not None:
        (method,) = opened.methods
        reason = str(opened.obstacle).removeprefix(f"{source}: ")
        why = "the file cannot be instrumented: " if is_plain(opened.engine.path) else ""
        yield _note(f"{source}: explained with {method}, because {why}{reason}", True)


def _note(text: str, warning: bool = False) -> Note:
    """Names in the file may hold line breaks."""
    return Note(" ".join(text.split()), warning)


def products_wrong_here(engine: Engine) -> tuple[str, ...]:
    """The products that can be wrong on this processor; other providers than the CPU's have kernels of their own."""
    from onnxplain.runtime.sessions.saturation import products_saturating_here

    return products_saturating_here(engine.path) if engine.providers[0] == "CPUExecutionProvider" else ()


def _how(copy: InstrumentedCopy) -> str:
    if copy.seconds is None:
        return "instrumented copy from the cache"
    return f"instrumented in {copy.seconds:.1f} s{'' if copy.kept else ', not kept'}"


def _name(engine: Engine) -> str:
    """The preset with these numbers, else the numbers; and the way of resizing."""
    source = engine.spec.input
    preprocessing = source.preprocessing
    for name, named in presets_of(str(engine.input_dtype), preprocessing.channels, source.quantization).items():
        if replace(named, resize=preprocessing.resize, crop_share=preprocessing.crop_share) == preprocessing:
            return f"{name}, {preprocessing.resize}"
    numbers = f"scale {preprocessing.scale:g}, mean {_texts(preprocessing.mean)}, std {_texts(preprocessing.std)}"
    return f"{preprocessing.channels}, {numbers}, {preprocessing.resize}"


def _texts(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _describe(origins: Origins) -> str:
    """One word if all parts come from the same place, else the parts by origin."""
    parts = origins.told
    if len(parts) == 1:
        return next(iter(parts))
    return "; ".join(f"{', '.join(names)} {origin}" for origin, names in parts.items())
