"""`limbeck inspect`: what a data set holds, told before any recipe. The looking itself is `limbeck.data`'s."""

from __future__ import annotations

from typing import Any

from limbeck.data import is_signals, look_at, look_at_signals
from limbeck.data.annotated import annotated_kind, find_annotated
from limbeck.data.raw import Kind
from limbeck.errors import InputError

__all__ = ["inspect_data", "inspection_text", "refuse_annotated"]

_TASKS: dict[Kind, tuple[str, str]] = {
    "mask": ("segmentation", "camvid/quick"),
    "boxes": ("detection", "bccd/quick"),
    "points": ("landmarks", "faces/quick"),
}
"""What each kind is for, and the recipe to start from."""


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


def refuse_annotated(path: str) -> None:
    """Refuse what is annotated place by place: its folders would be taken for classes.

    Raises:
        InputError: the layout tells so; names the recipe to start from.
    """
    kind = annotated_kind(path)
    if kind is None:
        return
    task, recipe = _TASKS[kind]
    raise InputError(
        f'{path}: looks like pictures for {task}, for which recipes are written by hand; start from "{recipe}" with '
        f'data.name = "{find_annotated(path, kind)}" (see `limbeck show recipes`)'
    )
