"""The methods on logits beside the papers' own, and those in which a network teaches itself: sums, presets, state."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from limbeck.distill import distillation, distillation_from_terms
from limbeck.errors import InputError, Stopped
from limbeck.losses import cross_entropy, dkd, kd, nkd, standardise, tf_kd, wsld, wttm, zipf_ls
from limbeck.models import create_model
from limbeck.testing.methods import check_distillation
from limbeck.train import TrainSettings, fit
from limbeck.types import Batch

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def run(method, **options):
    """A method's values on a batch, with what student and teacher say of it."""
    student, teacher, batch = make_net(1), make_net(2, width=9), make_batch()
    second = teacher if method in ("dkd", "wsld", "wttm", "ctkd", "tf_kd_self", "lskd") else None
    objective = distillation(method, student=student, teacher=second, num_samples=8, **options)
    check_distillation(objective, batch, teacher=second)
    values = objective(batch, now(0.5))
    return values, student(batch.inputs), teacher(batch.inputs), batch.target


def terms_of(method, preset):
    second = make_net(2) if method in ("dkd", "lskd", "tf_kd_self", "wttm", "ctkd") else None
    objective = distillation(method, student=make_net(1), teacher=second, preset=preset)
    return [edge.term for edge in objective.edges]


def test_wsld_is_its_weighted_sum():
    for preset, weight, temperature in (("cifar100", 2.25, 4.0), ("imagenet", 2.5, 2.0)):
        values, ours, theirs, target = run("wsld", preset=preset)
        assert torch.allclose(values["wsld"], wsld(ours, theirs, target=target, temperature=temperature))
        assert torch.allclose(values["loss"], values["task"] + weight * values["wsld"])


def test_wttm_is_its_weighted_sum():
    values, ours, theirs, _ = run("wttm")
    assert torch.allclose(values["wttm"], wttm(ours, theirs, gamma=0.2))
    assert torch.allclose(values["loss"], values["task"] + 4 * values["wttm"])
    values, ours, theirs, _ = run("wttm", preset="cifar100_ttm")
    assert torch.allclose(values["wttm"], wttm(ours, theirs, gamma=0.1, weighted=False))
    assert torch.allclose(values["loss"], values["task"] + 45 * values["wttm"])


def test_dkd_of_standardised_logits():
    values, ours, theirs, target = run("dkd", preset="cifar100_resnet56_lskd")
    plain = dkd(standardise(ours), standardise(theirs), target=target, temperature=3.0, alpha=18.0, beta=36.0)
    assert torch.allclose(values["dkd"], plain)
    assert torch.allclose(values["loss"], values["task"] + values["dkd"])
    by_option, *_ = run("dkd", temperature=3.0, alpha=18.0, beta=36.0, standardise=True)
    assert by_option["dkd"] == values["dkd"]
    assert terms_of("dkd", "imagenet")[1].options.get("standardise", False) is False


def test_ctkd_trains_its_temperature_against_the_student():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    objective = distillation("ctkd", student=student, teacher=teacher)
    values = objective(batch, now(0.5))
    start = kd(student(batch.inputs), teacher(batch.inputs), temperature=1 + 20 * torch.tensor(1.0).sigmoid().item())
    assert torch.allclose(values["ctkd"], start)
    assert torch.allclose(values["loss"], 0.1 * values["task"] + 0.9 * values["ctkd"])
    assert list(objective.losses.state_dict()) == ["ctkd.theta"]
    values["loss"].backward()
    theta = objective.losses["ctkd"].theta
    assert theta.grad != 0
    with torch.no_grad():
        before = objective(batch, now(0.5))["ctkd"]
        theta -= 0.1 * theta.grad.sign()
        assert objective(batch, now(0.5))["ctkd"] > before
    assert objective.deployable() is student
    assert not any("theta" in name for name in student.state_dict())


