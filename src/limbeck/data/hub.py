"""Data sets of the Hugging Face hub, or of its layout on disk, by the `datasets` library (`pip install limbeck[hub]`).

What does not live here: checking and dividing, but for streams, which can only be divided while they are read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.data.folder import SPLIT_NAMES
from limbeck.data.raw import RawData, RawSplit
from limbeck.data.stream import PictureStream, Sample
from limbeck.errors import InputError, unknown_name

__all__ = ["read_hub"]


def read_hub(
    path: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    group_by: str | None = None,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
    limit: int | None = None,
    config: str | None = None,
    revision: str | None = None,
    data_files: Any = None,
    class_names: Sequence[str] | None = None,
    streaming: bool | None = None,
    examples: int | None = None,
    buffer: int = 10_000,
    held_out: int = 10_000,
) -> RawData:
    """Read a data set by its hub name, or a local folder that `datasets.load_dataset` takes.

    Args:
        path: such as `cifar10`, `owner/name`, a folder, or `parquet` with `data_files`.
        image_column: an image feature, paths or bytes.
        label_column: a class label feature, integers or names.
        group_by: column of values that never cross splits; not of streams.
        seed: of the held-out part of a stream.
        validation: share held out of a stream.
        test: share held out of a stream that has no test split.
        limit: training pictures used of a stream; they are then held in memory.
        config: the hub's name for a variant.
        revision: branch, tag or commit.
        data_files: as of `datasets.load_dataset`.
        class_names: by index; None = what the label feature says.
        streaming: None = where the set is larger than the free disk.
        examples: number of training pictures of a stream; None = what the hub says, else they are counted.
        buffer: pictures held to shuffle a stream.
        held_out: most pictures of one held-out split of a stream.

    Raises:
        InputError: `datasets` is not installed, the set cannot be had, or a column is missing.
    """
    datasets = _import_datasets()
    if not path:
        raise InputError("data.path: missing; give a hub name such as cifar10 or owner/name")
    arguments = {"name": config, "revision": revision, "data_files": data_files}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    try:
        if streaming is None:
            streaming = _exceeds_disk(
                datasets.load_dataset_builder(path, **arguments), datasets.config.HF_DATASETS_CACHE
            )
        whole = datasets.load_dataset(path, streaming=streaming, **arguments)
    except Exception as error:  # builders raise whatever their files make them raise
        raise InputError(
            f"{path}: cannot be read by Hugging Face datasets ({' '.join(str(error).split())[:300]})"
        ) from error
    parts = {SPLIT_NAMES[name.lower()]: part for name, part in whole.items() if name.lower() in SPLIT_NAMES}
    if "train" not in parts:
        raise InputError(f"{path}: no train split (found: {', '.join(whole)})")
    parts = {
        split: _prepared(datasets, part, image_column, f"{path}: data.image_column") for split, part in parts.items()
    }
    features = parts["train"].features
    needed = {"data.label_column": label_column, **({"data.group_by": group_by} if group_by else {})}
    for field, column in needed.items():
        if column not in features:
            raise unknown_name("column", column, features, where=f"{path}: {field}")
    class_names = class_names or getattr(features[label_column], "names", None)
    if not streaming:
        return RawData(
            {split: _on_disk(part, image_column, label_column, group_by) for split, part in parts.items()}, class_names
        )
    if group_by:
        raise InputError(f"{path}: data.group_by needs a set on disk; this one is streamed (data.options.streaming)")
    if not class_names:
        raise InputError(f"{path}: a streamed set must say its classes; give data.options.class_names")
    identity = repr((path, config, revision, str(data_files)))
    streams = {
        split: _stream(
            part,
            path,
            tuple(class_names),
            image_column,
            label_column,
            buffer,
            identity,
            examples if split == "train" else None,
        )
        for split, part in parts.items()
    }
    return _divide_stream(streams, seed=seed, validation=validation, test=test, limit=limit, held_out=held_out)


class _HubColumn(Sequence[Any]):
    """The picture column of a set on disk; each item a path or encoded bytes."""

    def __init__(self, part: Any, column: str) -> None:
        self._part = part.select_columns([column])
        self._column = column

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, row: int) -> Any:  # type: ignore[override]
        return _picture(self._part[int(row)][self._column])


def _picture(cell: Any) -> Any:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return cell or b""  # an empty cell: found and named like any other unreadable picture


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            "data 'hub': needs the datasets library; install it with: pip install 'limbeck[hub]'"
        ) from error
    return datasets


def _exceeds_disk(builder: Any, cache: str | Path) -> bool:
    needed = (builder.info.download_size or 0) + (builder.info.dataset_size or 0)
    place = Path(cache).expanduser()
    while not place.exists():
        place = place.parent
    return needed > shutil.disk_usage(place).free


def _prepared(datasets: Any, part: Any, image_column: str, where: str) -> Any:
    """The part with its pictures left encoded: they are decoded by `limbeck.pictures`, as every other set's."""
    if part.features is None:
        part = part._resolve_features()
    if image_column not in part.features:
        raise unknown_name("column", image_column, part.features, where=where)
    if isinstance(part.features[image_column], datasets.Image):
        part = part.cast_column(image_column, datasets.Image(decode=False))
    return part


