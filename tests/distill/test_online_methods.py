"""Networks that train together: who learns from whom, who rests, and each with an optimizer group of its own."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from limbeck.distill import distillation
from limbeck.distill.pause import Pause
from limbeck.errors import InputError
from limbeck.losses import bdkd, cross_entropy, dml, kd, kdcl
from limbeck.losses.kdcl import RULES
from limbeck.losses.switokd import distances, waits
from limbeck.testing.methods import check_distillation
from limbeck.train import TrainSettings
from limbeck.train.optim import clip_gradients, create_optimizer, learner_parameters
from limbeck.types import Batch

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now

SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def outputs(networks, batch, further=()):
    """What fresh copies of the networks say in training, the batch's own pictures or the named ones."""
    pictures = [batch.further[name] if name else batch.inputs for name in further] or [batch.inputs] * len(networks)
    return [copy.deepcopy(net)(x) for net, x in zip(networks, pictures, strict=True)]


def step(objective, optimizer, *batches):
    for batch in batches:
        (objective(batch, now(0.5))["loss"] / len(batches)).backward()
    objective.after_backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    objective.after_step()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", ["dml", "bdkd"])
def test_of_three_networks_each_learns_from_all_others(method):
    networks, batch = [make_net(seed, width=6 + seed) for seed in range(3)], make_batch()
    a, b, c = outputs(networks, batch)
    objective = distillation(method, student=networks[0], teacher=networks[1:])
    check_distillation(copy.deepcopy(objective), batch)
    values = objective(batch, now())
    first = bdkd if method == "bdkd" else dml
    expected = {
        "task": cross_entropy(a, target=batch.target),
        "peer_task": cross_entropy(b, target=batch.target),
        "peer2_task": cross_entropy(c, target=batch.target),
        f"{method}_peer": first(a, b),
        f"{method}_peer2": first(a, c),
        "peer_dml_student": dml(b, a),
        "peer_dml_peer2": dml(b, c),
        "peer2_dml_student": dml(c, a),
        "peer2_dml_peer": dml(c, b),
    }
    assert values.keys() == {"loss", *expected}
    assert all(torch.allclose(values[name], value, atol=1e-6) for name, value in expected.items())
    assert torch.allclose(values["loss"], sum(expected.values()), atol=1e-5)
    assert list(objective.learners()) == ["student", "peer", "peer2"]


@pytest.mark.parametrize("rule", RULES)
def test_kdcl_teaches_each_network_by_all_of_them(rule):
    networks, batch = [make_net(seed, width=6 + seed) for seed in range(2)], make_batch()
    a, b = outputs(networks, batch)
    objective = distillation("kdcl", student=networks[0], teacher=networks[1], rule=rule)
    assert objective.needs() == set()
    values = objective(batch, now())
    parts = {
        "kdcl": kdcl(a, b, target=batch.target, rule=rule),
        "peer_kdcl": kdcl(b, a, target=batch.target, rule=rule),
    }
    parts |= {"task": cross_entropy(a, target=batch.target), "peer_task": cross_entropy(b, target=batch.target)}
    assert all(torch.allclose(values[name], value, atol=1e-6) for name, value in parts.items())
    assert torch.allclose(values["loss"], 0.5 * sum(parts.values()), atol=1e-6)
    if rule == "mean":
        assert torch.allclose(values["kdcl"], kd(a, (a + b) / 2, temperature=4.0), atol=1e-6)


def test_kdcl_networks_see_views_of_their_own():
    networks, batch = [make_net(seed) for seed in range(3)], make_batch()
    objective = distillation("kdcl", student=networks[0], teacher=networks[1:], views="own")
    assert objective.needs() == {"view2", "view3"}
    a, b, c = outputs(networks, batch, (None, "view2", "view3"))
    values = objective(batch, now())
    assert torch.allclose(values["peer2_task"], cross_entropy(c, target=batch.target))
    assert torch.allclose(values["kdcl"], kd(a, (a + b + c) / 3, temperature=4.0), atol=1e-6)
    with pytest.raises(InputError, match=r"the batches carry no 'view2'; make them with Loader\(..., needs="):
        objective(Batch(batch.index, batch.inputs, batch.target), now())


