"""The source that stands where a frozen teacher stood, and which graphs may have it. The files are `cache`'s."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.distill.cache import TeacherCache
from limbeck.distill.objective import Distillation
from limbeck.distill.rows import FullRows
from limbeck.distill.sources import Frozen, Learner, Source
from limbeck.distill.term import TASK, Edge
from limbeck.errors import InputError
from limbeck.types import Batch, Outputs

__all__ = ["Cached", "cacheable_teachers", "use_caches"]

SOFTMAX_LOSSES = ("dist", "dkd", "kd", "nkd")
"""Losses that read a teacher by its softmax at their `temperature` alone: at 1 the largest logits and the rest's mass
nearly make them.
"""
RESIDENT_SHARE = 0.25  # of a CUDA device's free memory, that the view in use may take


class Cached(Source):
    """A teacher that speaks from its cache: the logits by the batch's `index` and `view`, without a pass.

    On CUDA the view in use is held in the device's memory where there is room, so that a step waits for nothing.

    Args:
        cache: filled for every view that batches come in (`fill_cache`).
    """

    def __init__(self, cache: TeacherCache) -> None:
        super().__init__()
        self.cache = cache
        self._resident: tuple[int, Tensor] | None = None

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Refuse any stage.

        Raises:
            InputError: always, if there are names.
        """
        for name in names:
            raise InputError(f"a teacher cache holds logits and no '{name}'; this needs the teacher itself")

    @torch.compiler.disable  # a look-up outside torch
    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """What the teacher said of these pictures in this view, float32.

        Raises:
            InputError: the view is not filled.
        """
        if batch.index.device.type == "cuda":
            table = self._on_device(batch.view, batch.index.device)
            if table is not None:
                return Outputs(table[batch.index].float())
        return Outputs(self.cache.read(batch.view, batch.index.cpu().numpy()).to(batch.index.device))

    def _on_device(self, view: int, device: torch.device) -> Tensor | None:
        """The whole view where it fits, [samples, K] float16."""
        if self._resident is None or self._resident[0] != view or self._resident[1].device != device:
            self._resident = None  # the last one's memory first
            table = self.cache.table(view)
            room = torch.cuda.mem_get_info(device)[0] * RESIDENT_SHARE
            if not isinstance(self.cache.rows, FullRows) or table.nbytes > room:
                return None
            self._resident = (view, torch.from_numpy(table.copy()).to(device))
        return self._resident[1]


def cacheable_teachers(objective: Distillation, *, top_k: int | None = None) -> dict[str, Frozen]:
    """The frozen teachers of a graph by source, if their logits are all that the graph takes of them.

    Args:
        objective: the graph with its teachers in place.
        top_k: as of the cache; needs terms that read probabilities at temperature 1.

    Raises:
        InputError: there is none, a term or source reads a teacher's features, or `top_k` would bend a term.
    """
    found = {name: source for name, source in objective.sources.items() if isinstance(source, Frozen)}
    if not found:
        learners = ", ".join(objective.learners())
        raise InputError(
            f"teacher.cache: there is no ready, frozen teacher in this graph, whose networks all learn ({learners}); "
            "set teacher.cache = false"
        )
    for edge in objective.edges:
        for address in edge.term.addresses:
            if "/" in address and address.partition("/")[0] in found:
                raise InputError(
                    f"teacher.cache: {edge.term.arrow} reads the teacher's features ('{address}'), and a cache holds "
                    "logits only; set teacher.cache = false"
                )
        if top_k is not None:
            _check_top_k(edge, objective)
    for name, source in objective.sources.items():
        for address in getattr(source, "reads", ()):
            if "/" in address and address.partition("/")[0] in found:
                raise InputError(f"teacher.cache: source '{name}' reads '{address}', and a cache holds logits only")
    odd = [name for name, source in found.items() if type(source) is not Frozen]
    if odd:
        raise InputError(f"teacher.cache: source '{odd[0]}' is no plain frozen teacher; set teacher.cache = false")
    return found


def use_caches(objective: Distillation, caches: Mapping[str, TeacherCache]) -> None:
    """Let filled caches speak in the place of the teachers of those names, which the graph then lets go."""
    for name, cache in caches.items():
        objective.sources[name] = Cached(cache)


def _check_top_k(edge: Edge, objective: Distillation) -> None:
    sources = (objective.sources[address.partition("/")[0]] for address in edge.term.teachers)
    if edge.term.loss == TASK or all(isinstance(source, Learner) for source in sources):
        return
    loss: Any = edge.term.loss
    temperature = edge.options.get("temperature")
    if temperature is None and loss in SOFTMAX_LOSSES:
        temperature = inspect.signature(edge.call).parameters["temperature"].default
    # standardised logits depend on the spread of all of them, which is lost
    if loss not in SOFTMAX_LOSSES or temperature != 1 or edge.options.get("standardise"):
        raise InputError(
            f"teacher.cache_top_k: {edge.term.arrow} is not one of {', '.join(SOFTMAX_LOSSES)} at temperature 1, and what "
            "is left out would bend its gradient; leave teacher.cache_top_k out"
        )
