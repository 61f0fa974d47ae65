"""Zipf's label smoothing: the vectors, a slow reference that counts votes one by one, and its gradient."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses import zipf_ls
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]
DENSE = VECTORS["B"]["extra"]["zipf_ls_dense"]


def inputs(name):
    found = VECTORS[name]["inputs"]
    student, weak = (torch.tensor(found[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zw"))
    return student, weak, torch.tensor(found["y"])


def distribution(scores, label):
    """Zipf's law over the ranks of the other classes, one class at a time."""
    law = np.array([1 / (1 + sum(other > score for other in scores)) for score in scores])
    law[label] = 0
    return law / law.sum()


def reference(student, scores, target):
    """Value and gradient of the KL to that law."""
    value, gradient = 0.0, np.zeros_like(student)
    for row, label in enumerate(target.tolist()):
        others = np.arange(student.shape[1]) != label
        law = distribution(scores[row], label)[others]
        ours = np.exp(student[row][others])
        ours /= ours.sum()
        value += (law * np.log(law / ours)).sum() / len(student)
        gradient[row][others] = (ours - law) / len(student)
    return value, gradient


def count(dense):
    """How many positions choose each class, [N, K]."""
    return np.array([[(sample.argmax(0) == k).sum() for k in range(len(sample))] for sample in dense])


def test_votes_of_the_vectors():
    student, _, target = inputs("B")
    dense = functional.one_hot(torch.tensor(DENSE["votes"]), student.shape[1]).mT.double()  # [N, K, 9]
    value = zipf_ls(student, dense, target=target)
    assert abs(value.item() - DENSE["loss"]) < 1e-10
    value.backward()
    law = torch.tensor(DENSE["pdf"], dtype=torch.float64)
    others = functional.one_hot(target, student.shape[1]) == 0
    ours = student.detach()[others].view_as(law).softmax(1)
    assert (student.grad[others].view_as(law) - (ours - law) / len(law)).abs().max() < 1e-10
    assert not student.grad[~others].any()
    as_map = zipf_ls(student, dense.unflatten(2, (3, 3)), target=target)
    assert torch.equal(as_map, value)


@pytest.mark.parametrize("name", ["A", "B"])
def test_one_position_is_ranked_by_its_logits(name):
    student, weak, target = inputs(name)
    value = zipf_ls(student, weak, target=target)
    assert abs(value.item() - VECTORS[name]["values"]["zipf_ls_instance_rank_by_weak"]) < 1e-10
    value.backward()
    expected, gradient = reference(student.detach().numpy(), weak.detach().numpy(), target)
    assert abs(value.item() - expected) < 1e-12
    assert np.abs(student.grad.numpy() - gradient).max() < 1e-12
    assert weak.grad is None


def test_ranks_are_among_all_classes_not_among_the_others_only():
    student, weak, target = inputs("B")
    other_reading = VECTORS["B"]["extra"]["zipf_ls_rank_among_nontarget_by_zw"]
    assert abs(zipf_ls(student, weak, target=target).item() - other_reading) > 1e-3


@pytest.mark.parametrize("upsample", [1, 2, 3])
def test_votes_of_several_maps_are_added(upsample):
    torch.manual_seed(0)
    student = torch.randn(5, 7, dtype=torch.float64)
    fine, coarse = torch.randn(5, 7, 4, 3, dtype=torch.float64), torch.randn(5, 7, 2, 2, dtype=torch.float64)
    target = torch.randint(7, (5,))
    value = zipf_ls(student, fine, coarse, target=target, upsample=upsample)
    votes = 0
    for dense in (fine, coarse):
        if upsample > 1:
            size = [upsample * side for side in dense.shape[2:]]
            dense = functional.interpolate(dense, size=size, mode="bilinear", align_corners=False)
        votes = votes + count(dense.flatten(2).numpy())
    assert (votes.sum(1) == 16 * upsample**2).all()
    assert abs(value.item() - reference(student.numpy(), votes, target)[0]) < 1e-12


def test_one_position_beside_others_votes_like_them():
    torch.manual_seed(0)
    student, dense, single = torch.randn(3, 4), torch.randn(3, 4, 5), torch.randn(3, 4)
    target = torch.tensor([2, 0, 3])
    value = zipf_ls(student, dense, single, target=target)
    assert torch.equal(value, zipf_ls(student, single, dense, target=target))
    assert torch.equal(value, zipf_ls(student, torch.cat([dense, single.unsqueeze(2)], 2), target=target))


def test_only_correct_samples():
    torch.manual_seed(0)
    student, dense = torch.randn(6, 4), torch.randn(6, 4, 3, 3)
    target = student.argmax(1)
    target[[1, 4]] = (target[[1, 4]] + 1) % 4
    kept = [0, 2, 3, 5]
    value = zipf_ls(student, dense, target=target, only_correct=True)
    assert torch.allclose(value, zipf_ls(student[kept], dense[kept], target=target[kept]))
    wrong = zipf_ls(student[[1, 4]], dense[[1, 4]], target=target[[1, 4]], only_correct=True)
    assert wrong == 0


def test_mixed_labels_take_the_largest_entry():
    torch.manual_seed(0)
    student, dense, target = torch.randn(3, 4), torch.randn(3, 4, 3, 3), torch.tensor([2, 0, 3])
    rows = 0.6 * torch.eye(4)[target] + 0.4 * torch.eye(4)[target.roll(1)]
    assert torch.equal(zipf_ls(student, dense, target=rows), zipf_ls(student, dense, target=target))


def test_the_rules_of_losses():
    check_loss(zipf_ls)
    check_loss(zipf_ls, classes=100, options={"only_correct": True}, batch=300)
    torch.manual_seed(0)
    voters = torch.randn(9, 7, 4, 4)

    def by_map(student, *, index, target):  # the same map for a sample in any order
        return zipf_ls(student, voters[index].to(student.dtype), target=target, upsample=2)

    check_loss(by_map)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 4, 3, 3), {}, r"zipf_ls: dense must be \[N, K, ...\] logits with N, K = 2, 3, not \[2, 4, 3, 3\]"),
        ((3, 3, 3, 3), {}, r"zipf_ls: dense must"),
        ((2, 3, 9), {"upsample": 2}, "zipf_ls: upsample = 2 needs"),
        ((2, 3), {"upsample": 2}, "zipf_ls: upsample = 2 needs"),
        ((2, 3, 3, 3), {"upsample": 0}, "zipf_ls: upsample = 0 needs"),
    ],
)
def test_wrong_input(shape, options, message):
    with pytest.raises(InputError, match=message):
        zipf_ls(torch.zeros(2, 3), torch.zeros(shape), target=torch.tensor([0, 1]), **options)
    with pytest.raises(InputError, match="zipf_ls: needs at least 3 classes"):
        zipf_ls(torch.zeros(2, 2), torch.zeros(2, 2, 3), target=torch.tensor([0, 1]))
