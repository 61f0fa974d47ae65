"""What holds for each named method alike: trained by the one loop, stopped and resumed with the same bits, by two
processes, compiled; and the student that is handed over holds nothing else.
"""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

sys.path.insert(0, str(Path(__file__).parent))
from every_method_parts import make_loader, make_network, make_objective
from two_ranks_every_method import run_rank

from limbeck.distill import METHODS
from limbeck.errors import Stopped
from limbeck.models import load_network, save_network
from limbeck.train import TrainSettings, fit

SETTINGS = TrainSettings(epochs=2, batch_size=16, learning_rate=0.01, threads=1, warmup_epochs=0.5)


class Halting:
    """Batches after one of which this process is told to stop, once."""

    def __init__(self, batches, epoch, step):
        self.batches, self.moment = batches, (epoch, step)
        self.offers = batches.offers

    def steps_per_epoch(self):
        return self.batches.steps_per_epoch()

    def epoch(self, epoch, start=0):
        for step, batch in enumerate(self.batches.epoch(epoch, start), start=start):
            if self.moment == (epoch, step):
                self.moment = None
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def state(objective):
    return {name: value.clone() for name, value in objective.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_a_method_ends_with_the_same_bits(method, tmp_path):
    whole, halting = make_objective(method), make_objective(method)
    fit(whole, make_loader(whole), SETTINGS, folder=tmp_path / "whole", seed=1, tensorboard=False)
    batches = Halting(make_loader(halting), 1, 1)  # past the first epoch, so that memories are filled
    with pytest.raises(Stopped):
        fit(halting, batches, SETTINGS, folder=tmp_path / "halting", seed=1, tensorboard=False)
    resumed = make_objective(method, seed=9)  # what another process would build is overwritten by the checkpoint
    fit(resumed, batches, SETTINGS, folder=tmp_path / "halting", seed=1, tensorboard=False)
    one, other = state(whole), state(resumed)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_what_is_handed_over_is_the_student_alone(method, tmp_path):
    objective = make_objective(method)
    student = objective.deployable()
    save_network(student, tmp_path)
    again = load_network(tmp_path)
    inputs = torch.rand(2, 3, *student.input_size)
    assert again.params() == student.params() == make_network(method).params()
    ours, theirs = (network.eval()(inputs) for network in (again, student))
    for one, other in zip(*((out if isinstance(out, tuple) else (out,)) for out in (ours, theirs)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_compiled_a_method_gives_the_same_loss(method):
    objective = make_objective(method)
    batch = next(iter(make_loader(objective).epoch(0)))
    torch._dynamo.reset()
    compiled = torch.compile(objective, backend="eager")
    torch.manual_seed(3)  # a loss may draw samples
    expected = objective(batch, torch.tensor(0.5))["loss"]
    torch.manual_seed(3)
    found = compiled(batch, torch.tensor(0.5))["loss"]
    assert torch.allclose(found, expected, rtol=1e-5)


def test_two_processes_train_every_method_to_the_same_weights(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run_rank, args=(port, str(tmp_path)), nprocs=2, start_method="spawn")
    for method in METHODS:
        ranks = [torch.load(tmp_path / f"{method}{rank}.pt") for rank in (0, 1)]
        differing = [name for name in ranks[0] if not torch.equal(ranks[0][name], ranks[1][name])]
        assert not differing, f"{method}: {differing[:3]}"
