"""Path and size of the image that an annotation names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from onnxplain.data.bounds import is_inside
from onnxplain.errors import ImageError
from onnxplain.files.existing import is_existing_file
from onnxplain.runtime.image import IMAGE_SUFFIXES, check_file, one_line

_TWIN_FOLDERS = {
    "labels": "images",
    "Annotations": "JPEGImages",
    "masks": "images",
    "SegmentationClass": "JPEGImages",
}
"""Annotation folder → image folder in the layouts of YOLO, Pascal VOC and folders of masks."""
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def data_set_folders(source: Path) -> list[Path]:
    """The folders, without links, in which the files of a data set may be: its own, and the image folder of YOLO's or
    VOC's layout if `source` is in its folder of annotations."""
    folder = (source if source.is_dir() else source.parent).absolute()
    twin = _twin(folder)
    return [folder.resolve()] if twin is None else [folder.resolve(), twin[0].resolve().joinpath(*twin[1])]


def _twin(folder: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The folder of a layout that has annotations and images side by side, and the path of the images in it."""
    for depth, parent in enumerate((folder, *folder.parents)):
        if parent.name in _TWIN_FOLDERS:
            below = folder.parts[len(folder.parts) - depth :]
            return parent.parent, (_TWIN_FOLDERS[parent.name], *below)
    return None


class ImageLookup:
    """Finds images by name. If `images` is given, only there; else beside the annotation file, in a folder ``images``
    beside it, or in the image folder of YOLO's or VOC's layout. Reads each folder at most once.

    `folders`: an image outside of these folders, after all links, is refused; None: none is.
    """

    def __init__(self, images: Path | None = None, folders: Sequence[Path] | None = None) -> None:
        self.images, self._allowed = images, folders
        self._files_by_stem: dict[Path, dict[str, list[Path]]] = {}

    def find(self, name: str, folder: Path) -> Path:
        """The file for `name`, relative to `folder`; if `name` has no image suffix, one is added.

        Raises ImageError if there is none, if several files differ only in the suffix, or if it is outside.
        """
        path = self._find(name, folder)
        if self._allowed is not None and not is_inside(path, self._allowed):
            raise ImageError(
                f"found image {name!r} outside of {', '.join(map(str, self._allowed))}, expected it inside: give the "
                "folder of the images (images=DIR, --images DIR), or allow it (allow_outside=True, --allow-outside)"
            )
        return path

    def _find(self, name: str, folder: Path) -> Path:
        folders = self._folders(folder)
        for candidate in folders:
            path = candidate / name
            if is_existing_file(path):
                return path
            if path.suffix.lower() in IMAGE_SUFFIXES:
                continue
            found = self._by_stem(path.parent).get(path.name, [])
            if len(found) > 1:
                raise ImageError(f"found {' and '.join(file.name for file in found)}, expected one image {name!r}")
            if found:
                return found[0]
        places = ", ".join(str(candidate) for candidate in folders)
        raise ImageError(f"found no image {name!r} in {places}: give its folder (images=DIR, --images DIR)")

    def _folders(self, folder: Path) -> list[Path]:
        if self.images is not None:
            return [self.images]
        folders = [folder, folder / "images"]
        twin = _twin(folder)
        return folders if twin is None else [*folders, twin[0].joinpath(*twin[1])]

    def _by_stem(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._files_by_stem:
            files: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    files.setdefault(path.stem, []).append(path)
            self._files_by_stem[folder] = files
        return self._files_by_stem[folder]


def read_size_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as `load_image` gives it (EXIF rotation applied), from the file's header alone.

    Raises ImageError for a file without an image header. Damage after the header is not detected.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about size: load_image has its own limit
            with Image.open(path) as image:
                # The base class's method: PNG's own decodes the whole image to look for EXIF after it.
                # For TIFF, Pillow already gives the rotated size.
                orientation = Image.Image.getexif(image).get(_EXIF_ORIENTATION)
                sideways = orientation in _SIDEWAYS and image.format != "TIFF"
                return image.size if sideways else (image.size[1], image.size[0])
    except UnidentifiedImageError:
        raise ImageError(f"{path}: found no image ({path.stat().st_size} bytes), expected JPEG, PNG …") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: found an image that is too large ({one_line(error)}): shrink it") from None
    except Exception as error:  # damaged headers make the decoders raise anything
        raise ImageError(f"{path}: cannot be opened ({one_line(error)}): check the file") from error
