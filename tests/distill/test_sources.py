"""Sources and the objective around them: who learns, who is saved, what is written when."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.distill import Distillation, Ema, Ensemble, Frozen, Learner, Memory, Source, Term, distillation
from limbeck.distill.pause import Pause
from limbeck.errors import InputError
from limbeck.losses import kd
from limbeck.types import Batch, Outputs

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import make_batch, make_net, now


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def step(objective, batch, optimizer, progress=0.0):
    optimizer.zero_grad(set_to_none=True)
    values = objective(batch, now(progress))
    values["loss"].backward()
    objective.after_backward()
    optimizer.step()
    objective.after_step()
    return values


def test_frozen_stays_in_eval_and_out_of_checkpoints():
    teacher = make_net(2).train()
    objective = distillation("kd", student=make_net(1), teacher=teacher)
    objective.train()
    assert not any(module.training for module in teacher.modules())
    assert objective.sources["student"].network.training
    held = {id(p) for p in teacher.parameters()}
    assert not any(id(p) in held for p in objective.parameters())
    assert all(name.startswith("sources.student.") for name in objective.state_dict())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective(make_batch(), now())["loss"].backward()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_frozen_moves_with_the_objective():
    teacher = make_net(2)
    objective = distillation("kd", student=make_net(1), teacher=teacher).to(torch.float64)
    assert teacher.classifier.weight.dtype == torch.float64
    batch = make_batch()
    values = objective(Batch(batch.index, batch.inputs.double(), batch.target), now())
    assert values["loss"].dtype == torch.float64


def test_the_teacher_is_run_once_and_plain_unless_stages_are_used():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    terms = [Term("task"), Term("kd"), Term("nkd")]
    objective = Distillation({"student": Learner(student), "teacher": Frozen(teacher)}, terms)
    student.plain_passes = teacher.plain_passes = 0
    objective(batch, now())
    assert (student.plain_passes, teacher.plain_passes) == (1, 1)
    assert (student.observed_passes, teacher.observed_passes) == (0, 0)


def test_frozen_networks_run_before_learners_in_any_order():
    """A learner's stored activations crowd the cache: a teacher after it was seen to cost the step a tenth."""
    student, teacher = make_net(1), make_net(2)
    passes = []
    student.register_forward_pre_hook(lambda *_: passes.append("student"))
    teacher.register_forward_pre_hook(lambda *_: passes.append("teacher"))
    objective = Distillation({"student": Learner(student), "teacher": Frozen(teacher)}, [Term("task"), Term("kd")])
    passes.clear()
    objective(make_batch(), now())
    assert passes == ["teacher", "student"]


def test_the_probe_leaves_no_trace():
    student, teacher = make_net(1), make_net(2)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state = torch.get_rng_state()
    objective = distillation("kd", student=student, teacher=teacher)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in objective.parameters())


def test_plain_modules_work_without_and_with_stages():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    batch = make_batch()
    values = distillation("kd", student=student, teacher=teacher, example=batch)(batch, now())
    assert torch.isfinite(values["loss"])
    objective = distillation("uskd", student=student, exit_stage="1", example=batch)
    objective(batch, now())["loss"].backward()
    assert objective.sources["student"].exits[0].linear.weight.grad is not None
    assert not student[1]._forward_hooks
    with pytest.raises(InputError, match="give an example batch"):
        distillation("kd", student=student, teacher=teacher)
    with pytest.raises(InputError, match="an exit needs a stage: write exit@STAGE"):
        distillation("uskd", student=student, example=batch)


