from __future__ import annotations

import json
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from train_toys import Pair, ToyBatches, accuracy, pair, same_bits, settings, supervised

from limbeck.errors import InputError, LimbeckError
from limbeck.train import FitReport, Supervised, fit
from limbeck.train.runtime import World
from limbeck.train.standing import Standing
from limbeck.train.training import Training


def test_is_the_loop_one_would_write_by_hand(tmp_path):
    ours, theirs = supervised(dropout=0.0), supervised(dropout=0.0)
    wishes = settings(weight_decay=0.0, schedule="constant", warmup_epochs=0.0, channels_last=False)
    fit(ours, ToyBatches(), wishes, folder=tmp_path, seed=1)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, fused=True)
    for epoch in range(3):
        for batch in ToyBatches().epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(theirs.network(batch.inputs), batch.target).backward()
            optimizer.step()
    assert same_bits(ours, theirs)


def test_learns_and_reports(tmp_path):
    objective = supervised()
    report = fit(objective, ToyBatches(), settings(epochs=5), folder=tmp_path, seed=1, evaluate=accuracy)
    assert report.best["top1"] == 1.0
    assert accuracy(objective.network.eval()) == report.best
    assert (report.epochs, report.selected, report.resumed_from) == (5, "best", None)
    assert [record["epoch"] for record in report.history] == [1, 2, 3, 4, 5]
    assert report.history[-1]["validation"] == report.last
    assert report.seconds > 0
    assert report.images_per_second > 0
    assert FitReport(**json.loads(json.dumps(report.as_json()))) == report


def test_dropout_is_a_function_of_seed_and_step(tmp_path):
    objectives = [supervised(dropout=0.5) for _ in range(3)]
    for number, (objective, seed) in enumerate(zip(objectives, (1, 1, 2), strict=True)):
        torch.manual_seed(number)
        fit(objective, ToyBatches(), settings(), folder=tmp_path / str(number), seed=seed)
    assert same_bits(objectives[0], objectives[1])
    assert not same_bits(objectives[0], objectives[2])