def _on_disk(part: Any, image_column: str, label_column: str, group_by: str | None) -> RawSplit:
    groups = None if group_by is None else [str(group) for group in part[group_by][:]]
    return RawSplit(_HubColumn(part, image_column), list(part[label_column][:]), groups)


def _stream(
    part: Any,
    name: str,
    class_names: tuple[str, ...],
    image_column: str,
    label_column: str,
    buffer: int,
    identity: str,
    examples: int | None,
) -> PictureStream:
    split_info = (part.info.splits or {}).get(str(part.split))
    count = examples or getattr(split_info, "num_examples", None) or sum(1 for _ in part.select_columns([label_column]))
    shards = max(1, part.num_shards)

    def open_shard(shard: int) -> Iterator[tuple[Any, Any]]:
        for row in part.shard(num_shards=shards, index=shard) if shards > 1 else part:
            label = row[label_column]
            yield (
                _picture(row[image_column]),
                class_names.index(label) if isinstance(label, str) and label in class_names else label,
            )

    return PictureStream(name, class_names, count, shards, open_shard, identity=f"{identity} {count}", buffer=buffer)


def _divide_stream(
    streams: dict[str, PictureStream], *, seed: int, validation: float, test: float, limit: int | None, held_out: int
) -> RawData:
    """Hold out what is missing from the head of the shuffled training stream; other splits are read into memory,
    still encoded.
    """
    train = streams["train"]
    warnings: list[str] = []
    for split in ("test", "validation"):
        if split in streams and next(streams[split].samples(0, seed=seed, shuffle=False), None) is None:
            del streams[split]
            warnings.append(f"the set's own {split} split carries no labels and is not used")
    splits: dict[str, RawSplit] = {}
    own_test = "test" if "test" in streams else "validation" if "validation" in streams else None
    own_validation = "validation" if "validation" in streams and own_test == "test" else None
    for split, own in (("test", own_test), ("validation", own_validation)):
        if own is not None and not (split == "validation" and validation == 0):
            splits[split] = _read_head(streams[own], min(held_out, len(streams[own])), seed)[0]
            if len(streams[own]) > held_out:
                warnings.append(
                    f"{split}: {held_out} of {len(streams[own])} streamed pictures are used (data.options.held_out)"
                )
    excluded: set[int] = set()
    for split, share in (("test", test), ("validation", validation)):
        if split not in splits and share > 0 and not (split == "validation" and own_validation):
            wanted = min(held_out, round(share * len(train)))
            splits[split], taken = _read_head(replace(train, excluded=frozenset(excluded)), wanted, seed)
            excluded |= taken
    rest = replace(train, excluded=frozenset(excluded), count=len(train) - len(excluded))
    if limit is not None and limit < len(rest):
        splits["train"] = _read_head(rest, limit, seed)[0]
        return RawData(splits, train.class_names, warnings)
    return RawData(splits, train.class_names, warnings, stream=rest)


def _read_head(stream: PictureStream, count: int, seed: int) -> tuple[RawSplit, set[int]]:
    head: list[Sample] = list(islice(stream.samples(-1, seed=seed), count))
    names = [f"{stream.name} sample {index}" for index, _, _ in head]
    return RawSplit([picture for _, picture, _ in head], [label for _, _, label in head], names=names), {
        index for index, _, _ in head
    }
