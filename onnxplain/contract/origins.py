"""Where each part of the preprocessing comes from: stated by the user, read from a file, or assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from onnxplain.contract.choices import check_choice

OriginKind = Literal["stated", "read", "assumed"]


@dataclass(frozen=True)
class Origin:
    """Where one part comes from; `source` names the file or the metadata that it was read from, else None."""

    kind: OriginKind
    source: str | None = None

    def __post_init__(self) -> None:
        check_choice("origin", self.kind, OriginKind)

    def __str__(self) -> str:
        return self.kind if self.source is None else f"{self.kind} from {self.source}"


MODEL_PARTS = ("channels", "scale", "mean", "std", "resize")
STATED, ASSUMED = Origin("stated"), Origin("assumed")


@dataclass(frozen=True)
class Origins:
    """The origin of each part of `Preprocessing`, under the part's own name."""

    channels: Origin = STATED
    scale: Origin = STATED
    mean: Origin = STATED
    std: Origin = STATED
    resize: Origin = STATED
    crop_share: Origin = STATED
    pixels: Origin = STATED
    depth: Origin = STATED

    @classmethod
    def of_all(cls, origin: Origin) -> Origins:
        """Every part comes from the same place."""
        return cls(**{part.name: origin for part in fields(cls)})

    @classmethod
    def of_tree(cls, source: Mapping[str, Any]) -> Origins:
        """Those of the image input in the metadata: part by part since version 2.

        Version 1 says of the whole whether it is assumed.
        """
        if "origins" not in source:
            return cls.of_all(ASSUMED if source.get("assumed", False) else STATED)
        return cls(**{part: Origin(**origin) for part, origin in source["origins"].items()})

    def with_parts(self, parts: Iterable[str], origin: Origin) -> Origins:
        """The same, but for some parts that come from elsewhere."""
        return replace(self, **dict.fromkeys(parts, origin))

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of the parts of the model that nobody stated and no file says.

        The share of a crop belongs to `resize`. `pixels` and `depth` are not among them: they say how images are read,
        and images of 8 bits have one reading.
        """
        return tuple(part for part in MODEL_PARTS if getattr(self, part).kind == "assumed")

    @property
    def told(self) -> dict[str, list[str]]:
        """The parts by origin, as texts; details of how images are read and cropped only where they are not assumed."""
        parts: dict[str, list[str]] = {}
        for part in fields(self):
            origin: Origin = getattr(self, part.name)
            if part.name in MODEL_PARTS or origin.kind != "assumed":
                parts.setdefault(str(origin), []).append(part.name)
        return parts
