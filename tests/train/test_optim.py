from __future__ import annotations

import pytest
import torch
from torch import nn
from train_toys import Pair, ToyNetwork, pair, settings, supervised

from limbeck.errors import InputError
from limbeck.train.optim import clip_gradients, create_optimizer, learner_parameters, parameter_groups, set_rate


def test_every_parameter_is_in_exactly_one_group():
    objective = pair()
    parameters = [p for group in parameter_groups(objective, settings()) for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters})
    assert {id(p) for p in parameters} == {id(p) for p in objective.parameters()}


def test_groups_are_per_learner_and_the_rest_is_the_objectives():
    found = learner_parameters(pair())
    assert list(found) == ["a", "b", "objective"]
    assert set(found["objective"]) == {"projector.weight", "projector.bias"}


def test_a_shared_parameter_belongs_to_the_first_learner():
    objective = pair()
    objective.b.head.bias = objective.a.head.bias
    found = learner_parameters(objective)
    assert "head.bias" in found["a"]
    assert "head.bias" not in found["b"]


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_said():
    objective = supervised()
    objective.network.stem.requires_grad_(False)
    assert "stem.weight" not in learner_parameters(objective)["student"]
    objective.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train"):
        learner_parameters(objective)


def test_weight_decay_spares_norm_and_bias_unless_asked():
    for ask in (False, True):
        groups = parameter_groups(supervised(), settings(weight_decay=0.1, decay_norm_and_bias=ask))
        decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        for parameter in (p for group in groups for p in group["params"]):
            assert (id(parameter) in decayed) == (ask or parameter.ndim > 1)


def test_weight_decay_spares_what_the_network_names():
    class Positioned(ToyNetwork):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.zeros(2, 2))

        def no_weight_decay(self):
            return {"position"}

    objective = supervised()
    objective.network = Positioned()
    (spared,) = [g for g in parameter_groups(objective, settings()) if g["weight_decay"] == 0]
    assert any(p is objective.network.position for p in spared["params"])


def test_layer_decay_falls_from_the_head_down():
    objective = supervised()
    groups = parameter_groups(objective, settings(layer_decay=0.5))
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    names = dict(objective.network.named_parameters())
    assert {name: scale[id(p)] for name, p in names.items()} == {
        "stem.weight": 0.5,
        "stem.bias": 0.5,
        "norm.weight": 0.5,
        "norm.bias": 0.5,
        "head.weight": 1.0,
        "head.bias": 1.0,
    }
    optimizer = create_optimizer(objective, settings(layer_decay=0.5))
    set_rate(optimizer, 0.1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05}


def test_a_learner_may_have_a_rate_of_its_own():
    objective = pair()
    wishes = settings(learning_rate=0.1, layer_decay=0.5, learner_rates={"b": 0.01})
    plain = parameter_groups(objective, settings(learning_rate=0.1, layer_decay=0.5))
    optimizer = create_optimizer(objective, wishes)
    set_rate(optimizer, 0.05)  # half of the peak, as the schedule has it
    expected = {
        id(p): group["scale"] * (0.1 if group["learner"] == "b" else 1) for group in plain for p in group["params"]
    }
    found = {id(p): group["lr"] / 0.05 for group in optimizer.param_groups for p in group["params"]}
    assert found == pytest.approx(expected)
    with pytest.raises(InputError, match="unknown learner 'c'"):
        create_optimizer(objective, settings(learner_rates={"c": 0.1}))
    with pytest.raises(InputError, match=r"learner_rates\.b = 0"):
        settings(learner_rates={"b": 0})


def test_layer_groups_may_name_parameters_and_prefixes_do_not_run_on():
    objective = supervised()
    objective.network.head2 = nn.Linear(2, 2)  # `head` is not a prefix of it
    objective.network.layer_groups = lambda: [["stem.weight"], ["stem.bias", "norm"], ["head"]]
    groups = parameter_groups(objective, settings(layer_decay=0.5))
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    assert scale[id(objective.network.stem.weight)] == 0.25
    assert scale[id(objective.network.stem.bias)] == 0.5
    assert scale[id(objective.network.head2.weight)] == 1.0


