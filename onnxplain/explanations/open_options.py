"""What a user can state when a model is opened: how it runs, what its input means, how a plain file is instrumented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.contract import BatchChoice, GivenLabels, Layout, Preprocessing, PreprocessingParts, StatedHead

if TYPE_CHECKING:
    from onnxplain.runtime import Engine
    from onnxplain.runtime.sessions.precision import Precision


@dataclass(frozen=True)
class OpenOptions:
    """Everything has a default: the file's own value, or what is found in its graph.

    `providers`, `threads`, `precision`, `preprocessing`, `input_size_hw`, `layout`, `labels`, `heads`, `inputs`,
    `sidecars` and `detector` are as for `Engine`. `layers`: the layers to explain. In an explainable file these are
    names of its layers. In a plain file they are what `instrument` takes: names, shares such as ``50%``, or ``auto``.
    `logits` and `box` are other words for heads of these kinds. `batch` is as for `instrument`, for plain files only.
    `use_cache`: whether an instrumented copy is kept in the user's cache folder.
    """

    providers: tuple[str, ...] | None = None
    threads: int | None = None
    precision: Precision = "float32"
    preprocessing: Preprocessing | PreprocessingParts | None = None
    input_size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    labels: GivenLabels | None = None
    heads: tuple[StatedHead, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sidecars: bool = True
    detector: str | None = None
    layers: tuple[str, ...] = ()
    logits: str | None = None
    box: str | None = None
    batch: BatchChoice = "auto"
    use_cache: bool = True

    @property
    def for_plain_files(self) -> Mapping[str, str]:
        """The given options that change how a plain file is instrumented."""
        given = {"logits": self.logits, "box": self.box, "batch": None if self.batch == "auto" else self.batch}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def not_for_explainable(self) -> Mapping[str, str]:
        """The given options that an explainable file cannot follow; `logits` and `box` name heads that it may have."""
        return {name: value for name, value in self.for_plain_files.items() if name == "batch"}

    @property
    def instrumenting(self) -> dict[str, Any]:
        """The options that decide what `instrument` writes, under the names of its parameters.

        Labels are not among them: the engine gets them when it opens the file.
        """
        return {
            **({"layers": self.layers} if self.layers else {}),
            **({"heads": self.heads} if self.heads else {}),
            **({"inputs": self.inputs} if self.inputs else {}),
            **({"detector": self.detector} if self.detector is not None else {}),
            "logits": self.logits,
            "box": self.box,
            "batch": self.batch,
            "preprocessing": self.preprocessing,
            "input_size_hw": self.input_size_hw,
            "layout": self.layout,
            "sidecars": self.sidecars,
        }

    @property
    def for_key(self) -> dict[str, Any]:
        """The same as plain data, for the name of the copy in the cache."""
        preprocessing = None if self.preprocessing is None else asdict(self.preprocessing)
        heads = [asdict(head) for head in self.heads]
        inputs = {name: getattr(value, "tolist", lambda value=value: value)() for name, value in self.inputs.items()}
        return {**self.instrumenting, "preprocessing": preprocessing, "heads": heads, "inputs": inputs}

    @property
    def stated_heads(self) -> tuple[StatedHead, ...]:
        """The stated heads, with `logits` and `box` in the same words."""
        others = [] if self.logits is None else [StatedHead(self.logits, "classes")]
        others += [] if self.box is None else [StatedHead(self.box, "box")]
        return (*others, *self.heads)

    def open_copy(self, path: Path) -> Engine:
        """The engine for an instrumented copy, which keeps everything that was stated, except labels."""
        return replace(self, preprocessing=None, heads=(), logits=None, box=None, inputs={}, detector=None).open_engine(
            path
        )

    def open_engine(self, path: Path) -> Engine:
        """The engine for a file as it is."""
        from onnxplain.runtime import Engine

        return Engine(
            path,
            self.providers,
            self.threads,
            precision=self.precision,
            preprocessing=self.preprocessing,
            input_size_hw=self.input_size_hw,
            layout=self.layout,
            labels=self.labels,
            sidecars=self.sidecars,
            heads=self.stated_heads,
            inputs=self.inputs,
            detector=self.detector,
        )
