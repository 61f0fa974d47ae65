"""`limbeck inspect`: what a data set holds, told before any recipe. The looking itself is `limbeck.data`'s."""

from __future__ import annotations

from typing import Any

from limbeck.data import is_signals, look_at, look_at_signals
from limbeck.data.annotated import refuse_annotated

__all__ = ["inspect_data", "inspection_text"]


def inspect_data(data: str) -> dict[str, Any]:
    """Look at signals or at pictures, as `limbeck new` does; `kind` says which, the rest are `SignalLook`'s or `Look`'s.

    Raises:
        InputError: nothing there, or what no run can use.
    """
    if is_signals(data):
        return look_at_signals(data).as_json()
    refuse_annotated(data)
    return {"kind": "pictures", **look_at(data).as_json()}


def inspection_text(tree: dict[str, Any]) -> str:
    """The same in lines."""
    rows = _signal_rows(tree) if tree["kind"] == "signals" else _picture_rows(tree)
    return "\n".join(f"{name:<12}{told}" for name, told in rows)


def _signal_rows(tree: dict[str, Any]) -> list[tuple[str, str]]:
    counts, snrs, (fewest, most) = tree["counts"], tree["snrs"], tree["per_cell"]
    recordings = "" if tree["recordings"] is None else f", of {tree['recordings']} recordings"
    cell = "class" if snrs is None or tree["is_measured"] else "class and SNR"
    kind = "steps of a measured one" if tree["is_measured"] else "levels"
    rows = [
        ("reader", tree["name"]),
        ("frames", f"{tree['frames']:,} of {tree['length']} samples{recordings}"),
        ("classes", f"{len(counts)}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())),
        ("SNR", "unknown" if snrs is None else f"{len(snrs)} {kind}: {', '.join(f'{one:g}' for one in snrs)} dB"),
        (
            "per cell",
            f"{fewest:,} to {most:,} frames of a {cell}" if fewest < most else f"{most:,} frames of each {cell}",
        ),
    ]
    rows += [("options", ", ".join(f"{key} = {value}" for key, value in tree["options"].items()))] * bool(
        tree["options"]
    )
    return [*rows, *(("problem", problem) for problem in tree["problems"] or ("none found",))]


def _picture_rows(tree: dict[str, Any]) -> list[tuple[str, str]]:
    names, (height, width) = tree["class_names"], tree["picture_size"]
    return [
        ("reader", tree["name"]),
        ("pictures", ", ".join(f"{count:,} {split}" for split, count in tree["counts"].items())),
        ("classes", f"{len(names)}: {', '.join(names[:20])}" + " ..." * (len(names) > 20)),
        ("size", f"{height} x {width}, the median"),
    ]