def trained(objective: Pair, optimizer, steps: int = 3) -> list[torch.Tensor]:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in objective.parameters():
            gradient = torch.randn(parameter.shape, generator=generator)
            # In the parameter's own memory format, as autograd leaves it.
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
    return [p.detach().clone() for p in objective.parameters()]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("changes", "plain"),
    [
        ({"optimizer": "sgd", "momentum": 0.8}, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8)),
        (
            {"optimizer": "sgd", "nesterov": True},
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        ),
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.999))),
        ({"optimizer": "adamw", "epsilon": 0.3}, lambda p: torch.optim.AdamW(p, lr=0.01, eps=0.3)),
        ({"optimizer": "rmsprop"}, lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.9)),
    ],
)
def test_the_fused_optimizers_are_the_plain_ones(changes, plain, channels_last):
    ours, theirs = pair(), pair()
    if channels_last:
        ours.to(memory_format=torch.channels_last)
    wishes = settings(learning_rate=0.01, weight_decay=0.01, **changes)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in theirs.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    found, expected = trained(ours, create_optimizer(ours, wishes)), trained(theirs, plain(groups))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("epsilon", [None, 1.0])
def test_rmsprop_is_tensorflows(epsilon):
    objective = supervised(norm=False)
    weight = objective.network.head.weight
    start = weight.detach().clone()
    wishes = settings(optimizer="rmsprop_tf", learning_rate=0.1, momentum=0.9, weight_decay=0.0, epsilon=epsilon)
    optimizer = create_optimizer(objective, wishes)
    square, buffer, expected = torch.ones_like(start), torch.zeros_like(start), start.clone()
    for scale in (1.0, -2.0, 0.5):
        objective.zero_grad()
        weight.grad = torch.full_like(weight, scale)
        optimizer.step()
        # TensorFlow: the mean square starts at one, epsilon is inside the root, the rate is inside the momentum.
        square += 0.1 * (scale**2 - square)
        buffer = 0.9 * buffer + 0.1 * scale / (square + (epsilon or 1e-3)).sqrt()
        expected -= buffer
    torch.testing.assert_close(weight.detach(), expected)


def test_torchs_rmsprop_has_its_epsilon_outside_and_the_rate_behind_the_momentum():
    objective = supervised(norm=False)
    weight = objective.network.head.weight
    start = weight.detach().clone()
    wishes = settings(optimizer="rmsprop", learning_rate=0.1, momentum=0.9, weight_decay=0.0, epsilon=0.0316)
    optimizer = create_optimizer(objective, wishes)
    square, buffer, expected = torch.zeros_like(start), torch.zeros_like(start), start.clone()
    for scale in (1.0, -2.0, 0.5):
        objective.zero_grad()
        weight.grad = torch.full_like(weight, scale)
        optimizer.step()
        square = 0.9 * square + 0.1 * scale**2
        buffer = 0.9 * buffer + scale / (square.sqrt() + 0.0316)
        expected -= 0.1 * buffer
    torch.testing.assert_close(weight.detach(), expected)


def test_clipping_is_per_learner():
    objective = pair()
    optimizer = create_optimizer(objective, settings())
    for parameter in objective.a.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    for parameter in [*objective.b.parameters(), *objective.projector.parameters()]:
        parameter.grad = torch.full_like(parameter, 1e-4)
    before = [p.grad.clone() for p in objective.b.parameters()]
    norms = clip_gradients(optimizer, 1.0)
    assert set(norms) == {"a", "b", "objective"}

    def norm(module: nn.Module) -> float:
        return torch.cat([p.grad.flatten() for p in module.parameters()]).norm().item()

    assert norm(objective.a) == pytest.approx(1.0, rel=1e-4)
    assert all(torch.equal(p.grad, g) for p, g in zip(objective.b.parameters(), before, strict=True))
    assert norms["a"].item() == pytest.approx(10 * sum(p.numel() for p in objective.a.parameters()) ** 0.5, rel=1e-5)
