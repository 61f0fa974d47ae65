"""`limbeck.load(path).predict(pictures)`: an exported model used with onnxruntime, NumPy and Pillow alone.

Not here: torch, data sets, figures; devices other than this host's ONNX Runtime (`measure`).
"""

from limbeck.deployed.artifact import METADATA_KEY, METADATA_SCHEMA, find_model, open_runtime, read_artifact
from limbeck.deployed.boxes import FoundBoxes, choose_found
from limbeck.deployed.frames import as_frames
from limbeck.deployed.maps import ClassMaps, class_colours, save_map
from limbeck.deployed.model import DeployedModel, Prediction, load
from limbeck.deployed.points import FoundPoints

__all__ = [
    "METADATA_KEY",
    "METADATA_SCHEMA",
    "ClassMaps",
    "DeployedModel",
    "FoundBoxes",
    "FoundPoints",
    "Prediction",
    "as_frames",
    "choose_found",
    "class_colours",
    "find_model",
    "load",
    "open_runtime",
    "read_artifact",
    "save_map",
]
