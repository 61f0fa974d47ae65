"""What is wrong with a data set, collected for the report; and the point where it is too much.

What does not live here: looking at pictures (`inspect`) or labels (`labels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.data.inspect import find_shared
from limbeck.data.picture_set import PictureSet
from limbeck.data.raw import Kind, RawSplit
from limbeck.data.stream import PictureStream
from limbeck.errors import InputError
from limbeck.pictures import Fit

__all__ = ["Review"]

_LISTED = 200  # entries of `left_out` in a report; the count is always whole
_EXAMPLES = 10
_SEVERAL: dict[Kind, str] = {"mask": "pixels", "boxes": "boxes", "points": "places"}  # what a class is counted by


@dataclass
class Review:
    """Collects warnings, what was left out, and leakage.

    Attributes:
        where: the set, as errors call it.
        warnings: lines for the report.
        left_out: {"split", "source", "reason"} of each sample that is not used.
        leakage: by pair of splits such as `train/test`: count and example pairs of sources.
    """

    where: str
    warnings: list[str] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    leakage: dict[str, dict[str, Any]] = field(default_factory=dict)

    def leave_out(self, split: str, reasons: Mapping[int, str], raw: RawSplit, total: int) -> None:
        """Record samples that cannot be used.

        Raises:
            InputError: they are more than half of the split.
        """
        if not reasons:
            return
        entries = [
            {"split": split, "source": raw.name(row, split), "reason": reason} for row, reason in reasons.items()
        ]
        first = entries[0]
        what = first["reason"] if first["source"] in first["reason"] else f"{first['source']}: {first['reason']}"
        if len(entries) * 2 > total:
            raise InputError(f"{self.where}: {len(entries)} of {total} {split} pictures are not usable; first: {what}")
        self.left_out += entries
        self.warnings.append(f"{len(entries)} of {total} {split} pictures left out; first: {what}")

    def check_classes(self, sets: Mapping[str, PictureSet], kind: Kind = "class") -> None:
        """Compare the classes of the splits.

        Raises:
            InputError: too few classes can be trained (two; of boxes one), or a split is empty.
        """
        for split, pictures in sets.items():
            if not len(pictures):
                raise InputError(f"{self.where}: the {split} split has no usable pictures")
        names = np.array(next(iter(sets.values())).class_names)
        trained = sets["train"].class_counts() > 0 if "train" in sets else np.ones(len(names), bool)
        what = _SEVERAL.get(kind, "pictures")
        if trained.sum() < (1 if kind == "boxes" else 2):
            learner = "a classifier needs" if kind == "class" else f"{kind} need" if trained.any() else "training needs"
            raise InputError(
                f"{self.where}: training {what} of one class only ({', '.join(names[trained])}); {learner} two or more"
                if trained.any()
                else f"{self.where}: no training {what} of any class"
            )
        for split, pictures in sets.items():
            absent = names[pictures.class_counts() == 0]
            if len(absent):
                listed = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
                self.warnings.append(f"{len(absent)} of {len(names)} classes have no {split} {what}: {listed}")

    def check_fit(self, sets: Mapping[str, PictureSet], fit: Fit, size: tuple[int, int]) -> None:
        """Warn where `crop` cuts annotated parts of pictures away."""
        if fit != "crop":
            return
        cut = 0
        for pictures in sets.values():
            assert pictures.sizes is not None
            aspect = pictures.sizes[:, 1] / pictures.sizes[:, 0] / (size[1] / size[0])
            cut += int((np.abs(np.log(aspect)) > 0.01).sum())
        if cut:
            self.warnings.append(
                f"data.fit = crop cuts the sides of {cut} pictures away, with what is annotated there; "
                "squash or pad keeps all of it, as does an image_size of their shape"
            )

    def find_leakage(self, sets: Mapping[str, PictureSet], hashes: Mapping[str, np.ndarray]) -> None:
        """Find identical pictures in two splits, and under two labels in training."""
        for one, other in (("train", "test"), ("train", "validation"), ("validation", "test"), ("unlabelled", "test")):
            if one not in sets or other not in sets:
                continue
            pairs = find_shared(hashes[one], hashes[other])
            if pairs:
                examples = [[sets[one].source(left), sets[other].source(right)] for left, right in pairs[:_EXAMPLES]]
                self.leakage[f"{one}/{other}"] = {"count": len(pairs), "examples": examples}
                self.warnings.append(
                    f"leakage: {len(pairs)} of {len(sets[other])} {other} pictures are also in {one}, pixel by pixel "
                    f"(first: {examples[0][1]} = {examples[0][0]})"
                )
        if "train" in sets and sets["train"].targets is None:
            self._find_disputed(sets["train"], hashes["train"])

    def _find_disputed(self, train: PictureSet, hashes: np.ndarray) -> None:
        _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        labels = train.labels
        disputed = np.unique(which.reshape(-1)[labels != labels[first][which.reshape(-1)]])
        if len(disputed):
            source = train.source(int(first[disputed[0]]))
            self.warnings.append(
                f"{len(disputed)} training pictures are there under two or more labels (first: {source})"
            )

    def report(self, sets: Mapping[str, PictureSet], *, streamed: PictureStream | None = None) -> dict[str, Any]:
        """The record that `DataSplits.report` carries: JSON-like."""
        counts = {split: len(pictures) for split, pictures in sets.items()}
        return {
            "counts": counts if streamed is None else {"train": len(streamed), **counts},
            "class_counts": {
                split: pictures.class_counts().tolist() for split, pictures in sets.items() if split != "unlabelled"
            },
            "left_out": self.left_out[:_LISTED],
            "left_out_count": len(self.left_out),
            "leakage": self.leakage,
            "warnings": self.warnings,
        }
