from __future__ import annotations

import math

import pytest
import torch

from limbeck.train import TrainSettings
from limbeck.train.schedule import rate_factor, warmup_steps

STEPS = 7  # optimizer steps per epoch


def factors(**changes) -> list[float]:
    settings = TrainSettings(**{"epochs": 10, "warmup_epochs": 0.0, **changes})
    return [rate_factor(settings, step, STEPS) for step in range(settings.epochs * STEPS)]


def torch_factors(make, count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_torchs_by_step():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 70, eta_min=0.1), 70)
    assert factors(schedule="cosine", final_rate=0.1) == pytest.approx(expected, abs=1e-9)


def test_poly_is_torchs_by_step():
    make = torch.optim.lr_scheduler.PolynomialLR
    expected = torch_factors(lambda o: make(o, total_iters=70, power=0.9), 70)
    assert factors(schedule="poly") == pytest.approx(expected, abs=1e-9)
    assert factors(schedule="poly", final_rate=0.2)[35] == pytest.approx(0.2 + 0.8 * 0.5**0.9)


def test_step_is_torchs_by_epoch():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [21, 42], gamma=0.2), 70)
    assert factors(schedule="step", milestones=(3, 6), gamma=0.2) == pytest.approx(expected)


def test_exponential_is_a_staircase():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 14, gamma=0.97), 70)
    assert factors(schedule="exponential", decay_epochs=2, gamma=0.97) == pytest.approx(expected)


def test_staircase_falls_exactly_on_fractional_boundaries():
    settings = TrainSettings(epochs=350, schedule="exponential", decay_epochs=2.4, gamma=0.97, warmup_epochs=0)
    for stair in range(1, 140):  # with five steps an epoch a stair is twelve steps
        assert rate_factor(settings, 12 * stair, 5) == pytest.approx(0.97**stair)
        assert rate_factor(settings, 12 * stair - 1, 5) == pytest.approx(0.97 ** (stair - 1))


def test_constant():
    assert factors(schedule="constant") == [1.0] * 70


def test_warmup_rises_in_equal_steps_to_the_peak_and_the_cosine_follows():
    found = factors(schedule="cosine", warmup_epochs=2.0)
    assert found[:14] == pytest.approx([(k + 1) / 14 for k in range(14)])
    assert found[14:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 56)) for k in range(56)])
    assert max(found) == 1.0


def test_warmup_multiplies_staircases_counted_from_the_start():
    found = factors(schedule="step", milestones=(1,), gamma=0.5, warmup_epochs=2.0)
    assert found[6] == pytest.approx(7 / 14)
    assert found[7] == pytest.approx(0.5 * 8 / 14)
    assert found[14] == 0.5


def test_warmup_is_at_most_half_of_the_training():
    assert warmup_steps(TrainSettings(epochs=1, warmup_epochs=1.0), 10) == 5
    assert warmup_steps(TrainSettings(epochs=1, warmup_epochs=5.0), 1) == 0
    assert rate_factor(TrainSettings(epochs=1, warmup_epochs=5.0), 0, 1) == 1.0


def test_fractional_warmup():
    assert warmup_steps(TrainSettings(epochs=10, warmup_epochs=0.5), 10) == 5