def test_accumulation_equals_the_big_batch(tmp_path):
    class Joined(ToyBatches):
        """The batches of `ToyBatches`, three at a time."""

        def steps_per_epoch(self):
            return 2

        def epoch(self, epoch, start=0):
            batches = list(super().epoch(epoch))
            for step in range(start, 2):
                group = batches[3 * step : 3 * step + 3]
                yield type(group[0])(
                    *(torch.cat([getattr(b, name) for b in group]) for name in ("index", "inputs", "target"))
                )

    small, big = supervised(norm=False, dropout=0.0), supervised(norm=False, dropout=0.0)
    fit(small, ToyBatches(), settings(accumulate=3, clip_norm=0.5), folder=tmp_path / "small", seed=1)
    fit(big, Joined(), settings(clip_norm=0.5), folder=tmp_path / "big", seed=1)
    for a, b in zip(small.parameters(), big.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_last_group_of_an_epoch_may_be_smaller(tmp_path):
    report = fit(supervised(), ToyBatches(steps=5), settings(accumulate=2), folder=tmp_path, seed=1)
    assert report.history[-1]["step"] == 9
    assert report.history[-1]["train"]["loss"] > 0


def test_keeps_the_best_epoch_on_validation(tmp_path):
    figures, states = iter([0.5, 0.9, 0.9, 0.7]), []

    def evaluate(network):
        states.append({key: value.clone() for key, value in network.state_dict().items()})
        return {"top1": next(figures)}

    objective = supervised()
    report = fit(objective, ToyBatches(), settings(epochs=4), folder=tmp_path, seed=1, evaluate=evaluate)
    assert (report.best_epoch, report.best, report.last) == (3, {"top1": 0.9}, {"top1": 0.7})
    kept = objective.network.state_dict()
    assert all(torch.equal(kept[key], states[2][key]) for key in kept)


def test_lower_may_be_better(tmp_path):
    figures = iter([0.5, 0.2, 0.4])
    report = fit(
        supervised(),
        ToyBatches(),
        settings(),
        folder=tmp_path,
        seed=1,
        evaluate=lambda network: {"error": next(figures)},
        primary="error",
        higher_is_better=False,
    )
    assert (report.best_epoch, report.best) == (2, {"error": 0.2})


def test_without_validation_the_last_epoch_is_selected(tmp_path):
    report = fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert (report.selected, report.best_epoch, report.best, report.last) == ("last", 3, {}, {})


def test_evaluation_sees_evaluation_mode_and_training_goes_on_in_training_mode(tmp_path):
    modes = []

    class Watched(Supervised):
        def forward(self, batch, progress):
            modes.append(("train", self.network.training, round(float(progress), 3)))
            return super().forward(batch, progress)

    objective = Watched(supervised().network, F.cross_entropy).eval()

    def evaluate(network):
        modes.append(("evaluate", network.training))
        return {"top1": 0.0}

    fit(objective, ToyBatches(steps=2), settings(epochs=2), folder=tmp_path, seed=1, evaluate=evaluate)
    assert modes == [
        ("train", True, 0.0),
        ("train", True, 0.25),
        ("evaluate", False),
        ("train", True, 0.5),
        ("train", True, 0.75),
        ("evaluate", False),
    ]


def test_two_learners_a_projector_and_a_memory_train_together(tmp_path):
    objective, before = pair(), pair()
    report = fit(objective, ToyBatches(), settings(clip_norm=1.0), folder=tmp_path, seed=1, evaluate=accuracy)
    for name in ("a", "b", "projector"):
        assert not same_bits(getattr(objective, name), getattr(before, name))
    assert objective.memory.abs().sum() > 0
    assert set(report.history[0]["train"]) == {"loss", "task_a", "task_b", "mutual", "memory"}


def test_a_paused_learner_rests(tmp_path):
    class Pausing(Pair):
        def after_backward(self):
            for parameter in self.b.parameters():
                parameter.grad = None

    torch.manual_seed(0)
    objective = Pausing()
    before = [p.detach().clone() for p in objective.b.parameters()]
    fit(objective, ToyBatches(), settings(clip_norm=1.0), folder=tmp_path, seed=1)
    assert all(torch.equal(p, q) for p, q in zip(objective.b.parameters(), before, strict=True))


class FrozenTeacher(Supervised):
    """Teaches from a part whose state stays out of the objective's, as a distillation's frozen source does."""

    def __init__(self):
        super().__init__(supervised().network, F.cross_entropy)
        self.teacher = supervised(seed=3).network.requires_grad_(False)
        self.register_state_dict_post_hook(lambda module, state, prefix, local: _without_teacher(state))

    def forward(self, batch, progress):
        with torch.no_grad():
            hint = self.teacher(batch.inputs)
        return {"loss": F.mse_loss(self.network(batch.inputs), hint)}


def _without_teacher(state):
    for key in [key for key in state if key.startswith("teacher.")]:
        del state[key]


def test_a_frozen_part_stays_out_of_checkpoints(tmp_path):
    objective = FrozenTeacher()
    training = Training(objective, settings(), steps_per_epoch=6, seed=1, world=World(), device=torch.device("cpu"))
    state = training.state()
    assert not any("teacher" in key for key in state["objective"])
    training.load_state(state)
    fit(FrozenTeacher(), ToyBatches(), settings(), folder=tmp_path, seed=1)


class Bad(Supervised):
    def __init__(self, term: str, at: int, value: float):
        super().__init__(supervised().network, F.cross_entropy)
        self.term, self.at, self.value, self.calls = term, at, value, 0

    def forward(self, batch, progress):
        task = super().forward(batch, progress)["loss"]
        terms = {"task": task, "hint": task * 0.5, "memory": task * 0.1}
        if self.calls == self.at:
            terms[self.term] = terms[self.term] * self.value
        self.calls += 1
        return {"loss": sum(terms.values()), **terms}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_bad_term_is_named(tmp_path, value):
    with pytest.raises(LimbeckError, match=r"student: 'hint' became (nan|inf) at batch 9 \(epoch 2\); lower") as caught:
        fit(Bad("hint", 8, value), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "fit.json").exists()


def test_a_bad_training_is_never_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.train.loop.SAVE_REST", 0)
    for _ in range(2):  # the second goes on from a checkpoint that is still good, and says the same
        with pytest.raises(LimbeckError, match="'hint' became nan"):
            fit(Bad("hint", 3, float("nan")), ToyBatches(), settings(checkpoint_seconds=1e-9), folder=tmp_path, seed=1)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["training"]["objective"]
    assert all(value.isfinite().all() for value in state.values())


def test_a_figure_that_is_not_finite_is_an_error(tmp_path):
    with pytest.raises(LimbeckError, match="top1 on validation became nan"):
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=lambda n: {"top1": float("nan")})


def test_a_missing_primary_figure_is_named(tmp_path):
    with pytest.raises(InputError, match="unknown figure 'top-1'; did you mean 'top1'"):
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=accuracy, primary="top-1")


def test_no_batch_at_all_is_said(tmp_path):
    with pytest.raises(InputError, match=r"fewer training samples than one batch; lower train\.batch_size = 8"):
        fit(supervised(), ToyBatches(steps=0), settings(), folder=tmp_path, seed=1)


