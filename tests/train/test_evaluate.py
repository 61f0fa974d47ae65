from __future__ import annotations

import numpy as np
import pytest
import torch
from train_toys import ToyBatches, ToyNetwork

from limbeck.errors import InputError
from limbeck.train import evaluate_network, predict_logits


class Accuracy:
    def __init__(self):
        self.right = self.seen = 0

    def update(self, out, target):
        assert out.is_inference()
        self.right += int((out.argmax(1) == target).sum())
        self.seen += len(target)

    def compute(self):
        return {"top1": self.right / self.seen}


def test_logits_and_targets_come_in_order():
    torch.manual_seed(0)
    network, batches = ToyNetwork(), ToyBatches(steps=3)
    logits, target = predict_logits(network, batches)
    assert (logits.shape, logits.dtype, target.shape) == ((24, 4), np.float32, (24,))
    network.eval()
    with torch.no_grad():
        expected = torch.cat([network(batch.inputs) for batch in batches.epoch(0)])
    np.testing.assert_array_equal(logits, expected.numpy())
    np.testing.assert_array_equal(target, torch.cat([batch.target for batch in batches.epoch(0)]).numpy())


def test_modes_are_restored_one_by_one():
    network = ToyNetwork()
    network.train()
    network.norm.eval()
    before = {name: module.training for name, module in network.named_modules()}
    statistics = network.norm.running_mean.clone()
    predict_logits(network, iter(ToyBatches().epoch(0)))
    assert {name: module.training for name, module in network.named_modules()} == before
    assert torch.equal(network.norm.running_mean, statistics)


def test_modes_are_restored_after_an_error():
    network = ToyNetwork()

    class Failing(Accuracy):
        def update(self, out, target):
            raise ValueError

    with pytest.raises(ValueError):
        evaluate_network(network, ToyBatches(), Failing())
    assert network.training


def test_a_metric_sees_every_batch():
    network, batches = ToyNetwork(), ToyBatches(steps=3)
    logits, target = predict_logits(network, batches)
    found = evaluate_network(network, batches, Accuracy())
    assert found == {"top1": pytest.approx((logits.argmax(1) == target).mean())}


@pytest.mark.parametrize("call", [predict_logits, lambda n, b: evaluate_network(n, b, Accuracy())])
def test_an_empty_set_is_said(call):
    with pytest.raises(InputError, match="nothing to evaluate"):
        call(ToyNetwork(), [])


def test_half_precision_networks_give_float32():
    logits, _ = predict_logits(ToyNetwork().bfloat16(), [_half(batch) for batch in ToyBatches(steps=1).epoch(0)])
    assert logits.dtype == np.float32


def _half(batch):
    return type(batch)(batch.index, batch.inputs.bfloat16(), batch.target)


def test_an_unknown_device_is_named():
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        predict_logits(ToyNetwork(), ToyBatches(), device="gpu")