def test_tf_kd_and_its_paper_form():
    values, ours, _, target = run("tf_kd")
    assert torch.allclose(values["tf_kd"], tf_kd(ours, target=target))
    assert torch.allclose(values["loss"], 0.9 * values["task"] + 0.1 * values["tf_kd"])
    values, ours, _, target = run("tf_kd", preset="cifar100_mobilenet_v2", student_temperature=40.0)
    expected = tf_kd(ours, target=target, temperature=40.0, student_temperature=40.0)
    assert torch.allclose(values["tf_kd"], expected)
    assert torch.allclose(values["loss"], 0.05 * values["task"] + 0.0095 * values["tf_kd"])


def test_tf_kd_self_is_kd_with_weights_of_its_own():
    values, ours, theirs, _ = run("tf_kd_self")
    assert torch.allclose(values["kd"], kd(ours, theirs, temperature=6.0))
    assert torch.allclose(values["loss"], 0.05 * values["task"] + 0.475 * values["kd"])


@pytest.mark.parametrize("spread", ["all", "others"])
def test_label_smoothing(spread):
    values, ours, _, target = run("label_smoothing", spread=spread)
    assert torch.allclose(values["loss"], cross_entropy(ours, target=target, smoothing=0.1, spread=spread))


def test_zipf_ls_counts_what_the_students_own_classifier_says_of_each_position():
    student, batch = make_net(1), make_batch()
    for preset, weight, upsample in (("cifar100", 0.1, 2), ("tiny_imagenet", 1.0, 2), ("imagenet", 0.1, 1)):
        objective = distillation("zipf_ls", student=student, preset=preset)
        values = objective(batch, now())
        feature = student.observe(batch.inputs, ("stage2",)).stages["stage2"]
        dense = student.classifier(feature.movedim(1, -1)).movedim(-1, 1)
        assert dense.shape == (6, 5, 2, 2)
        expected = zipf_ls(student(batch.inputs), dense, target=batch.target, upsample=upsample)
        assert torch.allclose(values["zipf_ls"], expected)
        assert torch.allclose(values["loss"], values["task"] + weight * values["zipf_ls"])
        assert not list(objective.sources["student"].exits.parameters())


def test_zipf_ls_with_a_voting_exit():
    student, batch = make_net(1), make_batch()
    objective = distillation("zipf_ls", student=student, deep_stage="stage1", deep_ce=0.5, preset="imagenet")
    (head,) = objective.sources["student"].exits
    values = objective(batch, now())
    stages = student.observe(batch.inputs, ("stage1", "stage2")).stages
    deep = torch.einsum("nchw,kc->nkhw", stages["stage1"], head.linear.weight) + head.linear.bias.view(-1, 1, 1)
    dense = student.classifier(stages["stage2"].movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(values["zipf_ls"], zipf_ls(student(batch.inputs), dense, deep, target=batch.target))
    assert torch.allclose(values["deep_task"], cross_entropy(deep.mean((2, 3)), target=batch.target))
    assert torch.allclose(values["loss"], values["task"] + 0.1 * values["zipf_ls"] + 0.5 * values["deep_task"])
    values["loss"].backward()
    assert head.linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_zipf_ls_on_our_networks(name):
    student = create_model(name, num_classes=4, width_multiplier=0.25, input_size=32, small_images=True)
    batch = Batch(torch.arange(4), torch.rand(4, 3, 32, 32), torch.tensor([0, 3, 2, 1]))
    before = {key: value.clone() for key, value in student.state_dict().items()}
    objective = distillation("zipf_ls", student=student)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    objective(batch, now())["loss"].backward()
    assert all(p.grad is not None for p in objective.parameters())


def test_a_network_without_a_mean_is_told_of_the_other_way():
    student = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.Flatten(), torch.nn.Linear(64, 5))
    with pytest.raises(InputError, match=r"source 'student' \(terms: zipf_ls\): 'dense' cannot .*dense@STAGE"):
        distillation("zipf_ls", student=student, example=make_batch())
    terms = [{"loss": "zipf_ls", "teacher": "student/dense@0", "options": {"upsample": 2}}]
    assert distillation_from_terms(terms, student=student, example=make_batch())(make_batch(), now())["zipf_ls"] > 0


