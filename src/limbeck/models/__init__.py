"""Networks: tables as data, our families, other libraries' networks, weights. Not here: training, export, search."""

from __future__ import annotations

from limbeck.models.block_text import read_blocks
from limbeck.models.cifar import CIFAR
from limbeck.models.families import MODELS
from limbeck.models.heads import DENSE, Boxes, choose_boxes, detector, segmenter
from limbeck.models.landmarks import create_landmarker, start_at
from limbeck.models.load import create_model
from limbeck.models.names import family_table, list_models
from limbeck.models.network import Network, TableNetwork, build
from limbeck.models.signal import SIGNALS
from limbeck.models.slice import InheritReport, inherit_weights
from limbeck.models.storage import build_described, load_network, save_network
from limbeck.models.table import Head, Row, Table
from limbeck.models.tap import tap
from limbeck.models.weights import FillReport, fill_from, fill_library

__all__ = [
    "CIFAR",
    "DENSE",
    "MODELS",
    "SIGNALS",
    "Boxes",
    "FillReport",
    "Head",
    "InheritReport",
    "Network",
    "Row",
    "Table",
    "TableNetwork",
    "build",
    "build_described",
    "choose_boxes",
    "create_landmarker",
    "create_model",
    "detector",
    "family_table",
    "fill_from",
    "fill_library",
    "inherit_weights",
    "list_models",
    "load_network",
    "read_blocks",
    "save_network",
    "segmenter",
    "start_at",
    "tap",
]
