"""The recurrent policy that draws a point decision by decision, and its update by proximal policy optimization.

Not here: studies, and which trials it learns from (`controller`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.errors import InputError

__all__ = ["PRESETS", "Policy", "PolicySettings"]

NOT_TAKEN = -1  # the token of a decision that a trial did not take
INITIAL_BOUND = 0.1


@dataclass(frozen=True)
class PolicySettings:
    """The constants of the policy and of its updates.

    Attributes:
        hidden_size: units of the LSTM.
        learning_rate: of Adam.
        batch_size: evaluated points of one update.
        entropy_weight: of the mean entropy of a decision, beside advantages.
        baseline_decay: weight of the past in the moving average of rewards that is subtracted from each.
        clip: how far the probability of a decision may move in one update before its gain counts no more, as a share.
            Not published.
        epochs: passes over a batch in one update. Not published.
        scaled_advantages: whether the advantages of a batch are divided by their root mean square, so that the entropy
            weight means the same for any scale of rewards. NASNet: no.

    Raises:
        InputError: a constant out of its range.
    """

    hidden_size: int = 100
    learning_rate: float = 3.5e-4
    batch_size: int = 20
    entropy_weight: float = 1e-5
    baseline_decay: float = 0.95
    clip: float = 0.2
    epochs: int = 4
    scaled_advantages: bool = False

    def __post_init__(self) -> None:
        for name in ("hidden_size", "batch_size", "epochs"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"controller: {name} must be a whole number of at least 1, got {value!r}")
        for name, low, high in (
            ("learning_rate", 0.0, 1.0),
            ("entropy_weight", 0.0, 1e6),
            ("baseline_decay", 0.0, 1.0),
            ("clip", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if type(value) not in (int, float) or not (isfinite(value) and low <= value <= high):
                raise InputError(f"controller: {name} must be a number from {low:g} to {high:g}, got {value!r}")


PRESETS = {
    # Made for thousands of evaluations.
    "nasnet": PolicySettings(),
    # Made for hundreds: chosen by benchmarks/search_policy.py, on tables of random main and pairwise effects.
    "short": PolicySettings(learning_rate=0.004, batch_size=10, entropy_weight=0.2, epochs=2, scaled_advantages=True),
}


class Policy:
    """A distribution over points that moves towards those with high rewards.

    All of its state follows from the seed and from what it was given to learn, in order: the same calls give the same
    bits, whatever torch's own random state and threads are.

    Attributes:
        learned: the (tokens, reward) of everything that it learned from.

    **Source:** Zoph et al. 2018 (NASNet), arXiv 1707.07012, appendices A.2 and A.3, which MnasNet's controller is; PPO's
    clipped objective, Schulman et al. 2017, arXiv 1707.06347, equation 7, each decision being an action.
    **Differs:** token order, embeddings and the sharing of heads are not published; here each decision has a head and
    embeddings of its own. The probabilities that a batch was drawn with are taken to be those before its update.
    """

    def __init__(self, sizes: Sequence[int], settings: PolicySettings, seed: int) -> None:
        self._settings, self._sizes = settings, tuple(sizes)
        with torch.random.fork_rng(devices=[]):  # building layers draws from torch's random state
            self._network = _PolicyNetwork(self._sizes, settings.hidden_size)
        chance = np.random.default_rng(seed)
        with torch.no_grad():
            for parameter in self._network.parameters():
                drawn = chance.uniform(-INITIAL_BOUND, INITIAL_BOUND, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn))
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=settings.learning_rate)
        self._baseline: float | None = None
        self.learned: list[tuple[tuple[int, ...], float]] = []

    def learn(self, batch: Sequence[tuple[tuple[int, ...], float]]) -> None:
        """One update on (tokens, reward) of evaluated points, oldest first."""
        settings = self._settings
        tokens = torch.tensor([one for one, _ in batch])
        advantages = self._advantages([reward for _, reward in batch])
        with _one_thread():
            with torch.no_grad():
                before = self._network(tokens)[0]
            for _ in range(settings.epochs):
                after, entropies = self._network(tokens)
                ratios = (after - before).exp()
                clipped = ratios.clamp(1 - settings.clip, 1 + settings.clip)
                gains = torch.minimum(ratios * advantages, clipped * advantages)
                loss = -(gains + settings.entropy_weight * entropies).sum(1).mean()
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
        self.learned += batch

    def draw(self, chance: np.random.Generator) -> tuple[tuple[int, ...], float]:
        """A point's tokens, and the mean entropy of its decisions as a share of the largest that they can have."""
        tokens: list[int] = []
        entropies: list[float] = []
        for shares in self._network.steps(tokens):
            place = int(np.searchsorted(shares.cumsum(), chance.random(), side="right"))
            tokens.append(min(place, len(shares) - 1))
            entropies.append(float(-(shares * np.log(np.maximum(shares, 1e-300))).sum()))
        most = float(np.log(self._sizes).sum())
        return tuple(tokens), sum(entropies) / most if most else 0.0

    def _advantages(self, rewards: Sequence[float]) -> Tensor:
        """[B, 1]: rewards over the moving average of those before them."""
        decay, found = self._settings.baseline_decay, []
        for one in rewards:
            self._baseline = one if self._baseline is None else self._baseline
            found.append(one - self._baseline)
            self._baseline = decay * self._baseline + (1 - decay) * one
        advantages = torch.tensor(found, dtype=torch.float32).unsqueeze(1)
        if self._settings.scaled_advantages:
            advantages = advantages / advantages.square().mean().sqrt().clamp(min=1e-12)
        return advantages


