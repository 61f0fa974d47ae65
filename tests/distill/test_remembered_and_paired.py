"""Self-distillation from what was said before, and from another picture of the class."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from limbeck.data import Augment, Loader, open_data
from limbeck.distill import Distillation, Learner, Memory, Term, distillation
from limbeck.distill.sources import SecondPass
from limbeck.errors import InputError
from limbeck.losses import kd
from limbeck.testing.methods import check_distillation
from limbeck.types import Batch, Outputs

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_ps_kd_follows_the_released_loop_epoch_by_epoch():
    """A table of one-hots, then of the softmax that each sample had in the pass before; once an epoch the weight rises."""
    epochs, alpha, samples = 3, 0.8, 12
    student = make_net(1)
    ours = copy.deepcopy(student)
    objective = distillation("ps_kd", student=student, num_samples=samples, epochs=epochs)
    check_distillation(objective, make_batch())
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9) for net in (student, ours)]
    whole = make_batch(samples)
    table = np.eye(5)[whole.target.numpy()]
    for epoch in range(epochs):
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(epoch))
        for number, rows in enumerate(order.split(4)):
            batch = Batch(rows, whole.inputs[rows], whole.target[rows], view=epoch)
            values = objective(batch, now((epoch * 3 + number) / (epochs * 3)))
            optimizers[0].zero_grad()
            values["loss"].backward()
            optimizers[0].step()
            objective.after_step()

            share = alpha * (epoch + 1) / epochs
            soft = (1 - share) * np.eye(5)[batch.target.numpy()] + share * table[rows.numpy()]
            out = ours(batch.inputs)
            loss = -(torch.from_numpy(soft).float() * functional.log_softmax(out, 1)).sum(1).mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
            table[rows.numpy()] = out.detach().softmax(1).numpy()
            assert torch.allclose(values["loss"], loss, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(student.parameters(), ours.parameters(), strict=True))
    assert values.keys() == {"loss", "ps_kd"}


def test_ps_kd_without_epochs_rises_with_each_step():
    objective = distillation("ps_kd", student=make_net(1), num_samples=6)
    batch = make_batch()
    objective(batch, now())
    objective.after_step()
    label, quarter, half = (objective(batch, now(progress))["loss"] for progress in (0.0, 0.25, 0.5))
    assert torch.allclose(quarter - label, (half - label) / 2, atol=1e-6)
    assert not torch.allclose(half, label)
    with pytest.raises(InputError, match="give num_samples"):
        distillation("ps_kd", student=make_net(1))


def test_ps_kd_with_mixed_and_with_missing_labels():
    batch, eye = make_batch(), torch.eye(5)
    rows = 0.7 * eye[batch.target] + 0.3 * eye[batch.target.flip(0)]
    mixed = Batch(batch.index, batch.inputs, rows)
    objective = distillation("ps_kd", student=make_net(1), num_samples=6)
    first = objective(mixed, now(0.5))["loss"]
    assert torch.allclose(first, functional.cross_entropy(make_net(1)(batch.inputs), rows), atol=1e-5)
    objective.after_step()
    assert torch.isfinite(objective(mixed, now(0.5))["loss"])
    partly = Batch(batch.index, batch.inputs, torch.where(torch.arange(6) < 2, -1, batch.target), labelled=False)
    fresh = distillation("ps_kd", student=make_net(1), num_samples=6)
    expected = functional.cross_entropy(make_net(1)(batch.inputs)[2:], batch.target[2:])
    assert torch.allclose(fresh(partly, now(0.5))["loss"], expected, atol=1e-5)


def test_a_memory_takes_its_shape_from_the_probe():
    memory = Memory(10, of="student/stage1")
    Distillation({"student": Learner(make_net(1)), "before": memory}, [Term("task")])
    assert memory.values.shape == (10, 6, 4, 4)
    assert not memory.filled.any()
    with pytest.raises(InputError, match=r"labels can stand for \[N, K\] logits only; 'student/stage1'"):
        Distillation(
            {"student": Learner(make_net(1)), "before": Memory(10, of="student/stage1", unseen="label")}, [Term("task")]
        )
    with pytest.raises(InputError, match="memory: unknown choice of 'unseen' 'labels'; did you mean 'label'"):
        Memory(10, unseen="labels")


def test_a_label_stands_for_what_was_not_seen():
    memory = Memory(4, 3, unseen="label").train()
    index, target = torch.tensor([0, 3]), torch.tensor([2, 0])
    said = {"student": Outputs(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))}
    found = memory(Batch(index, torch.empty(2), target), said).out
    assert torch.equal(found.softmax(1), torch.eye(3)[target])
    assert torch.equal((found / 20).softmax(1), torch.eye(3)[target])
    assert torch.isfinite(kd(torch.zeros(2, 3), found))
    rows = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]])
    assert torch.allclose(memory(Batch(index, torch.empty(2), rows), said).out.softmax(1), rows)
    memory.after_step()
    assert torch.equal(memory(Batch(index, torch.empty(2), target), said).out, said["student"].out)


def test_cs_kd_learns_from_the_classmates_as_the_released_loop_does():
    student, batch = make_net(1), make_batch()
    ours = copy.deepcopy(student)
    objective = distillation("cs_kd", student=student, preset="fine_grained")
    assert objective.needs() == {"same_class"}
    check_distillation(copy.deepcopy(objective), batch)
    values = objective(batch, now())
    values["loss"].backward()
    out = ours(batch.inputs)
    with torch.no_grad():
        told = ours(batch.further["same_class"])  # in training mode: batch norm sees them, too
    soft = (told / 4).softmax(1)
    pull = 16 * (soft * (soft.log() - functional.log_softmax(out / 4, 1))).sum(1).mean()
    loss = functional.cross_entropy(out, batch.target) + 3 * pull
    loss.backward()
    assert torch.allclose(values["cs_kd"], pull, atol=1e-6)
    assert torch.allclose(values["loss"], loss, atol=1e-6)
    grads = zip(student.parameters(), ours.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, atol=1e-6) for a, b in grads)
    assert all(torch.equal(a, b) for a, b in zip(student.buffers(), ours.buffers(), strict=True))
    assert int(student.first[1].num_batches_tracked) == 2


def test_cs_kd_says_what_the_batches_lack():
    objective = distillation("cs_kd", student=make_net(1))
    batch = make_batch(further={})
    with pytest.raises(
        InputError, match=r"the batches carry no 'same_class'; make them with Loader\(\.\.\., needs=obj"
    ):
        objective(batch, now())


def test_a_second_pass_holds_nothing_of_its_own():
    learner = Learner(make_net(1))
    again = SecondPass(learner, view="view2")
    assert not list(again.parameters())
    assert not again.state_dict()
    batch = make_batch()
    learner.eval()
    assert torch.equal(again(batch, {}).out, learner.network(batch.further["view2"]))
    assert not again(batch, {}).out.requires_grad


@pytest.mark.parametrize(
    ("method", "options"), [("cs_kd", {}), ("kdcl", {"views": "own"}), ("ps_kd", {"num_samples": 30, "epochs": 2})]
)
def test_real_batches_carry_what_a_method_needs(method, options):
    digits = open_data("digits", image_size=8, validation=0, limit=30).train
    torch.manual_seed(0)
    peer = {"teacher": make_net(2, num_classes=10)} if method == "kdcl" else {}
    objective = distillation(method, student=make_net(1, num_classes=10), **peer, **options)
    loader = Loader(digits, batch_size=10, augment=Augment(), seed=0, needs=objective.needs())
    for number, batch in enumerate(loader.epoch(0)):
        values = objective(batch, now(number / 6))
        assert torch.isfinite(values["loss"])
        objective.after_step()
    assert batch.further.keys() == objective.needs()
