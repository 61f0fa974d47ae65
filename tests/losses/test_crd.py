"""Contrastive distillation: value and gradient against a slow reference, the draw of negatives, what the banks hold."""

import copy

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import Crd
from limbeck.losses.gather import gather_rows, last_of_each

SAMPLES, NEGATIVES, WIDTH = 30, 8, 6


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(**options):
    return Crd((4,), (5, 1, 1), SAMPLES, **{"negatives": NEGATIVES, "width": WIDTH, **options}).double()


def batch(*index, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(len(index), 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(len(index), 5, 1, 1, generator=generator, dtype=torch.float64)
    index = torch.tensor(index)
    return student, teacher, {"index": index, "target": index % 3}


def slow(loss, student, teacher, index, negatives, constants=None):
    """Equations 17 to 19 in both directions, as probabilities; returns the constants too."""

    def embedded(layer, values):
        values = values.reshape(len(values), -1) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        return values / np.sqrt((values**2).sum(1, keepdims=True))

    pairs = [
        (embedded(loss.student_embed, student.numpy()), loss.teacher_bank.numpy()),
        (embedded(loss.teacher_embed, teacher.numpy()), loss.student_bank.numpy()),
    ]
    total, found = 0.0, []
    for side, (anchors, bank) in enumerate(pairs):
        places = np.concatenate([index.numpy()[:, None], negatives.numpy()], 1)
        density = np.array([[np.exp(a @ bank[p] / 0.07) for p in row] for a, row in zip(anchors, places, strict=True)])
        z = density.mean() * SAMPLES if constants is None else constants[side]
        found.append(z)
        density, noise = density / z, NEGATIVES / SAMPLES
        total -= np.log(density[:, 0] / (density[:, 0] + noise)).sum() / len(anchors)
        total -= np.log(noise / (density[:, 1:] + noise)).sum() / len(anchors)
    return total, found


def test_value_of_the_first_step_and_of_later_ones():
    loss = make()
    student, teacher, known = batch(3, 17, 4)
    torch.manual_seed(7)
    negatives = loss._draw(known["target"])
    torch.manual_seed(7)
    value = loss(student, teacher, **known)
    expected, constants = slow(loss, student, teacher, known["index"], negatives)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert loss.log_constants.isnan().all()  # nothing is written before the step
    loss.after_step()
    assert loss.log_constants.exp().numpy() == pytest.approx(constants, rel=1e-12)
    student, teacher, known = batch(8, 9, 17, seed=1)
    torch.manual_seed(8)
    negatives = loss._draw(known["target"])
    torch.manual_seed(8)
    value = loss(student, teacher, **known)
    assert value.item() == pytest.approx(
        slow(loss, student, teacher, known["index"], negatives, constants)[0], rel=1e-12
    )
    loss.after_step()
    assert loss.log_constants.exp().numpy() == pytest.approx(constants, rel=1e-12)


def test_gradient():
    loss = make()
    loss(*batch(1, 2, 3)[:2], **batch(1, 2, 3)[2])
    loss.after_step()
    student, teacher, known = batch(3, 17, 4)
    student.requires_grad_()
    teacher.requires_grad_()

    def run(x, *weights):
        torch.manual_seed(3)
        names = ("student_embed.weight", "teacher_embed.bias")
        return torch.func.functional_call(loss, dict(zip(names, weights, strict=True)), (x, teacher), known)

    weights = loss.student_embed.weight, loss.teacher_embed.bias
    assert torch.autograd.gradcheck(run, (student, *weights))
    loss(student, teacher, **known).backward()
    assert teacher.grad is None
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_banks_hold_moving_averages_of_length_one():
    loss = make(momentum=0.25)
    before = loss.student_bank.clone(), loss.teacher_bank.clone()
    student, teacher, known = batch(5, 6)
    loss(student, teacher, **known)
    assert torch.equal(loss.student_bank, before[0])
    loss.after_step()
    for bank, old, layer, values in (
        (loss.student_bank, before[0], loss.student_embed, student),
        (loss.teacher_bank, before[1], loss.teacher_embed, teacher.flatten(1)),
    ):
        said = torch.nn.functional.normalize(layer(values)).detach()
        mixed = 0.25 * old[5:7] + 0.75 * said
        assert torch.allclose(bank[5:7], mixed / mixed.norm(dim=1, keepdim=True))
        kept = torch.ones(SAMPLES, dtype=torch.bool)
        kept[5:7] = False
        assert torch.equal(bank[kept], old[kept])
    assert loss.labels[5:7].tolist() == [2, 0]
    assert (loss.labels == -1).sum() == SAMPLES - 2
    loss.eval()
    loss(student, teacher, **known)
    after = loss.student_bank.clone()
    loss.after_step()
    assert torch.equal(loss.student_bank, after)  # looking does not write


def test_a_sample_seen_twice_before_the_step_leaves_what_it_said_last():
    loss = make(momentum=0.0)
    for seed in (1, 2):
        student, teacher, known = batch(4, 4, seed=seed)
        loss(student, teacher, **known)
    loss.after_step()
    said = torch.nn.functional.normalize(loss.student_embed(student[1:])).detach()
    assert torch.allclose(loss.student_bank[4:5], said)


def test_a_step_that_overflowed_leaves_the_banks():
    loss = make()
    before = copy.deepcopy(loss.state_dict())
    student, teacher, known = batch(4, 5)
    loss(student * torch.inf, teacher, **known)
    loss.after_step()
    assert torch.equal(loss.student_bank, before["student_bank"])
    assert loss.log_constants[0].isnan()
    assert loss.teacher_bank.isfinite().all()


def test_negatives_are_of_other_classes_and_equally_likely():
    loss = make(negatives=60000)
    everything = torch.arange(SAMPLES)
    loss.labels.copy_(everything % 3)
    loss.labels[:4] = -1  # not seen yet: of nobody's class
    drawn = loss._draw(torch.tensor([0, 2]))
    for row, label in zip(drawn, (0, 2), strict=True):
        counts = torch.bincount(row, minlength=SAMPLES)
        others = loss.labels != label
        assert not counts[~others].any()
        assert (counts[others] - 60000 / int(others.sum())).abs().max() < 5 * (60000 / int(others.sum())) ** 0.5
    loss.labels.fill_(1)
    assert len(loss._draw(torch.tensor([1])).unique()) == SAMPLES  # a single class: any sample
    assert torch.equal(make().labels, torch.full((SAMPLES,), -1))


def test_draws_come_from_the_random_state_and_banks_do_not():
    loss, student_teacher = make(), batch(1, 2)
    student, teacher, known = student_teacher
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(loss(student, teacher, **known).item())
    assert values[0] == values[1] != values[2]
    torch.manual_seed(1)
    one = make()
    torch.manual_seed(2)
    other = make()
    assert torch.equal(one.student_bank, other.student_bank)
    assert not torch.equal(one.student_bank, one.teacher_bank)
    assert not torch.equal(one.student_embed.weight, other.student_embed.weight)
    assert one.student_bank.norm(dim=1).mean().item() == pytest.approx(1, abs=0.1)


def test_state_and_precision():
    loss = make()
    loss(*batch(3, 4)[:2], **batch(3, 4)[2])
    loss.after_step()
    assert {"student_bank", "teacher_bank", "labels", "log_constants"} < set(loss.state_dict())
    other = make()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.log_constants, loss.log_constants)
    loss.float()
    student, teacher, known = batch(3, 4, 5)
    torch.manual_seed(0)
    single = loss(student.float(), teacher.float(), **known)
    torch.manual_seed(0)
    half = loss(student.half(), teacher.half(), **known)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(student.float(), teacher.float(), **known)
    assert single.dtype == half.dtype == cast.dtype == torch.float32
    assert half.item() == pytest.approx(single.item(), rel=0.02)
    assert cast.item() == pytest.approx(single.item(), rel=0.2)
    wild = loss(1e4 * student.float(), 1e4 * teacher.float(), **known)
    assert torch.isfinite(wild)
    assert torch.isfinite(
        loss(student[:1].float(), teacher[:1].float(), index=known["index"][:1], target=torch.eye(3)[:1])
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Crd((4,), (5,), 1), "crd: needs num_samples >= 2"),
        (lambda: make(negatives=0), "negatives >= 1"),
        (lambda: make(momentum=1.0), r"momentum in \[0, 1\), not 0.07 and 1.0"),
        (lambda: make(temperature=0.0), "temperature > 0"),
        (lambda: make()(*batch(1, 2)[:2], index=torch.tensor([1, 30]), target=torch.tensor([0, 1])), "index 30 in a"),
        (lambda: make()(*batch(1, 2)[:2], index=torch.tensor([1]), target=torch.tensor([0])), "each of 2 samples"),
        (
            lambda: make()(batch(1, 2)[0], batch(1)[1], **batch(1, 2)[2]),
            "2 samples of the student and 1 of the teacher",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_rows_of_one_process_and_the_last_of_each():
    rows = torch.tensor([4, 2]), torch.zeros(2, 3)
    assert all(a is b for a, b in zip(gather_rows(*rows), rows, strict=True))
    index = torch.tensor([7, 3, 7, 5, 3])
    assert last_of_each(index).tolist() == [4, 3, 2]  # of 3, 5 and 7
