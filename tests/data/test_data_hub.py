"""Hugging Face data sets from local files: on disk, and streamed."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from limbeck.data import Augment, Loader, PictureStream, open_data
from limbeck.errors import InputError

datasets = pytest.importorskip("datasets")


@pytest.fixture
def hub(tmp_path, png, monkeypatch):
    """A folder of Parquet shards as the hub lays them out: three of train, one of test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()

    def write(file, rows):
        features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        cells = [{"bytes": b"bad" if row == 17 else png(row), "path": None} for row in rows]
        columns = {"image": cells, "label": [row % 2 for row in rows], "person": [row // 4 for row in rows]}
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, file)

    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for shard in range(3):
        write(folder / f"train-0000{shard}-of-00003.parquet", range(20 * shard, 20 * shard + 20))
    write(folder / "test-00000-of-00001.parquet", range(100, 112))
    return str(tmp_path / "set")


def refused(*pieces, **fields):
    with pytest.raises(InputError) as caught:
        open_data("hub", **fields)
    text = str(caught.value)
    assert "\n" not in text
    for piece in pieces:
        assert piece in text, text


def test_on_disk(hub, noise):
    splits = open_data("hub", path=hub, image_size=(12, 10), group_by="person")
    assert splits.class_names == ("cat", "dog")
    counts = splits.report["counts"]
    assert counts["train"] + counts["validation"] == 59
    assert counts["test"] == 12
    assert splits.report["left_out_count"] == 1
    assert np.array_equal(splits.test.picture(3), noise(103))


def test_bad_names(hub, tmp_path):
    refused("data.path: missing")
    refused("cannot be read by Hugging Face datasets", path=str(tmp_path / "gone"))
    refused("unknown column 'img'", path=hub, image_column="img")
    refused("unknown column 'labels'", "did you mean 'label'?", path=hub, label_column="labels")
    refused("streamed", "group_by", path=hub, group_by="person", options={"streaming": True})


def test_without_the_library_there_is_an_install_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused("pip install 'limbeck[hub]'", path="x")


def stream(hub, **options):
    splits = open_data("hub", path=hub, image_size=(12, 10), options={"streaming": True, "buffer": 16, **options})
    assert isinstance(splits.train, PictureStream)
    return splits


def batches_of(splits, epoch, start=0, **options):
    return list(Loader(splits.train, batch_size=8, augment=Augment(mixup=0.2), seed=3, **options).epoch(epoch, start))


def test_a_set_larger_than_the_disk_is_streamed(hub, monkeypatch):
    monkeypatch.setattr("limbeck.data.hub.shutil.disk_usage", lambda place: type("Usage", (), {"free": -1}))
    assert isinstance(open_data("hub", path=hub).train, PictureStream)


def test_streamed_epochs_are_pure_functions_of_seed_and_epoch(hub, capsys):
    splits = stream(hub)
    assert splits.report["counts"] == {"train": 54, "test": 12, "validation": 6}
    whole = batches_of(splits, 1)
    assert len(whole) == Loader(splits.train, batch_size=8, augment=None).steps_per_epoch() == 6
    for left, right in zip(whole[4:], batches_of(stream(hub), 1, start=4), strict=True):
        assert torch.equal(left.index, right.index)
        assert torch.equal(left.inputs, right.inputs)
        assert torch.equal(left.target, right.target)
    assert (
        torch.cat([batch.index for batch in whole]).tolist()
        != torch.cat([batch.index for batch in batches_of(splits, 2)]).tolist()
    )


def rows_of(indices):
    return [int(index) // 2**32 * 20 + int(index) % 2**32 for index in indices]


def held(splits):
    return set(rows_of(int(splits.validation.source(place).split()[-1]) for place in range(len(splits.validation))))


def test_streamed_pictures_keep_their_index_and_stay_out_of_validation(hub, noise, capsys):
    splits = stream(hub)
    seen = []
    for batch in Loader(splits.train, batch_size=9, augment=None, drop_last=False).epoch(0):
        for index, row in zip(batch.index, rows_of(batch.index), strict=True):
            place = batch.index.tolist().index(int(index))
            assert np.array_equal(np.rint(batch.inputs[place].permute(1, 2, 0).numpy() * 255), noise(row))
            assert batch.target[place] == row % 2
            seen.append(row)
    assert len(seen) == len(set(seen))
    assert not set(seen) & held(splits)
    assert set(seen) | held(splits) == set(range(60)) - {17}
    assert seen != sorted(seen)
    assert splits.report["left_out_count"] == 0  # so the unreadable picture was met while streaming
    assert "left out" in capsys.readouterr().err


def test_streamed_processes_share_each_step(hub, capsys):
    splits = stream(hub)
    ranks = [Loader(splits.train, batch_size=4, augment=None, rank=rank, world=2).epoch(0) for rank in (0, 1)]
    for first, second in zip(*ranks, strict=True):
        assert not set(first.index.tolist()) & set(second.index.tolist())


def test_a_limited_stream_is_held_in_memory(hub):
    splits = open_data("hub", path=hub, limit=20, options={"streaming": True, "buffer": 16})
    assert splits.train.is_in_memory
    assert len(splits.train) in (19, 20)


def test_what_needs_all_labels_is_refused_of_a_stream(hub):
    splits = stream(hub)
    with pytest.raises(InputError, match="streamed"):
        _ = splits.train.labels
    with pytest.raises(InputError, match="not streamed"):
        Loader(splits.train, batch_size=4, augment=None, sampling="balanced")


def test_streamed_labels_that_are_no_class_are_left_out_and_said_once(png, capsys):
    labels = [0, "owl", None, 1, 7, -1, 0, "cow"]
    pictures = PictureStream("toy", ("cat", "dog"), 3, 1, lambda shard: iter([(png(0), label) for label in labels]))
    assert [(index, label) for index, _, label in pictures.samples(0, seed=0, shuffle=False)] == [
        (0, 0),
        (3, 1),
        (6, 0),
    ]
    assert capsys.readouterr().err == (
        "warning: data 'toy': samples whose label is no class are left out; first: sample 1: 'owl'\n"
    )


def test_a_streamed_test_split_with_withheld_labels_is_not_used(hub, tmp_path, png):
    file = tmp_path / "set" / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "label", pa.array([-1] * len(table))), file)
    splits = stream(hub, examples=58)
    assert splits.report["counts"] == {"train": 58 - 18, "test": 12, "validation": 6}
    assert any("test split carries no labels" in line for line in splits.report["warnings"])
