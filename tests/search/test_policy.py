import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.search.policy import PRESETS, Policy, PolicySettings

SIZES = (3, 2, 4)


def weights(policy):
    return {name: one.detach().numpy().astype(np.float64) for name, one in policy._network.named_parameters()}


def reference_logs(w, tokens, sizes=SIZES):
    """log p of each decision by the equations of an LSTM, in float64 and one step at a time."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    hidden = w["heads"].shape[2]
    h = c = np.zeros(hidden)
    starts = [1 + sum(sizes[:i]) for i in range(len(sizes))]
    entering, found = 0, []
    for place, token in enumerate(tokens):
        x = w["embeddings.weight"][entering]
        gates = w["lstm.weight_ih_l0"] @ x + w["lstm.bias_ih_l0"] + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"]
        i, f, g, o = gates[:hidden], gates[hidden : 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        scores = w["heads"][place, : sizes[place]] @ h + w["biases"][place, : sizes[place]]
        logs = scores - np.log(np.exp(scores).sum())
        found.append(logs[token] if token >= 0 else 0.0)
        entering = starts[place] + token if token >= 0 else 0
    return np.array(found)


@pytest.mark.parametrize("tokens", [(0, 0, 0), (2, 1, 3), (1, 0, 2), (1, -1, 2), (-1, -1, -1)])
def test_log_probabilities_are_those_of_the_equations(tokens):
    policy = Policy(SIZES, PolicySettings(hidden_size=7), seed=3)
    with torch.no_grad():
        logs, entropies = policy._network(torch.tensor([tokens]))
    np.testing.assert_allclose(logs[0].numpy(), reference_logs(weights(policy), tokens), atol=1e-6)
    assert [float(one) == 0.0 for one in entropies[0]] == [token < 0 for token in tokens]


def test_draws_have_the_probabilities_of_the_policy():
    """Every point's share among many draws, held against its probability by the equations."""
    policy = Policy(SIZES, PolicySettings(hidden_size=5, learning_rate=0.05, batch_size=4), seed=0)
    for _ in range(6):
        policy.learn([((0, 1, 2), 1.0), ((1, 0, 0), 0.0), ((2, 0, 3), 0.2), ((0, 0, 1), 0.8)])
    chance = np.random.default_rng(0)
    count = 20_000
    drawn = np.array([policy.draw(chance)[0] for _ in range(count)])
    w = weights(policy)
    for point in np.ndindex(*SIZES):
        p = float(np.exp(reference_logs(w, point).sum()))
        share = (drawn == np.array(point)).all(1).mean()
        assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / count) + 1e-4


def test_the_first_weights_are_uniform_within_a_tenth():
    drawn = np.concatenate([one.ravel() for one in weights(Policy((4,) * 42, PRESETS["nasnet"], seed=1)).values()])
    assert np.abs(drawn).max() <= 0.1
    assert drawn.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.01)
    assert abs(drawn.mean()) < 1e-3


def test_the_nasnet_preset_has_the_published_constants():
    preset = PRESETS["nasnet"]
    assert (preset.hidden_size, preset.learning_rate, preset.entropy_weight) == (100, 3.5e-4, 1e-5)
    assert (preset.baseline_decay, preset.batch_size) == (0.95, 20)


