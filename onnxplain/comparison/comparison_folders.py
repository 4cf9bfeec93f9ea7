"""The explanations of a comparison as two folders, one per model, in the form of `onnxplain explain`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from onnxplain.comparison.compare_models import ComparedImage, ModelComparison
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle, SourceImage
from onnxplain.explanations.run_record import hash_of, record_run
from onnxplain.explanations.unique import unique_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxplain.explanations.open_options import OpenOptions


class ComparisonFolders:
    """Writes what is compared to the folders ``first`` and ``second`` in `path`. Use it in a `with` statement."""

    def __init__(self, path: Path, comparison: ModelComparison, options: OpenOptions, sources: Sequence[Path]) -> None:
        self.paths = path / "first", path / "second"
        style = PictureStyle()
        self._folders = [
            ExplanationFolder(folder, style, record_run(opened, options, comparison.questions, style, folder))
            for folder, opened in zip(self.paths, (comparison.first, comparison.second), strict=True)
        ]
        self._names = dict(zip(sources, unique_names([source.stem for source in sources]), strict=True))
        self.hashes: dict[str, str] = {}

    def __enter__(self) -> ComparisonFolders:
        with ExitStack() as opened:
            for folder in self._folders:
                opened.enter_context(folder)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def add(self, image: ComparedImage) -> None:
        """Write the explanations of both models, or the error."""
        from onnxplain.runtime.images.pixels import as_picture

        if image.pixels is None:
            for folder in self._folders:
                folder.add_error(image.source, image.drift.error)
            return
        picture, sha256 = as_picture(image.pixels), hash_of(image.source)
        self.hashes[image.drift.image] = sha256
        for number, (folder, head_box) in enumerate(zip(self._folders, image.boxes_xyxy, strict=True)):
            source = SourceImage(image.source, self._names[image.source], picture, sha256, head_box)
            for question, *explanations in image.explanations:
                folder.add(source, question.suffix, explanations[number], 0.0)
