"""The distillation objective: sources of outputs joined by terms. Which sources and terms make a method is
`methods`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.distill.landmarks import OF_POINTS
from limbeck.distill.pause import Pause
from limbeck.distill.pixels import is_map
from limbeck.distill.sources import Frozen, Learner
from limbeck.distill.term import Edge, Term, open_edge
from limbeck.errors import InputError, LimbeckError, unknown_name
from limbeck.models.heads import AnchorOutputs
from limbeck.tasks import Classification, Detection, Segmentation
from limbeck.types import Batch, Outputs

__all__ = ["Distillation", "labelled_rows"]

PROBE_SIZE = 4  # enough rows for losses that correlate samples


class Distillation(nn.Module):
    """A graph of sources and terms as a training objective, checked against one probe batch when it is made.

    Args:
        sources: name -> source; one may read those before it.
        terms: the edges; `loss` in what `forward` returns is their weighted sum.
        criterion: (output, target) -> scalar behind the loss `task`; None = cross-entropy over the labelled samples,
            or pixels of a network that gives maps; of a detector, its own loss.
        example: a batch to probe with; None = noise of the deployed network's `input_size`.
        deploy: the source whose network is handed over.
        num_samples: size of the data set, for losses that keep something per sample.
        pause: by which learners rest in some steps.

    Raises:
        InputError: an address that no source offers (with the valid ones), a wrong option, shapes that a loss
            refuses; the term is named.
    """

    def __init__(
        self,
        sources: Mapping[str, nn.Module],
        terms: Sequence[Term],
        *,
        criterion: Callable[[Any, Tensor], Tensor] | None = None,
        example: Batch | None = None,
        deploy: str = "student",
        num_samples: int | None = None,
        pause: Pause | None = None,
    ) -> None:
        super().__init__()
        # Frozen networks first: they read nobody, and beside a learner's stored activations their pass would be slower.
        self.sources = nn.ModuleDict(sorted(sources.items(), key=lambda item: not isinstance(item[1], Frozen)))
        self.deploy = deploy
        self._pause = pause
        if not isinstance(self.sources[deploy] if deploy in sources else None, Learner):
            raise InputError(f"distillation: '{deploy}' must be a learner among the sources ({', '.join(sources)})")
        if not terms:
            raise InputError("distillation: no terms, so that there is nothing to learn from")
        self.eval()  # the probe must leave no trace in running statistics or memories
        probe = self._probe_batch(example)
        with torch.no_grad():
            self._ask(terms, probe.inputs)
            seen = self._observe(probe)
            if example is None:
                of_points = any(term.loss in OF_POINTS for term in terms)
                probe = replace(probe, target=_target_for(seen[deploy].out, probe.target, of_points=of_points))
            if pause is not None:
                self._try_pause(pause, seen, probe)
        self.edges = self._open(terms, seen, probe, criterion, num_samples)
        modules = {edge.name.replace(".", "_"): edge.call for edge in self.edges if isinstance(edge.call, nn.Module)}
        self.losses = nn.ModuleDict(modules)
        self.train()

    def forward(self, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        """The weighted sum as `loss`, and each term's unweighted value by its name."""
        seen = self._observe(batch)
        labelled = None if batch.labelled else labelled_rows(batch.target)
        total: Tensor | float = 0.0
        values: dict[str, Tensor] = {}
        for edge in self.edges:
            value = edge.value(seen, batch, progress, labelled)
            total = total + edge.weight(progress) * value
            values[edge.name] = value.detach()
        if self._pause is not None and self.training:
            self._pause.note(seen, batch, progress)
        return {"loss": total, **values}

    def after_backward(self) -> None:
        """Take the gradients of paused learners away, so that neither momentum nor decay moves them."""
        for name in self._pause.resting() if self._pause is not None else ():
            for parameter in self.sources[name].parameters():
                parameter.grad = None

    def after_step(self) -> None:
        """Let sources and losses write their memories; called once after each optimizer step."""
        for part in (*self.sources.values(), *self.losses.values()):
            if hasattr(part, "after_step"):
                part.after_step()
        if self._pause is not None:
            self._pause.forget()

    def deployable(self) -> nn.Module:
        """The network that training was for, without exits or anything else of the graph."""
        return self.sources[self.deploy].network

    def learners(self) -> dict[str, nn.Module]:
        """The trained networks by source. Exits and parameters of losses lie outside them, in this module."""
        return {name: source.network for name, source in self.sources.items() if isinstance(source, Learner)}

    def needs(self) -> frozenset[str]:
        """What the batches must carry beyond pictures, labels and indices, as the sources and losses name it."""
        parts = [*self.sources.values(), *(edge.call for edge in self.edges)]
        return frozenset(need for part in parts for need in getattr(part, "needs", ()))

    def _observe(self, batch: Batch) -> dict[str, Outputs]:
        seen: dict[str, Outputs] = {}
        for name, source in self.sources.items():
            seen[name] = source(batch, seen)
        return seen

    def _probe_batch(self, example: Batch | None) -> Batch:
        network = self.deployable()
        like = next(network.parameters(), torch.empty(0))
        if example is None:
            size = getattr(network, "input_size", None)
            if size is None:
                raise InputError("distillation: the student has no input_size; give an example batch")
            sample = getattr(network, "sample_shape", (getattr(network, "in_channels", 3), *size))
            shape = (PROBE_SIZE, *sample)
            inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            index = torch.arange(PROBE_SIZE)
            target = torch.zeros_like(index)
        else:
            index, inputs, target = (value[:PROBE_SIZE] for value in (example.index, example.inputs, example.target))
            target = target if target.is_floating_point() else target.clamp(min=0)  # only shapes count here
        needs = {need for source in self.sources.values() for need in getattr(source, "needs", ())}
        further = dict.fromkeys(needs, inputs)
        if example is None or "snr" in example.further:  # what data does not tell, a term must miss here already
            further["snr"] = torch.zeros(len(index))
        return Batch(index, inputs, target, further=further).to(like.device)

    def _ask(self, terms: Sequence[Term], inputs: Tensor) -> None:
        """Tell every source which of its stages and exits are used, in the order of the sources."""
        asked: dict[str, list[str]] = {name: [] for name in self.sources}
        before: list[str] = []
        for name, source in self.sources.items():
            for address in getattr(source, "reads", ()):
                _note(address, asked, known=before, where=f"source '{name}'")
            before.append(name)
        for term in terms:
            for address in term.addresses:
                _note(address, asked, known=before, where=term.arrow)
        for name, parts in asked.items():
            if not hasattr(self.sources[name], "ask"):
                continue
            try:
                self.sources[name].ask(list(dict.fromkeys(parts)), inputs)
            except InputError as error:
                users = [t.title for t in terms if any(a.startswith(f"{name}/") for a in t.addresses)]
                raise InputError(f"source '{name}' (terms: {', '.join(users)}): {error}") from None

    def _open(
        self,
        terms: Sequence[Term],
        seen: Mapping[str, Outputs],
        probe: Batch,
        criterion: Callable[[Any, Tensor], Tensor] | None,
        num_samples: int | None,
    ) -> list[Edge]:
        out = seen[self.deploy].out
        if criterion is None:
            criterion = _criterion_for(out)
        edges: list[Edge] = []
        for term in terms:
            name = term.title
            if name == "loss" or any(edge.name == name for edge in edges):
                raise InputError(f"{term.arrow}: the name '{name}' is taken; give the term a name of its own")
            try:
                edge = open_edge(term, name, seen, criterion=criterion, num_samples=num_samples)
                self._try(edge, seen, probe)
            except InputError as error:
                text = str(error)
                raise InputError(text if text.startswith("term '") else f"{term.arrow}: {text}") from None
            except LimbeckError:
                raise
            except Exception as error:  # a loss from outside may fail in any way; the user needs the term's name
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise InputError(f"{term.arrow}: fails on a probe batch: {reason}") from error
            edges.append(edge)
        return edges

    @staticmethod
    def _try_pause(pause: Pause, seen: Mapping[str, Outputs], probe: Batch) -> None:
        try:
            pause.measure(seen, probe, torch.zeros((), device=probe.index.device))
        except InputError as error:
            raise InputError(f"which learner rests cannot be told from these outputs: {error}") from None

    @staticmethod
    def _try(edge: Edge, seen: Mapping[str, Outputs], probe: Batch) -> None:
        module = edge.call if isinstance(edge.call, nn.Module) else None
        if module is not None:
            module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # a loss may draw samples
            value = edge.value(seen, probe, torch.zeros((), device=probe.index.device), None)
        if not isinstance(value, Tensor) or value.dim() != 0:
            raise InputError(f"{edge.term.arrow}: a loss must return a scalar tensor")


