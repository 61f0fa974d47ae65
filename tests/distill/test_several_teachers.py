"""Several ready teachers in the place of one: whose logits are averaged, what may be asked of each, what is refused."""

import sys
from pathlib import Path

import pytest
import torch

from limbeck.distill import Ensemble, Frozen, Learner, Term, distillation, distillation_from_terms
from limbeck.errors import InputError
from limbeck.losses import dkd, kd
from limbeck.types import Outputs

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def three():
    return make_net(1).eval(), make_net(2), make_net(3)


@pytest.mark.parametrize("shares", [None, (3.0, 1.0)])
def test_a_method_learns_from_the_mean_of_all_logits(shares):
    student, first, second = three()
    batch = make_batch()
    objective = distillation("dkd", student=student, teacher=[first, second], teacher_shares=shares).eval()
    values = objective(batch, now(1.0))
    weights = (0.5, 0.5) if shares is None else (0.75, 0.25)
    with torch.no_grad():
        mean = weights[0] * first(batch.inputs) + weights[1] * second(batch.inputs)
        expected = dkd(student(batch.inputs), mean, target=batch.target, temperature=4.0, alpha=1.0, beta=8.0)
    assert torch.allclose(values["dkd"], expected, atol=1e-6)
    values["loss"].backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for teacher in (first, second) for p in teacher.parameters())
    assert list(objective.learners()) == ["student"]
    assert all(name.startswith("sources.student.") for name in objective.state_dict())


def test_each_teacher_runs_once_and_before_the_student():
    student, first, second = three()
    passes = []
    for name, network in (("student", student), ("first", first), ("second", second)):
        network.register_forward_pre_hook(lambda *_, name=name: passes.append(name))
    objective = distillation("kd", student=student, teacher=[first, second])
    passes.clear()
    objective(make_batch(), now())
    assert passes == ["first", "second", "student"]


def test_half_precision_outputs_are_averaged_in_float32():
    values = [torch.tensor([[1024.0, 1.0]], dtype=torch.float16), torch.tensor([[1025.0, 2.0]], dtype=torch.float16)]
    seen = {name: Outputs(value) for name, value in zip("ab", values, strict=True)}
    mean = Ensemble(("a", "b"))(make_batch(), seen).out
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[1024.5, 1.5]]  # 1024.5 is no half


def test_one_in_a_list_is_one_teacher():
    student, teacher, _ = three()
    batch = make_batch()
    alone, listed = (distillation("kd", student=student, teacher=given).eval() for given in (teacher, [teacher]))
    assert torch.equal(alone(batch, now())["loss"], listed(batch, now())["loss"])
    assert list(listed.sources) == ["teacher", "student"]


def test_terms_name_the_mean_and_each_teacher_and_its_stages():
    student, first, second = three()
    batch = make_batch()
    terms = [
        Term("kd", options={"temperature": 2.0}),
        Term("kd", teacher="teacher2", name="second"),
        Term(squared, student="student/stage2", teacher="teacher1/stage2", name="stages"),
    ]
    objective = distillation_from_terms(terms, student=student, teacher=[first, second]).eval()
    values = objective(batch, now())
    with torch.no_grad():
        out, one, two = (network(batch.inputs) for network in (student, first, second))
        stages = [network.observe(batch.inputs, ("stage2",)).stages["stage2"] for network in (student, first)]
    assert torch.allclose(values["kd"], kd(out, (one + two) / 2, temperature=2.0), atol=1e-6)
    assert torch.allclose(values["second"], kd(out, two), atol=1e-6)
    assert torch.allclose(values["stages"], (stages[0] - stages[1]).square().mean())
    assert isinstance(objective.sources["teacher1"], Frozen)
    assert isinstance(objective.sources["student"], Learner)


def squared(student, teacher):
    return (student - teacher.detach()).square().mean()


def test_what_several_teachers_cannot_do_is_one_clear_line():
    student, first, second = three()
    both = {"student": student, "teacher": [first, second]}
    cases = [
        (lambda: distillation("graph_parts:one_peer", **both), "takes one second network, not 2"),
        (lambda: distillation("dml", teacher_shares=[1.0, 2.0], **both), "'dml': teacher_shares are of ready teachers"),
        (lambda: distillation("graph_parts:ready_made", **both), "must return a Graph, to learn from several"),
        (lambda: distillation("kd", teacher_shares=[1.0], **both), "a number above 0 for each of 2 teachers"),
        (lambda: distillation("kd", teacher_shares=[1.0, 0.0], **both), r"not \[1.0, 0.0\]"),
        (lambda: distillation("kd", student=student, teacher=[]), "needs a teacher"),
        (
            lambda: distillation_from_terms([Term(squared, "student/stage2", "teacher/stage2")], **both),
            "a mean of several has logits and no 'stage2'; name one of them, such as teacher1/stage2",
        ),
        (
            lambda: distillation_from_terms([Term("kd", "teacher", "student")], **both),
            "several teachers are ready ones",
        ),
        (lambda: distillation_from_terms([Term("kd", teacher="teacher3")], **both), "unknown source 'teacher3'"),
        (
            lambda: distillation("kd", student=student, teacher=[first, make_net(4, num_classes=7)]),
            r"a mean needs outputs of one shape: 'teacher1' \[4, 5\], 'teacher2' \[4, 7\]",
        ),
    ]
    for make, message in cases:
        with pytest.raises(InputError, match=message):
            make()
