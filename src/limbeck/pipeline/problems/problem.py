"""What the chain asks of a kind of problem: the seam between the stages and what is special to one kind.

Not here: criterion, metric and figures (`tasks`), which belong to every training; the kinds themselves, one file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limbeck.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from limbeck.data import Loader, PictureSet
    from limbeck.models import Network
    from limbeck.protocols import Device
    from limbeck.recipe import Calibrate, Export, Recipe
    from limbeck.types import Artifact

__all__ = ["Case", "Kept", "Problem", "Run", "Shown", "answers_of", "as_input", "refuse_forms"]

Kept = Mapping[str, np.ndarray]
"""What is kept of a model's outputs on some pictures: arrays by name, the first axis = pictures."""

Run = Callable[[np.ndarray], np.ndarray]
"""A file on a device: [N, H, W, 3] uint8 fitted pictures -> what the file gives of them."""


@dataclass(frozen=True)
class Case:
    """One exported model and what its files are held against.

    Attributes:
        device: where the files have to be right.
        network: what was exported.
        kept: the network's own outputs on the test pictures.
        pictures: the test pictures.
        temperature: that is inside the files.
        export: the recipe's section.
    """

    device: Device
    network: Network
    kept: Kept
    pictures: PictureSet
    temperature: float
    export: Export


@dataclass(frozen=True)
class Shown:
    """The report's own section of a kind of problem.

    Attributes:
        report: keys of `report.json`.
        pictures: keys of what the page alone holds (`limbeck.report.render`).
    """

    report: dict[str, Any]
    pictures: dict[str, Any]


class Problem(Protocol):
    """A kind of problem in the chain; made from its task and the classes' names."""

    task: Any
    samples: str
    """What this kind calls its samples where users read of them, in the plural."""
    evaluation_batch: int
    """Pictures that are evaluated at once."""
    outputs_each: int
    """Outputs of a network for each class: 1, of points 2."""

    def __init__(self, task: Any, class_names: Sequence[str]) -> None: ...

    def check(self, recipe: Recipe) -> None:
        """Refuse what this kind cannot do, before any work.

        Raises:
            InputError: the recipe asks for something that this kind of problem does not have.
        """

    def check_network(self, network: Network, *, where: str) -> None:
        """Refuse a network whose outputs are another kind's.

        Raises:
            InputError: they are.
        """

    def start(self, network: Network, pictures: PictureSet) -> None:
        """Prepare a network that is to be trained from fresh outputs on these pictures, in place."""

    def exporting(self) -> dict[str, Any]:
        """Keywords of the exporter, beyond those of every kind."""

    def evaluate(self, network: Network, batches: Loader, *, device: str) -> dict[str, float]:
        """Figures of a network on the pictures by which trainings are selected."""

    def keep(self, network: Network, batches: Loader, *, device: str) -> Kept:
        """What is kept of a network's outputs: enough for all that follows."""

    def mean(self, said: Sequence[Kept], shares: Sequence[float]) -> Kept:
        """What several models say together, weighted by their shares."""

    def judge(
        self,
        validation: tuple[Kept, PictureSet] | None,
        test: tuple[Kept, PictureSet],
        settings: Calibrate,
    ) -> dict[str, Any]:
        """Calibrate confidence on validation, and judge on test.

        Returns:
            `temperature`; `reason` why there is none, else empty; `metrics` on test, the primary one among them;
            `validation` figures or None; reliability `before` and `after`, None where there is none. Where they apply:
            `counted`, what reliability counts; `per_class`, a figure's `name` and its `values` by class name; and `facts`
            that the exported file is to say of itself.
        """

    def compare(self, first: Kept, second: Kept, pictures: PictureSet) -> dict[str, Any]:
        """Paired difference of two models or files on the same pictures: `difference, low, high, p_value, n`."""

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """What the exported graph is to say of itself, beyond what every file says."""

    def finishes(self, export: Export) -> bool:
        """Whether something follows the exported graph in the file that is handed over."""

    def finish(self, graph: Artifact, path: Path, export: Export) -> Artifact:
        """Write the file that is handed over: the proven graph, fp32 or int8, with what follows it."""

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """Hold an fp32 graph, and the file made of it, against the network: gates, and what the file says on test."""

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """Hold an int8 file against what the fp32 file said, on the metric: its gate, and what it says on test."""

    def read(self, run: Run, pictures: PictureSet, *, tell: Callable[[int], None] | None = None) -> Kept:
        """What a file says of pictures; `tell` hears of every batch how many there were."""

    def file_figures(self, said: Kept, pictures: PictureSet, *, bins: int) -> dict[str, float]:
        """Figures of what a file says, calibration included."""

    def show(self, kept: Kept, pictures: PictureSet, load: Callable[[], Network]) -> Shown:
        """The report's section on the student, from its outputs on test; `load` gives the network itself."""


def refuse_forms(recipe: Recipe, *fields: str) -> None:
    """Refuse fields of `[export]` that are another kind's.

    Raises:
        InputError: one of them is not at its default.
    """
    for field in fields:
        if getattr(recipe.export, field) != type(recipe.export).model_fields[field].default:
            raise InputError(f'export.{field}: not for task = "{recipe.task}"; leave it out')


def answers_of(run: Run, pictures: PictureSet, *, batch: int, tell: Callable[[int], None] | None = None) -> np.ndarray:
    """What a file gives of all pictures, [N, ...]; `tell` as in `Problem.read`."""
    rows = []
    for start in range(0, len(pictures), batch):
        chunk = pictures.samples(np.arange(start, min(start + batch, len(pictures))))
        rows.append(run(chunk))
        if tell is not None:
            tell(len(chunk))
    return np.concatenate(rows)


def as_input(pictures: np.ndarray, artifact: Artifact) -> np.ndarray:
    """[N, H, W, 3] uint8, or signals [N, 2, T] float32 -> what the file takes."""
    if artifact.input_dtype == "uint8" or pictures.dtype == np.float32:
        return pictures
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
