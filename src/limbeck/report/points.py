"""What `report.json` holds of landmarks, as records: errors and their distribution, error bars, shapes, inexact boxes. No
wording, no drawing.
"""

from __future__ import annotations

from pydantic import Field

from limbeck.report.records import Count, Record, Share

__all__ = ["Bars", "Distribution", "Jitter", "PointFindings", "ShapeMode", "Shapes"]


class Distribution(Record):
    """The cumulative error distribution."""

    error: list[float]
    share: list[Share] = Field(description="of the test pictures, with at most that error")


class Bars(Record):
    """Radii around each point that were to hold the true one, and how they do on test."""

    coverage: Share = Field(description="asked for, and met on validation")
    found: Share = Field(description="on test")
    radius: float = Field(description="mean of the points, as a share of the side of the crop")
    radii: list[float]
    by_point: list[Share | None] = Field(description="found on test, point by point")


class PointFindings(Record):
    """What is known of one model's points beyond its metrics."""

    normalizers: dict[str, str] = Field(description="metric -> what its errors are divided by")
    ced: Distribution
    compat_auc: float | None = None
    by_subset: dict[str, dict[str, float]] = {}
    bars: Bars | None = None


class ShapeMode(Record):
    """One mode of a shape model: the mean shape moved by 3 standard deviations either way, [L, 2] shares of the crop."""

    share: Share = Field(description="of the variance that the model keeps")
    low: list[list[float]]
    high: list[list[float]]


class Shapes(Record):
    """The shape model that smoothed what a teacher learned."""

    variance: Share
    modes: Count
    shapes: Count
    mean: list[list[float]]
    first: list[ShapeMode]


class Jitter(Record):
    """The student on crops that are off by up to `shift` of their side; figures by name beside it."""

    shift: float
    nme: float
