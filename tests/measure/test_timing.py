import numpy as np
import pytest

from limbeck.measure import compare, drift, is_steady, summarize


def test_summarize_agrees_with_hand_values():
    latency = summarize([5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    assert (latency.median, latency.p90, latency.iqr, latency.n) == (6.0, 10.0, 5.0, 11)
    assert latency.statistic("median") == 6.0
    assert latency.statistic("p90") == 10.0


def test_outliers_are_kept_and_show_in_the_p90():
    assert summarize([1.0] * 8 + [50.0] * 2).p90 == 50.0
    assert summarize([1.0] * 8 + [50.0] * 2).n == 10


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [1.0, 0.0], [-1.0], [[1.0], [2.0]]])
def test_samples_that_are_no_times_are_refused(samples):
    with pytest.raises(ValueError, match="positive, finite"):
        summarize(samples)


def test_drift_compares_the_ends_and_ignores_the_middle():
    assert drift([1.0, 1.0, 9.0, 9.0, 1.2, 1.2]) == pytest.approx(1.2)
    assert drift([2.0, 3.0]) == 1.0
    assert not is_steady([1.0] * 10 + [5.0] * 10 + [1.2] * 10)
    assert not is_steady([1.2] * 10 + [1.0] * 20)
    assert is_steady([1.0] * 20 + [1.09] * 10)
    assert is_steady([1.0] * 20 + [1.2] * 10, tolerance=0.25)


def test_a_common_disturbance_leaves_the_ratio():
    generator = np.random.default_rng(1)
    # a neighbour comes and goes: both artifacts slow down by up to three times at the same moments
    load = np.repeat(generator.uniform(1, 3, 30), 10)
    a = 2.0 * load * generator.normal(1, 0.01, 300)
    b = 1.0 * load * generator.normal(1, 0.01, 300)
    together = compare(a, b)
    assert together.ratio == pytest.approx(2.0, rel=0.05)
    assert together.low < together.ratio < together.high
    assert together.differs
    # the same samples, no longer of the same moments, say far less
    apart = compare(a, np.roll(b, 150))
    assert apart.high - apart.low > 2 * (together.high - together.low)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(100):
        a, b = generator.lognormal(0, 0.1, (2, 100))
        interval = compare(a, b, resamples=300)
        covered += interval.low <= 1.0 <= interval.high
    assert 85 <= covered <= 100


def test_compare_is_repeatable_and_wants_pairs():
    a, b = np.random.default_rng(3).lognormal(0, 0.1, (2, 50))
    assert compare(a, b) == compare(a, b)
    assert compare(a, a) == compare(b, b)
    assert compare(a, a).ratio == 1.0
    assert not compare(a, a).differs
    with pytest.raises(ValueError, match="50 and 49"):
        compare(a, b[:-1])
    assert compare([2.0], [1.0]).ratio == 2.0
