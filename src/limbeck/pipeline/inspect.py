"""`limbeck inspect`: what a data set holds, told before any recipe. The looking itself is `limbeck.data`'s."""

from __future__ import annotations

from typing import Any

from limbeck.data import is_signals, look_at, look_at_signals, open_data
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
    """Look at signals or at pictures; `kind` says which, the rest are `SignalLook`'s or `Look`'s, or of annotated pictures
    what a run would make of them.

    Raises:
        InputError: nothing there, or what no run can use.
    """
    if is_signals(data):
        return look_at_signals(data).as_json()
    if (annotated := annotated_kind(data)) is not None:
        return _look_at_annotated(data, annotated)
    return {"kind": "pictures", **look_at(data).as_json()}


def _look_at_annotated(path: str, kind: Kind) -> dict[str, Any]:
    name, (task, recipe) = find_annotated(path, kind), _TASKS[kind]
    splits = open_data(name, path=path)
    found = splits.report
    left_out = [f"{count} pictures left out" for count in [found["left_out_count"]] if count]
    return {
        "kind": kind,
        "name": name,
        "task": task,
        "counts": found["counts"],
        "class_names": list(splits.class_names),
        "picture_size": list(splits.image_size),
        "problems": [*left_out, *found["warnings"]],
        "recipe": recipe,
    }


def inspection_text(tree: dict[str, Any]) -> str:
    """The same in lines."""
    if tree["kind"] in _TASKS:
        rows = _annotated_rows(tree)
    else:
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


def _annotated_rows(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """As those of pictures, with what was noticed and where to go on."""
    rows = _picture_rows(tree)
    if tree["kind"] == "points":
        rows[2] = ("points", f"{len(tree['class_names'])} in each picture")
    rows += [("noticed", problem) for problem in tree["problems"]]
    return [*rows, ("task", tree["task"]), ("start from", f"limbeck show {tree['recipe']} > mine.toml")]


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
        f"{path}: looks like pictures for {task}, for which recipes are written by hand; `limbeck show {recipe} > mine.toml` "
        f'gives one to start from; in its [data] write name = "{find_annotated(path, kind)}" and the options of that reader'
    )
