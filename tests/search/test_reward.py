import math

import pytest

from limbeck.errors import InputError
from limbeck.search import absolute_reward, reward

LATENCIES = (20, 40, 60, 80, 100, 160)

# ACC = 0.5, T = 80 ms, as the formula's worked-out table prints them.
TABLE = {
    (-0.07, -0.07): ".5510/.5249/.5102/.5000/.4923/.4763",
    (-0.15, -0.15): ".6156/.5548/.5220/.5000/.4835/.4506",
    (0.0, -1.0): ".5000/.5000/.5000/.5000/.4000/.2500",
}


@pytest.mark.parametrize(("exponents", "printed"), TABLE.items())
def test_the_table_of_the_reward_to_the_printed_digits(exponents, printed):
    alpha, beta = exponents
    found = [reward(0.5, latency, 80.0, alpha=alpha, beta=beta) for latency in LATENCIES]
    assert "/".join(f"{one:.4f}".lstrip("0") for one in found) == printed


def test_the_default_is_the_soft_constraint():
    for latency in LATENCIES:
        assert reward(0.5, latency, 80.0) == reward(0.5, latency, 80.0, alpha=-0.07, beta=-0.07)


def test_doubled_latency_is_worth_five_per_cent_of_accuracy():
    """Where the exponent comes from: both models must score alike."""
    w = -math.log(1.05) / math.log(2)
    assert reward(0.7, 40.0, 60.0, alpha=w, beta=w) == pytest.approx(reward(0.7 * 1.05, 80.0, 60.0, alpha=w, beta=w))
    assert w == pytest.approx(-0.07, abs=5e-4)


def test_the_exponent_changes_at_the_target_itself():
    assert reward(0.6, 80.0, 80.0, alpha=0.0, beta=-1.0) == 0.6
    assert reward(0.6, 80.0 + 1e-9, 80.0, alpha=0.0, beta=-1.0) < 0.6


def test_the_absolute_reward_pins_the_target():
    figures = {latency: absolute_reward(0.5, latency, 80.0, beta=-0.3) for latency in LATENCIES}
    assert figures[80] == 0.5
    assert figures[60] == pytest.approx(0.5 - 0.3 * 0.25) == pytest.approx(figures[100])
    assert figures[20] == pytest.approx(0.5 - 0.3 * 0.75)
    assert figures[160] == pytest.approx(0.2)
    assert max(figures, key=figures.get) == 80


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"latency_ms": 0.0}, "latency_ms must be above 0, got 0.0"),
        ({"latency_ms": -1.0}, "latency_ms must be above 0"),
        ({"latency_ms": math.nan}, "latency_ms must be above 0, got nan"),
        ({"target_ms": 0.0}, "target_ms must be above 0"),
        ({"target_ms": math.inf}, "target_ms must be above 0, got inf"),
        ({"accuracy": -0.1}, "accuracy must be 0 or more"),
        ({"accuracy": math.nan}, "accuracy must be 0 or more, got nan"),
        ({"beta": 0.07}, "beta must be 0 or less"),
    ],
)
@pytest.mark.parametrize("function", [reward, absolute_reward])
def test_figures_out_of_range_are_told_in_one_line(function, change, told):
    given = {"accuracy": 0.5, "latency_ms": 10.0, "target_ms": 20.0, **change}
    with pytest.raises(InputError, match=told) as caught:
        function(**given)
    assert "\n" not in str(caught.value)


def test_alpha_is_held_to_its_range_too():
    with pytest.raises(InputError, match="alpha must be 0 or less"):
        reward(0.5, 10.0, 20.0, alpha=0.5)
