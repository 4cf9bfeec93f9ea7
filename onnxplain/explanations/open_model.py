"""Open a model to explain it: a plain file is instrumented on the way, and the copy is kept in the user's cache."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.contract import ATTENTION_LAYER, INPUT_LAYER
from onnxplain.errors import ModelError, OnnxplainError, UnboundedLoopError, UnsupportedError, VerificationError
from onnxplain.explanations.model_cache import MODEL_FILE, ModelCache, cache_key
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.extras import needs_extra

if TYPE_CHECKING:
    from onnxplain.contract import ModelSpec
    from onnxplain.contract.detectors import DetectorSpec
    from onnxplain.runtime import Engine
    from onnxplain.sidecars import SidecarProblem

DEFAULT_METHOD, BOX_METHOD, FALLBACK_METHOD = "grad-cam", "hires-cam", "rise"
# docs/method_study.md: on the tokens of a transformer, Grad-CAM was not better than a random order.
TOKEN_METHOD = "grad-x-attention"
IMPOSSIBLE = (ModelError, UnsupportedError, VerificationError)
"""What `instrument` raises if this file cannot be instrumented. Other errors are about what the user stated."""


class _NoBoxesError(UnsupportedError):
    """A method cannot explain boxes. The message says which methods can."""


@dataclass(frozen=True)
class CacheProblem:
    """The cache folder cannot be written, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class InstrumentedCopy:
    """The explainable copy of a plain file.

    `seconds`: the time to instrument it; None if it came from the cache. `kept`: whether it is in the cache now.
    `not_used`: what other tools say about the model in vain. `problem`: why the cache cannot be written.
    """

    path: Path
    seconds: float | None
    kept: bool
    not_used: tuple[SidecarProblem, ...] = ()
    problem: CacheProblem | None = None


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """An engine that supports the chosen methods, or whose file was the user's own.

    `methods`: those asked for, or the default. `layer`: the option `layer` for these methods. `copy`: the explainable
    copy if the file was instrumented on the way. `obstacle`: why the default method is rise: the file cannot be
    instrumented, or is an explainable one without layers.
    """

    engine: Engine
    methods: tuple[str, ...]
    layer: str | tuple[str, ...] | None = None
    copy: InstrumentedCopy | None = None
    obstacle: OnnxplainError | None = None


def open_model(
    path: Path,
    methods: Sequence[str] = (),
    options: OpenOptions | None = None,
    announce: Callable[[Path], None] | None = None,
) -> OpenedModel:
    """The engine for a model that `methods` will explain.

    Without methods: grad-cam, grad-x-attention where the file has the attention of a transformer, hires-cam for the
    boxes of a detector, or rise where a file cannot be instrumented or is an explainable one without layers.

    A plain file is instrumented first if a method needs that, or if an option concerns it. The copy and its tail file
    go to the user's cache (`ModelCache.of_user`) and are used again for the same file, options and version; otherwise
    they are removed with the engine. `announce` is called with the path before the work of instrumenting begins.

    Raises OnnxplainError for a method that does not exist, if the extra `export` is missing, and for options that do
    not fit the file; the errors of `instrument` if the file cannot be instrumented, and those of `Engine`.
    """
    from onnxplain.explainers.cam.layer_fusion import ALL_LAYERS
    from onnxplain.explainers.needs import NO_LAYER
    from onnxplain.explainers.registry import find_method

    options = options or OpenOptions()
    needy = [name for name in tuple(methods) or (DEFAULT_METHOD,) if _needs_instrumenting(find_method(name).needs)]
    layer = options.layers[0] if len(options.layers) == 1 else options.layers or None
    if not is_plain(path):
        if refused := options.not_for_explainable:
            raise OnnxplainError(
                f"{path}: found an explainable file, expected a plain one for {', '.join(refused)}: "
                "leave this option out, or give the original file"
            )
        engine = options.open_engine(path)
        chosen = tuple(methods) or (default_method(engine.spec, options.layers),)
        without_layers = None if methods or chosen != (FALLBACK_METHOD,) else UnsupportedError(f"{path}: {NO_LAYER}")
        return OpenedModel(engine, chosen, layer, obstacle=without_layers)
    if not options.for_plain_files and (not needy or _all_met(path, options, needy)):
        return OpenedModel(options.open_engine(path), tuple(methods), layer)
    if ALL_LAYERS in options.layers:
        raise OnnxplainError(
            f"layer: found {ALL_LAYERS} for {path}, a file without instrumented layers, expected the layers to "
            "instrument: give names or shares such as 50%, several times if needed"
        )
    try:
        copy = _instrumented(path, _with_needed(options, needy), methods, announce)
    except _NoBoxesError:
        raise
    except IMPOSSIBLE as error:
        if isinstance(error, UnboundedLoopError) and not methods:
            # The model may never answer, so rise is not begun without having been asked for.
            raise with_advice(error) from error
        stated = options.layers or options.for_plain_files
        fallback = None if stated else _engine_for_fallback(path, options)
        if fallback is None:
            raise
        if methods:
            raise with_advice(error) from error
        return OpenedModel(fallback, (FALLBACK_METHOD,), obstacle=error)
    engine = options.open_copy(copy.path)
    engine.source = path
    if not copy.kept:
        weakref.finalize(engine, shutil.rmtree, copy.path.parent, ignore_errors=True)
    chosen = tuple(methods) or (default_method(engine.spec, options.layers),)
    maps = tuple(name for name in options.layers if name != ATTENTION_LAYER)
    asked = INPUT_LAYER if maps == (INPUT_LAYER,) else ALL_LAYERS if len(maps) > 1 else None
    return OpenedModel(engine, chosen, asked, copy)