def test_ema_follows_the_learner_after_steps_only():
    torch.manual_seed(0)
    learner = Learner(make_net(1))
    sources = {"student": learner, "mean": Ema(learner, decay=0.9)}
    objective = Distillation(sources, [Term("task"), Term("kd", teacher="mean")])
    ours, theirs = objective.sources["mean"].network, learner.network
    assert objective(make_batch(), now())["kd"] >= 0
    start = ours.classifier.weight.clone()
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.5)
    step(objective, make_batch(), optimizer)
    moved = theirs.classifier.weight.detach()
    assert torch.allclose(ours.classifier.weight, start.lerp(moved, 1 - 2 / 11))  # decay (1 + 1) / (10 + 1) at first
    assert not torch.equal(ours.first[1].running_mean, torch.zeros(6))
    assert int(ours.first[1].num_batches_tracked) == int(theirs.first[1].num_batches_tracked)
    assert not ours.training
    assert list(objective.learners()) == ["student"]
    assert "sources.mean.network.classifier.weight" in objective.state_dict()


def test_ensemble_reads_earlier_sources_and_passes_gradients():
    a, b, batch = make_net(1), make_net(2), make_batch()
    sources = {"student": Learner(a), "peer": Learner(b), "mix": Ensemble(("student", "peer"), weights=(1, 3))}
    terms = [Term("task", student="mix"), Term("kd", teacher="mix"), Term("kd", student="peer", teacher="mix")]
    objective = Distillation(sources, terms)
    values = objective(batch, now())
    mix = 0.25 * a(batch.inputs) + 0.75 * b(batch.inputs)
    assert torch.allclose(values["kd"], kd(a(batch.inputs), mix), atol=1e-6)
    assert set(values) == {"loss", "mix_task", "kd", "peer_kd"}
    values["loss"].backward()
    assert all(p.grad is not None for p in objective.parameters())
    with pytest.raises(InputError, match="source 'mix': unknown source 'peer'"):
        Distillation({"student": Learner(a), "mix": Ensemble(("student", "peer")), "peer": Learner(b)}, terms)
    with pytest.raises(InputError, match="ensemble"):
        Ensemble(())


def test_memory_gives_what_was_said_before_and_is_written_after_the_step():
    student, batch = make_net(1), make_batch()
    sources = {"student": Learner(student), "before": Memory(10, 5)}
    objective = Distillation(sources, [Term("task"), Term("kd", teacher="before")])
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.5)
    memory = objective.sources["before"]
    first = student(batch.inputs).detach()
    values = objective(batch, now())
    assert values["kd"].abs() < 1e-6  # nothing seen yet: it teaches what it says
    assert not memory.filled.any()
    memory._pending.clear()
    step(objective, batch, optimizer)
    assert memory.filled.tolist() == [True] * 6 + [False] * 4
    assert torch.allclose(memory.values[:6], first)
    second = step(objective, batch, optimizer)
    assert second["kd"] > 1e-4
    assert "sources.before.values" in objective.state_dict()
    objective.eval()
    objective(batch, now())
    assert not memory._pending
    with pytest.raises(InputError, match=r"memory: holds \[7\] per sample, 'student' is \[5\]"):
        Distillation({"student": Learner(student), "before": Memory(10, 7)}, [Term("kd", teacher="before")])


def test_memory_with_momentum():
    memory = Memory(3, 2, momentum=0.75).train()
    index = torch.tensor([2, 0])
    for value in (1.0, 3.0):
        seen = {"student": Outputs(torch.full((2, 2), value))}
        memory(Batch(index, torch.empty(2), index), seen)
        memory.after_step()
    assert memory.values.tolist() == [[1.5, 1.5], [0.0, 0.0], [1.5, 1.5]]


