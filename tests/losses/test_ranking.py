"""The quick order of the classes is the plain one, ties and extremes included."""

import pytest
import torch

from limbeck.losses import uskd
from limbeck.losses.ranking import descending_order


def plain_order(score):
    return torch.tensor([sorted(range(len(row)), key=lambda k: (-row[k], k)) for row in score.tolist()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_is_exact(dtype):
    torch.manual_seed(0)
    tiny = torch.finfo(dtype).tiny
    scores = [
        torch.rand(7, 50, dtype=dtype),
        torch.randint(0, 4, (7, 50)).to(dtype) / 3,  # ties
        torch.zeros(2, 9, dtype=dtype),
        torch.tensor([[0.0, tiny, tiny / 8, 1e30, 1e6, 1.0, torch.inf]], dtype=dtype),
        (30 * torch.randn(9, 300, dtype=dtype)).softmax(1),
        torch.rand(50, 7, dtype=dtype).t(),  # strided
        torch.rand(3, 1, dtype=dtype),
    ]
    for score in scores:
        before = score.clone()
        assert torch.equal(descending_order(score), plain_order(score))
        assert torch.equal(score, before)


def test_neighbouring_floats_are_told_apart():
    low = torch.tensor(0.3)
    high = torch.nextafter(low, torch.tensor(1.0))
    assert descending_order(torch.stack([low, high, low])[None]).tolist() == [[1, 0, 2]]


def test_uskd_is_the_same_in_single_precision_where_it_packs():
    torch.manual_seed(0)
    student, weak, target = torch.randn(8, 300).mul(4), torch.randn(8, 300).mul(4), torch.randint(0, 300, (8,))
    quick = uskd(student, weak, target=target)
    slow = uskd(student.double(), weak.double(), target=target)
    assert quick.item() == pytest.approx(slow.item(), rel=1e-5)