def test_batches_that_end_early_are_said(tmp_path):
    class Short(ToyBatches):
        def steps_per_epoch(self):
            return 9

    with pytest.raises(LimbeckError, match="the batches ended early, in epoch 1 of 3, step 6"):
        fit(supervised(), Short(), settings(), folder=tmp_path, seed=1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_float32_weights(tmp_path, precision):
    seen = []

    class Watched(Supervised):
        def forward(self, batch, progress):
            out = self.network(batch.inputs)
            seen.append(out.dtype)
            return {"loss": F.cross_entropy(out.float(), batch.target)}

    objective = Watched(supervised().network, None)
    report = fit(
        objective, ToyBatches(), settings(epochs=4, precision=precision), folder=tmp_path, seed=1, evaluate=accuracy
    )
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert all(p.dtype == torch.float32 for p in objective.parameters())
    assert report.best["top1"] == 1.0


def test_loss_scaling_is_undone_before_clipping():
    """With the loss scaled by 65536 the clipped step must still be that of the unscaled gradient."""
    steps = []
    for precision in ("fp16", "fp32"):
        objective = supervised(dropout=0.0)
        before = objective.network.head.weight.detach().clone()
        wishes = settings(precision=precision, clip_norm=0.01, momentum=0.0, weight_decay=0.0, warmup_epochs=0.0)
        training = Training(objective, wishes, steps_per_epoch=6, seed=1, world=World(), device=torch.device("cpu"))
        training.step(list(ToyBatches(steps=1).epoch(0)), Standing())
        steps.append(objective.network.head.weight.detach() - before)
    assert steps[1].norm() > 0
    assert steps[0].norm().item() == pytest.approx(steps[1].norm().item(), rel=0.05)


def test_channels_last_is_inside_only(tmp_path):
    formats = []

    class Watched(Supervised):
        def forward(self, batch, progress):
            formats.append(batch.inputs.is_contiguous(memory_format=torch.channels_last))
            formats.append(self.network.stem.weight.is_contiguous(memory_format=torch.channels_last))
            return super().forward(batch, progress)

    objective = Watched(supervised().network, F.cross_entropy)
    fit(objective, ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert all(formats)
    assert objective.network.stem.weight.is_contiguous()


def test_signals_of_one_axis_train_too(tmp_path):
    class Signals(ToyBatches):
        def epoch(self, epoch, start=0):
            for batch in super().epoch(epoch, start):
                yield type(batch)(batch.index, batch.inputs.flatten(2), batch.target)

    network = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, 4))
    assert fit(Supervised(network, F.cross_entropy), Signals(), settings(), folder=tmp_path, seed=1).epochs == 3


def test_out_of_memory_is_one_line_that_says_what_to_change(tmp_path):
    class Greedy(Supervised):
        def forward(self, batch, progress):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmany lines")

    greedy = Greedy(supervised().network, F.cross_entropy)
    with pytest.raises(InputError) as caught:
        fit(greedy, ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert str(caught.value).startswith(
        "out of memory on cpu at train.batch_size = 8: set train.batch_size = 4 and train.accumulate = 2"
    )
    assert "\n" not in str(caught.value)


def test_a_batch_of_one_under_a_norm_of_vectors_is_one_line(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.LazyBatchNorm1d(), nn.LazyLinear(4))
    batches = ToyBatches()
    network(next(iter(batches.epoch(0))).inputs)

    class Single(ToyBatches):
        def epoch(self, epoch, start=0):
            for batch in super().epoch(epoch, start):
                yield type(batch)(batch.index[:1], batch.inputs[:1], batch.target[:1])

    with pytest.raises(
        InputError, match=r"^train\.batch_size = 8: a batch norm .* set train\.batch_size = 2 at least$"
    ):
        fit(Supervised(network, F.cross_entropy), Single(), settings(), folder=tmp_path, seed=1)


def test_other_errors_keep_their_own_face(tmp_path):
    class Broken(Supervised):
        def forward(self, batch, progress):
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(Broken(supervised().network, F.cross_entropy), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_source_of_batches_is_closed_on_the_way_out(tmp_path):
    closed = []

    class Closing(ToyBatches):
        def epoch(self, epoch, start=0):
            try:
                yield from super().epoch(epoch, start)
            finally:
                closed.append(epoch)

    with pytest.raises(LimbeckError):
        fit(Bad("hint", 8, float("nan")), Closing(), settings(), folder=tmp_path, seed=1)
    assert closed == [0, 1]


@pytest.mark.slow
def test_compiled_training_comes_to_the_same(tmp_path):
    plain, compiled = supervised(dropout=0.0), supervised(dropout=0.0)
    fit(plain, ToyBatches(), settings(), folder=tmp_path / "plain", seed=1)
    fit(compiled, ToyBatches(), settings(compile=True), folder=tmp_path / "compiled", seed=1)
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