def with_advice(obstacle: OnnxplainError) -> OnnxplainError:
    """The error of a file that cannot be instrumented, with the method that works on it."""
    if_it_ends = " if the loop ends for every image" if isinstance(obstacle, UnboundedLoopError) else ""
    return type(obstacle)(f"{obstacle}; {FALLBACK_METHOD} works on this file{if_it_ends}: -m {FALLBACK_METHOD}")


def default_method(spec: ModelSpec, layers: Sequence[str] = ()) -> str:
    """The method that explains an explainable file if none is named: rise if the file has no layers.

    `layers`: those that are named; with a map among them, the method of the attention is not meant.
    """
    from onnxplain.explainers.registry import find_method

    name = DEFAULT_METHOD if spec.detector is None else BOX_METHOD
    attention = None if spec.detector is not None or set(layers) - {ATTENTION_LAYER} else spec.attention
    # Without an entry, it is not known which tokens the head reads.
    if attention is not None and attention.reads[spec.heads.index(spec.head)] is not None:
        name = TOKEN_METHOD
    return name if find_method(name).needs.met(spec) else FALLBACK_METHOD


def _needs_instrumenting(needs: Any) -> bool:
    from onnxplain.explainers.needs import PLAIN

    return needs not in PLAIN


def _with_needed(options: OpenOptions, methods: Sequence[str]) -> OpenOptions:
    """The options with what a method needs beside the other layers: the layer `input`, or the attention."""
    from onnxplain.explainers.registry import find_method

    needed = (find_method(name).needs.layer for name in methods)
    missing = [name for name in dict.fromkeys(needed) if name is not None and name not in options.layers]
    return replace(options, layers=(*missing, *(options.layers or ("auto",)))) if missing else options


def _all_met(path: Path, options: OpenOptions, methods: Sequence[str]) -> bool:
    """Whether a plain file has what the methods need. Only methods of other packages have such needs of their own."""
    from onnxplain.explainers.needs import LINEAR_HEAD, OF_LAYERS, TAIL
    from onnxplain.explainers.registry import find_method

    needs = [find_method(name).needs for name in methods]
    if any(need in (*OF_LAYERS, LINEAR_HEAD, TAIL) or need.layer is not None for need in needs):
        return False
    spec = options.open_engine(path).spec
    return all(need.met(spec) for need in needs)


def is_plain(path: Path) -> bool:
    """Whether it is an ONNX model without metadata of onnxplain. A file that is none is reported by the engine."""
    from onnxplain.runtime.protobuf.model_facts import read_facts

    try:
        return not read_facts(path).explainable
    except ModelError:
        return False


