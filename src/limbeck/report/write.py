"""Putting a report on disk: `report.json` for tools and `report.html` for people. No figures are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.files import write_json, write_text
from limbeck.report.page import render
from limbeck.report.schema import check_report
from limbeck.report.verdicts import judge

__all__ = ["write_report"]


def write_report(folder: str | Path, report: dict[str, Any], *, pictures: dict[str, Any] | None = None) -> Path:
    """Write `report.json` and `report.html` into a run folder, each whole or not at all.

    Args:
        folder: the run's root; made if missing.
        report: see `limbeck.report.schema.Report`; `verdicts` are added where it holds none, NaN becomes null.
        pictures: for the page only; see `limbeck.report.render`.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: the report does not hold what a report must (nothing is written), or the folder cannot be written.
    """
    checked = check_report(report)
    if checked.get("verdicts") is None:
        checked["verdicts"] = judge(checked)
    page = render(checked, pictures=pictures)  # before anything is written: a broken report leaves no half
    folder = Path(folder)
    write_json(folder / "report.json", checked)
    write_text(folder / "report.html", page)
    return folder / "report.html"
