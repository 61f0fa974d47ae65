"""An objective that needs more of its batches than pictures: refused by name, or handed what it needs."""

import pytest
import torch
from torch.nn import functional
from train_toys import ToyBatches, ToyNetwork

from limbeck.errors import InputError
from limbeck.train import Supervised, TrainSettings, find_batch_size, fit
from limbeck.types import Batch


class TwoViews(Supervised):
    """The supervised loss, and agreement with a second view."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(ToyNetwork(), functional.cross_entropy)
        self.seen = []

    def needs(self):
        return frozenset({"view2"})

    def forward(self, batch, progress):
        self.seen.append(len(batch.further["view2"]))
        agreement = (self.network(batch.inputs) - self.network(batch.further["view2"])).square().mean()
        return {"loss": super().forward(batch, progress)["loss"] + agreement, "agreement": agreement}


class TwoViewBatches(ToyBatches):
    offers = frozenset({"view2", "same_class"})

    def epoch(self, epoch, start=0):
        for batch in super().epoch(epoch, start):
            yield Batch(batch.index, batch.inputs, batch.target, further={"view2": batch.inputs.flip(3)})


SETTINGS = TrainSettings(epochs=1, batch_size=8, device="cpu")


def test_a_need_that_the_batches_do_not_offer_is_named_before_any_work(tmp_path):
    message = r"student: the objective needs view2 in its batches, which these do not carry; .*needs=objective\.needs"
    with pytest.raises(InputError, match=message):
        fit(TwoViews(), ToyBatches(), SETTINGS, folder=tmp_path, seed=0)
    assert not list(tmp_path.iterdir())


def test_what_is_needed_reaches_the_objective(tmp_path):
    objective = TwoViews()
    fit(objective, TwoViewBatches(), SETTINGS, folder=tmp_path, seed=0, tensorboard=False)
    assert objective.seen == [8] * 6


def test_the_search_for_a_batch_size_repeats_it_too():
    objective = TwoViews()
    sizes = objective.seen = Shared()
    assert find_batch_size(objective, next(iter(TwoViewBatches().epoch(0))), SETTINGS, limit=16) == 16
    assert sizes == [4, 8]


class Shared(list):
    """A list that a copied objective goes on writing to."""

    def __deepcopy__(self, memo):
        return self