def _engine_for_fallback(path: Path, options: OpenOptions) -> Engine | None:
    """The engine for the file as it is; None if it cannot run either."""
    from onnxplain.explainers.registry import find_method

    try:
        engine = options.open_engine(path)
    except ModelError:
        return None
    return engine if find_method(FALLBACK_METHOD).needs.met(engine.spec) else None


def _instrumented(
    path: Path, options: OpenOptions, methods: Sequence[str], announce: Callable[[Path], None] | None
) -> InstrumentedCopy:
    """The explainable copy, from the cache if it is there."""
    from onnxplain.sidecars import SidecarProblem

    cache = ModelCache.of_user() if options.use_cache else None
    key = "" if cache is None else _key(path, options)
    found = None if cache is None else cache.find(key)
    if cache is not None and found is not None:
        not_used = tuple(
            SidecarProblem(each.get("source", ""), each.get("found", ""), each.get("expected", ""))
            for each in cache.problems(key)
        )
        return InstrumentedCopy(found, None, True, not_used)
    instrument = _import_instrument(path, options, methods)
    if announce is not None:
        announce(path)
    started = time.perf_counter()
    problem = None
    if cache is not None:
        try:
            with _removed_on_failure(cache.new_folder()) as folder:
                with _write_failures():
                    not_used = instrument(path, folder / MODEL_FILE, **options.instrumenting).read.problems
                seconds = time.perf_counter() - started
                kept = cache.keep(key, folder, path.name, [vars(problem) for problem in not_used])
            return InstrumentedCopy(kept or folder / MODEL_FILE, seconds, kept is not None, not_used)
        except OSError as error:
            problem = CacheProblem(cache.folder, error.strerror or str(error))
    with _removed_on_failure(Path(tempfile.mkdtemp(prefix="onnxplain-"))) as folder:
        not_used = instrument(path, folder / MODEL_FILE, **options.instrumenting).read.problems
    return InstrumentedCopy(folder / MODEL_FILE, time.perf_counter() - started, False, not_used, problem)


def _key(path: Path, options: OpenOptions) -> str:
    """The name of the copy in the cache. What other tools say beside the file is a part of its content."""
    from onnxplain.runtime.protobuf.model_facts import hash_files, model_files
    from onnxplain.sidecars import read_sidecars

    beside = repr(read_sidecars(path, {})) if options.sidecars else ""
    return cache_key(hash_files(model_files(path)), {**options.for_key, "beside": beside})


def _import_instrument(path: Path, options: OpenOptions, methods: Sequence[str]) -> Callable[..., Any]:
    why = f"{', '.join(methods) or DEFAULT_METHOD} needs it to instrument {path}"
    works = f", or use {FALLBACK_METHOD}, which works on the file as it is: -m {FALLBACK_METHOD}"
    fallback = _engine_for_fallback(path, options)
    if fallback is not None and fallback.spec.detector is not None:
        _refuse_boxes(path, fallback.spec.detector, methods)
    with needs_extra("export", why, works if fallback is not None else ""):
        from onnxplain.exporters import instrument
    return instrument


def _refuse_boxes(path: Path, detector: DetectorSpec, methods: Sequence[str]) -> None:
    """Raise UnsupportedError if a method cannot explain boxes."""
    from onnxplain.explainers.needs import OF_BOXES
    from onnxplain.explainers.registry import METHODS, find_method

    able = [name for name, method in METHODS.items() if method.needs in OF_BOXES]
    for name in methods:
        if name not in able:
            reason = find_method(name).explainer.no_boxes
            raise _NoBoxesError(
                f"{path}: found a detector (layout {detector.layout_name}), expected a model with classes for {name}"
                f"{f' ({reason})' if reason else ''}: use {', '.join(able[:-1])} or {able[-1]}"
            )


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _write_failures() -> Iterator[None]:
    """Raise OSError for a ModelError that an OSError caused: `instrument` reports a full disk like this."""
    try:
        yield
    except ModelError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise
