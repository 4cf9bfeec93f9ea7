"""The networks by layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.detectors.gradients.backbone import Detector
from tests.detectors.gradients.face_networks import BlazeFace, FastestDet, NanoDet, NanoDetPlus, Ssd, YuNet
from tests.detectors.gradients.query_networks import Detr, RfDetr, RtDetr, RtDetrDeploy, RtDetrUltralytics
from tests.detectors.gradients.yolo_networks import End2End, YoloAnchor, YoloDense, YoloX, YoloXDecoded

NETWORKS: Mapping[str, Callable[[], Detector]] = {
    each.layout: each
    for each in (
        YoloDense,
        YoloAnchor,
        YoloX,
        YoloXDecoded,
        End2End,
        NanoDet,
        NanoDetPlus,
        YuNet,
        FastestDet,
        Ssd,
        BlazeFace,
        RtDetr,
        Detr,
        RfDetr,
        RtDetrUltralytics,
        RtDetrDeploy,
    )
}