def _criterion_for(out: Any) -> Callable[[Any, Tensor], Tensor]:
    """That of the task whose outputs these are."""
    if isinstance(out, AnchorOutputs):
        return Detection(out.class_logits.shape[-1] - 1).criterion
    return (Segmentation if is_map(out) else Classification)(out.shape[1]).criterion


def _target_for(out: Any, classes: Tensor, *, of_points: bool = False) -> Tensor:
    """A target to probe with, in the form of that task's: classes [N], masks of class 0, no boxes, points [N, L, 2]."""
    if of_points and isinstance(out, Tensor) and out.dim() == 2 and out.shape[1] % 2 == 0:
        return torch.zeros_like(out).view(len(out), -1, 2)
    if isinstance(out, AnchorOutputs):
        return out.class_logits.new_full((len(out.class_logits), 1, 5), -1.0)
    return out.new_zeros((len(out), *out.shape[2:]), dtype=torch.long) if is_map(out) else classes


def _note(address: str, asked: dict[str, list[str]], *, known: Sequence[str], where: str) -> None:
    source, slash, part = address.partition("/")
    if source not in known:
        raise unknown_name("source", source, known, where=where)
    if slash:
        asked[source].append(part)


def labelled_rows(target: Tensor) -> Tensor:
    """Which samples carry a label, [N] bool: of class indices, label rows, or masks (any pixel)."""
    if target.is_floating_point():
        return target.sum(1) > 0
    return (target >= 0).flatten(1).any(1) if target.dim() > 1 else target >= 0