@pytest.mark.parametrize("method", ["bdkd", "dml", "kdcl", "switokd"])
def test_each_network_has_an_optimizer_group_and_a_clip_of_its_own(method):
    student, peer = make_net(1), make_net(2, width=9)
    objective = distillation(method, student=student, teacher=peer)
    assert {name: len(named) for name, named in learner_parameters(objective).items()} == {"student": 10, "peer": 10}
    optimizer = create_optimizer(objective, TrainSettings(optimizer="sgd", device="cpu"))
    held = {}
    for group in optimizer.param_groups:
        held.setdefault(group["learner"], set()).update(id(p) for p in group["params"])
    assert held["student"] == {id(p) for p in student.parameters()}
    assert held["peer"] == {id(p) for p in peer.parameters()}
    objective(make_batch(), now())["loss"].backward()
    for parameter in peer.parameters():
        parameter.grad *= 1e3
    norms = clip_gradients(optimizer, 5.0)
    assert norms["peer"] > 50 > norms["student"]
    left = {
        name: sum(p.grad.square().sum() for p in net.parameters()).sqrt() for name, net in objective.learners().items()
    }
    assert left["peer"] == pytest.approx(5.0, rel=1e-4)
    assert left["student"] == pytest.approx(min(float(norms["student"]), 5.0), rel=1e-4)


def test_bdkd_of_equal_networks_is_at_rest():
    """No divergence and no gradient beyond that of the labels, at any weighting."""
    student, batch = make_net(1), make_batch()
    for weighting in ("switch", "soft", "none"):
        objective = distillation("bdkd", student=student, teacher=copy.deepcopy(student), ce=0.0, weighting=weighting)
        values = objective(batch, now())
        values["loss"].backward()
        assert abs(values["bdkd"]) < 1e-6
        assert abs(values["peer_dml"]) < 1e-6
        assert all(p.grad.abs().max() < 1e-6 for p in objective.parameters())


def released_step(student, teacher, optimizers, batch):
    """One step of two networks as the authors' loop takes it; True where the teacher was paused."""
    onehot = torch.eye(5)[batch.target]
    for optimizer in optimizers:
        optimizer.zero_grad()
    ours, theirs = student(batch.inputs), teacher(batch.inputs)
    p_s, p_t = ours.detach().softmax(1), theirs.detach().softmax(1)
    s, t = ((p - onehot).abs().sum(1).mean() for p in (p_s, p_t))
    gap, delta = (p_t - p_s).abs().sum(1).mean(), s - torch.exp(-t / (t + s)) * t

    def kl(p, other):
        return (p * (p.log() - functional.log_softmax(other, 1))).sum(1).mean()

    paused = bool(gap > delta and t < s)
    (functional.cross_entropy(ours, batch.target) + kl(p_t, ours)).backward()
    if not paused:
        (functional.cross_entropy(theirs, batch.target) + kl(p_s, theirs)).backward()
        optimizers[1].step()
    optimizers[0].step()
    return paused


def test_switokd_follows_the_released_loop_step_by_step():
    student, teacher = make_net(1), make_net(2, width=20)
    sharpen(teacher, make_batch(), steps=6)
    ours, theirs = copy.deepcopy(student), copy.deepcopy(teacher)
    objective = distillation("switokd", student=student, teacher=teacher)
    optimizer = torch.optim.SGD(objective.parameters(), **SGD)
    optimizers = [torch.optim.SGD(net.parameters(), **SGD) for net in (ours, theirs)]
    paused = []
    for number in range(12):
        batch = make_batch(seed=number % 3)
        before = [p.detach().clone() for p in teacher.parameters()]
        statistics = teacher.first[1].running_mean.clone()
        paused.append(released_step(ours, theirs, optimizers, batch))
        step(objective, optimizer, batch)
        moved = [not torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True)]
        assert any(moved) is not paused[-1]
        assert not torch.equal(statistics, teacher.first[1].running_mean)  # of a paused network they move, too
        for mine, released in ((student, ours), (teacher, theirs)):
            pairs = zip(mine.state_dict().values(), released.state_dict().values(), strict=True)
            assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)
    assert True in paused
    assert False in paused


