"""Readers of sets with boxes, each on a small copy of its layout, and the whole way to batches."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from limbeck.data import Augment, Loader, open_data
from limbeck.data.readers import read_raw
from limbeck.errors import InputError

SIZE = (24, 40)


def write_picture(path, seed, size=SIZE):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng([2, seed]).integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    return path


def raw_of(name, path, **options):
    return read_raw(name, {"path": str(path)}, options=options)


def boxes_in(split):
    return [split.annotations[i].boxes.tolist() for i in range(len(split.pictures))]


def labels_in(split):
    return [split.annotations[i].labels.tolist() for i in range(len(split.pictures))]


# COCO


def coco_record(names, boxes, categories=((3, "cat"), (7, "dog"))):
    """`boxes` are (picture, category, x, y, width, height, crowd)."""
    return {
        "images": [{"id": 100 + i, "file_name": name, "width": 40, "height": 24} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 100 + picture, "category_id": category, "bbox": box, "iscrowd": crowd}
            for i, (picture, category, *box, crowd) in enumerate(boxes)
        ],
        "categories": [{"id": identity, "name": name} for identity, name in reversed(categories)],
    }


def write_coco(root, split, record, folder=None):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(record))
    for i, image in enumerate(record["images"]):
        write_picture((folder or root / split) / image["file_name"], hash_of(split) + i)


def hash_of(text):
    return sum(text.encode()) * 1000


def write_both(root, **changes):
    train = coco_record(
        [f"{i}.jpg" for i in range(4)], [(0, 7, 1, 2, 10, 5, 0), (0, 3, 0, 0, 5, 5, 1), (2, 3, 4, 4, 8, 9, 0)]
    )
    val = coco_record(["v.jpg"], [(0, 7, 2, 2, 3, 3, 0)])
    write_coco(root, "train2017", {**train, **changes})
    write_coco(root, "val2017", val)
    return train


def test_coco_maps_categories_and_marks_crowds(tmp_path):
    write_both(tmp_path)
    raw = raw_of("coco", tmp_path)
    assert raw.kind == "boxes"
    assert list(raw.class_names) == ["cat", "dog"]
    assert set(raw.splits) == {"train", "validation"}
    train = raw.splits["train"]
    assert boxes_in(train) == [[[1, 2, 11, 7], [0, 0, 5, 5]], [], [[4, 4, 12, 13]], []]
    assert labels_in(train) == [[1, 0], [], [0], []]
    assert train.annotations[0].crowd.tolist() == [False, True]
    assert [Path(p).name for p in train.pictures] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_coco_in_other_places(tmp_path):
    record = coco_record(["a.jpg", "b.jpg"], [(0, 3, 1, 1, 5, 5, 0)])
    write_coco(tmp_path / "one", "train2014", record, tmp_path / "one" / "images" / "train2014")
    write_coco(tmp_path / "one", "train2017", coco_record(["c.jpg"], [(0, 7, 1, 1, 5, 5, 0)]))
    with pytest.raises(InputError, match=r"several files for train .*data\.options\.year"):
        raw_of("coco", tmp_path / "one")
    assert len(raw_of("coco", tmp_path / "one", year=2014).splits["train"].pictures) == 2
    for split in ("train", "valid"):
        folder = tmp_path / "two" / split
        folder.mkdir(parents=True)
        (folder / "_annotations.coco.json").write_text(json.dumps(record))
        for i, image in enumerate(record["images"]):
            write_picture(folder / image["file_name"], hash_of(split) + i)
    assert set(raw_of("coco", tmp_path / "two").splits) == {"train", "validation"}


def test_coco_names_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"expected annotations/instances_train2017\.json"):
        raw_of("coco", tmp_path)
    record = write_both(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"

    def refused(changed, says):
        file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
        with pytest.raises(InputError, match=says) as caught:
            raw_of("coco", tmp_path)
        assert str(caught.value).startswith(str(tmp_path))
        assert "\n" not in str(caught.value)

    refused("{", "not readable as JSON")
    refused("[" * 200_000, "not readable as JSON .nested too deep")
    refused({**record, "categories": [{"id": 3}]}, "not of COCO's form .lacks 'name'.")
    refused({**record, "categories": [{"id": "three", "name": "cat"}]}, "not of COCO's form")
    refused([1], "no list 'images'")
    refused({**record, "annotations": [{"image_id": 100, "category_id": 3}]}, "not of COCO's form .lacks 'bbox'.")
    refused({**record, "annotations": [{"image_id": 100, "category_id": 3, "bbox": [1, 2]}]}, "not of COCO's form")
    other = [{"id": 3, "name": "cat"}, {"id": 7, "name": "owl"}]
    file.write_text(json.dumps({**record, "categories": other}))
    with pytest.raises(InputError, match=r"val2017.*categories differ from the training set's; first: id 7"):
        raw_of("coco", tmp_path)


def test_coco_counts_pictures_that_are_not_there(tmp_path):
    names = [f"{i}.jpg" for i in range(20)]
    record = coco_record(names, [(i, 3, 1, 1, 9, 9, 0) for i in range(20)])
    record["annotations"].append({"id": 99, "image_id": 5, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": 0})
    write_coco(tmp_path, "train2017", record)
    os.remove(tmp_path / "train2017" / "7.jpg")
    raw = raw_of("coco", tmp_path)
    assert len(raw.splits["train"].pictures) == len(raw.splits["train"].annotations) == 19
    assert any("1 of 20 files that" in line and line.endswith("7.jpg") for line in raw.warnings)
    assert any("1 boxes belong to pictures that the file does not list" in line for line in raw.warnings)
    for name in names[10:15]:
        os.remove(tmp_path / "train2017" / name)
    with pytest.raises(InputError, match=r"6 of 20 files .* are not there; first: .*7\.jpg"):
        raw_of("coco", tmp_path)


# Pascal VOC


def voc_xml(objects):
    parts = [
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        for name, difficult, x1, y1, x2, y2 in objects
    ]
    return f"<annotation><filename>x.jpg</filename>{''.join(parts)}</annotation>"


def write_voc(root, objects, ending="jpg"):
    """`objects` by picture; the last is the test set."""
    for name in ("Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for seed, (stem, found) in enumerate(objects.items()):
        write_picture(root / "JPEGImages" / f"{stem}.{ending}", seed)
        (root / "Annotations" / f"{stem}.xml").write_text(found if isinstance(found, str) else voc_xml(found))
    *train, last = objects
    (root / "ImageSets/Main/train.txt").write_text("\n".join(train) + "\n")
    (root / "ImageSets/Main/val.txt").write_text(f"{last} 1\n")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_voc_counts_pixels_from_one_and_leaves_difficult_objects(tmp_path, ending):
    objects = {"a": [("dog", 0, 1, 1, 40, 24), ("cat", 1, 5, 6, 10, 12)], "b": [], "c": [("person", 0, 3, 3, 4, 4)]}
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", objects, ending)
    raw = raw_of("voc_detection", tmp_path)
    assert len(raw.class_names) == 20
    assert boxes_in(raw.splits["train"]) == [[[0, 0, 40, 24], [4, 5, 10, 12]], []]
    assert labels_in(raw.splits["train"]) == [[11, 7], []]
    assert raw.splits["train"].annotations[0].crowd.tolist() == [False, True]
    assert boxes_in(raw.splits["test"]) == [[[2, 2, 4, 4]]]


def test_voc_with_classes_of_its_own(tmp_path):
    write_voc(tmp_path, {"a": [("WBC", 0, 1, 1, 4, 4)], "b": [("RBC", 0, 1, 1, 4, 4)], "c": [("odd", 0, 1, 1, 4, 4)]})
    raw = raw_of("voc_detection", tmp_path)
    assert list(raw.class_names) == ["RBC", "WBC"]
    assert labels_in(raw.splits["train"]) == [[1], [0]]
    assert raw.warnings == ["test: pictures with objects of no class are left out: odd"]
    named = raw_of("voc_detection", tmp_path, class_names=["WBC", "RBC", "odd"])
    assert labels_in(named.splits["train"]) == [[0], [1]]


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "declares a document type"),
        ("<annotation><object>", "not an annotation in Pascal VOC's form"),
        ("<annotation><object><name>dog</name></object></annotation>", "an object lacks 'xmin'"),
        (voc_xml([("dog", 0, "left", 1, 2, 3)]), "could not convert"),
    ],
)
def test_voc_refuses_what_is_no_annotation(tmp_path, text, says):
    write_voc(tmp_path, {"a": text, "b": [("dog", 0, 1, 1, 4, 4)]})
    with pytest.raises(InputError, match=says) as caught:
        raw_of("voc_detection", tmp_path)
    assert "a.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


# YOLO


def write_yolo(root, lines, split="train", inner=True):
    """`lines` by picture; None = no text file."""
    for seed, (stem, found) in enumerate(lines.items()):
        below = (lambda kind: root / kind / split) if inner else (lambda kind: root / split / kind)
        pictures, texts = below("images"), below("labels")
        write_picture(pictures / f"{stem}.jpg", hash_of(split) + seed)
        texts.mkdir(parents=True, exist_ok=True)
        if found is not None:
            (texts / f"{stem}.txt").write_text(found)


GOOD = {"a": "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.2\n", "b": None, "c": "1 0.1 0.2 0.5 0.25 0.3 0.75\n"}


@pytest.mark.parametrize("inner", [True, False])
def test_yolo_gives_pixels_of_each_picture(tmp_path, inner):
    write_yolo(tmp_path, GOOD, inner=inner)
    write_yolo(tmp_path, {"v": "0 0.5 0.5 1 1"}, split="val" if inner else "valid", inner=inner)
    raw = raw_of("yolo", tmp_path, class_names=["cat", "dog"])
    assert set(raw.splits) == {"train", "validation"}
    found = boxes_in(raw.splits["train"])
    assert np.allclose(found[0], [[15, 6, 25, 18], [0, 0, 8, 4.8]], atol=1e-5)
    assert found[1] == []
    assert np.allclose(found[2], [[4, 4.8, 20, 18]], atol=1e-5)  # the bounds of a polygon
    assert labels_in(raw.splits["train"]) == [[1, 0], [], [1]]


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "\n  0: cat\n  1: dog"])
def test_yolo_reads_data_yaml(tmp_path, names):
    write_yolo(tmp_path, GOOD)
    write_yolo(tmp_path, {"v": "0 0.5 0.5 1 1"}, split="odd")
    file = tmp_path / "data.yaml"
    file.write_text(f"train: ../images/train\nval: images/odd\ntest: images/none\nnames: {names}\n")
    for place in (tmp_path, file):
        raw = raw_of("yolo", place)
        assert list(raw.class_names) == ["cat", "dog"]
        assert {split: len(found.pictures) for split, found in raw.splits.items()} == {"train": 3, "validation": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("names: [a", "not readable as YAML"),
        ("- 1", "expected fields such as train"),
        ("names: {1: a, 2: b}", "count from 0 without gaps"),
        ("names: cat", "names must be a list"),
        ("train: [a, b]\nnames: [a]", "expected one folder"),
        ("train: lists/train.txt\nnames: [a]", "expected one folder"),
        ("train: images/nowhere\nnames: [a]", "no such folder"),
        ("train: images/train\n", "classes have no names"),
    ],
)
def test_yolo_refuses_another_data_yaml(tmp_path, text, says):
    write_yolo(tmp_path, GOOD)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        raw_of("yolo", tmp_path)
    assert "\n" not in str(caught.value)


def test_yolo_names_the_line_of_a_bad_text_file(tmp_path):
    many = {f"p{i}": "0 0.5 0.5 0.5 0.5" for i in range(30)} | {
        "bad": "0 0.5 0.5 0.5 0.5\n1 0.5 0.5\n",
        "worse": "cat 1 1 1 1",
        "worst": "",
    }
    write_yolo(tmp_path, many)
    (tmp_path / "labels" / "train" / "worst.txt").write_bytes(b"\xff\xfe0")
    write_yolo(tmp_path, {f"v{i}": "1 0.5 0.5 0.5 0.5" for i in range(3)}, split="val")
    splits = open_data("yolo", path=str(tmp_path), options={"class_names": ["cat", "dog"]}, image_size=32, validation=0)
    left = {entry["source"].rpartition("/")[2]: entry["reason"] for entry in splits.report["left_out"]}
    assert set(left) == {"bad.jpg", "worse.jpg", "worst.jpg"}
    assert "bad.txt: line 2: 2 numbers after the class" in left["bad.jpg"]
    assert "worse.txt: line 1: expected a class index" in left["worse.jpg"]
    assert "worst.txt: not readable" in left["worst.jpg"]
    assert len(splits.train) == 30


# Tables


def write_boxes(file, count=6, form="xyxy", nested=False, metadata=None, labels=None, seed=0):
    pictures, boxes, found = [], [], []
    for i in range(count):
        path = write_picture(file.parent / "pictures" / f"{file.stem}{i}.png", hash_of(file.stem) + i + seed)
        pictures.append({"bytes": path.read_bytes(), "path": path.name})
        boxes.append([[2.0, 3.0, 12.0, 9.0]] * (i % 3) if form == "xyxy" else [[2.0, 3.0, 10.0, 6.0]] * (i % 3))
        found.append(([1, 0] if labels is None else labels)[: i % 3])
    columns = {"image": pictures}
    if nested:
        columns["objects"] = [{"bbox": own, "category": labels} for own, labels in zip(boxes, found, strict=True)]
    else:
        columns |= {"boxes": boxes, "labels": found}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file)
    return file


NAMED = {b"class_names": b'["cat", "dog"]'}


@pytest.mark.parametrize("form", ["xyxy", "xywh"])
@pytest.mark.parametrize("nested", [True, False])
def test_tables_of_boxes(tmp_path, form, nested):
    write_boxes(tmp_path / "train.parquet", form=form, nested=nested, metadata=NAMED)
    write_boxes(tmp_path / "val.parquet", form=form, nested=nested)
    columns = {"boxes_column": "objects.bbox", "labels_column": "objects.category"} if nested else {}
    raw = raw_of("boxes", tmp_path, box_form=form, **columns)
    assert list(raw.class_names) == ["cat", "dog"]
    assert boxes_in(raw.splits["train"])[:3] == [[], [[2, 3, 12, 9]], [[2, 3, 12, 9]] * 2]
    assert labels_in(raw.splits["validation"])[:3] == [[], [1], [1, 0]]


def test_tables_may_name_classes_and_mark_crowds(tmp_path):
    file = write_boxes(tmp_path / "train.parquet", labels=["dog", "cat"])
    table = pq.read_table(file)
    marks = [[True, False][: i % 3] for i in range(6)]
    pq.write_table(table.append_column("crowd", [marks]), file)
    raw = raw_of("boxes", file, class_names=["cat", "dog"], crowd_column="crowd")
    assert labels_in(raw.splits["train"])[2] == [1, 0]
    assert raw.splits["train"].annotations[2].crowd.tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "classes have no names"),
        ({"boxes_column": "boxs"}, "did you mean 'boxes'"),
        ({"labels_column": "image"}, "expected a list for each picture"),
        ({"boxes_column": "image.corners"}, "no field 'corners'"),
        ({"box_form": "xyhw"}, "did you mean"),
        ({"labels_column": "short", "class_names": ["a", "b"]}, "row 2: 2 boxes but 1 labels"),
        ({"boxes_column": "labels", "class_names": ["a", "b"]}, "row 1: a box is 1; expected four numbers"),
        (
            {"boxes_column": "words", "class_names": ["a", "b"]},
            r"row 1: a box is \['1', '2', 'x', '4'\]; expected four",
        ),
    ],
)
def test_tables_refuse_what_does_not_fit(tmp_path, options, says):
    file = write_boxes(tmp_path / "train.parquet")
    table = pq.read_table(file)
    table = table.append_column("short", [[[1][: i % 3] for i in range(6)]])
    table = table.append_column("words", [[[["1", "2", "x", "4"]] * (i % 3) for i in range(6)]])
    pq.write_table(table, file)
    with pytest.raises(InputError, match=says) as caught:
        raw_of("boxes", file, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [None, math.nan, 0.5])
def test_a_label_that_is_no_class_leaves_its_picture_out(tmp_path, label):
    file = write_boxes(tmp_path / "train.parquet", count=40, metadata=NAMED)
    table = pq.read_table(file)
    labels = table["labels"].to_pylist()
    labels[20][1] = label
    pq.write_table(table.set_column(2, "labels", pa.array([labels], pa.list_(pa.list_(pa.float64()))).values), file)
    report = open_data("boxes", path=str(file), image_size=32, validation=0, store_bytes=0).report
    assert [one["source"] for one in report["left_out"]] == ["train20.png"]
    assert "box 1 has label -1" in report["left_out"][0]["reason"]


# To batches


def test_boxes_come_as_shares_with_their_pictures(tmp_path):
    write_boxes(tmp_path / "train.parquet", count=9, metadata=NAMED)
    write_boxes(tmp_path / "val.parquet", count=3)
    splits = open_data("boxes", path=str(tmp_path), image_size=(24, 40), fit="squash", validation=0)
    assert splits.kind == "boxes"
    assert splits.train.class_counts().tolist() == [3, 6]
    batch = next(Loader(splits.train, batch_size=9, augment=None, shuffle=False).epoch(0))
    assert batch.target.shape == (9, 2, 5)
    expected = [2 / 40, 3 / 24, 12 / 40, 9 / 24]
    torch.testing.assert_close(batch.target[2], torch.tensor([[1.0, *expected], [0.0, *expected]]))
    assert batch.target[0, :, 0].tolist() == [-1, -1]
    flipped = next(Loader(splits.train, batch_size=9, augment=Augment(crop="none", flip=True), shuffle=False).epoch(0))
    mirrored = [1 - 12 / 40, 3 / 24, 1 - 2 / 40, 9 / 24]
    seen = set()
    for picture, plain, target in zip(flipped.inputs, batch.inputs, flipped.target, strict=True):
        is_mirrored = bool(torch.equal(picture, plain.flip(-1)))
        assert is_mirrored or torch.equal(picture, plain)
        for row in target[target[:, 0] >= 0]:
            torch.testing.assert_close(row[1:], torch.tensor(mirrored if is_mirrored else expected))
        seen.add(is_mirrored)
    assert seen == {True, False}


def test_blood_cells_as_they_are_shipped():
    root = os.environ.get("LIMBECK_DATA")
    if not root or not (Path(root) / "detection_bccd").is_dir():
        pytest.skip("LIMBECK_DATA names no folder with detection_bccd")
    splits = open_data("boxes", path=f"{root}/detection_bccd", image_size=(240, 320), validation=0)
    assert splits.class_names == ("RBC", "WBC", "Platelets")
    assert len(splits.train) == 205
    assert len(splits.test) == 87
    assert splits.train.class_counts().sum() == 2804
    assert splits.test.class_counts().sum() == 1137
