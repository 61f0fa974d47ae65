"""Networks that say something of every place: segmentation heads and SSDLite on our tables. Not here: classifiers."""

from __future__ import annotations

from limbeck.models.heads.anchors import decode_boxes, encode_boxes, make_anchors
from limbeck.models.heads.backbone import DenseNetwork
from limbeck.models.heads.detections import AnchorOutputs, Boxes, SoftmaxAnchorOutputs, choose_boxes
from limbeck.models.heads.names import DENSE, detector, find_dense, list_dense, segmenter
from limbeck.models.heads.segmentation import SegmentationDesign, SegmentationNetwork
from limbeck.models.heads.ssdlite import DetectionDesign, DetectionNetwork

__all__ = [
    "DENSE",
    "AnchorOutputs",
    "Boxes",
    "DenseNetwork",
    "DetectionDesign",
    "DetectionNetwork",
    "SegmentationDesign",
    "SegmentationNetwork",
    "SoftmaxAnchorOutputs",
    "choose_boxes",
    "decode_boxes",
    "detector",
    "encode_boxes",
    "find_dense",
    "list_dense",
    "make_anchors",
    "segmenter",
]
