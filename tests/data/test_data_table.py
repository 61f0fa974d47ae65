"""Tables: CSV and Parquet, paths and bytes, groups, Hugging Face's schema."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limbeck.data import look_at, open_data
from limbeck.errors import InputError


def refused(*pieces, **fields):
    with pytest.raises(InputError) as caught:
        open_data("table", **fields)
    text = str(caught.value)
    assert "\n" not in text
    for piece in pieces:
        assert piece in text, text


@pytest.fixture
def csv(tmp_path, png):
    """Write a CSV of `count` pictures with further columns."""

    def write(name="t.csv", count=20, label=lambda row: ("cat", "dog")[row % 2], **columns):
        (tmp_path / "files").mkdir(exist_ok=True)
        header = ["image", "label", *columns]
        lines = [",".join(header)]
        for row in range(count):
            (tmp_path / "files" / f"{row}.png").write_bytes(png(row))
            lines.append(
                ",".join(map(str, [f"files/{row}.png", label(row), *(column(row) for column in columns.values())]))
            )
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return write


@pytest.fixture
def parquet(tmp_path, png):
    """Write a Parquet file in Hugging Face's layout: {bytes, path}, class names in the schema."""

    def write(name="t.parquet", count=20, names=("cat", "dog"), labels=None, first=0, image="image", bad=()):
        cells = [
            {"bytes": b"bad" if row in bad else png(first + row), "path": f"p{first + row}.png"} for row in range(count)
        ]
        labels = [row % 2 for row in range(count)] if labels is None else labels
        features = {image: {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = pa.table({image: cells, "label": pa.array(labels, pa.int64())})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_csv_of_paths(csv, noise):
    splits = open_data("table", path=csv(), image_size=(12, 10))
    assert splits.class_names == ("cat", "dog")
    assert splits.report["counts"] == {"train": 14, "test": 4, "validation": 2}
    for index in range(len(splits.train)):
        row = int(splits.train.source(index).removeprefix("files/").removesuffix(".png"))
        assert splits.train.labels[index] == row % 2
        assert np.array_equal(splits.train.picture(index), noise(row))


def test_parquet_of_structs_with_class_names(parquet, noise):
    splits = open_data("table", path=parquet(names=("cat", "dog", "owl")), image_size=(12, 10))
    assert splits.class_names == ("cat", "dog", "owl")
    assert any("1 of 3 classes have no train pictures: owl" in line for line in splits.report["warnings"])
    row = int(splits.test.source(0)[1:-4])
    assert np.array_equal(splits.test.picture(0), noise(row))


def test_parquet_of_plain_bytes(tmp_path, png):
    pq.write_table(
        pa.table({"image": [png(row) for row in range(20)], "label": ["a", "b"] * 10}), tmp_path / "b.parquet"
    )
    splits = open_data("table", path=str(tmp_path / "b.parquet"))
    assert splits.report["left_out_count"] == 0
    assert "b.parquet row" in splits.train.source(0)


def test_groups_never_cross(csv):
    path = csv(count=60, person=lambda row: f"p{row // 6}")
    for seed in range(3):
        splits = open_data("table", path=path, group_by="person", seed=seed)
        people = [
            {int(part.source(index)[6:-4]) // 6 for index in range(len(part))}
            for part in (splits.train, splits.validation, splits.test)
        ]
        assert sum(map(len, people)) == len(set.union(*people)) == 10
    crossed = {len({int(p.source(i)[6:-4]) // 6 for i in range(len(p))}) for p in [open_data("table", path=path).train]}
    assert crossed == {10}


def test_own_splits_and_groups_that_cross_them(csv, parquet):
    path = csv(count=20, person=lambda row: row // 2, split=lambda row: "test" if row in (3, 5, 6, 7) else "train")
    splits = open_data("table", path=path, options={"split_column": "split"}, group_by="person", validation=0)
    assert splits.report["counts"] == {"train": 16, "test": 4}
    assert any("2 groups are in both train and test" in line for line in splits.report["warnings"])
    refused("split 'cat'", path=path, options={"split_column": "label"})
    three = {"validation_path": parquet("v.parquet", 4, first=50), "test_path": parquet("e.parquet", 6, first=70)}
    splits = open_data("table", path=parquet(), **three)
    assert splits.report["counts"] == {"train": 20, "test": 6, "validation": 4}


def test_a_folder_and_a_pattern_of_shards(tmp_path, parquet):
    parquet("d/train-00000-of-00002.parquet", 10)
    parquet("d/train-00001-of-00002.parquet", 10, first=10)
    parquet("d/val.parquet", 6, first=30)
    splits = open_data("table", path=str(tmp_path / "d"))
    assert splits.report["counts"] == {"train": 18, "test": 6, "validation": 2}
    assert open_data("table", path=str(tmp_path / "d" / "train-*.parquet")).report["counts"]["train"] == 14
    look = look_at(tmp_path / "d")
    assert (look.name, look.counts, look.fields) == ("table", {"train": 20, "validation": 6}, {})


def test_shards_whose_columns_differ_are_refused(tmp_path, parquet, png):
    parquet("d/train-0.parquet", 4)
    pq.write_table(
        pa.table({"image": [{"bytes": png(9), "path": "9.png"}], "label": ["cat"]}), tmp_path / "d/train-1.parquet"
    )
    refused("train-0.parquet (and 1 more)", "label", "int64", "string", path=str(tmp_path / "d"))


def test_a_column_of_paths_then_bytes_is_remembered_until_either_changes(tmp_path, png):
    (tmp_path / "p.png").write_bytes(png(0))

    def opened(last):
        cells = [{"bytes": None, "path": "p.png"}, *({"bytes": png(row), "path": None} for row in range(1, 11)), last]
        pq.write_table(pa.table({"image": cells, "label": [0, 1] * 6}), tmp_path / "t.parquet")
        return open_data("table", path=str(tmp_path / "t.parquet"), store_bytes=0, cache=tmp_path / "cache").fingerprint

    before = opened({"bytes": png(11), "path": None})
    assert opened({"bytes": png(12), "path": None}) != before
    assert opened({"bytes": png(11), "path": None}) == before


def test_look_finds_the_columns(parquet, csv, tmp_path):
    assert look_at(parquet(image="img")).fields == {"image_column": "img"}
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=r"bad\.parquet: not readable as Parquet"):
        look_at(tmp_path / "bad.parquet")


def test_wrong_columns_are_named(csv, tmp_path):
    refused("unknown column 'imag'", "did you mean 'image'?", "data.image_column", path=csv(), image_column="imag")
    refused("unknown column 'lable'", "did you mean 'label'?", path=csv(), label_column="lable")
    refused("unknown column 'persn'", "data.group_by", path=csv(person=lambda row: row), group_by="persn")
    refused("holds double", "data.label_column", path=csv(label=lambda row: row / 7))
    refused("the image column holds int64", path=csv(size=lambda row: row), image_column="size")
    refused("no such file", path=str(tmp_path / "gone.csv"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    refused("not readable as Parquet", path=str(tmp_path / "bad.parquet"))
    (tmp_path / "none.csv").write_text("image,label\n")
    refused("no rows", path=str(tmp_path / "none.csv"))
    (tmp_path / "empty").mkdir()
    refused("no table named train", path=str(tmp_path / "empty"))


def test_labels_out_of_range(parquet):
    few = open_data("table", path=parquet(labels=[0, 1] * 9 + [0, 7]))
    assert few.report["left_out_count"] == 1
    assert few.report["left_out"][0]["reason"] == "label 7 out of range 0..1"
    refused("labels seem to count from 1", path=parquet(labels=[1, 2] * 10))
    refused("label -1 out of range", path=parquet(labels=[0, -1] * 10))
    refused("one class", path=parquet(labels=[1] * 20))


def test_given_class_names_hold_names_too(csv):
    path = csv(label=lambda row: "dgo" if row == 4 else ("cat", "dog")[row % 2])
    splits = open_data("table", path=path, options={"class_names": ["dog", "cat"]})
    assert splits.class_names == ("dog", "cat")
    assert splits.report["left_out"][0]["reason"] == "label 'dgo' is no class; did you mean 'dog'?"
    refused("listed twice", path=path, options={"class_names": ["cat", "cat"]})


def test_integer_labels_without_names_are_classes_in_order(csv):
    splits = open_data("table", path=csv(label=lambda row: (30, 4)[row % 2]))
    assert splits.class_names == ("4", "30")


def test_missing_files_and_empty_labels_are_left_out(csv, tmp_path):
    path = csv(label=lambda row: "" if row == 5 else ("cat", "dog")[row % 2])
    (tmp_path / "files" / "7.png").unlink()
    report = open_data("table", path=path).report
    assert sorted(entry["reason"].rsplit(": ", 1)[-1] for entry in report["left_out"]) == ["no label", "no such file"]
    for row in range(20):
        (tmp_path / "files" / f"{row}.png").unlink(missing_ok=True)
    refused("can be read", path=path)


def test_unreadable_cells_are_left_out(parquet):
    report = open_data("table", path=parquet(bad=(2, 11))).report
    assert {entry["source"] for entry in report["left_out"]} == {"p2.png", "p11.png"}


def test_a_test_split_with_withheld_labels_is_not_used(parquet):
    withheld = parquet("e.parquet", 6, labels=[-1] * 6, first=70)
    splits = open_data("table", path=parquet(), test_path=withheld)
    assert splits.report["counts"] == {"train": 14, "test": 4, "validation": 2}
    assert any("test split carries no labels" in line for line in splits.report["warnings"])