def test_nkd_from_the_average_of_its_own_weights():
    student, batch = make_net(1), make_batch()
    objective = distillation("nkd_ema", student=student, decay=0.5, gamma=2.0, warmup=0.5)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        objective(batch, now(0.25))["loss"].backward()
        optimizer.step()
        objective.after_step()
    average = objective.sources["average"].network
    assert not torch.equal(average.classifier.weight, student.classifier.weight)
    assert not average.training
    values = objective(batch, now(0.25))
    with torch.no_grad():
        told = average(batch.inputs)
    assert torch.allclose(values["nkd"], nkd(student(batch.inputs), told, target=batch.target, gamma=2.0))
    assert torch.allclose(values["loss"], values["task"] + 0.5 * values["nkd"])
    assert list(objective.learners()) == ["student"]


def test_nkd_from_what_it_said_before():
    student, batch = make_net(1), make_batch()
    objective = distillation("nkd_memory", student=student, num_samples=8, momentum=0.25)
    first = student(batch.inputs).detach()
    objective(batch, now())
    objective.after_step()
    with torch.no_grad():
        student.classifier.weight.mul_(3)
    values = objective(batch, now())
    second = student(batch.inputs)
    assert torch.allclose(values["nkd"], nkd(second, first, target=batch.target))
    objective.after_step()
    assert torch.allclose(objective.sources["before"].values[:6], 0.75 * second + 0.25 * first, atol=1e-6)
    with pytest.raises(InputError, match="method 'nkd_memory': needs the size of the data set"):
        distillation("nkd_memory", student=student)


def test_presets_of_logit_standardisation():
    task, term = terms_of("lskd", "cifar100_resnet110_resnet20")
    assert (task.weight, term.weight, term.options["temperature"]) == (0.1, 12.0, 4.0)
    task, term = terms_of("dkd", "cifar100_lskd")
    options = {"temperature": 2.0, "alpha": 9.0, "beta": 72.0, "standardise": True}
    assert (task.weight, term.options, term.warmup) == (1.0, options, 20 / 240)


class HaltingBatches:
    """Six pictures' batches in two halves; this process is told to stop at one of them, once."""

    def __init__(self, moment=None):
        self.moment = moment

    def steps_per_epoch(self):
        return 2

    def epoch(self, epoch, start=0):
        whole = make_batch()
        for step in range(start, 2):
            if (epoch, step) == self.moment:
                self.moment = None
                os.kill(os.getpid(), signal.SIGTERM)
            rows = slice(3 * step, 3 * step + 3)
            yield Batch(whole.index[rows], whole.inputs[rows] + 0.1 * epoch, whole.target[rows], view=epoch)


@pytest.mark.parametrize("method", ["ctkd", "nkd_ema", "nkd_memory", "zipf_ls"])
def test_stopped_and_resumed_training_ends_with_the_same_bits(method, tmp_path):
    settings = TrainSettings(epochs=3, batch_size=3, learning_rate=0.1, device="cpu", threads=1)
    further = {"deep_stage": "stage1"} if method == "zipf_ls" else {}

    def build(seed):
        teacher = make_net(7) if method == "ctkd" else None
        return distillation(method, student=make_net(seed), teacher=teacher, num_samples=6, **further)

    torch.manual_seed(0)
    whole = build(1)
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    halting = build(1)
    halting.load_state_dict(start)
    fit(whole, HaltingBatches(), settings, folder=tmp_path / "whole", seed=1, tensorboard=False)
    with pytest.raises(Stopped):
        fit(halting, HaltingBatches((1, 1)), settings, folder=tmp_path / "halting", seed=1, tensorboard=False)
    resumed = build(5)
    report = fit(resumed, HaltingBatches(), settings, folder=tmp_path / "halting", seed=1, tensorboard=False)
    assert report.resumed_from == 4
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    kept = {"ctkd": "losses.ctkd.theta", "nkd_ema": "sources.average.network.classifier.weight"}
    kept |= {"nkd_memory": "sources.before.values", "zipf_ls": "sources.student.exits.0.linear.weight"}
    assert not torch.equal(ours[kept[method]], start[kept[method]])