class _PolicyNetwork(nn.Module):
    """One LSTM over the decisions; each is told the token before it."""

    def __init__(self, sizes: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.starts = [int(one) for one in np.cumsum([1, *sizes])[:-1]]  # row 0: nothing was decided before
        self.embeddings = nn.Embedding(1 + sum(sizes), hidden)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.heads = nn.Parameter(torch.empty(len(sizes), max(sizes), hidden))
        self.biases = nn.Parameter(torch.empty(len(sizes), max(sizes)))
        self.rows = torch.tensor(self.starts)
        self.closed = torch.arange(max(sizes)).unsqueeze(0) >= torch.tensor(sizes).unsqueeze(1)  # [T, most]: no such id

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] tokens -> the log-probability and the entropy of each decision, [B, T]; 0 where it was not taken."""
        taken = tokens != NOT_TAKEN
        rows = torch.where(taken, tokens + self.rows, 0)
        entering = torch.cat([torch.zeros_like(rows[:, :1]), rows[:, :-1]], 1)
        states, _ = self.lstm(self.embeddings(entering))
        scores = torch.einsum("bth,tnh->btn", states, self.heads) + self.biases
        logs = scores.masked_fill(self.closed, -torch.inf).log_softmax(2)
        chosen = logs.gather(2, tokens.clamp(min=0).unsqueeze(2)).squeeze(2)
        entropies = -(logs.exp() * logs.masked_fill(self.closed, 0.0)).sum(2)
        return chosen * taken, entropies * taken

    def steps(self, tokens: list[int]) -> Iterator[np.ndarray]:
        """Yield each decision's probabilities; the caller appends its token to `tokens` before it asks for the next.

        In NumPy: one step of torch's own LSTM costs more than all the arithmetic of a point.
        """
        arrays = {name: one.detach().numpy() for name, one in self.named_parameters()}
        bias = arrays["lstm.bias_ih_l0"] + arrays["lstm.bias_hh_l0"]
        hidden = cell = np.zeros(self.lstm.hidden_size, np.float32)
        entering = 0
        for place, size in enumerate(self.sizes):
            gates = _times(arrays["lstm.weight_ih_l0"], arrays["embeddings.weight"][entering])
            gates = gates + _times(arrays["lstm.weight_hh_l0"], hidden) + bias
            into, forget, new, out = np.split(gates, 4)
            cell = _sigmoid(forget) * cell + _sigmoid(into) * np.tanh(new)
            hidden = _sigmoid(out) * np.tanh(cell)
            scores = _times(arrays["heads"][place, :size], hidden) + arrays["biases"][place, :size]
            scores = scores.astype(np.float64)
            raised = np.exp(scores - scores.max())
            yield raised / raised.sum()
            entering = self.starts[place] + tokens[place]


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.einsum("ij,j->i", matrix, vector)  # not @, whose threads may add in another order


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # no overflow


@contextmanager
def _one_thread() -> Iterator[None]:
    """More threads would add in another order, and would not be faster at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
