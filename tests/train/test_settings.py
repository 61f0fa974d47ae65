from __future__ import annotations

from dataclasses import MISSING, fields

import pytest

from limbeck.errors import InputError
from limbeck.recipe import Train, parse_recipe
from limbeck.train import TrainSettings


def test_fields_and_defaults_are_those_of_a_recipe():
    # a recipe says the rates of single learners beside their graph, in [distill]
    ours = {field.name: field.default for field in fields(TrainSettings) if field.name != "learner_rates"}
    of_targets = ("loss", "soft_targets")  # what is learned from, which is the objective's and not the loop's
    theirs = {name: field.default for name, field in Train.model_fields.items() if name not in of_targets}
    assert MISSING not in ours.values()
    assert ours == theirs
    assert [(name, type(value)) for name, value in ours.items()] == [
        (name, type(value)) for name, value in theirs.items()
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, "train.optimizer: unknown optimizer 'adam'; did you mean 'adamw'?"),
        ({"schedule": "cosin"}, "did you mean 'cosine'?"),
        ({"precision": "fp64"}, "unknown precision 'fp64'"),
        ({"epochs": 0}, "train.epochs = 0: must be above 0"),
        ({"learning_rate": float("nan")}, "train.learning_rate = nan: must be above 0"),
        ({"momentum": -0.1}, "train.momentum = -0.1: must be 0 or above"),
        ({"ema": 1.0}, "train.ema = 1.0: must be below 1"),
        ({"epsilon": 0.0, "optimizer": "adamw"}, "train.epsilon = 0.0: must be above 0, or left out"),
        ({"epsilon": 1e-3}, "train.epsilon: sgd has none"),
        ({"clip_norm": 0.0}, "train.clip_norm = 0.0: must be above 0, or left out"),
        ({"nesterov": True, "momentum": 0.0}, "needs train.momentum above 0"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(InputError) as caught:
        TrainSettings(**change)
    assert message in str(caught.value)


def test_identity_leaves_out_what_may_change_between_two_starts():
    one = TrainSettings(threads=1, checkpoint_seconds=5, device="cpu")
    assert one.identity() == TrainSettings(threads=2, checkpoint_seconds=9, device="cuda").identity()
    assert one.identity() != TrainSettings(learning_rate=0.1).identity()


def test_a_recipe_refuses_an_epsilon_that_nobody_reads_before_any_work():
    tree = {"student": {"model": "mobilenet_v2"}, "train": {"epsilon": 1e-3}}
    with pytest.raises(InputError, match="train: epsilon: sgd has none"):
        parse_recipe(tree, where="here", default_name="small")
    assert parse_recipe(
        {**tree, "train": {"epsilon": 1e-3, "optimizer": "rmsprop"}}, where="here", default_name="small"
    )
