"""Methods on features: what they pair and weigh, networks of other families and sizes, what is trained and what is not."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.distill import METHODS, distillation, pair_stages
from limbeck.errors import InputError
from limbeck.losses import at, kd, rkd, sp
from limbeck.models import create_model
from limbeck.testing.methods import check_distillation
from limbeck.types import Batch, Outputs

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now

FEATURES = ("at", "crd", "cwd", "fitnet", "mgd", "reviewkd", "rkd", "sp")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Stages(nn.Module):
    """Names only."""

    def __init__(self, *names, further=()):
        super().__init__()
        self.stage_names, self.further = names, tuple(further)

    def further_stage_names(self):
        return self.further

    def observe(self, inputs, stages=()):
        return Outputs(inputs)


def numbered(count, *further):
    return Stages("stem", *(f"stage{i + 1}" for i in range(count)), *further)


def vit(**options):
    return create_model("timm:vit_tiny_patch16_224", num_classes=6, input_size=32, **options)


def cifar(name="cifar_resnet8"):
    return create_model(name, num_classes=6, input_size=32)


def pictures():
    return Batch(torch.arange(4), torch.rand(4, 3, 32, 32), torch.tensor([0, 5, 2, 1]))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (3, 3, [(1, 1), (2, 2), (3, 3)]),
        (4, 12, [(1, 3), (2, 6), (3, 9), (4, 12)]),
        (12, 4, [(3, 1), (6, 2), (9, 3), (12, 4)]),
        (4, 5, [(1, 2), (2, 3), (3, 4), (4, 5)]),
        (5, 3, [(2, 1), (4, 2), (5, 3)]),
        (1, 3, [(1, 3)]),
    ],
)
def test_stages_are_paired_by_relative_depth(ours, theirs, expected):
    pairs = pair_stages(numbered(ours), numbered(theirs))
    assert pairs == [(f"stage{one}", f"stage{other}") for one, other in expected]


def test_named_stages_are_paired_in_order_by_depth_or_by_name():
    student, teacher = numbered(4, "pool"), numbered(12, "pool", "odd")
    both = pair_stages(student, teacher, student_stages=["stage4", "stem"], teacher_stages=["pool", "odd"])
    assert both == [("stage4", "pool"), ("stem", "odd")]
    assert pair_stages(student, teacher, student_stages=["stage2", "pool"]) == [("stage2", "stage6"), ("pool", "pool")]
    assert pair_stages(student, teacher, teacher_stages=["stage7"]) == [("stage3", "stage7")]
    assert pair_stages(student, teacher, student_stages="stage4") == [("stage4", "stage12")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pair_stages(numbered(2), numbered(2), student_stages=["stage1"], teacher_stages=[]),
            "student_stages names 1 and teacher_stages 0; they are paired in order",
        ),
        (lambda: pair_stages(numbered(2), Stages("pool")), "Stages has no stage1, stage2 ...; name its teacher_stages"),
        (lambda: pair_stages(numbered(2), numbered(2), student_stages=["stage7"]), "unknown stage 'stage7'; did you"),
        (
            lambda: pair_stages(numbered(2, "pool"), numbered(2), student_stages=["pool"]),
            "no partner of 'pool' in Stages; name the teacher_stages too",
        ),
        (
            lambda: distillation("at", student=make_net(1), teacher=make_net(2), teacher_stages=["stage3"]),
            "unknown stage 'stage3'",
        ),
        (
            lambda: distillation(
                "sp", student=make_net(1), teacher=make_net(2), student_stages=["a"], teacher_stages=["stage1"]
            ),
            r"source 'student' \(terms: sp\): unknown stage 'a'",
        ),
        (
            lambda: distillation("cwd", student=cifar(), teacher=cifar(), student_stages=["pool"]),
            r"term 'cwd' \(student/pool <- teacher/pool\): cwd: needs feature maps of two positions or more",
        ),
        (lambda: distillation("crd", student=make_net(1), teacher=make_net(2)), "needs the size of the data set"),
        (
            lambda: distillation("at", student=make_net(1), teacher=[make_net(2), make_net(3)]),
            "a mean of several has logits and no 'stage1'",
        ),
        (lambda: distillation("sp", student=make_net(1)), "method 'sp': needs a teacher"),
    ],
)
def test_bad_stages_are_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def edges(method, student, teacher, **options):
    objective = distillation(method, student=student, teacher=teacher, num_samples=8, **options)
    return {edge.name: edge.addresses for edge in objective.edges if edge.name != "task"}


def test_what_each_method_pairs():
    student, teacher = cifar(), cifar("cifar_resnet14")
    last, pools = ("student/stage3", "teacher/stage3"), ("student/pool", "teacher/pool")
    assert edges("fitnet", student, teacher) == {"fitnet": ("student/stage2", "teacher/stage2")}
    assert edges("at", student, teacher) == {
        f"at_stage{i}": (f"student/stage{i}", f"teacher/stage{i}") for i in (1, 2, 3)
    }
    assert edges("sp", student, teacher) == {"sp": last}
    assert edges("cwd", student, teacher) == {"cwd": last}
    assert edges("mgd", student, teacher) == {"mgd": last}
    assert edges("rkd", student, teacher) == {"rkd": pools}
    assert edges("crd", student, teacher) == {"crd": pools}
    assert edges("crd", student, teacher, preset="cifar100_kd") == {"crd": pools, "kd": ("student", "teacher")}
    assert edges("reviewkd", student, teacher) == {
        "reviewkd": (
            ("student/stage1", "student/stage2", "student/stage3", "student/pool"),
            ("teacher/stage1.preact", "teacher/stage2.preact", "teacher/stage3.preact", "teacher/pool"),
        )
    }
    assert edges("reviewkd", student, teacher, student_stages=["stage2"], teacher_stages=["stage3"]) == {
        "reviewkd": (("student/stage2",), ("teacher/stage3",))
    }
    assert edges("rkd", make_net(1), make_net(2)) == {"rkd": ("student/stage2", "teacher/stage2")}  # nobody has a pool


def test_methods_are_their_weighted_sums():
    student, teacher, batch = make_net(1), make_net(2, width=9), make_batch()
    ours, theirs = (net.observe(batch.inputs, ("stage1", "stage2")).stages for net in (student, teacher.eval()))
    student = make_net(1)
    values = distillation("at", student=student, teacher=teacher)(batch, now())
    terms = [at(ours[stage], theirs[stage]) for stage in ("stage1", "stage2")]
    assert torch.allclose(values["at_stage1"], terms[0], atol=1e-7)
    assert torch.allclose(values["loss"], values["task"] + 1000 * sum(terms), rtol=1e-4)
    values = distillation("sp", student=student, teacher=teacher, sp=2.0, ce=0.5)(batch, now())
    assert torch.allclose(values["loss"], 0.5 * values["task"] + 2 * sp(ours["stage2"], theirs["stage2"]), rtol=1e-4)
    values = distillation("rkd", student=student, teacher=teacher, angle=0.0)(batch, now())
    expected = rkd(ours["stage2"], theirs["stage2"], distance=25.0, angle=0.0)
    assert torch.allclose(values["loss"], values["task"] + expected, rtol=1e-4)
    values = distillation("crd", student=student, teacher=teacher, num_samples=8, preset="cifar100_kd")(batch, now())
    assert torch.allclose(values["loss"], values["task"] + 0.8 * values["crd"] + values["kd"], rtol=1e-5)
    assert torch.allclose(values["kd"], kd(student(batch.inputs), teacher(batch.inputs)), rtol=1e-4)


def test_review_rises_over_its_warmup():
    objective = distillation("reviewkd", student=make_net(1), teacher=make_net(2), preset="cifar100_resnet20")
    values = objective(make_batch(), now(10 / 240))
    assert torch.allclose(values["loss"], values["task"] + 0.3 * values["reviewkd"])


@pytest.mark.parametrize("method", FEATURES)
@pytest.mark.parametrize("families", ["cnn_from_vit", "vit_from_cnn", "cnn_from_wider_cnn"])
def test_networks_of_other_families_and_sizes_are_aligned(method, families):
    if families == "cnn_from_vit":
        student, teacher = cifar(), vit()
    elif families == "vit_from_cnn":
        student, teacher = vit(), create_model("mobilenet_v1", num_classes=6, width_multiplier=0.25, input_size=64)
    else:
        student, teacher = cifar(), cifar("cifar_resnet8x4")
    options = {"negatives": 16} if method == "crd" else {}
    objective = distillation(method, student=student, teacher=teacher, num_samples=4, **options)
    check_distillation(objective, pictures(), teacher=teacher)


@pytest.mark.parametrize("method", FEATURES)
def test_projectors_are_trained_and_never_deployed(method):
    student, teacher = cifar(), cifar("cifar_resnet8x4")
    names = set(student.state_dict())
    objective = distillation(method, student=student, teacher=teacher, num_samples=4)
    objective(pictures(), now(0.5))["loss"].backward()
    own = dict(objective.losses.named_parameters())
    assert bool(own) == (method not in ("at", "rkd", "sp"))
    assert all(p.grad is not None and p.requires_grad for p in own.values())
    assert {f"losses.{name}" for name in own} <= set(dict(objective.named_parameters()))
    assert set(objective.deployable().state_dict()) == names
    assert not any("teacher" in name.split(".")[1] for name in objective.state_dict())


def test_every_method_on_features_is_named():
    assert set(FEATURES) <= set(METHODS)
