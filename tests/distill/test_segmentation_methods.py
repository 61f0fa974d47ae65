"""Methods and terms on networks that give a class for every pixel, against slow NumPy references where rows are made."""

import re

import numpy as np
import pytest
import torch

from limbeck.distill import METHODS, Term, distillation, distillation_from_terms, teacher_role
from limbeck.distill.pixels import PER_PIXEL, as_pixel_rows
from limbeck.errors import InputError
from limbeck.losses import LOSSES
from limbeck.models import create_model
from limbeck.tasks import Segmentation
from limbeck.types import Batch

K, SIZE = 5, (32, 48)
WORK = {"at", "bdkd", "ctkd", "cwd", "dist", "dkd", "dml", "fitnet", "kd", "kdcl", "label_smoothing", "lskd", "mgd"}
WORK |= {"nkd", "nkd_ema", "reviewkd", "rkd", "skd", "sp", "tf_kd", "tf_kd_self", "wsld", "wttm"}


def student_of(seed=0):
    torch.manual_seed(seed)
    return create_model("lraspp_mobilenet_v3_small", num_classes=K, input_size=SIZE, width_multiplier=0.35)


def teacher_of(seed=1):
    """Another family, head and output stride: other sizes of maps and logits, other channels."""
    torch.manual_seed(seed)
    return create_model("raspp_mobilenet_v2", num_classes=K, input_size=SIZE, width_multiplier=0.35)


def batch_of(seed=2, n=4):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(-1, K, (n, *SIZE), generator=rng)
    return Batch(torch.arange(n), torch.rand(n, 3, *SIZE, generator=rng), target)


def two_steps(objective, batch):
    """Two steps of SGD, as the loop makes them; the values of the second."""
    objective.train()
    optimizer = torch.optim.SGD(objective.parameters(), lr=1e-3)
    for step in range(2):
        values = objective(batch, torch.tensor(step / 2))
        optimizer.zero_grad()
        values["loss"].backward()
        objective.after_backward()
        optimizer.step()
        objective.after_step()
    return values


# ---- rows of pixels


def test_pixelwise_kd_is_the_mean_over_all_pixels_of_kl():
    student, teacher, batch = student_of(), teacher_of(), batch_of()
    objective = distillation("kd", student=student, teacher=teacher, preset="cityscapes", temperature=2.0)
    objective.eval()
    with torch.no_grad():
        ours, theirs = student.eval()(batch.inputs).double().numpy(), teacher(batch.inputs).double().numpy()
        value = objective(batch, torch.tensor(0.0))
    kl = []
    for n, y, x in np.ndindex(len(batch), *SIZE):
        p, q = (np.exp(z[n, :, y, x] / 2) / np.exp(z[n, :, y, x] / 2).sum() for z in (theirs, ours))
        kl.append((p * np.log(p / q)).sum())
    assert value["kd"].item() == pytest.approx(4 * np.mean(kl), rel=1e-4)
    task = Segmentation(K).criterion(torch.from_numpy(ours), batch.target)
    assert value["task"].item() == pytest.approx(task.item(), rel=1e-4)
    assert value["loss"].item() == pytest.approx((value["kd"] + value["task"]).item(), rel=1e-5)


def test_losses_with_labels_leave_void_pixels_out():
    batch = batch_of()
    objective = distillation_from_terms([Term("nkd")], student=student_of(), teacher=teacher_of())
    objective.eval()
    with torch.no_grad():
        value = objective(batch, torch.tensor(0.0))["nkd"]
        ours, theirs = (objective.sources[name].network(batch.inputs) for name in ("student", "teacher"))
    kept = [(n, y, x) for n, y, x in np.ndindex(batch.target.shape) if batch.target[n, y, x] >= 0]
    n, y, x = (torch.tensor(axis) for axis in zip(*kept, strict=True))
    expected = LOSSES["nkd"](ours[n, :, y, x], theirs[n, :, y, x], target=batch.target[n, y, x])
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_rows_keep_their_order_and_sizes_meet():
    maps = torch.arange(2 * 3 * 2 * 2).float().view(2, 3, 2, 2)
    (rows,), _ = as_pixel_rows([maps], None)
    assert rows[5].tolist() == maps[1, :, 0, 1].tolist()
    target = torch.tensor([[[0, -1], [2, 1]], [[-1, -1], [-1, 1]]])
    (rows, more), labels = as_pixel_rows([maps, maps.mean((2, 3), keepdim=True)], target)
    assert labels.tolist() == [0, 2, 1, 1]
    assert rows[3].tolist() == maps[1, :, 1, 1].tolist()
    assert more[3].tolist() == maps[1].mean((1, 2)).tolist()  # one position, enlarged
    with pytest.raises(InputError, match=r"need masks \[N, H, W\]"):
        as_pixel_rows([maps], torch.zeros(2))


