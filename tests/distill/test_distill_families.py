"""Teachers of another family and another input size, and exits of networks by name: convolutions and transformers."""

import pytest
import torch
import torch.nn.functional as F

from limbeck.distill import Term, distillation, distillation_from_terms
from limbeck.errors import InputError
from limbeck.losses import kd, uskd
from limbeck.models import create_model, tap
from limbeck.types import Batch

CLASSES = 6
SMALL = {"depth": 4, "embed_dim": 24, "num_heads": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def cnn(side):
    return create_model("mobilenet_v2", num_classes=CLASSES, width_multiplier=0.25, input_size=side)


def vit(side=224, name="timm:deit_tiny"):
    return create_model(name, num_classes=CLASSES, input_size=side, **SMALL)


def batch(side):
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.arange(4), torch.rand(4, 3, side, side, generator=generator), torch.tensor([0, 5, 2, 1]))


def two_steps(objective, given):
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.01)
    for number in range(2):
        values = objective(given, torch.tensor(number / 2))
        assert torch.isfinite(values["loss"])
        values["loss"].backward()
        assert all(p.grad is not None for p in objective.deployable().parameters() if p.requires_grad)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()


PAIRS = {
    "cnn at 32 <- deit at 224": (lambda: cnn(32), vit),
    "cnn at 64 <- vit at 224": (lambda: cnn(64), lambda: vit(name="timm:vit_tiny")),
    "deit at 224 <- cnn at 32": (vit, lambda: cnn(32)),
    "vit at 224 <- cnn at 64": (lambda: vit(name="timm:vit_tiny"), lambda: cnn(64)),
}


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("pair", PAIRS)
def test_logits_need_no_aligning_and_each_sees_its_own_size(pair, side):
    """Pictures come in one size; each network resizes them itself, whichever of the two they were made for."""
    student, teacher = (make() for make in PAIRS[pair])
    given = batch(side)
    objective = distillation("kd", student=student, teacher=teacher, example=given).eval()
    sizes = []
    parts = [
        network.module.patch_embed if hasattr(network, "module") else network.stem for network in (student, teacher)
    ]
    for part in parts:
        part.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    values = objective(given, torch.tensor(0.0))
    assert sorted(sizes) == sorted([student.input_size, teacher.input_size])
    with torch.no_grad():
        expected = kd(student(given.inputs), teacher(given.inputs), temperature=4.0)
    assert torch.allclose(values["kd"], expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["nkd", "dkd", "dist", "dml", "bdkd"])
@pytest.mark.parametrize("pair", ["cnn at 32 <- deit at 224", "deit at 224 <- cnn at 32"])
def test_two_steps_across_families(pair, method):
    student, teacher = (make() for make in PAIRS[pair])
    two_steps(distillation(method, student=student, teacher=teacher, example=batch(32)), batch(32))


def test_stages_of_transformers_are_maps():
    """What feature terms see of a transformer has the form of a convolution's: [N, C, H, W], at its own resolution."""
    student, teacher = cnn(64), vit()
    shapes = []

    def shape_of(ours, theirs):
        shapes.append((tuple(ours.shape[1:]), tuple(theirs.shape[1:])))
        return ours.square().mean()

    for ours, theirs in (("stage2", "stage4"), ("pool", "pool"), ("stage3", "stage2.class")):
        term = Term(shape_of, student=f"student/{ours}", teacher=f"teacher/{theirs}")
        two_steps(distillation_from_terms([term], student=student, teacher=teacher, example=batch(64)), batch(64))
    assert {shape[1] for shape in shapes} == {(24, 14, 14), (24,)}
    assert all(len(ours) in (1, 3) for ours, _ in shapes)


def test_several_teachers_of_different_families_and_sizes():
    student, teachers = cnn(32), [vit(), cnn(64), vit(32)]
    given = batch(32)
    objective = distillation("kd", student=student, teacher=teachers, teacher_shares=[1, 1, 2], example=given).eval()
    with torch.no_grad():
        first, second, third = (teacher(given.inputs) for teacher in teachers)
        expected = kd(student(given.inputs), (first + second + 2 * third) / 4, temperature=4.0)
    assert torch.allclose(objective(given, torch.tensor(0.0))["kd"], expected, rtol=1e-5)
    two_steps(objective.train(), given)


@pytest.mark.parametrize(
    ("name", "part", "channels", "side"),
    [
        ("timm:resnet18", "layer3", 256, 64),
        ("timm:mobilenetv2_100", "blocks.6", 320, 64),
        ("timm:deit_tiny", "blocks.5", 192, 224),
        ("timm:swin_tiny", "layers.2", 384, 224),
    ],
)
def test_uskd_by_name_reads_the_authors_layer(name, part, channels, side):
    """The exit's logits are the linear layer on that very tensor: means of maps, Swin's layer-normed, the class token."""
    student = create_model(name, num_classes=CLASSES, input_size=side)
    given = batch(side)
    given = Batch(given.index[:2], given.inputs[:2], given.target[:2])
    objective = distillation("uskd", student=student, example=given).eval()
    (head,) = objective.sources["student"].exits
    assert head.linear.in_features == channels
    with tap(student.module, [part]) as seen:
        values = objective(given, torch.tensor(0.0))
    feature = seen[part]
    if name == "timm:deit_tiny":
        rows = feature[:, 0]
    elif name == "timm:swin_tiny":
        assert head.norm.weight.shape == (channels,)
        rows = F.layer_norm(feature, (channels,)).mean((1, 2))
    else:
        rows = feature.mean((2, 3))
    assert (head.norm is not None) == (name == "timm:swin_tiny")
    with torch.no_grad():
        weak = rows @ head.linear.weight.T + head.linear.bias
        expected = uskd(student(given.inputs), weak, target=given.target)
    assert torch.allclose(values["uskd"], expected, rtol=1e-4)
    values["loss"].backward()
    assert all(
        p.grad is not None and p.grad.any() for p in head.parameters() if p is not getattr(head.norm, "bias", None)
    )
    assert not any(id(p) in {id(q) for q in head.parameters()} for p in objective.deployable().parameters())


def test_an_exit_on_the_tokens_of_a_bare_module_is_refused():
    """[N, T, C] would be taken for T channels; networks made by name show such stages as maps and class tokens."""
    bare = vit(32).module
    with pytest.raises(
        InputError, match=r"'blocks.1' gives tokens \[4, 5, 24\], and an exit needs one of them or a map"
    ):
        distillation("uskd", student=bare, exit_stage="blocks.1", example=batch(32))


def test_an_exit_with_a_norm_gives_the_mean_of_its_positions():
    student = create_model("timm:convnext_atto", num_classes=CLASSES, input_size=64, depths=(1, 1, 1, 1))
    objective = distillation("uskd", student=student, exit_stage="stage2", example=batch(64)).eval()
    (head,) = objective.sources["student"].exits
    torch.nn.init.normal_(head.norm.weight)
    feature = student.observe(batch(64).inputs, ("stage2",)).stages["stage2"]
    assert torch.allclose(head.at_positions(feature).mean((2, 3)), head(feature), atol=1e-5)
