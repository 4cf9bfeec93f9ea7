"""TIFF files with any number of channels: those that Pillow and OpenCV refuse.

Read are grey pages of one size, one channel per page, and pages with several samples per pixel, interleaved or in
planes, in strips or tiles, uncompressed or deflated, without predictor, of 8 or 16 bits or float32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxplain.errors import ImageError
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.image import refuse_above

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _FORMAT, _SUBFILE = 322, 323, 324, 325, 339, 254
_TAGS = frozenset(
    (
        _WIDTH,
        _HEIGHT,
        _BITS,
        _COMPRESSION,
        _STRIPS,
        _SAMPLES,
        _ROWS,
        _STRIP_BYTES,
        _PLANAR,
        _PREDICTOR,
        _TILE_WIDTH,
        _TILE_HEIGHT,
        _TILES,
        _TILE_BYTES,
        _FORMAT,
        _SUBFILE,
    )
)
_FIELDS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_UNCOMPRESSED, _DEFLATE = (1,), (8, 32946)
_TYPES = {(8, 1): "u1", (16, 1): "u2", (32, 3): "f4", (8, 2): "i1", (16, 2): "i2"}
_SEPARATE = 2


def read_tiff(path: Path, count: int, max_megapixels: float) -> AnyArray:
    """The `count` channels, (H, W, C). Raises ImageError for a file of other channels, or in another form."""
    data = path.read_bytes()
    try:
        pages = [page for page in _pages(data, path) if not page.number(_SUBFILE, 0)]
        for page in pages:
            page.check()
        # Pixels of 8-bit RGB take 4 bytes.
        weight = sum(page.bytes_per_pixel for page in pages) / 4
        for page in pages:
            refuse_above(page.laid_out_wh, weight, path, max_megapixels)
        samples = [page.number(_SAMPLES, 1) for page in pages]
        if samples[:1] == [count]:
            return pages[0].read()
        if samples == [1] * count and len({page.size_hw for page in pages}) == 1:
            return np.concatenate([page.read() for page in pages], axis=2)
    except (struct.error, zlib.error, IndexError, ValueError, KeyError, ArithmeticError) as error:
        raise ImageError(
            f"{path}: found a damaged TIFF ({type(error).__name__}: {error}), expected a whole one"
        ) from error
    raise ImageError(
        f"{path}: found {len(samples)} page{'s' * (len(samples) != 1)} of {samples[0] if samples else 0} "
        f"channels, expected {count} channels in one page, or a page for each"
    )


@dataclass(frozen=True)
class _Page:
    path: Path
    data: bytes
    order: str
    tags: dict[int, tuple[int, ...]]

    def number(self, tag: int, default: int | None = None) -> int:
        if tag not in self.tags and default is not None:
            return default
        return self.tags[tag][0]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.number(_HEIGHT), self.number(_WIDTH)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        bits, form = set(self.tags.get(_BITS, (1,))), set(self.tags.get(_FORMAT, (1,)))
        return np.dtype(self.order + _TYPES[bits.pop(), form.pop()])

    @property
    def bytes_per_pixel(self) -> int:
        """Of all channels."""
        return self.number(_SAMPLES, 1) * self.dtype.itemsize

    @property
    def block_hw(self) -> tuple[int, int]:
        """Rows and columns of a tile or strip."""
        height, width = self.size_hw
        if _TILES in self.tags:
            return self.number(_TILE_HEIGHT), self.number(_TILE_WIDTH)
        return min(self.number(_ROWS, height), height), width

    @property
    def blocks(self) -> tuple[int, int]:
        """How many tiles or strips there are, down and across."""
        (height, width), (block_height, block_width) = self.size_hw, self.block_hw
        return -(-height // block_height), -(-width // block_width)

    @property
    def laid_out_wh(self) -> tuple[int, int]:
        """Width and height with the last tiles whole."""
        (down, across), (block_height, block_width) = self.blocks, self.block_hw
        return across * block_width, down * block_height

    def check(self) -> None:
        """Raise ImageError for a form that `read` cannot read."""
        kinds = {(bits, form) for bits in self.tags.get(_BITS, (1,)) for form in self.tags.get(_FORMAT, (1,))}
        compression, predictor = self.number(_COMPRESSION, 1), self.number(_PREDICTOR, 1)
        if (
            len(kinds) > 1
            or not kinds <= _TYPES.keys()
            or compression not in (*_UNCOMPRESSED, *_DEFLATE)
            or predictor > 1
        ):
            raise ImageError(
                f"{self.path}: found a TIFF with compression {compression}, predictor {predictor} and (bits, format) "
                f"{sorted(kinds)}, expected no compression or Deflate, no predictor, and 8 or 16 bits or float32: save "
                "it so, or as a NumPy array (.npy)"
            )

    def read(self) -> AnyArray:
        """(H, W, samples) in the machine's byte order."""
        height, width = self.size_hw
        samples, planes = self.number(_SAMPLES, 1), 1
        if self.number(_PLANAR, 1) == _SEPARATE:
            samples, planes = 1, samples
        tiled = _TILES in self.tags
        (block_height, block_width), (down, across) = self.block_hw, self.blocks
        blocks = zip(
            *(self.tags[tag] for tag in ((_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES))), strict=True
        )
        pixels = np.zeros((down * block_height, across * block_width, planes, samples), self.dtype)
        for number, (offset, size) in enumerate(blocks):
            plane, place = divmod(number, down * across)
            top, left = place // across * block_height, place % across * block_width
            rows = block_height if tiled else min(block_height, height - top)
            values = self._values(offset, size, rows * block_width * samples)
            pixels[top : top + rows, left : left + block_width, plane] = values.reshape(rows, block_width, samples)
        whole = pixels[:height, :width].reshape(height, width, planes * samples)
        return np.ascontiguousarray(whole, self.dtype.newbyteorder("="))

    def _values(self, offset: int, size: int, count: int) -> AnyArray:
        data = self.data[offset : offset + size]
        if self.number(_COMPRESSION, 1) in _DEFLATE:
            # No more than the pixels: a few bytes may unpack to gigabytes.
            data = zlib.decompressobj().decompress(data, count * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype, count)


def _pages(data: bytes, path: Path) -> Iterator[_Page]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
    if order is None or version not in (42, 43):
        raise ImageError(f"{path}: found no TIFF ({len(data)} bytes, starting with {data[:8]!r}), expected one")
    # BigTIFF, 43, has 8 bytes for offsets and counts.
    big = version == 43
    offset_form, count_form, entry_size, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    (offset,) = struct.unpack_from(order + offset_form, data, 8 if big else 4)
    seen: set[int] = set()
    # Tags may overlap, and a small file could name gigabytes of values.
    left = len(data)
    while offset and offset not in seen:
        seen.add(offset)
        (count,) = struct.unpack_from(order + count_form, data, offset)
        start = offset + struct.calcsize(order + count_form)
        tags = {}
        for entry in range(start, start + count * entry_size, entry_size):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            (values,) = struct.unpack_from(order + offset_form, data, entry + 4)
            form = _FIELDS.get(kind)
            if form is None or tag not in _TAGS:
                continue
            place = entry + 4 + struct.calcsize(order + offset_form)
            if values * struct.calcsize(form) > inline:
                (place,) = struct.unpack_from(order + offset_form, data, place)
            left -= values * struct.calcsize(form)
            if left < 0:
                raise ValueError(f"tag {tag} has {values} values")
            tags[tag] = struct.unpack_from(f"{order}{values}{form}", data, place)
        yield _Page(path, data, order, tags)
        (offset,) = struct.unpack_from(order + offset_form, data, start + count * entry_size)
