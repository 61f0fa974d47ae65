"""Methods and terms on detectors: the anchors' rows against slow NumPy references, stages by default, what is refused."""

import numpy as np
import pytest
import torch

from limbeck.distill import METHODS, distillation, distillation_from_terms, teacher_role
from limbeck.distill.anchors import odkd
from limbeck.errors import InputError
from limbeck.losses.odkd import bounded_regression, weighted_classes
from limbeck.models import create_model
from limbeck.models.heads import AnchorOutputs, SoftmaxAnchorOutputs, make_anchors
from limbeck.tasks import Detection
from limbeck.tasks.box_losses import assign_anchors
from limbeck.tasks.detection import as_boxes
from limbeck.types import Batch

K, SIZE = 3, 96
WORK = {"at", "cwd", "fitnet", "mgd", "odkd", "pkd", "reviewkd", "rkd", "sp"}


def detector(seed=0, family="mobilenet_v3_small", **options):
    torch.manual_seed(seed)
    name = f"ssdlite_{family}"
    return create_model(name, num_classes=K, input_size=SIZE, width_multiplier=0.35, **options)


def boxes_of(n, seed=1, most=3):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, most, 2, generator=rng) * 0.5
    rows = torch.cat([corner, corner + 0.2 + 0.3 * torch.rand(n, most, 2, generator=rng)], 2)
    labels = torch.randint(-1, K, (n, most, 1), generator=rng).float()
    labels[0, 0, 0] = -2.0  # a crowd
    labels[-1] = -1.0
    return torch.cat([labels, rows], 2)


def batch_of(n=4):
    return Batch(torch.arange(n), torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)), boxes_of(n))


def said(seed, kind=AnchorOutputs, n=4):
    anchors = make_anchors([(5, 5), (3, 3), (1, 1)]).double()
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, len(anchors), K + 1, generator=rng, dtype=torch.float64)
    deltas = torch.randn(n, len(anchors), 4, generator=rng, dtype=torch.float64)
    return kind(logits.requires_grad_(), deltas.requires_grad_(), anchors)


def slow_odkd(student, teacher, target, regression=0.5, background=1.5, margin=0.0):
    classes, offsets = (part.numpy() for part in assign_anchors(as_boxes(target), student.anchors, K))
    numbers = [part.detach().numpy() for one in (student, teacher) for part in one[:2]]
    ours, our_boxes, theirs, their_boxes = numbers
    top, weights, boxes, count = 0.0, 0.0, 0.0, 0
    for n in range(len(ours)):
        for a in range(len(ours[n])):
            s, t = ours[n, a], theirs[n, a]
            if student.scores == "softmax":
                p, q = np.exp(s) / np.exp(s).sum(), np.exp(t) / np.exp(t).sum()
                parts, seen = q * np.log(q / p), 1 - q[0]
            else:
                p, q = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(-t))
                parts, seen = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)), q[1:].max()
            value = background * parts[0] + parts[1:].sum()
            weight = 1.0 if classes[n, a] else seen
            top, weights = top + weight * value, weights + weight
            if classes[n, a]:
                error, bound = (((each[n, a] - offsets[n, a]) ** 2).sum() for each in (our_boxes, their_boxes))
                boxes, count = boxes + (error if error + margin > bound else 0.0), count + 1
    return top / weights + regression * boxes / max(count, 1)


@pytest.mark.parametrize("kind", [AnchorOutputs, SoftmaxAnchorOutputs])
@pytest.mark.parametrize("options", [{}, {"regression": 0.1, "margin": 3.0}])
def test_odkd_is_its_slow_reading(kind, options):
    student, teacher, target = said(3, kind), said(4, kind), boxes_of(4)
    found = odkd(student, teacher, target=target, **options)
    assert found.item() == pytest.approx(slow_odkd(student, teacher, target, **options), rel=1e-6)
    found.backward()
    assert student.class_logits.grad.abs().sum() > 0
    assert student.box_deltas.grad.abs().sum() > 0
    assert teacher.class_logits.grad is None
    assert teacher.box_deltas.grad is None
    nobody = odkd(student, teacher, target=torch.full((4, 1, 5), -1.0))
    assert torch.isfinite(nobody)
    assert odkd(said(3, kind), said(3, kind), target=target, regression=0.0).item() == pytest.approx(0, abs=1e-9)


