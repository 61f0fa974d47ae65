"""The methods on the package's own networks, with teachers of another family and another input size."""

import pytest
import torch

from limbeck.distill import Term, distillation, distillation_from_terms
from limbeck.errors import InputError
from limbeck.models import create_model
from limbeck.types import Batch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(name="mobilenet_v2", **options):
    return create_model(name, num_classes=6, width_multiplier=0.25, input_size=32, small_images=True, **options)


def batch():
    return Batch(torch.arange(4), torch.rand(4, 3, 32, 32), torch.tensor([0, 5, 2, 1]))


@pytest.mark.parametrize("method", ["kd", "nkd", "uskd", "dml"])
def test_two_steps_of_every_method(method):
    student = small("mobilenet_v3_small")
    teacher = (
        None if method == "uskd" else create_model("mobilenet_v1", num_classes=6, width_multiplier=0.25, input_size=48)
    )
    objective = distillation(method, student=student, teacher=teacher)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.05)
    for number in range(2):
        values = objective(batch(), torch.tensor(number / 2))
        assert torch.isfinite(values["loss"])
        values["loss"].backward()
        assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()
    assert objective.deployable() is student


def test_the_default_exit_sits_at_the_last_but_one_stage():
    student = create_model("mobilenet_v1", num_classes=6)
    learner = distillation("uskd", student=student, example=batch()).sources["student"]
    assert learner.exits[0].linear.in_features == 512  # what feeds the 1024-wide stage


def test_an_address_that_does_not_exist_lists_the_stages():
    with pytest.raises(InputError, match=r"unknown stage 'stage99'.*known: .*stage1, stage2"):
        distillation_from_terms([Term("kd", student="student/stage99")], student=small(), teacher=small())
