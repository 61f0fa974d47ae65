from __future__ import annotations

import pytest
import torch
from train_toys import ToyBatches, ToyNetwork, accuracy, same_bits, settings, supervised

from limbeck.train import fit
from limbeck.train.average import WeightAverage


def test_follows_the_formula_and_copies_counters():
    torch.manual_seed(0)
    network = ToyNetwork()
    average = WeightAverage(network, 0.6)
    expected = network.head.weight.detach().clone()
    mean = network.norm.running_mean.clone()
    for step in range(12):
        with torch.no_grad():
            network.head.weight.add_(torch.randn_like(network.head.weight))
            network.norm.running_mean.add_(1.0)
            network.norm.num_batches_tracked.add_(1)
        average.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.head.weight.detach()
        mean = decay * mean + (1 - decay) * network.norm.running_mean
    torch.testing.assert_close(average.network.head.weight, expected)
    torch.testing.assert_close(average.network.norm.running_mean, mean)
    assert average.network.norm.num_batches_tracked == 12
    assert not average.network.head.weight.requires_grad
    assert not average.network.training


def test_lent_weights_are_taken_back_even_after_an_error():
    network = ToyNetwork()
    average = WeightAverage(network, 0.9)
    with torch.no_grad():
        network.head.weight.add_(1.0)
    own = network.head.weight.detach().clone()
    with pytest.raises(KeyError), average.lent():  # noqa: PT012
        assert same_bits(network, average.network)
        raise KeyError
    assert torch.equal(network.head.weight, own)


def test_the_average_is_what_is_evaluated_and_kept(tmp_path):
    judged = []

    def evaluate(network):
        judged.append({key: value.clone() for key, value in network.state_dict().items()})
        return accuracy(network)

    with_average, without = supervised(), supervised()
    wishes = settings(ema=0.9, schedule="constant")
    fit(
        with_average,
        ToyBatches(),
        wishes,
        folder=tmp_path / "a",
        seed=1,
        evaluate=evaluate,
        primary="nll",
        higher_is_better=False,
    )
    fit(without, ToyBatches(), settings(schedule="constant"), folder=tmp_path / "b", seed=1)
    kept = with_average.network.state_dict()
    assert all(torch.equal(judged[-1][key], kept[key]) for key in kept)
    assert not same_bits(with_average, without)
