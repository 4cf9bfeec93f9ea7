"""Which axis holds the images behind each operator, against what a change of one image changes on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from onnxplain.exporters.file.batch_axis import BatchPlace, follow_batch
from onnxplain.exporters.file.model_file import prepare
from tests.exporters.cases import MADE_OF_CASES, OPERATOR_CASES
from tests.exporters.graphs import OperatorCase, session, values_of

# Far enough to change which entry is the largest.
MOVED_BY = (0.25, -0.5, 9.0, -9.0)
# A table of weights holds no images.
FUSED = {(case.domain, case.operator) for case in MADE_OF_CASES if case.operator != "GatherBlockQuantized"}


def _influence(case: OperatorCase, axis: int) -> Iterator[np.ndarray]:
    """For each slice of the first input along the axis, which entries of the output depend on it."""
    running = session(case.model(np.float32, open_batch=False))
    feeds = {f"x{index}": case.array(index).astype(np.float32) for index in case.wrt}
    (still,) = running.run([case.seeded], feeds)
    first = f"x{case.wrt[0]}"
    for image in range(feeds[first].shape[axis]):
        changed = np.zeros(np.shape(still), bool)
        for distance in MOVED_BY:
            array = feeds[first].copy()
            part = np.moveaxis(array, axis, 0)[image : image + 1]
            part += distance * np.random.default_rng(1).uniform(0.5, 1, part.shape).astype(np.float32)
            (moved,) = running.run([case.seeded], {**feeds, first: array})
            changed |= (moved != still) & ~(np.isnan(moved) & np.isnan(still))
        yield changed


def _of_image(place: BatchPlace, shape: tuple[int, ...], batch: int) -> np.ndarray:
    """The image of each entry of the output, by its place."""
    inside = shape[place.axis] // (place.outside * batch)
    images = np.arange(shape[place.axis]) // inside % batch
    return images.reshape([-1 if axis == place.axis else 1 for axis in range(len(shape))])


@pytest.mark.parametrize("case", [case for case in OPERATOR_CASES if case.array(case.wrt[0]).ndim], ids=lambda c: c.id)
def test_the_batch_is_where_images_change_the_output(case: OperatorCase) -> None:
    graph = prepare(case.model(np.float32, open_batch=False)).graph
    values = values_of(graph)
    first, output = values[f"x{case.wrt[0]}"], values[case.seeded]
    for axis, batch in enumerate(case.array(case.wrt[0]).shape):
        changed = np.stack(list(_influence(case, axis)))
        if (changed.sum(0) > 1).any():
            # The operator mixes the images.
            continue
        place = follow_batch(graph, {first: BatchPlace(axis)}, batch).get(output)
        if place is None:
            assert axis > 0 or (case.domain, case.operator) not in FUSED, "the batch is lost"
            continue
        images = np.broadcast_to(_of_image(place, changed.shape[1:], batch), changed.shape[1:])
        for image, moved in enumerate(changed):
            assert (images[moved] == image).all(), f"axis {axis}: {place}"
