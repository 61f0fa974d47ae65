"""What a run showed, in plain sentences, in the order to read them. Each sentence is made elsewhere."""

from __future__ import annotations

from typing import Any

from limbeck.report import delivered, learned
from limbeck.report.schema import parse_report

__all__ = ["judge"]

_PARTS = (
    learned.judge_distillation,
    learned.judge_seeds,
    learned.judge_teacher,
    learned.judge_chain,
    delivered.judge_budget,
    learned.judge_off_the_shelf,
    learned.judge_search,
    learned.judge_adaptation,
    learned.judge_confidence,
    delivered.judge_calibration,
    delivered.judge_int8,
    delivered.judge_parity,
    delivered.judge_steadiness,
    delivered.judge_data,
)


def judge(report: dict[str, Any]) -> list[dict[str, str]]:
    """Say of a run what helped, what did not, and what the data cannot tell.

    A difference counts only where a test gives p < 0.05: a paired one where the report holds it (`paired`, by
    `first_vs_second`), else one from the standard errors of two independent samples, which errs on the side of caution.

    Args:
        report: as in `report.json`; absent sections are not judged.

    Returns:
        `{"kind": "good" | "bad" | "neutral", "topic": ..., "text": ...}` in the order they should be read.

    Raises:
        InputError: the report does not hold what a report must.
    """
    read = parse_report(report)
    return [{"kind": kind, "topic": topic, "text": text} for part in _PARTS for kind, topic, text in part(read)]
