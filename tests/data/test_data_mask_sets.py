"""Readers of sets with masks, each on a small copy of its layout."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from limbeck.data import open_data
from limbeck.data.mask_layouts import CITYSCAPES
from limbeck.data.masks import VOID
from limbeck.data.readers import DATA, read_raw
from limbeck.errors import InputError

NAMES = ["road", "car", "tree"]
SIZE = (32, 40)


def mask_of(seed, size=SIZE, values=(0, 1, 2)):
    coarse = np.random.default_rng(seed).integers(0, len(values), (size[0] // 8, size[1] // 8))
    return np.array(values, np.uint8)[np.kron(coarse, np.ones((8, 8), int))]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_pair(picture, mask, seed, values=(0, 1, 2)):
    """A picture and its mask; each picture differs from all others."""
    for path in (picture, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([1, seed]).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(picture)
    Image.fromarray(mask_of(seed, values=values)).save(mask)


def write_table(file, seeds, values=(0, 1, 2), metadata=None, paths_below=None):
    rows = {"image": [], "mask": []}
    for seed in seeds:
        pixels = np.random.default_rng([1, seed]).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        for column, content in (("image", pixels), ("mask", mask_of(seed, values=values))):
            if paths_below is not None:
                (paths_below / column).mkdir(exist_ok=True)
                (paths_below / column / f"{seed}.png").write_bytes(png(content))
                rows[column].append(f"{column}/{seed}.png")
            else:
                rows[column].append({"bytes": png(content), "path": f"{seed}.png"})
    table = pa.table(rows)
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return str(file)


def opened(name, path, **more):
    return open_data(name, path=str(path), image_size=SIZE, validation=0, **more)


# ---- tables


def test_a_table_holds_masks_and_says_its_classes(tmp_path):
    write_table(tmp_path / "train.parquet", range(8), metadata={"class_names": json.dumps(NAMES)})
    write_table(tmp_path / "test_a.parquet", range(8, 11))
    splits = opened("masks", tmp_path)
    assert (splits.kind, splits.class_names) == ("mask", tuple(NAMES))
    assert (len(splits.train), len(splits.test)) == (8, 3)
    assert np.array_equal(splits.test.targets.mask(1), mask_of(9))
    assert splits.train.source(2) == "2.png"


def test_values_are_ignored_or_named(tmp_path):
    path = write_table(tmp_path / "train.parquet", range(8), values=(0, 1, 11))
    options = {"class_names": NAMES[:2], "ignore": [11]}
    mask = opened("masks", path, options=options).train.targets
    assert set(np.unique(mask.mask(0))) == {0, 1, VOID}
    binary = write_table(tmp_path / "binary.parquet", range(8), values=(0, 255))
    options = {"class_names": NAMES[:2], "values": [0, 255]}
    train = opened("masks", binary, options=options).train
    assert set(np.unique(train.targets.mask(0))) == {0, 1}
    counted = read_raw("masks", {"path": path}, options={"class_names": NAMES, "ignore": [0, 2]}).mask_values
    assert counted == {0: -1, 2: -1, 1: 0, 3: 1, 4: 2}


def test_a_table_may_hold_paths_and_splits(tmp_path):
    path = write_table(tmp_path / "all.parquet", range(9), paths_below=tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.append_column("part", pa.array(["train", "val", "test"] * 3)), path)
    raw = read_raw("masks", {"path": path}, options={"class_names": NAMES, "split_column": "part"})
    assert {split: len(found.annotations) for split, found in raw.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 3
    )
    assert raw.splits["test"].annotations[1] == str(tmp_path / "mask" / "5.png")
    assert raw.splits["test"].pictures[1] == str(tmp_path / "image" / "5.png")


@pytest.mark.parametrize("root", [None, "~/set"])
def test_paths_are_relative_to_the_tables_folder_or_root_below_home(tmp_path, monkeypatch, root):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "odd (and so on)"
    folder.mkdir()
    path = write_table(folder / "all.parquet", range(9), paths_below=tmp_path)
    options = {"class_names": NAMES, **({"root": root} if root else {})}
    split = read_raw("masks", {"path": path}, options=options).splits["train"]
    below = tmp_path / "home" / "set" if root else folder
    assert split.annotations[5] == str(below / "mask" / "5.png")
    assert split.pictures[5] == str(below / "image" / "5.png")


# ---- folders


@pytest.mark.parametrize("outer", ["{split}/images", "images/{split}"])
def test_folders_of_equal_names(tmp_path, outer):
    for split, seeds in (("train", range(6)), ("val", range(6, 9))):
        for seed in seeds:
            picture = tmp_path / outer.format(split=split) / f"{seed}.png"
            write_pair(picture, Path(str(picture).replace("images", "masks")), seed)
    (tmp_path / "classes.txt").write_text("road\ncar\n\ntree\n")
    splits = opened("masks", tmp_path)
    assert splits.class_names == tuple(NAMES)
    assert (len(splits.train), len(splits.test)) == (6, 3)
    assert np.array_equal(splits.train.targets.mask(3), mask_of(3))
    (tmp_path / "classes.txt").write_bytes(b"road\nstra\xdfe\n")
    with pytest.raises(InputError, match=r"classes\.txt: not readable as text \('utf-8' codec"):
        opened("masks", tmp_path)


def test_names_match_below_folders_and_whatever_the_ending(tmp_path):
    for seed in range(12):
        folder = "a" if seed % 2 else "b"
        write_pair(tmp_path / "rgb" / folder / f"{seed // 2}.bmp", tmp_path / "gt" / folder / f"{seed // 2}.png", seed)
    options = {"class_names": NAMES, "image_folder": "rgb", "mask_folder": "gt"}
    raw = read_raw("masks", {"path": str(tmp_path)}, options=options)
    assert [Path(each).parts[-2:] for each in raw.splits["train"].annotations[5:7]] == [("a", "5.png"), ("b", "0.png")]


def test_missing_masks_are_said_and_many_refused(tmp_path):
    for seed in range(20):
        write_pair(tmp_path / "images" / f"{seed:02}.png", tmp_path / "masks" / f"{seed:02}.png", seed)
    os.remove(tmp_path / "masks" / "03.png")
    raw = read_raw("masks", {"path": str(tmp_path)}, options={"class_names": NAMES})
    assert len(raw.splits["train"].pictures) == 19
    assert raw.warnings == [
        f"1 of 20 pictures have no mask in {tmp_path / 'masks'}; first: {tmp_path / 'images' / '03.png'}"
    ]
    for seed in (5, 6):
        os.remove(tmp_path / "masks" / f"{seed:02}.png")
    with pytest.raises(InputError, match="3 of 20 pictures have no mask in"):
        read_raw("masks", {"path": str(tmp_path)}, options={"class_names": NAMES})


# ---- published layouts


def write_cityscapes(root):
    ids = (7, 26, 0, 33)  # road, car, void, bicycle
    for folder, cities in (("train", ("aachen", "bochum", "ulm")), ("val", ("munster",))):
        for city in cities:
            for frame in range(4):
                stem = f"{city}_{frame:06}_000019"
                picture = root / "leftImg8bit" / folder / city / f"{stem}_leftImg8bit.png"
                mask = root / "gtFine" / folder / city / f"{stem}_gtFine_labelIds.png"
                write_pair(picture, mask, hash_of(stem), values=ids)
                mask.with_name(f"{stem}_gtFine_color.png").write_bytes(png(np.zeros((*SIZE, 3), np.uint8)))


def hash_of(text):
    return sum(place * ord(letter) for place, letter in enumerate(text, 1))


def test_cityscapes(tmp_path):
    write_cityscapes(tmp_path)
    splits = open_data("cityscapes", path=str(tmp_path), image_size=SIZE, validation=0.3)
    assert len(splits.class_names) == 19
    assert [splits.class_names[i] for i in (0, 13, 18)] == ["road", "car", "bicycle"]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (8, 4, 4)
    assert {Path(splits.validation.source(i)).parent.name for i in range(4)} < {"aachen", "bochum", "ulm"}
    assert len({Path(splits.validation.source(i)).parent.name for i in range(4)}) == 1  # cities are not divided
    found = splits.test.targets.mask(1)
    ids = mask_of(hash_of("munster_000001_000019"), values=(7, 26, 0, 33))
    assert np.array_equal(found, np.select([ids == 7, ids == 26, ids == 33], [0, 13, 18], VOID))
    assert list(CITYSCAPES.values()) == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]  # as published
    (tmp_path / "gtFine" / "val").rename(tmp_path / "gtFine" / "elsewhere")
    with pytest.raises(InputError, match=r"gtFine/val: no such folder; expected what leftImg8bit_trainvaltest\.zip"):
        read_raw("cityscapes", {"path": str(tmp_path)})


@pytest.mark.parametrize("below", ["", "VOCdevkit/VOC2012"])
def test_voc_segmentation(tmp_path, below):
    root = tmp_path / below
    for seed in range(9):
        write_pair(root / "JPEGImages" / f"{seed}.jpg", root / "SegmentationClass" / f"{seed}.png", seed, (0, 20, 255))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n2\n4\n6\n")
    (lists / "val.txt").write_text("1\n3\n")
    splits = opened("voc_segmentation", tmp_path)
    assert (splits.class_names[0], splits.class_names[20], len(splits.class_names)) == ("background", "tvmonitor", 21)
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert np.array_equal(splits.train.targets.mask(1), mask_of(2, values=(0, 20, 255)))
    with pytest.raises(InputError, match=r"trainaug\.txt: no such list of pictures; there are: train, val"):
        read_raw("voc_segmentation", {"path": str(tmp_path)}, options={"train_list": "trainaug"})
    (lists / "train.txt").write_bytes(b"\xff\xfe0\n")
    with pytest.raises(InputError, match=r"train\.txt: not readable as text"):
        opened("voc_segmentation", tmp_path)


# ---- what is refused


def test_bad_input_is_told_in_a_line(tmp_path):
    path = write_table(tmp_path / "train.parquet", range(4))
    cases = [
        ({"path": path}, {}, "classes have no names; give data.options.class_names"),
        ({"path": path}, {"class_names": NAMES, "mask_column": "masc"}, "did you mean 'mask'"),
        ({"path": path}, {"class_names": NAMES, "ignore": [2], "values": [0, 1, 2]}, "2 is the value of class 'tree'"),
        ({"path": path}, {"class_names": NAMES, "values": [0, 1]}, "one value for each of 3 classes, got 2"),
        ({"path": path}, {"class_names": NAMES, "ignore": ["void"]}, "expected a list of whole numbers"),
        ({"path": str(tmp_path / "x")}, {}, "no such file"),
        ({"path": str(tmp_path)}, {"class_names": NAMES, "image_column": "image"}, "write it as data.image_column"),
    ]
    for fields, options, message in cases:
        with pytest.raises(InputError, match=message):
            read_raw("masks", {"image_column": "image", **fields}, options=options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither the folders images and masks nor a table named train"):
        read_raw("masks", {"path": str(tmp_path / "empty")})
    (tmp_path / "half" / "images").mkdir(parents=True)
    with pytest.raises(InputError, match="half/masks: no such folder; expected pictures and masks"):
        read_raw("masks", {"path": str(tmp_path / "half")}, options={"class_names": NAMES})
    with pytest.raises(InputError, match="= 'city': is of tables"):
        read_raw("masks", {"path": str(tmp_path / "half"), "group_by": "city"}, options={"class_names": NAMES})
    with pytest.raises(InputError, match="expected Pascal VOC's layout"):
        read_raw("voc_segmentation", {"path": str(tmp_path)})
    assert {"masks", "cityscapes", "voc_segmentation"} <= set(DATA)


@pytest.mark.skipif("LIMBECK_DATA" not in os.environ, reason="LIMBECK_DATA names no folder of data sets")
def test_camvid():
    path = Path(os.environ["LIMBECK_DATA"]) / "camvid"
    if not path.is_dir():
        pytest.skip("no camvid there")
    names = [
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ]
    options = {"class_names": names, "ignore": [11]}
    splits = open_data("masks", path=str(path), image_size=(180, 240), options=options)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (367, 101, 117)
    share = splits.train.class_counts() / splits.train.targets.counts.sum()
    assert 0.3 < share[3] < 0.35  # Road, as the set's description says
    assert not splits.report["left_out"]
