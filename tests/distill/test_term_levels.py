"""Terms of a loss on several levels at once: what it is handed, what is refused, what unlabelled batches give."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.distill import Term, distillation_from_terms, teacher_role
from limbeck.errors import InputError
from limbeck.types import Batch

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now

LEVELS = ("student/stage1", "student/stage2")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Levels(nn.Module):
    """One projector per level."""

    def __init__(self, student_shapes, teacher_shapes):
        super().__init__()
        self.shapes = student_shapes, teacher_shapes
        pairs = zip(student_shapes, teacher_shapes, strict=True)
        self.projectors = nn.ModuleList(nn.Conv2d(s[0], t[0], 1) for s, t in pairs)

    def forward(self, students, teachers, *, target):
        assert type(students) is type(teachers) is tuple
        triples = zip(self.projectors, students, teachers, strict=True)
        return sum((project(s) - t.detach()).square().mean() for project, s, t in triples) + 0.0 * target.sum()


def without_teacher(students):
    return sum(student.square().mean() for student in students)


def make(terms, **options):
    return distillation_from_terms(terms, student=make_net(1), teacher=make_net(2, width=9), **options)


def test_levels_arrive_as_tuples_and_their_shapes_too():
    teachers = ["teacher/stage1", "teacher/stage2"]  # lists, as TOML gives them
    terms = [{"loss": Levels, "student": list(LEVELS), "teacher": teachers}]
    objective, batch = make(terms), make_batch()
    loss = objective.losses["Levels"]
    assert loss.shapes == (((6, 4, 4), (12, 2, 2)), ((9, 4, 4), (18, 2, 2)))
    values = objective(batch, now())
    student, teacher = (objective.sources[name].network for name in ("student", "teacher"))
    ours, theirs = (net.observe(batch.inputs, ("stage1", "stage2")).stages for net in (student, teacher))
    expected = sum(
        (project(ours[name]) - theirs[name]).square().mean()
        for project, name in zip(loss.projectors, ("stage1", "stage2"), strict=True)
    )
    assert torch.allclose(values["Levels"], expected)
    values["loss"].backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert teacher_role(terms=terms) == "frozen"


def test_one_level_is_a_tuple_of_one():
    objective = make([Term(Levels, "student/stage2", "teacher/stage2")])
    assert objective.losses["Levels"].shapes == (((12, 2, 2),), ((18, 2, 2),))
    assert torch.isfinite(objective(make_batch(), now())["Levels"])
    alone = make([Term(without_teacher, LEVELS)])
    assert torch.isfinite(alone(make_batch(), now())["without_teacher"])


def test_a_batch_without_labels_still_reaches_every_parameter():
    objective, batch = make([Term(Levels, LEVELS, ("teacher/stage1", "teacher/stage2"))]), make_batch()
    unlabelled = Batch(batch.index, batch.inputs, torch.full_like(batch.target, -1), labelled=False)
    values = objective(unlabelled, now())
    assert values["Levels"] == 0
    values["loss"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in objective.losses.parameters())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            Term("kd", LEVELS),
            r"term 'kd' \(student/stage1, student/stage2 <- teacher\): .*one student's address, not 2",
        ),
        (Term("task", LEVELS), "takes one student's address, not 2"),
        (Term(Levels, LEVELS, None), r"takes 2 tensor\(s\), but 1"),
        (Term(Levels, LEVELS, ("teacher/stage1", "teacher/stage9")), "unknown stage 'stage9'; did you mean 'stage"),
        (Term(Levels, ("student/stage1", "student/stage8"), "teacher/stage1"), r"\(terms: Levels\): .*'stage8'"),
    ],
)
def test_wrong_levels_are_named(term, message):
    with pytest.raises(InputError, match=message):
        make([term])


def test_levels_are_of_one_source():
    with pytest.raises(InputError, match="one source learns by a term, not student and teacher"):
        Term(Levels, ("student/stage1", "teacher/stage1"))
    with pytest.raises(InputError, match="names no student's address"):
        Term(Levels, ())
    assert Term(Levels, ("peer/stage1", "peer/stage2")).title == "peer_Levels"
