"""Pictures with labels: readers, inspection, splits, augmentation as a pure function of (seed, view, index), batches.

What does not live here: networks, tasks, the training loop; normalisation (every network owns its own).
"""

from __future__ import annotations

from limbeck.data.augment import Augment
from limbeck.data.balance import balanced_weights, class_weights
from limbeck.data.labelled import read_labelled
from limbeck.data.loader import Loader
from limbeck.data.look import Look, look_at
from limbeck.data.look_signals import SignalLook, is_signals, look_at_signals
from limbeck.data.open import open_data
from limbeck.data.picture_set import DataSplits, PictureSet
from limbeck.data.raw import RawData, RawSplit
from limbeck.data.readers import DATA
from limbeck.data.stream import PictureStream

__all__ = [
    "DATA",
    "Augment",
    "DataSplits",
    "Loader",
    "Look",
    "PictureSet",
    "PictureStream",
    "RawData",
    "RawSplit",
    "SignalLook",
    "balanced_weights",
    "class_weights",
    "is_signals",
    "look_at",
    "look_at_signals",
    "open_data",
    "read_labelled",
]