def test_resume_of_memories_averages_and_losses_is_exact():
    def build():
        learner = Learner(make_net(1))
        sources = {"student": learner, "mean": Ema(learner), "before": Memory(6, 5)}
        terms = [Term("task"), Term("kd", teacher="mean"), Term("kd", teacher="before", name="old")]
        objective = Distillation(sources, [*terms, Term("uskd", teacher="student/exit")])
        trained = [p for p in objective.parameters() if p.requires_grad]
        return objective, torch.optim.SGD(trained, lr=0.1, momentum=0.9)

    torch.manual_seed(0)
    objective, optimizer = build()
    for _ in range(3):
        step(objective, make_batch(), optimizer)
    saved = objective.state_dict()
    saved = {name: value.clone() for name, value in saved.items()}, copy.deepcopy(optimizer.state_dict())
    torch.manual_seed(5)
    again, resumed = build()
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    values = [step(o, make_batch(seed=1), opt, 0.5) for o, opt in ((objective, optimizer), (again, resumed))]
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
    assert all(
        torch.equal(a, b) for a, b in zip(objective.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_unlabelled_rows_are_kept_from_terms_that_need_labels():
    student, teacher = make_net(1).eval(), make_net(2)
    batch = make_batch()
    target = batch.target.clone()
    target[[1, 4]] = -1
    objective = distillation("nkd", student=student, teacher=teacher).eval()
    partly = objective(Batch(batch.index, batch.inputs, target, labelled=False), now())
    kept = target >= 0
    only = objective(Batch(batch.index[kept], batch.inputs[kept], target[kept]), now())
    assert torch.allclose(partly["nkd"], only["nkd"])
    assert torch.allclose(partly["task"], only["task"])
    soft = distillation("kd", student=student, teacher=teacher).eval()
    assert torch.allclose(
        soft(Batch(batch.index, batch.inputs, target, labelled=False), now())["kd"], soft(batch, now())["kd"]
    )


def test_a_batch_without_labels_still_reaches_every_parameter():
    objective = distillation("uskd", student=make_net(1))
    batch = make_batch()
    for target in (torch.full((6,), -1), torch.zeros(6, 5)):
        objective.zero_grad(set_to_none=True)
        values = objective(Batch(batch.index, batch.inputs, target, labelled=False), now())
        values["loss"].backward()
        assert values["loss"] == 0
        student = objective.deployable()
        assert all(p.grad is not None and not p.grad.any() for p in student.parameters())


def test_a_paused_learner_does_not_move():
    student, peer = make_net(1), make_net(2)
    sources = {"student": Learner(student), "peer": Learner(peer)}
    terms = [Term("task"), Term("dml", teacher="peer"), Term("task", student="peer")]

    pause = Pause(lambda seen, batch, progress: progress[None], lambda means: ("peer",) if means[0] > 0.5 else ())
    objective = Distillation(sources, terms, pause=pause)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step(objective, make_batch(), optimizer, 0.0)
    before = [p.detach().clone() for p in (*peer.parameters(), *student.parameters())]
    step(objective, make_batch(), optimizer, 0.9)
    after = [*peer.parameters(), *student.parameters()]
    count = len(list(peer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(before[:count], after[:count], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before[count:], after[count:], strict=True))


def test_a_source_from_outside():
    class Uniform(Source):
        needs = ("two_views",)

        def forward(self, batch, seen):
            return Outputs(torch.zeros_like(seen["student"].out))

    sources = {"student": Learner(make_net(1)), "flat": Uniform()}
    objective = Distillation(sources, [Term("task"), Term("kd", teacher="flat")])
    assert objective.needs() == {"two_views"}
    assert objective(make_batch(), now())["kd"] > 0
    with pytest.raises(InputError, match="unknown stage 'stage1'"):
        Distillation(sources, [Term("kd", teacher="flat/stage1")])


def test_what_is_deployed_must_learn():
    with pytest.raises(InputError, match="'student' must be a learner"):
        Distillation({"student": Frozen(make_net())}, [Term("task")])


def test_the_objective_compiles_to_one_graph():
    torch.manual_seed(0)
    objective = distillation("kd", student=make_net(1), teacher=make_net(2))
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    for progress in (0.0, 0.3):
        values, expected = compiled(make_batch(), now(progress)), objective(make_batch(), now(progress))
        assert torch.allclose(values["loss"], expected["loss"], atol=1e-6)


def test_half_precision_is_upcast_under_autocast():
    objective = distillation("nkd", student=make_net(1), teacher=make_net(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = objective(make_batch(), now())
    assert values["loss"].dtype == torch.float32
    values["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())
