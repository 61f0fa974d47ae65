"""Two teachers of points: what the graph computes, its switch, what it learns and what it refuses."""

import pytest
import torch

from limbeck.distill import distillation, method_options, teacher_role
from limbeck.errors import InputError
from limbeck.losses import LandmarkKd, assistive, landmark_main, released_main
from limbeck.models import Head, Row, Table, create_landmarker
from limbeck.testing import check_distillation
from limbeck.types import Batch

TABLE = Table(
    "tiny",
    Row("conv", 8, stride=2),
    (Row("inverted", 16, stride=2, expansion=2),),
    Head(),
    num_classes=2,
    input_size=(16, 16),
)
NOW = torch.tensor(0.0)


def network(seed):
    torch.manual_seed(seed)
    return create_landmarker(TABLE, 5)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(8, 5, 2, generator=generator)
    target[0, 1] = torch.nan
    return Batch(torch.arange(8), torch.rand(8, 3, 16, 16, generator=generator), target)


def made(**options):
    return distillation("two_teacher", student=network(0), teacher=[network(1), network(2)], **options)


@pytest.mark.parametrize("variant", ["paper", "release"])
@pytest.mark.parametrize("use", ["both", "tough", "tolerant", "none"])
def test_the_value_is_that_of_the_losses(batch, variant, use):
    objective = made(use=use, variant=variant).eval()
    with torch.no_grad():
        student, tough, tolerant = (network(seed).eval()(batch.inputs) for seed in range(3))
        found = objective(batch, NOW)["loss"]
    shared = {"target": batch.target, "variant": variant}
    if variant == "paper":
        expected = 2.5 * landmark_main(student, target=batch.target)
        constants = {"tough": {}, "tolerant": {}}
    else:
        expected = 2.0 * released_main(student, tolerant, target=batch.target)
        constants = {
            "tough": {"positive": 1.9, "beta": 0.15},
            "tolerant": {"positive": 1.8, "negative": -0.4, "beta": 0.15},
        }
    for name, said in (("tough", tough), ("tolerant", tolerant)):
        if use in (name, "both"):
            expected = expected + assistive(student, said, **constants[name], **shared)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("use", "variant", "run"),
    [
        ("both", "paper", {"tough", "tolerant"}),
        ("tough", "paper", {"tough"}),
        ("tolerant", "paper", {"tolerant"}),
        ("tough", "release", {"tough", "tolerant"}),  # its main loss goes by the tolerant teacher's errors
        ("tolerant", "release", {"tolerant"}),
    ],
)
def test_a_teacher_without_a_say_is_not_run(use, variant, run):
    assert set(made(use=use, variant=variant).sources) == {"student"} | run


def test_the_student_alone_learns(batch):
    teachers = [network(1), network(2)]
    before = [p.clone() for teacher in teachers for p in teacher.parameters()]
    objective = distillation("two_teacher", student=network(0), teacher=teachers)
    check_distillation(objective, batch, teacher=teachers[0])
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
    values = []
    for _ in range(40):
        loss = objective(batch, NOW)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]
    after = [p for teacher in teachers for p in teacher.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert set(objective.learners()) == {"student"}
    assert not [name for name, _ in objective.named_parameters() if not name.startswith("sources.student")]


def test_roles_and_options():
    assert teacher_role("two_teacher") == "frozen"
    assert set(method_options("two_teacher")) == {"use", "variant", "weight_main", "weight_tough", "weight_tolerant"}
    assert isinstance(made().edges[0].call, LandmarkKd)


def test_what_it_refuses(batch):
    with pytest.raises(InputError, match="needs two ready teachers, the tough one first; got 1"):
        distillation("two_teacher", student=network(0), teacher=network(1))
    with pytest.raises(InputError, match="needs a teacher"):
        distillation("two_teacher", student=network(0))
    with pytest.raises(InputError, match="unknown use 'tuff'"):
        made(use="tuff")
    with pytest.raises(InputError, match=r"term 'landmark_kd' .*weight_main must exceed 2\.25"):
        made(weight_main=2.0)
    with pytest.raises(InputError, match="teacher_shares are of ready teachers in a mean"):
        made(teacher_shares=[1.0, 2.0])
    with pytest.raises(InputError, match=r"term 'landmark_kd' .*as many points"):
        distillation("two_teacher", student=network(0), teacher=[network(1), create_landmarker(TABLE, 4)])
