"""Print the table of measured results that README quotes, from finished runs' `report.json`.

Run: python docs/make_results.py runs/quickstart runs/tiny_imagenet-ten_classes
"""

from __future__ import annotations

import sys
from pathlib import Path

from limbeck.report import read_report

HEADER = """| recipe | model | test top-1 | ECE before | ECE | median latency | p90 | size | parameters |
|---|---|---|---|---|---|---|---|---|"""


def rows(run: Path) -> list[str]:
    """One table row per model of a run that was handed over or compared."""
    report = read_report(run)
    found = []
    for model in report["models"]:
        if model.get("withheld"):
            found.append(f"| | {model['name']} | withheld: {model['withheld']} | | | | | | |")
            continue
        spread = (model.get("seeds") or {}).get("metrics", {}).get("top1")
        accuracy = f"{100 * model['top1']:.2f} %"
        if spread and spread["std"] is not None:
            accuracy = f"{100 * spread['mean']:.2f} ± {100 * spread['std']:.2f} %"
        before = model["metrics"].get("ece_before")
        latency = model["latency_ms"]
        cells = [
            f"`{report['run']}`" if not found else "",
            model["name"],
            accuracy,
            "" if before is None else f"{100 * before:.2f} %",
            f"{100 * model['ece']:.2f} %",
            f"{latency['median']:.3f} ms",
            f"{latency['p90']:.3f} ms",
            f"{model['size_bytes'] / 1e3:,.0f} kB",
            f"{model['params']:,}",
        ]
        found.append(f"| {' | '.join(cells)} |")
    return found


def main() -> None:
    """Print the header, and the rows of every run given."""
    print(HEADER)
    for run in sys.argv[1:]:
        print("\n".join(rows(Path(run))))


if __name__ == "__main__":
    main()