def test_switokd_of_two_teachers_pauses_each_by_its_own_distance():
    student, batch = make_net(1), make_batch()
    teachers = [make_net(2), make_net(3, width=20)]
    sharpen(teachers[1], batch)
    a, b, c = outputs([student, *teachers], batch)
    expected = [bool(waits(distances(a, other, target=batch.target))) for other in (b, c)]
    assert expected == [False, True]
    objective = distillation("switokd", student=student, teacher=teachers, teachers=2)
    assert {edge.name for edge in objective.edges} >= {"dml_peer", "dml_peer2", "peer_dml_peer2", "peer2_dml_student"}
    assert not any("switokd" in edge.name for edge in objective.edges)
    before = [copy.deepcopy(net) for net in teachers]
    step(objective, torch.optim.SGD(objective.parameters(), **SGD), batch)
    weights = [
        [torch.equal(p, q) for p, q in zip(net.parameters(), old.parameters(), strict=True)]
        for net, old in zip(teachers, before, strict=True)
    ]
    assert not any(weights[0])
    assert all(weights[1])


def test_switokd_of_two_students_switches_by_pair():
    batch = make_batch()
    far, near, teacher = make_net(1), make_net(2), make_net(3, width=20)
    sharpen(teacher, batch)
    near.load_state_dict(make_net(2).state_dict())
    sharpen(near, batch)
    a, b, c = outputs([far, near, teacher], batch)
    ahead = [bool(waits(distances(one, c, target=batch.target))) for one in (a, b)]
    assert ahead == [True, False]
    objective = distillation("switokd", student=far, teacher=[teacher, near], teachers=1)
    values = objective(batch, now())
    assert values["peer_switokd_student"] == 0
    assert torch.allclose(values["peer_switokd_peer2"], dml(c, b), atol=1e-6)
    assert torch.allclose(values["peer_task"], cross_entropy(c, target=batch.target), atol=1e-6)
    values["loss"].backward()
    objective.after_backward()
    assert all(p.grad is not None for p in teacher.parameters())  # one pair learns: it goes on
    both_far = distillation("switokd", student=far, teacher=[teacher, make_net(1)], teachers=1)
    both_far(batch, now())["loss"].backward()
    both_far.after_backward()
    assert all(p.grad is None for p in teacher.parameters())


def sharpen(network, batch, steps=40):
    """Let a network learn one batch by heart."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(batch.inputs), batch.target).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def test_switokd_without_labels_pauses_nobody():
    objective = distillation("switokd", student=make_net(1), teacher=make_net(2))
    batch = make_batch()
    bare = Batch(batch.index, batch.inputs, torch.full_like(batch.target, -1), labelled=False)
    objective(bare, now())["loss"].backward()
    objective.after_backward()
    assert all(p.grad is not None for p in objective.sources["peer"].parameters())
    partly = Batch(batch.index, batch.inputs, batch.target.clone().index_fill(0, torch.tensor([0]), -1), labelled=False)
    assert torch.isfinite(objective(partly, now())["loss"])


def test_a_step_of_several_batches_is_judged_as_one():
    figures = iter([0.2, 0.9, 0.2, 0.5])
    pause = Pause(lambda *_: torch.tensor([next(figures)]), lambda means: ["peer"] if means[0] > 0.5 else [])
    assert pause.resting() == ()
    for expected in (("peer",), ()):
        for _ in range(2):
            pause.note({}, make_batch(), now())
        assert pause.resting() == expected
        pause.forget()


def test_wrong_numbers_of_networks():
    student, peers = make_net(1), [make_net(2), make_net(3)]
    for call, message in [
        (lambda: distillation("switokd", student=student, teacher=peers, teachers=3), "expected 1 .. 2"),
        (lambda: distillation("kdcl", student=student, teacher=peers, views="each"), "unknown choice of 'views'"),
        (lambda: distillation("kdcl", student=student, teacher=peers, rule="least"), "unknown rule 'least'"),
        (lambda: distillation("dml", student=student, teacher=[]), "the student's peer"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