def test_the_first_update_follows_the_gradient_of_the_advantages():
    """Adam's first step is the rate times the sign of the gradient, here taken by finite differences in float64."""
    settings = PolicySettings(hidden_size=4, learning_rate=1e-3, batch_size=3, epochs=1, entropy_weight=0.0)
    policy = Policy(SIZES, settings, seed=5)
    before = weights(policy)
    batch = [((0, 1, 2), 0.5), ((1, 0, 3), 0.9), ((2, 1, 0), 0.1)]
    # The moving average starts at the first reward and sees each reward after it was used.
    advantages = [0.0, 0.9 - 0.5, 0.1 - (0.95 * 0.5 + 0.05 * 0.9)]

    def gain(w):
        return sum(a * reference_logs(w, tokens).sum() for (tokens, _), a in zip(batch, advantages, strict=True)) / 3

    policy.learn(batch)
    after, checked = weights(policy), 0
    for name, values in before.items():
        for place in np.ndindex(*values.shape):
            moved = {}
            for step in (-1e-5, 1e-5):
                shifted = {**before, name: values.copy()}
                shifted[name][place] += step
                moved[step] = gain(shifted)
            slope = (moved[1e-5] - moved[-1e-5]) / 2e-5
            if abs(slope) > 1e-5:
                assert after[name][place] - values[place] == pytest.approx(1e-3 * np.sign(slope), rel=0.02)
                checked += 1
    assert checked > 30


def test_the_gain_of_a_decision_is_clipped():
    """Over many passes a decision moves further the wider the clip is: beyond it nothing pulls, only momentum carries."""
    batch = [((0, 0, 0), 1.0), ((1, 1, 1), 0.0), ((0, 0, 0), 1.0), ((2, 1, 3), 0.0)]

    def moved(clip):
        policy = Policy(SIZES, PolicySettings(hidden_size=8, learning_rate=0.01, epochs=60, clip=clip), seed=1)
        before = reference_logs(weights(policy), (0, 0, 0))
        policy.learn(batch)
        return np.exp(reference_logs(weights(policy), (0, 0, 0)) - before).max()

    assert 1.0 < moved(0.05) < moved(0.2) < moved(1.0)
    assert moved(0.05) - 1 < (moved(1.0) - 1) / 2


def test_entropy_keeps_a_policy_apart_and_rewards_pull_it_together():
    def after(entropy_weight):
        settings = PolicySettings(learning_rate=0.02, batch_size=4, entropy_weight=entropy_weight, epochs=4)
        policy = Policy(SIZES, settings, seed=2)
        for _ in range(40):
            policy.learn([((0, 1, 2), 1.0), ((1, 0, 0), 0.0), ((2, 0, 3), 0.0), ((0, 1, 2), 1.0)])
        return policy.draw(np.random.default_rng(0))

    tokens, entropy = after(1e-5)
    assert tokens == (0, 1, 2)
    assert entropy < 0.1
    assert after(3.0)[1] > 0.8


def test_the_entropy_is_a_share_of_the_largest():
    policy = Policy((5, 5), PolicySettings(), seed=0)
    assert policy.draw(np.random.default_rng(0))[1] == pytest.approx(1.0, abs=0.05)
    assert Policy((1, 1), PolicySettings(), seed=0).draw(np.random.default_rng(0)) == ((0, 0), 0.0)


def test_torchs_own_state_is_left_alone_and_does_not_matter():
    def run(threads):
        torch.set_num_threads(threads)
        policy = Policy(SIZES, PRESETS["short"], seed=4)
        policy.learn([((0, 1, 2), 0.3), ((1, 0, 0), 0.7)])
        assert torch.get_num_threads() == threads
        return weights(policy), policy.draw(np.random.default_rng(1))

    before_threads = torch.get_num_threads()
    try:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = run(1)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        second = run(2)
    finally:
        torch.set_num_threads(before_threads)
    assert first[1] == second[1]
    assert all(np.array_equal(first[0][name], second[0][name]) for name in first[0])


@pytest.mark.parametrize(
    ("constants", "told"),
    [
        ({"hidden_size": 0}, "hidden_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"learning_rate": -1.0}, "learning_rate must be a number from 0 to 1, got -1.0"),
        ({"baseline_decay": 1.5}, "baseline_decay must be a number from 0 to 1"),
        ({"entropy_weight": float("nan")}, "entropy_weight must be a number"),
    ],
)
def test_constants_out_of_range_are_told_in_one_line(constants, told):
    with pytest.raises(InputError, match=told):
        PolicySettings(**constants)
