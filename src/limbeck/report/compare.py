"""Whether two figures differ by more than chance: intervals, paired records. No word on what that means for a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from limbeck.report.numerals import change, is_share
from limbeck.report.schema import Diagram, Model, Report

__all__ = ["Comparison", "Finding", "compare", "ece_floor", "standard_error"]

Finding = tuple[str, str, str]
"""Of one verdict: its kind (`good`, `bad`, `neutral`), its topic, its sentence."""


@dataclass(frozen=True)
class Comparison:
    """One metric of two models, first minus second.

    Attributes:
        metric: its name.
        first: value of the first model.
        second: value of the second.
        gain: by how much the first is better (sign turned where lower is better).
        low: lower end of the gain's 95 % interval; None where no interval can be had.
        high: upper end.
        p_value: two-sided; None where no test was possible.
        n: number of samples behind it; None where unknown.
        paired: whether the same samples were compared one by one.
        samples: what is counted by `n`, in words.
    """

    metric: str
    first: float
    second: float
    gain: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    n: int | None = None
    paired: bool = False
    samples: str = "test pictures"

    @classmethod
    def of_shares(
        cls, metric: str, first: float, second: float, n: int | None, *, samples: str = "test pictures"
    ) -> Comparison:
        """Compare two shares of `n` samples as if the samples were independent.

        Both models saw the same samples, so their errors go together and the true interval is narrower: this errs on
        the side of finding no difference.
        """
        if not n:
            return cls(metric, first, second, first - second, samples=samples)
        error = math.hypot(standard_error(first, n), standard_error(second, n))
        gain = first - second
        p_value = math.erfc(abs(gain) / error / math.sqrt(2)) if error else (1.0 if gain == 0 else None)
        return cls(metric, first, second, gain, gain - 1.96 * error, gain + 1.96 * error, p_value, n, samples=samples)

    @property
    def is_certain(self) -> bool:
        """Whether the difference is beyond chance at the 5 % level; never so without an interval or a test."""
        if self.gain == 0:
            return False
        if self.p_value is not None:
            return self.p_value < 0.05
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def has_test(self) -> bool:
        """Whether there is anything by which to tell the difference from chance."""
        return self.p_value is not None or self.low is not None

    @property
    def doubt(self) -> str:
        """Why an uncertain difference is uncertain, to follow "the difference is"."""
        if not self.has_test:
            return "of unknown certainty"
        apart = self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)
        return "at the edge of noise" if apart else "within noise"  # the exact test is stricter than the interval

    def words(self, *, short: bool = False) -> str:
        """The difference, its interval and its test, to stand in brackets."""
        if self.gain == 0:
            told = "no difference"
        else:
            told = f"{change(self.metric, self.gain)} {'better' if self.gain > 0 else 'worse'}"
        if self.low is not None and self.high is not None:
            scale = 100 if is_share(self.metric) else 1
            places = ".2f" if scale == 100 else ".3g"
            told += f", 95 % interval {scale * self.low:+{places}} to {scale * self.high:+{places}}"
        if self.p_value is not None:
            told += f", p {'< 0.001' if self.p_value < 0.001 else f'= {self.p_value:.3f}'}"
        if self.n:
            told += (
                f", n = {self.n}"
                if short
                else f", {'paired' if self.paired else 'unpaired'} on {self.n} {self.samples}"
            )
        elif not self.has_test:
            told += "; no test of the difference"
        return told


def compare(report: Report, first: Model | None, second: Model | None) -> Comparison | None:
    """Compare two models of a report by the primary metric of the first.

    Uses the paired record `first_vs_second` (or its mirror image) where there is one; else, for metrics that are a
    share of correct samples, the standard errors on `data.counts.test`.
    """
    if first is None or second is None or first.withheld or second.withheld:
        return None
    if first.primary is None or second.primary is None or first.primary.name != second.primary.name:
        return None
    one, two, metric = first.primary.value, second.primary.value, first.primary.name
    if one is None or two is None:
        return None
    sign, samples = 1 if first.primary.higher_is_better else -1, f"test {report.samples}"
    for key, way in ((f"{first.name}_vs_{second.name}", sign), (f"{second.name}_vs_{first.name}", -sign)):
        record = (report.paired or {}).get(key)
        if record is None or record.difference is None:
            continue
        low, high = record.low, record.high
        if low is not None and high is not None:
            low, high = sorted((way * low, way * high))
        return Comparison(
            metric, one, two, way * record.difference, low, high, record.p_value, record.n, paired=True, samples=samples
        )
    counts = (report.data.counts or {}) if report.data else {}
    if metric in {"top1", "top5", "accuracy"} and sign == 1 and max(one, two) <= 1:
        return Comparison.of_shares(metric, one, two, counts.get("test"), samples=samples)
    return Comparison(metric, one, two, sign * (one - two))


def standard_error(share: float, n: int) -> float:
    """Standard error of a share of `n` independent samples.

    The count is smoothed by half a sample on either side, so that 100 % right does not pretend to certainty.

    Example:
        >>> round(standard_error(0.5, 100), 3)
        0.05
    """
    smooth = (share * n + 0.5) / (n + 1)
    return math.sqrt(smooth * (1 - smooth) / n)


def ece_floor(diagram: Diagram) -> float | None:
    """The ECE that a perfectly calibrated model would show on average with these bins and counts; None without counts.

    Each bin's accuracy is a mean of n draws with the bin's confidence c as their chance, so it lies off by
    sqrt(2/pi * c(1-c)/n) on average (normal approximation); the ECE weights these by the bins' shares.
    """
    total = sum(part.count for part in diagram.bins)
    if not total:
        return None
    floor = 0.0
    for part in diagram.bins:
        if part.count and part.confidence is not None:
            floor += part.count / total * math.sqrt(2 / math.pi * part.confidence * (1 - part.confidence) / part.count)
    return floor
