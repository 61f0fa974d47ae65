"""The report of a run: numbers and provenance in, `report.json` and one self-contained `report.html` out.

No results are computed here beyond presentation and the statistics over seeds.
"""

from limbeck.report.page import render, render_many
from limbeck.report.schema import check_report, read_report, report_schema
from limbeck.report.seeds import attach_seeds, combine
from limbeck.report.verdicts import judge
from limbeck.report.write import write_report

__all__ = [
    "attach_seeds",
    "check_report",
    "combine",
    "judge",
    "read_report",
    "render",
    "render_many",
    "report_schema",
    "write_report",
]