def test_the_rows_of_odkd_keep_to_the_rules_of_losses():
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    for scores in ("softmax", "sigmoid"):
        big = weighted_classes(student * 1e4, teacher * 1e4, scores=scores)
        assert big.shape == (5,)
        assert torch.isfinite(big).all()
        assert torch.isfinite(torch.autograd.grad(big.sum(), student)[0]).all()
        half = weighted_classes(student.half(), teacher.half(), scores=scores)
        assert half.dtype == torch.float32
    values = bounded_regression(student, teacher, target=torch.zeros(5, 4))
    worse = student.square().sum(1) > teacher.square().sum(1)
    assert torch.equal(values > 0, worse)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert torch.equal(gradient, 2 * student * worse[:, None])
    with pytest.raises(InputError, match="must be positive"):
        weighted_classes(student, teacher, background_weight=0.0)
    with pytest.raises(InputError, match="one shape"):
        bounded_regression(student, teacher[:3], target=torch.zeros(5, 4))


def test_the_gradient_of_weighted_classes_is_that_of_the_papers_cross_entropy():
    student, teacher = said(5).class_logits[0], said(6).class_logits[0].detach()
    weights = torch.tensor([1.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    papers = -(weights * teacher.softmax(1) * student.log_softmax(1)).sum()
    expected = torch.autograd.grad(papers, student, retain_graph=True)[0]
    found = torch.autograd.grad(weighted_classes(student, teacher).sum(), student)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_works_on_detectors_or_is_refused_in_one_line(method):
    teacher = None if teacher_role(method) == "none" else detector(1)
    teacher = [teacher, detector(2)] if method == "two_teacher" else teacher
    given = {"student": detector(0), "teacher": teacher, "criterion": Detection(K).criterion, "num_samples": 8}
    if method not in WORK:
        with pytest.raises(InputError) as caught:
            distillation(method, **given, example=batch_of(), epochs=2)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        return
    objective = distillation(method, **given, example=batch_of())
    values = objective(batch_of(), torch.tensor(0.3))
    values["loss"].backward()
    assert torch.isfinite(values["loss"])
    assert sum(p.grad.abs().sum() for p in objective.deployable().parameters() if p.grad is not None) > 0


def test_without_a_criterion_or_an_example_a_detector_learns_by_its_own_loss():
    student, batch = detector(0), batch_of()
    objective = distillation("odkd", student=student, teacher=detector(1))
    objective.eval()
    values = objective(batch, torch.tensor(0.0))
    with torch.no_grad():
        out = student(batch.inputs)
    torch.testing.assert_close(values["task"], Detection(K).criterion(out, batch.target))
    torch.testing.assert_close(values["odkd"], odkd(out, detector(1).eval()(batch.inputs), target=batch.target))
    torch.testing.assert_close(values["loss"], values["task"] + values["odkd"])


def test_maps_of_detectors_are_learned_by_default():
    student, teacher = detector(0), detector(1, "mobilenet_v2")
    names = [edge.name for edge in distillation("mgd", student=student, teacher=teacher, preset="coco").edges]
    assert names == ["task", *(f"mgd_map{i}" for i in range(1, 7))]
    equal = [name for name, width in student.map_channels.items() if teacher.map_channels[name] == width]
    assert 0 < len(equal) < 6
    names = [edge.name for edge in distillation("pkd", student=student, teacher=teacher).edges]
    assert names == ["task", *(f"pkd_{name}" for name in equal)]
    assert len(distillation("pkd", student=student, teacher=detector(1)).edges) == 7


def test_terms_name_the_anchors_loss():
    record = {"loss": "odkd", "weight": 2.0, "options": {"regression": 0.25}}
    objective = distillation_from_terms([record], student=detector(0), teacher=detector(1))
    values = objective(batch_of(), torch.tensor(0.0))
    torch.testing.assert_close(values["loss"], 2 * values["odkd"] + values["task"])


@pytest.mark.parametrize(
    ("record", "teacher", "says"),
    [
        ({"loss": "kd"}, {}, r"term 'kd' \(student <- teacher\): takes logits or maps, and a detector gives boxes"),
        ({"loss": "odkd"}, {"design": "torchvision"}, "needs equal anchors, classes and scores"),
        ({"loss": "odkd", "options": {"margins": 1}}, {}, "did you mean 'margin'"),
        ({"loss": "odkd", "teacher": "teacher/map1"}, {}, "the teacher gives no boxes"),
    ],
)
def test_a_term_that_cannot_work_is_named(record, teacher, says):
    with pytest.raises(InputError, match=says) as caught:
        distillation_from_terms([record], student=detector(0), teacher=detector(1, **teacher))
    assert "\n" not in str(caught.value)