def test_a_batch_of_void_alone_gives_nothing_and_stays_connected():
    batch = batch_of()
    void = Batch(batch.index, batch.inputs, torch.full_like(batch.target, -1))
    objective = distillation("dkd", student=student_of(), teacher=teacher_of())
    value = objective(void, torch.tensor(0.5))
    value["loss"].backward()
    assert value["loss"].item() == 0
    assert all(p.grad is not None for p in objective.sources["student"].network.parameters())


def test_logits_before_they_are_enlarged_are_rows_too():
    """At the head's own size, which costs a fraction; the teacher's are brought to the student's size."""
    edge = Term("kd", "student/logits", "teacher/logits", options={"temperature": 1.0})
    student, teacher, batch = student_of(), teacher_of(), batch_of()
    objective = distillation_from_terms([edge], student=student, teacher=teacher)
    objective.eval()
    with torch.no_grad():
        value = objective(batch, torch.tensor(0.0))["kd"]
        ours, theirs = (net.observe(batch.inputs, ["logits"]).stages["logits"] for net in (student, teacher))
        assert ours.shape != theirs.shape
        theirs = torch.nn.functional.interpolate(theirs, ours.shape[-2:], mode="bilinear")
        rows = [each.movedim(1, -1).reshape(-1, K) for each in (ours, theirs)]
    assert value.item() == pytest.approx(LOSSES["kd"](*rows, temperature=1.0).item(), rel=1e-5)


# ---- methods


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_trains_a_segmenter_or_says_why_not(method):
    role = teacher_role(method)
    second = {} if role == "none" else {"teacher": teacher_of()}
    second = {"teacher": [teacher_of(), teacher_of()]} if method == "two_teacher" else second
    settings = {"student": student_of(), "num_samples": 4, **second}
    if method not in WORK:
        with pytest.raises(InputError) as caught:
            two_steps(distillation(method, **settings), batch_of())
        message = str(caught.value)
        assert "\n" not in message
        assert re.match(r"term '|source '|memory: |which learner rests|the batches carry no 'same_class'", message)
        return
    objective = distillation(method, **settings)
    before = [p.detach().clone() for p in objective.deployable().parameters()]
    frozen = second["teacher"] if role == "frozen" else torch.nn.Module()
    fixed = [p.detach().clone() for p in frozen.parameters()]
    values = two_steps(objective, batch_of())
    assert all(torch.isfinite(value) for value in values.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, objective.deployable().parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(fixed, frozen.parameters(), strict=True))


def test_cwd_learns_from_logits_and_mgd_masks_positions():
    pair = {"student": student_of(), "teacher": teacher_of()}
    objective = distillation("cwd", **pair, preset="cityscapes_logits")
    (edge,) = [edge for edge in objective.edges if edge.name == "cwd"]
    assert edge.addresses == ("student/logits", "teacher/logits")
    assert edge.term.weight == 3
    assert two_steps(objective, batch_of())["cwd"] > 0
    objective = distillation("mgd", **pair, preset="cityscapes")
    (edge,) = [edge for edge in objective.edges if edge.name == "mgd"]
    assert (edge.call.by, edge.call.masked, edge.term.weight) == ("positions", 0.75, 2e-5)
    assert distillation("mgd", **pair).losses["mgd"].by == "channels"


def test_every_pixelwise_loss_is_a_loss_of_rows():
    assert set(LOSSES) >= PER_PIXEL
    with pytest.raises(InputError, match="term 'uskd'"):
        distillation_from_terms([Term("uskd", teacher="student/exit")], student=student_of())


def test_several_teachers_teach_by_their_mean():
    objective = distillation("kd", student=student_of(), teacher=[teacher_of(1), teacher_of(3)], preset="cityscapes")
    assert torch.isfinite(two_steps(objective, batch_of())["kd"])
