"""Contrastive distillation, with its two memory banks of all samples. Its weight, and `kd` beside it, are the method's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from limbeck.errors import InputError
from limbeck.losses.align import apply_layer
from limbeck.losses.checks import feature_pair, in_float32
from limbeck.losses.gather import gather_rows, last_of_each

__all__ = ["Crd"]

UNSEEN = -1  # in place of a label that is not known yet


class Crd(nn.Module):
    """Noise-contrastive loss that tells the same sample, seen by the other network, from samples of other classes.

    Both features go through a linear layer to `width` and to length 1; each is compared with the other network's bank,
    which holds an average of what that network said of every sample. The banks are written after the step, the same in
    all processes, and lie in checkpoints with their normalisation constants.

    Args:
        student_shape: of the student's features, flattened per sample.
        teacher_shape: of the teacher's.
        num_samples: n, size of the data set; `index` runs below it.
        negatives: K drawn per sample, uniformly with replacement, from the step's random state.
        temperature: > 0, of the similarities.
        momentum: share of a bank's old value that stays, in [0, 1).
        width: of the space in which features are compared.

    Raises:
        InputError: options out of range.

    **Source:** Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, equations
        17 to 19 with both networks as the anchor, and the memory buffer of section 3.4; constants as in the authors'
        code.
    **Differs:** computed from logarithms, without the guard of 1e-7 beside the densities. Negatives are drawn with
        replacement; a sample counts as of another class until it was seen once, since only then is its label known.
        Of several processes each normalises its first step by its own constant, all later ones by the mean.

    Example:
        >>> import torch
        >>> loss = Crd((8,), (16,), num_samples=100, negatives=32)
        >>> index, target = torch.tensor([7, 42]), torch.tensor([0, 1])
        >>> loss(torch.randn(2, 8), torch.randn(2, 16), index=index, target=target).shape
        torch.Size([])
    """

    student_bank: Tensor
    teacher_bank: Tensor
    labels: Tensor
    log_constants: Tensor

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        num_samples: int,
        *,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        width: int = 128,
    ) -> None:
        super().__init__()
        if num_samples < 2 or negatives < 1 or width < 1:
            raise InputError(
                "crd: needs num_samples >= 2, negatives >= 1 and width >= 1, not "
                f"{num_samples}, {negatives} and {width}"
            )
        if not temperature > 0 or not 0 <= momentum < 1:
            raise InputError(f"crd: needs temperature > 0 and momentum in [0, 1), not {temperature} and {momentum}")
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.student_embed = nn.Linear(math.prod(student_shape), width)
        self.teacher_embed = nn.Linear(math.prod(teacher_shape), width)
        # A state of their own: processes whose banks began differently would never agree.
        generator = torch.Generator().manual_seed(0)
        bound = math.sqrt(3 / width)  # rows of length 1 on average
        for name in ("student_bank", "teacher_bank"):
            self.register_buffer(name, torch.empty(num_samples, width).uniform_(-bound, bound, generator=generator))
        self.register_buffer("labels", torch.full((num_samples,), UNSEEN))
        self.register_buffer("log_constants", torch.full((2,), torch.nan))  # of the student's scores, the teacher's
        self._pending: list[tuple[Tensor, ...]] = []

    def forward(self, student: Tensor, teacher: Tensor, *, index: Tensor, target: Tensor) -> Tensor:
        """The student's [N, ...] features, then the teacher's, which no gradient reaches.

        Args:
            student: [N, ...].
            teacher: [N, ...].
            index: [N] positions in the data set.
            target: [N] class indices; of [N, K] mixed labels the largest entry counts.

        Raises:
            InputError: batches that differ, labels of another form, or an index beyond `num_samples`.
        """
        student, teacher = (features.flatten(1) for features in feature_pair(student, teacher, loss="crd"))
        label = target.argmax(1) if target.is_floating_point() else target.long()
        if label.shape != index.shape or len(index) != len(student):
            raise InputError(f"crd: needs an index and a label for each of {len(student)} samples")
        if index.device.type == "cpu" and not torch.compiler.is_compiling() and int(index.max()) >= len(self.labels):
            raise InputError(f"crd: index {int(index.max())} in a data set of {len(self.labels)}")
        ours = normalize(in_float32(apply_layer(self.student_embed, student)))
        theirs = normalize(in_float32(apply_layer(self.teacher_embed, teacher.detach())))
        places = torch.cat([index.unsqueeze(1), self._draw(label)], 1)
        with torch.autocast(student.device.type, enabled=False):  # it would take the products in half precision
            scores = [
                # Products with the whole bank and a choice among them: gathering K rows for each sample takes far more
                # memory, and time, than the products of all samples that are not chosen.
                (anchor @ bank.to(anchor.dtype).t()).gather(1, places) / self.temperature
                for anchor, bank in ((ours, self.teacher_bank), (theirs, self.student_bank))
            ]
        # Z, the mean of exp(score) times n; that of the first step stays
        estimates = torch.stack([score.detach().logsumexp((0, 1)) - math.log(score.numel()) for score in scores])
        estimates = estimates + math.log(len(self.labels))
        constants = self.log_constants.to(estimates.dtype).where(self.log_constants.isfinite(), estimates)
        if self.training:
            self._pending.append((index, label, ours.detach(), theirs.detach(), estimates.expand(len(index), 2)))
        densities = [score - constant for score, constant in zip(scores, constants, strict=True)]
        return torch.stack([self._contrast(density) for density in densities]).sum()

    def _draw(self, label: Tensor) -> Tensor:
        """[N, K] samples of other classes, any of them equally likely."""
        order = self.labels.argsort()
        known = self.labels[order]
        begin, end = torch.searchsorted(known, label), torch.searchsorted(known, label, right=True)
        others = len(order) - (end - begin)
        alone = others == 0  # a data set of one class: any sample then
        begin, skip = begin.masked_fill(alone, 0), (end - begin).masked_fill(alone, 0)
        chance = torch.randint(2**53, (len(label), self.negatives), device=label.device)
        rank = chance % others.masked_fill(alone, len(order)).unsqueeze(1)
        return order[rank + skip.unsqueeze(1) * (rank >= begin.unsqueeze(1))]

    def _contrast(self, log_density: Tensor) -> Tensor:
        """-log of the probability that the first column is the data's and the others are noise, mean over the batch."""
        odds = log_density - math.log(self.negatives / len(self.labels))
        return -(logsigmoid(odds[:, 0]) + logsigmoid(-odds[:, 1:]).sum(1)).mean()

    @torch.no_grad()
    def after_step(self) -> None:
        """Write what all processes saw since the last step, in the same order everywhere."""
        if self._pending:
            columns = tuple(torch.cat(parts) for parts in zip(*self._pending, strict=True))
        else:  # a batch without labels; other processes may have some
            bank = self.student_bank
            columns = (self.labels[:0], self.labels[:0], bank[:0], bank[:0], self.log_constants.expand(0, 2))
        self._pending.clear()
        index, label, ours, theirs, estimates = gather_rows(*columns)
        if not len(index):
            return
        self.log_constants.copy_(self.log_constants.where(self.log_constants.isfinite(), estimates.mean(0)))
        last = last_of_each(index)
        index = index[last]
        self.labels[index] = label[last]
        for bank, now in ((self.student_bank, ours), (self.teacher_bank, theirs)):
            before = bank[index]
            mixed = normalize(now[last].to(bank.dtype).lerp(before, self.momentum))
            # a step that overflowed in half precision is skipped by the optimizer, and here
            bank[index] = mixed.where(mixed.isfinite().all(1, keepdim=True), before)
