"""Branches of one network that teach it, or each other: byot and one, and where a network can be split."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.distill import Learner, distillation
from limbeck.distill.branches import Branch, Gate, Twin, run_upper, upper_part
from limbeck.errors import InputError
from limbeck.losses import cross_entropy, kd
from limbeck.models import create_model
from limbeck.testing.methods import check_distillation
from limbeck.types import Outputs

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import TinyNetwork, make_batch, make_net, now


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def gradients(module):
    return {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


def test_byot_is_its_weighted_sum():
    student, batch = make_net(1), make_batch()
    objective = distillation("byot", student=student)
    branch = copy.deepcopy(objective.sources["branch1"])
    seen = copy.deepcopy(student).observe(batch.inputs, ("stage1", "stage2"))
    said = branch(batch, {"student": seen})
    values = objective(batch, now())
    deepest = seen.stages["stage2"].mean((2, 3))
    feature = (said.stages["feature"] - deepest).square().sum(1).mean()
    assert torch.allclose(values["branch1_byot"], feature)
    assert torch.allclose(values["branch1_kd"], kd(said.out, seen.out, temperature=3.0))
    assert torch.allclose(values["branch1_task"], cross_entropy(said.out, target=batch.target))
    tasks = values["task"] + values["branch1_task"]
    total = 0.9 * tasks + 0.1 * values["branch1_kd"] + 1.28e-4 * values["branch1_byot"]
    assert torch.allclose(values["loss"], total)


def test_byot_branches_end_in_the_deepest_form_and_are_dropped():
    network = create_model("cifar_resnet8", num_classes=5, input_size=16)
    objective = distillation("byot", student=network)
    check_distillation(objective, sized(make_batch(), 16))
    branches = {name: source for name, source in objective.sources.items() if isinstance(source, Branch)}
    assert list(branches) == ["branch1", "branch2"]
    sizes = {
        name: [layer.kernel_size[0] for layer in b.bottleneck if isinstance(layer, nn.Conv2d)]
        for name, b in branches.items()
    }
    assert sizes == {"branch1": [1, 4, 1], "branch2": [1, 2, 1]}
    assert all(branch.linear.in_features == 64 for branch in branches.values())
    assert not any("branch" in name for name in objective.deployable().state_dict())
    assert list(objective.learners()) == ["student"]


def sized(batch, side):
    resized = nn.functional.interpolate(batch.inputs, size=side)
    return type(batch)(batch.index, resized, batch.target)


def test_byot_teaches_by_the_deepest_layers_without_moving_them():
    student, batch = make_net(1), make_batch()
    objective = distillation("byot", student=student, ce=0.0, kd=1.0, byot=1.0)
    objective(batch, now())["loss"].backward()
    reached = gradients(objective)
    assert {name.split(".")[3] for name in reached if name.startswith("sources.student")} == {"first"}
    assert "sources.branch1.linear.weight" in reached


def test_byot_at_named_stages():
    student = make_net(1)
    objective = distillation("byot", student=student, stages=["stage1", "stage2"])
    assert objective.edges[1].name == "branch1_task"
    with pytest.raises(InputError, match="needs 2 stages or more to branch at"):
        distillation("byot", student=student, stages=["stage1"])
    with pytest.raises(InputError, match="unknown stage 'stage7'"):
        distillation("byot", student=student, stages=["stage7", "stage2"])
    network = create_model("cifar_resnet8", num_classes=5, input_size=16)
    with pytest.raises(InputError, match=r"a branch needs maps \[N, C, H, W\]; 'student/pool'"):
        distillation("byot", student=network, stages=["pool", "stage3"])


def test_one_is_its_weighted_sum():
    student, batch = make_net(1), make_batch()
    objective = distillation("one", student=student, temperature=2.0)
    copies = copy.deepcopy(objective)
    seen = {"student": copies.sources["student"].network.observe(batch.inputs, ("stage1",))}
    for name in ("branch2", "branch3", "ensemble"):
        seen[name] = copies.sources[name](batch, seen)
    pooled = seen["student"].stages["stage1"].mean((2, 3))
    shares = copies.sources["ensemble"].layers(pooled).softmax(1)
    members = [seen[name].out for name in ("student", "branch2", "branch3")]
    mean = sum(shares[:, i : i + 1] * out for i, out in enumerate(members))
    assert torch.allclose(seen["ensemble"].out, mean, atol=1e-6)
    values = objective(batch, now(40 / 300))
    ramp = torch.exp(torch.tensor(-1.25))
    for name, out in zip(("one", "branch2_one", "branch3_one"), members, strict=True):
        assert torch.allclose(values[name], ramp * kd(out, mean, temperature=2.0), atol=1e-6)
    assert torch.allclose(values["ensemble_task"], cross_entropy(mean, target=batch.target))
    assert torch.allclose(values["loss"], sum(value for name, value in values.items() if name != "loss"))


def test_one_branches_share_the_lower_layers_and_start_apart():
    student, batch = make_net(1), make_batch()
    objective = distillation("one", student=student, branches=4)
    names = {name for name, _ in objective.named_parameters()}
    assert not any(name.startswith("sources.branch2.network.first") for name in names)
    weights = [student.second[0].weight, *(objective.sources[f"branch{i}"].network.second[0].weight for i in (2, 3, 4))]
    spread = torch.stack([weight.detach().flatten().sort().values for weight in weights])
    assert torch.equal(spread, spread[:1].expand(4, -1))  # the same values in another order: the same distribution
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    objective(batch, now(0.9))["loss"].backward()
    assert gradients(objective) == names
    assert objective.deployable() is student
    assert list(objective.learners()) == ["student"]


def test_one_trains_the_shared_layers_by_every_branch():
    batch = make_batch()
    found = {}
    for left_out in (None, "branch2"):
        objective = distillation("one", student=make_net(1), one=0.0)
        objective.edges = [e for e in objective.edges if left_out is None or e.term.student != left_out]
        objective(batch, now())["loss"].backward()
        found[left_out] = objective.deployable().first[0].weight.grad.clone()
    assert not torch.allclose(found[None], found["branch2"])


class Bridged(TinyNetwork):
    """Hands its input on to the logits, past all stages: before the stages run, or after."""

    def __init__(self, *, early):
        super().__init__()
        self.bridge, self.early = nn.Linear(192, 5), early

    def _run(self, inputs):
        aside = self.bridge(inputs.flatten(1)) if self.early else None
        out, stages = super()._run(inputs)
        return out + (self.bridge(inputs.flatten(1)) if aside is None else aside), stages


def test_one_refuses_a_network_that_cannot_be_split():
    torch.manual_seed(0)
    inputs = torch.rand(2, 3, 8, 8)
    part = upper_part(Bridged(early=False).eval(), "stage1", inputs)  # what runs after the stage is a part of it
    assert part.given == "first"
    assert "bridge.weight" in part.state_dict()
    message = "Bridged cannot be split at 'stage1': its map alone does not give the logits"
    with pytest.raises(InputError, match=message):
        upper_part(Bridged(early=True).eval(), "stage1", inputs)
    with pytest.raises(InputError, match=f"source 'branch2' .*: {message}"):
        distillation("one", student=Bridged(early=True))
    with pytest.raises(InputError, match="method 'one': needs 2 branches or more, not 1"):
        distillation("one", student=make_net(1), branches=1)


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_vgg8", "mobilenet_v2", "timm:resnet18"])
def test_upper_parts_of_real_networks(name):
    torch.manual_seed(0)
    network = create_model(
        name, num_classes=5, input_size=32, **({"width_multiplier": 0.25} if name == "mobilenet_v2" else {})
    ).eval()
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        outputs = network.observe(inputs, ("stage2",))
        upper = upper_part(network, "stage2", inputs)
        assert torch.allclose(
            run_upper(upper, torch.zeros_like(inputs), outputs.stages["stage2"]), outputs.out, atol=1e-5
        )
        other = run_upper(upper, inputs, torch.zeros_like(outputs.stages["stage2"]))
    assert not torch.allclose(other, outputs.out)
    assert sum(p.numel() for p in upper.parameters()) < sum(p.numel() for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_gate_of_vectors_and_the_shares_it_learns():
    gate = Gate("student/pool", ("student", "other")).eval()
    batch = make_batch()
    seen = {"student": Outputs(torch.zeros(6, 5), {"pool": torch.rand(6, 4)}), "other": Outputs(torch.ones(6, 5))}
    before = gate(batch, seen).out
    assert ((before > 0) & (before < 1)).all()
    with torch.no_grad():
        gate.layers[0].weight.zero_()
        gate.layers[0].bias.copy_(torch.tensor([0.0, 3.0]))
    assert torch.allclose(gate(batch, seen).out, torch.tensor(3.0 / (1 + 1e-5) ** 0.5).sigmoid().expand(6, 5))


def test_a_twin_offers_no_stages():
    learner = Learner(make_net(1).eval())
    twin = Twin(learner, "student", stage="stage1")
    with pytest.raises(InputError, match="unknown stage 'stage2'"):
        twin.ask(["stage2"], torch.rand(2, 3, 8, 8))
