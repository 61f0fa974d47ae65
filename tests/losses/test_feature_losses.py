"""Losses on features against slow references in NumPy, their gradients, the rules of all losses, and bad input."""

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.losses import Cwd, FitNet, Mgd, ReviewKd, at, pkd, rkd, sp
from limbeck.losses.align import resize
from limbeck.testing.losses import check_loss


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def huber(difference):
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def pooled(maps, size):
    """The mean over each part; sizes that divide."""
    n, c, h, w = maps.shape
    out = np.zeros((n, c, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * h // size[0], (i + 1) * h // size[0])
            out[:, :, i, j] = maps[:, :, rows, j * w // size[1] : (j + 1) * w // size[1]].mean((2, 3))
    return out


def convolved(maps, weight, bias=None, *, padding=0, stride=1):
    n, _, h, w = maps.shape
    k, _, p, q = weight.shape
    wide = np.pad(maps, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    high, broad = (h + 2 * padding - p) // stride + 1, (w + 2 * padding - q) // stride + 1
    out = np.zeros((n, k, high, broad))
    for i in range(high):
        for j in range(broad):
            part = wide[:, :, i * stride : i * stride + p, j * stride : j * stride + q]
            out[:, :, i, j] = np.einsum("ncpq,kcpq->nk", part, weight)
    return out if bias is None else out + bias[:, None, None]


def normed(maps):
    mean, variance = maps.mean((0, 2, 3), keepdims=True), maps.var((0, 2, 3), keepdims=True)
    return (maps - mean) / np.sqrt(variance + 1e-5)


def slow_at(student, teacher, power=2):
    size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    student, teacher = (pooled(maps, size) for maps in (student, teacher))
    total = 0.0
    for one, other in zip(student, teacher, strict=True):
        ours, theirs = ((np.abs(maps) ** power).mean(0) for maps in (one, other))
        ours, theirs = ours / np.sqrt((ours**2).sum()), theirs / np.sqrt((theirs**2).sum())
        total += ((ours - theirs) ** 2).sum()
    return total / (len(student) * size[0] * size[1])


def slow_sp(student, teacher):
    n = len(student)
    rows = []
    for maps in (student, teacher):
        products = np.array([[(maps[i] * maps[j]).sum() for j in range(n)] for i in range(n)])
        rows.append(np.array([row / np.sqrt((row**2).sum()) for row in products]))
    return sum((rows[0][i, j] - rows[1][i, j]) ** 2 for i in range(n) for j in range(n)) / n**2


def slow_rkd(student, teacher, distance=25.0, angle=50.0):
    n = len(student)
    student, teacher = student.reshape(n, -1), teacher.reshape(n, -1)

    def distances(x):
        d = np.array([[np.sqrt(((x[i] - x[j]) ** 2).sum()) for j in range(n)] for i in range(n)])
        return d / d[d > 0].mean()

    def cosine(x, i, j, k):
        a, b = x[j] - x[i], x[k] - x[i]
        lengths = np.sqrt((a @ a) * (b @ b))
        return a @ b / lengths if lengths > 0 else 0.0

    ours, theirs = distances(student), distances(teacher)
    by_distance = sum(huber(ours[i, j] - theirs[i, j]) for i in range(n) for j in range(n)) / n**2
    triples = [(i, j, k) for i in range(n) for j in range(n) for k in range(n)]
    by_angle = sum(huber(cosine(student, *t) - cosine(teacher, *t)) for t in triples) / n**3
    return distance * by_distance + angle * by_angle


def slow_pkd(student, teacher):
    student = pooled(student, teacher.shape[2:])
    values = []
    for c in range(student.shape[1]):
        x, y = student[:, c].ravel(), teacher[:, c].ravel()
        values.append(1 - np.corrcoef(x, y)[0, 1])
    return np.mean(values)


FUNCTIONS = {
    "at": (at, slow_at, (3, 4, 4, 6), (3, 5, 2, 3), {}),
    "at_odd": (at, slow_at, (3, 4, 2, 2), (3, 4, 4, 4), {"power": 3}),
    "sp": (sp, slow_sp, (4, 3, 2, 2), (4, 5, 3, 3), {}),
    "rkd": (rkd, slow_rkd, (5, 4), (5, 7), {}),
    "rkd_maps": (rkd, slow_rkd, (4, 2, 2, 2), (4, 3), {"distance": 1.0, "angle": 2.0}),
    "rkd_angle": (rkd, slow_rkd, (4, 3), (4, 3), {"distance": 0.0, "angle": 1.0}),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_value_and_gradient(case):
    loss, slow, ours, theirs, options = FUNCTIONS[case]
    student, teacher = features(*ours).requires_grad_(), features(*theirs, seed=1)
    value = loss(student, teacher, **options)
    assert value.item() == pytest.approx(slow(student.detach().numpy(), teacher.numpy(), **options), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, **options), student)


def test_pkd_is_one_less_the_correlation():
    student, teacher = features(3, 4, 4, 4).requires_grad_(), features(3, 4, 2, 2, seed=1)
    assert pkd(student, teacher).item() == pytest.approx(slow_pkd(student.detach().numpy(), teacher.numpy()), abs=1e-5)
    assert torch.autograd.gradcheck(lambda x: pkd(x, teacher), student)


def parts(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), [((3, 4, 4), (5, 4, 4)), ((3, 4, 4), (5, 2, 2)), ((3, 6, 3), (4, 2, 1))])
def test_fitnet(ours, theirs, rectify):
    loss = FitNet(ours, theirs, rectify=rectify).double()
    student, teacher = features(3, *ours).requires_grad_(), features(3, *theirs, seed=1)
    values = parts(loss)
    maps = student.detach().numpy()
    if ours == (3, 4, 4) and theirs[1] == 2:
        maps = convolved(maps, values["convolution.weight"], values["convolution.bias"], padding=1, stride=2)
    else:
        maps = convolved(pooled(maps, theirs[1:]), values["convolution.weight"], values["convolution.bias"])
    maps = normed(maps)
    maps = np.maximum(maps, 0) if rectify else maps
    assert loss(student, teacher).item() == pytest.approx(((maps - teacher.numpy()) ** 2).mean(), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student)


def test_fitnet_grows_by_a_transposed_convolution_or_bilinearly_and_takes_pooled_features():
    half = FitNet((3, 2, 2), (5, 4, 4)).double()
    student, teacher = features(2, 3, 2, 2).requires_grad_(), features(2, 5, 4, 4, seed=1)
    weight, bias = half.convolution.weight.detach().numpy(), half.convolution.bias.detach().numpy()
    maps = np.zeros((2, 5, 6, 6))  # each position paints 4 x 4 at stride 2; the border of 1 is cut off
    for i in range(2):
        for j in range(2):
            maps[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "nc,ckpq->nkpq", student.detach().numpy()[:, :, i, j], weight
            )
    maps = np.maximum(normed(maps[:, :, 1:5, 1:5] + bias[:, None, None]), 0)
    assert half(student, teacher).item() == pytest.approx(((maps - teacher.numpy()) ** 2).mean(), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: half(x, teacher), student)
    flat = FitNet((3,), (5,)).double()
    x, y = features(4, 3), features(4, 5, seed=1)
    values = parts(flat)
    maps = x.numpy() @ values["convolution.weight"][:, :, 0, 0].T + values["convolution.bias"]
    maps = np.maximum((maps - maps.mean(0)) / np.sqrt(maps.var(0) + 1e-5), 0)
    assert flat(x, y).item() == pytest.approx(((maps - y.numpy()) ** 2).mean(), abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [((3, 2, 3), (3, 2, 3)), ((2, 4, 6), (3, 2, 3))])
def test_cwd(ours, theirs):
    loss = Cwd(ours, theirs, temperature=2.5).double()
    student, teacher = features(2, *ours).requires_grad_(), features(2, *theirs, seed=1)
    maps = pooled(student.detach().numpy(), theirs[1:])
    if ours[0] != theirs[0]:
        maps = convolved(maps, *(parts(loss)[f"project.{name}"] for name in ("weight", "bias")))
    else:
        assert not list(loss.parameters())
    total = 0.0
    for n in range(2):
        for c in range(theirs[0]):
            s, t = (np.exp(m[n, c] / 2.5) / np.exp(m[n, c] / 2.5).sum() for m in (maps, teacher.numpy()))
            total += (t * np.log(t / s)).sum()
    assert loss(student, teacher).item() == pytest.approx(2.5**2 * total / (2 * theirs[0]), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student)


@pytest.mark.parametrize("by", ["channels", "positions"])
def test_mgd(by):
    loss = Mgd((2, 4, 4), (3, 4, 4), masked=0.5, by=by).double()
    student, teacher = features(3, 2, 4, 4).requires_grad_(), features(3, 3, 4, 4, seed=1)
    torch.manual_seed(5)
    shown = torch.rand((3, 3, 1, 1) if by == "channels" else (3, 1, 4, 4)).numpy() >= 0.5
    assert 0 < shown.mean() < 1
    values = parts(loss)
    maps = convolved(student.detach().numpy(), values["project.weight"], values["project.bias"]) * shown
    maps = np.maximum(convolved(maps, values["generate.0.weight"], values["generate.0.bias"], padding=1), 0)
    maps = convolved(maps, values["generate.2.weight"], values["generate.2.bias"], padding=1)

    def run(x):
        torch.manual_seed(5)
        return loss(x, teacher)

    assert run(student).item() == pytest.approx(((maps - teacher.numpy()) ** 2).sum() / 3, rel=1e-12)
    assert torch.autograd.gradcheck(run, student)
    assert loss(student, teacher) != loss(student, teacher)  # masks are drawn anew


def nearest(maps, size):
    n, c, h, w = maps.shape
    out = np.zeros((n, c, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            out[:, :, i, j] = maps[:, :, i * h // size[0], j * w // size[1]]
    return out


def slow_reviewkd(loss, students, teachers):
    """Equations 5 to 7 and figure 3 of the paper, from the deepest level to the first."""
    total, deeper = 0.0, None
    for level in range(len(students) - 1, -1, -1):
        values = parts(loss.levels[level])
        student, teacher = (x if x.ndim == 4 else x[:, :, None, None] for x in (students[level], teachers[level]))
        fused = normed(convolved(student, values["enter.0.weight"]))
        if deeper is not None:
            deeper = nearest(deeper, fused.shape[2:])
            both = np.concatenate([fused, deeper], 1)
            gates = 1 / (1 + np.exp(-convolved(both, values["attention.0.weight"], values["attention.0.bias"])))
            fused = fused * gates[:, :1] + deeper * gates[:, 1:]
        deeper = nearest(fused, teacher.shape[2:])
        found = normed(convolved(deeper, values["leave.0.weight"], padding=1))
        weight, value, weights = 1.0, ((found - teacher) ** 2).mean(), 1.0
        for side in (4, 2, 1):
            if side < teacher.shape[2]:
                weight /= 2
                weights += weight
                value += weight * ((pooled(found, (side, side)) - pooled(teacher, (side, side))) ** 2).mean()
        total += value / weights
    return total


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([(2, 8, 8), (3, 4, 4), (3,)], [(4, 8, 8), (2, 4, 4), (2,)]),
        ([(2, 4, 4), (3, 2, 2)], [(2, 8, 8), (4, 4, 4)]),
        ([(2, 4, 2)], [(3, 2, 2)]),
    ],
)
def test_reviewkd(ours, theirs):
    loss = ReviewKd(ours, theirs).double()
    students = [features(3, *shape, seed=i).requires_grad_() for i, shape in enumerate(ours)]
    teachers = [features(3, *shape, seed=9 + i) for i, shape in enumerate(theirs)]
    expected = slow_reviewkd(loss, [x.detach().numpy() for x in students], [x.numpy() for x in teachers])
    assert loss(students, teachers).item() == pytest.approx(expected, abs=1e-11)
    assert torch.autograd.gradcheck(lambda *x: loss(x, teachers), students)
    loss(students, teachers).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for name, p in loss.named_parameters() if "leave" in name)


def test_reviewkd_passes_no_gradient_to_the_teacher_and_stays_in_float32():
    loss = ReviewKd([(2, 4, 4), (3,)], [(4, 4, 4), (5,)])
    students = [torch.randn(4, 2, 4, 4).half(), torch.randn(4, 3).half()]
    teachers = [torch.randn(4, 4, 4, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True)]
    value = loss(students, teachers)
    value.backward()
    assert value.dtype == torch.float32
    assert all(teacher.grad is None for teacher in teachers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(students, teachers)
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(value.item(), rel=0.05)
    wild = loss([1e4 * student.float() for student in students], [1e4 * teacher for teacher in teachers])
    assert torch.isfinite(wild)


@pytest.mark.parametrize(
    ("loss", "shape", "teacher_shape"),
    [
        (at, (3, 4, 4), (5, 2, 2)),
        (sp, (3, 4, 4), (5, 2, 2)),
        (sp, (3,), (5,)),
        (rkd, (3,), (5,)),
        (pkd, (3, 4, 4), (3, 8, 8)),
        (FitNet((3, 4, 4), (5, 4, 4)), (3, 4, 4), (5, 4, 4)),
        (FitNet((3, 2, 2), (5, 6, 6), rectify=False), (3, 2, 2), (5, 6, 6)),
        (Cwd((3, 4, 4), (5, 2, 2)), (3, 4, 4), (5, 2, 2)),
        (Mgd((3, 4, 4), (5, 2, 2), masked=0.0), (3, 4, 4), (5, 2, 2)),
    ],
)
def test_losses_on_features_keep_the_rules(loss, shape, teacher_shape):
    check_loss(loss, shape=shape, teacher_shape=teacher_shape)


@pytest.mark.parametrize("loss", [at, sp, rkd, pkd, Cwd((3, 4, 4), (3, 4, 4))])
def test_equal_features_cost_nothing(loss):
    check_loss(loss, shape=(3, 4, 4), zero_at_match=True)


def test_the_suite_rejects_modules_that_break_a_rule():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Conv2d(3, 5, 1)

        def forward(self, student, teacher):
            if len(student) != len(teacher):
                raise InputError("batch")
            dtype = self.project.weight.dtype
            return (self.project(student.to(dtype)) - teacher.detach()).square().mean().to(student.dtype)

    with pytest.raises(AssertionError, match="float16 inputs give"):
        check_loss(Half(), shape=(3, 4, 4), teacher_shape=(5, 4, 4))
    with pytest.raises(AssertionError, match="accepts 6 and 5 samples together"):
        check_loss(lambda s, t: at(s[: len(t)], t), shape=(3, 4, 4))


def test_dead_and_coincident_features_keep_gradients_finite():
    for loss in (at, sp, rkd, pkd):
        for student in (torch.zeros(3, 2, 2, 2), torch.ones(3, 2, 2, 2)):
            student.requires_grad_()
            loss(student, torch.randn(3, 2, 2, 2)).backward()
            assert student.grad.abs().max() < 1e4
    twins = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    rkd(twins, torch.randn(3, 2)).backward()
    assert twins.grad.abs().max() < 1e3


def test_resize():
    maps = features(2, 3, 4, 4)
    assert resize(maps, (4, 4)) is maps
    assert torch.allclose(resize(maps, (2, 1)), torch.from_numpy(pooled(maps.numpy(), (2, 1))))
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    assert resize(ramp, (2, 8))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert resize(ramp, (4, 2)).shape == (1, 1, 4, 2)  # one axis grows, the other shrinks


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: at(features(2, 3), features(2, 3)), r"at: student must be .*\[N, C, H, W\].*not \[2, 3\] of float64"),
        (lambda: at(features(2, 3, 2, 2), features(3, 3, 2, 2)), "at: 2 samples of the student and 3 of the teacher"),
        (lambda: at(features(2, 3, 2, 2), features(2, 3, 2, 2), power=0.5), "power must be 1 or more, not 0.5"),
        (lambda: sp(torch.zeros(2, 3, dtype=torch.int64), features(2, 3)), "sp: student must be floating-point"),
        (lambda: rkd(features(2), features(2)), r"rkd: student must be .*\[N, ...\]"),
        (lambda: rkd(features(0, 3), features(0, 3)), "rkd: 0 samples"),
        (lambda: pkd(features(2, 3, 2, 2), features(2, 4, 2, 2)), "pkd: student has 3 channels and teacher 4"),
        (lambda: FitNet((3, 4), (5, 4, 4)), r"fitnet: needs feature maps .*not \['N', 3, 4\]"),
        (lambda: Cwd((3,), (5,)), "cwd: needs feature maps of two positions or more, the teacher's is 1 x 1"),
        (lambda: Cwd((3, 2, 2), (5, 2, 2), temperature=0.0), "cwd: temperature must be positive"),
        (lambda: Mgd((3, 2, 2), (5, 2, 2), masked=1.0), r"mgd: needs masked in \[0, 1\)"),
        (lambda: Mgd((3, 2, 2), (5, 2, 2), by="rows"), "not 0.15 and 'rows'"),
        (lambda: ReviewKd([(3, 2, 2)], [(3, 2, 2), (4,)]), "reviewkd: 1 levels of the student, 2 of the teacher"),
        (lambda: ReviewKd([(3, 2, 2)], [(3, 2, 2)])([], []), "reviewkd: needs 1 levels, not 0 and 0"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
