import pytest

from limbeck.errors import InputError
from limbeck.recipe import parse_recipe


def read(search, **budget):
    return parse_recipe(
        {"student": {"model": "mobilenet_v2"}, "search": search, "budget": budget}, where="r", default_name="r"
    )


def test_a_reward_aims_at_its_own_latency_or_the_budgets():
    assert read({"objective": "reward", "target_latency_ms": 3.0}).search.target_latency_ms == 3.0
    assert read({"objective": "absolute"}, max_latency_ms=2.0).search.beta == -0.07
    given = read({"sampler": "controller", "sampler_options": {"preset": "nasnet"}})
    assert given.search.sampler_options == {"preset": "nasnet"}


def test_told_latencies_go_with_a_table_and_with_no_ceiling_on_what_only_files_have():
    told = {"latency": "predictor", "latency_table": "latencies.json"}
    assert read(told, max_latency_ms=2.0, max_params=1000).search.latency == "predictor"
    with pytest.raises(InputError, match="latency_table: goes with latency = 'table' or 'predictor'; give both"):
        read({"latency": "table"})
    for name in ("max_size_bytes", "max_peak_memory_bytes"):
        with pytest.raises(InputError, match=f"budget.{name}: with search.latency = 'predictor' no candidate's file"):
            read(told, **{name: 10**6})
        assert read({}, **{name: 10**6}).search.latency == "device"


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"objective": "reward"}, "search.target_latency_ms: missing"),
        ({"target_latency_ms": 3.0}, "nothing aims at it; set objective"),
        ({"objective": "rewards", "target_latency_ms": 3.0}, "search.objective"),
        ({"objective": "reward", "target_latency_ms": 3.0, "alpha": 0.1}, "search.alpha = 0.1"),
        ({"objective": "reward", "target_latency_ms": 0}, "search.target_latency_ms = 0"),
    ],
)
def test_what_a_recipe_cannot_ask_of_a_search(search, told):
    with pytest.raises(InputError, match=told) as caught:
        read(search)
    assert "\n" not in str(caught.value)


def test_the_mean_training_of_a_candidate_by_the_halving():
    """Of nine candidates nine train 1 epoch, three of them 3, and one of these 9: 27 epochs in all."""
    assert read({"proxy": {"epochs": 9, "halving": 3, "rungs": 2}}).search.proxy.mean_epochs == 27 / 9
    assert read({"proxy": {"epochs": 9}}).search.proxy.mean_epochs == 9
